"""What all tests share: a clean state between tests, and a few people."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from cti_django import calllog, contacts
from cti_django.contacts import sources
from cti_django.threads import DatabaseThreads

pytest_plugins = ["tests.servers", "tests.pbx.fixtures", "tests.pbx.stage"]


def _commits(request: pytest.FixtureRequest) -> bool:
    """Whether what this test writes is seen by other connections."""
    marker = request.node.get_closest_marker("django_db")
    return bool(marker and marker.kwargs.get("transaction")) or bool(
        {"transactional_db", "live_server"} & set(request.fixturenames)
    )


@pytest.fixture(autouse=True)
def _outbox_of_this_test_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without commits the outbox's thread could only wait for a lock, so it stays away; ``write_now`` works."""
    contacts.forget_rights()
    calllog.outbox.discard()
    if not _commits(request):
        monkeypatch.setattr(calllog.outbox, "_start", lambda: None)
        monkeypatch.setattr(calllog.outbox, "flush", lambda timeout: True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    # Before the database is emptied, or dropped, not after it as a fixture would.
    if calllog.outbox.length:
        calllog.outbox.close(2.0)
    if nextitem is None:
        DatabaseThreads.close_all()
        calllog.outbox.close(2.0)


@pytest.fixture
def agent(db: None) -> Any:
    """Alice, who may use the telephone and see the people of the test CRM."""
    return _person("alice", "use_telephone", "view_person", "view_company", "view_badge", "add_person")


@pytest.fixture
def other_agent(db: None) -> Any:
    """Bob, who may use the telephone and nothing else."""
    return _person("bob", "use_telephone")


@pytest.fixture
def supervisor(db: None) -> Any:
    """Sue, who may also see the calls of others."""
    return _person("sue", "use_telephone", "supervise_calls", "view_person")


def _person(username: str, *permissions: str) -> Any:
    user = get_user_model().objects.create_user(username, password="secret")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def no_sources() -> Iterator[None]:
    """Nothing is registered; what the test CRM has registered comes back afterwards."""
    before = dict(sources._sources)
    sources._sources.clear()
    sources._tell()
    yield
    sources._sources.clear()
    sources._sources.update(before)
    sources._tell()
