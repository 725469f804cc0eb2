from collections.abc import Iterator

import pytest

from .demo_site import Demo, Visitor


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The running demo, shared by the tests of this folder."""
    running = Demo(tmp_path_factory.mktemp("demo") / "demo.sqlite3")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def alice(demo: Demo) -> Visitor:
    """An agent, logged in."""
    visitor = Visitor(demo.site)
    assert visitor.login("alice").url == demo.site
    return visitor
