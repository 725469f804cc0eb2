"""Threads for database work, each with connections of its own.

Django runs all asynchronous ORM work of a process on one shared thread, so that one slow query anywhere delays
everybody's ring. Nothing that a ring, an agent's command or a signal receiver waits for goes there.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ClassVar, ParamSpec, TypeVar

from django.db import connections
from django.urls import get_script_prefix, set_script_prefix

__all__ = ["LEASE_THREAD", "MATCH_THREADS", "SIGNAL_THREAD", "WORK_THREADS", "DatabaseThreads"]

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """A few threads; they start with the first work and keep their connections until those fail.

    Args:
        count: how many.
        name: what they are called in a debugger.
    """

    _all: ClassVar[list["DatabaseThreads"]] = []

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._all.append(self)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `function` run soon, after what was submitted before if there is one thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix=self._name)
        return self._pool.submit(_run, get_script_prefix(), partial(function, *args, **kwargs))

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, or raises."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    @classmethod
    def close_all(cls) -> None:
        """End all such threads and close their connections (for tests and an orderly end); the next use starts anew."""
        for threads in cls._all:
            if threads._pool is not None:
                for _each in range(threads.count):
                    threads._pool.submit(connections.close_all)
                threads._pool.shutdown(wait=True)
                threads._pool = None


def _run(script_prefix: str, function: Callable[[], T]) -> T:
    set_script_prefix(script_prefix)  # below which path the site stands is known to whoever asks
    for connection in connections.all(initialized_only=True):
        # Requests close connections by age; here none ends, so they are kept until they fail.
        connection.close_at = None
        connection.close_if_unusable_or_obsolete()
    return function()


MATCH_THREADS = DatabaseThreads(3, "cti-match")
"""Who calls: nothing else may stand in the ring's way."""
WORK_THREADS = DatabaseThreads(2, "cti-work")
"""Sessions, permissions, notes."""
LEASE_THREAD = DatabaseThreads(1, "cti-lease")
"""Leases: no note that waits for a lock may delay their renewal, and what is released was not claimed later."""
SIGNAL_THREAD = DatabaseThreads(1, "cti-signals")
"""The project's signal receivers, one after the other."""
