"""The real demo, real Chromium, and people before it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.example.demo_site import PASSWORD, Demo, running_demo
from tests.programs import program

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """``manage.py demo`` on free ports and a database of its own."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


# Not for the whole session: asyncio's own tests do not run beside Playwright's event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A headless browser, shared; each agent has a context of her own in it."""
    path = program("chromium", "chromium-browser", "google-chrome")
    from .driver import CHROMIUM_ARGUMENTS, playwright

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def console(demo: Demo) -> Iterator[Any]:
    """Whoever else is on the telephone; afterwards nobody is."""
    from .console import Console

    world = Console(demo.sandbox)
    yield world
    world.reset()


@pytest.fixture
def hire(
    request: pytest.FixtureRequest, chromium: Any, demo: Demo, console: Any, tmp_path: Any
) -> Iterator[Callable[..., Any]]:
    """A function that logs somebody in (``hire("alice")``); "" gives a visitor.

    Afterwards nothing may stand in a console of theirs: no error, no breach of the Content-Security-Policy, no dialog.
    """
    from .agent import Agent

    agents: list[Agent] = []

    def hire_one(username: str = "", **look: Any) -> Agent:
        agents.append(Agent(chromium, demo, username, **look))
        return agents[-1]

    yield hire_one
    failed = request.node.stash.get(FAILED, False)
    console.reset()
    for agent in agents:
        agent.close(tmp_path if failed else None)
    assert failed or [agent.complaints for agent in agents if agent.complaints] == []


@pytest.fixture(scope="package")
def newcomer(demo: Demo) -> str:
    """Somebody with all permissions whom no other test logs in to a telephone system."""
    demo.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
    demo.manage("createsuperuser", "--noinput", "--username", "newcomer", "--email", "newcomer@example.com")
    return "newcomer"


@pytest.fixture
def alice(hire: Callable[..., Any]) -> Any:
    """An agent, logged in, on line 10031."""
    return hire("alice")


@pytest.fixture
def bob(hire: Callable[..., Any]) -> Any:
    """Her colleague on line 10032."""
    return hire("bob")
