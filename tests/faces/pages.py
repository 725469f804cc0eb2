"""What the tests of the server-rendered faces share: people, calls, and a strict reading of a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from django.contrib.auth.models import Permission, User
from django.db.models import Model

from cti_django import contacts
from cti_django.contacts import sources
from cti_django.models import CallRecord

HOSTILE = "<img src=x onerror=alert(1)>"
NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DANA = "+442079460018"


def make_user(name: str, *permissions: str, **fields) -> User:
    """A user with permissions, each "app.codename"."""
    user = User.objects.create_user(name, **fields)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def make_agent(name: str = "alice", *permissions: str, **fields) -> User:
    return make_user(name, "cti_django.use_telephone", *permissions, **fields)


def make_call(agent: User | None, call_id: str = "c1", minutes: int = 0, **fields) -> CallRecord:
    defaults = {
        "direction": "INBOUND",
        "state": "HANGUP",
        "kind": "number",
        "number": DANA,
        "source_raw": "442079460018",
        "source_name": "Dana",
        "destination_raw": "10031",
        "end_reason": "completed",
        "started_at": NOON + timedelta(minutes=minutes),
        "connected_at": NOON + timedelta(minutes=minutes, seconds=5),
        "ended_at": NOON + timedelta(minutes=minutes + 3, seconds=12),
    }
    return CallRecord.objects.create(agent=agent, call_id=call_id, connector="fake", **{**defaults, **fields})


@contextmanager
def contact_source(model: type[Model], *fields: str, **options) -> Iterator[None]:
    """For as long as this lasts, `model` is this contact source instead of the one that it is in the test CRM."""
    before = dict(sources._sources)
    contacts.unregister(model)
    contacts.register(model, fields, **options)
    try:
        yield
    finally:
        sources._sources.clear()
        sources._sources.update(before)  # in the order in which they were registered
        sources._tell()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and not values.get("src") and values.get("type") != "application/json":
            self.faults.append("an inline script")
        if tag == "style":
            self.faults.append("an inline style sheet")
        if tag == "img" and values.get("src") == "x":
            self.faults.append("a caller's own element")
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.faults.append(f"{name}= on <{tag}>")
            if (value or "").strip().lower().startswith("javascript:"):
                self.faults.append(f"{name}=javascript: on <{tag}>")


def assert_strict(html: str) -> None:
    """No inline script or style, no handler attributes, nothing that a caller's name has put there."""
    reader = _Reader()
    reader.feed(html)
    assert reader.faults == []
    assert HOSTILE not in html
