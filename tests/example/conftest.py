from collections.abc import Iterator

import pytest

from .demo_site import Demo, Visitor, running_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The running demo, shared by the tests of this folder."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def alice(demo: Demo) -> Visitor:
    """An agent, logged in."""
    visitor = Visitor(demo.site)
    assert visitor.login("alice").url == demo.site
    return visitor
