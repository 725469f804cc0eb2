"""Other processes that want the same leases, each with a clock of its own: what runs in them, and how they start."""

import datetime
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any

__all__ = ["contest", "contestants", "rival"]

_PATIENCE_SECONDS = 60.0
_RUN_UP_SECONDS = 0.001

_meeting: Any = None
_highest: Any = None
_start: Any = None


@contextmanager
def rival(database: dict[str, Any], clock_error: float = 0.0, *shared: Any) -> Iterator[ProcessPoolExecutor]:
    """A process with this default database, whose clock is wrong by so many seconds; it does what is submitted."""
    settings = (database, clock_error, *shared)
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=settings) as process:
        yield process


@contextmanager
def contestants(database: dict[str, Any]) -> Iterator[list[ProcessPoolExecutor]]:
    """Two processes for ``contest``."""
    context = get_context("spawn")
    shared = context.Barrier(2), context.Value("q", 0), context.Value("d", 0.0)
    with ExitStack() as stack:
        yield [stack.enter_context(rival(database, 0.0, *shared)) for _ in range(2)]


def contest(agent_id: Any, name: str, rounds: int) -> list[int | None]:
    """Claim at the same instant as the other process, again and again; what each claim gave.

    Between two rounds the winner lets go, in turn: by a release, by letting the lease run out, by losing the row.
    """
    from cti_django.sessions import lease

    fences: list[int | None] = []
    for number in range(rounds):
        _meeting.wait(_PATIENCE_SECONDS)
        highest, start = _highest.value, _start.value
        while time.monotonic() < start:
            pass
        fence = lease.claim(agent_id, name, 600.0, above=highest)
        fences.append(fence)
        _meeting.wait(_PATIENCE_SECONDS)
        if fence is not None:
            _let_go(agent_id, name, number)
            _highest.value, _start.value = fence, time.monotonic() + _RUN_UP_SECONDS
    return fences


def _let_go(agent_id: Any, name: str, number: int) -> None:
    from django.db.models.functions import Now

    from cti_django.models import AgentLease
    from cti_django.sessions import lease

    row = AgentLease.objects.filter(agent_id=agent_id)
    if number % 3 == 0:
        lease.release(name, [agent_id])
    elif number % 3 == 1:
        row.update(expires_at=Now() - datetime.timedelta(seconds=1))
    else:
        row.delete()


def _begin(
    database: dict[str, Any], clock_error: float, meeting: Any = None, highest: Any = None, start: Any = None
) -> None:
    global _meeting, _highest, _start
    _meeting, _highest, _start = meeting, highest, start
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    from django.conf import settings

    settings.DATABASES = {"default": database}
    django.setup()
    if clock_error:
        _set_clock(clock_error)


def _set_clock(error: float) -> None:
    from django.utils import timezone

    right, right_time, off = datetime.datetime, time.time, datetime.timedelta(seconds=error)

    class _AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, right)

    class _Wrong(right, metaclass=_AnyDatetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return right.now(tz) + off

    datetime.datetime = _Wrong  # type: ignore[misc]
    time.time = lambda: right_time() + error
    timezone.now = lambda: right.now(datetime.UTC) + off
