"""One Asterisk for all tests that neither kill nor change it, and its log beside whatever fails."""

from collections.abc import Iterator

import pytest

from tests.pbx.asterisk import Asterisk, asterisk

__all__ = ["pbx", "pytest_runtest_makereport"]

SHOWN = 20_000
"""Characters of the log."""


@pytest.fixture(scope="session")
def pbx() -> Iterator[Asterisk]:
    """An Asterisk with agents 1001 to 1010; a test leaves neither calls nor phones behind."""
    with asterisk() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        servers = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Asterisk)]
        report.sections += [("Asterisk's log", server.log()[-SHOWN:]) for server in servers]
    return report
