"""The match's own few threads, each with its own database connections.

Django runs all asynchronous ORM work of a process on one shared thread, so that one slow query anywhere delays
everybody's ring. Nothing that a ring waits for goes there.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

__all__ = ["THREADS", "close_pool", "in_pool"]

THREADS = 3

P = ParamSpec("P")
T = TypeVar("T")

_pool: ThreadPoolExecutor | None = None


async def in_pool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function`, which may ask the database, on one of the threads."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cti-match")
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(_run, partial(function, *args, **kwargs)))


def close_pool() -> None:
    """End the threads and close their connections (for tests and an orderly end); the next use starts new ones."""
    global _pool
    if _pool is not None:
        for _each in range(THREADS):
            _pool.submit(connections.close_all)
        _pool.shutdown(wait=True)
        _pool = None


def _run(function: Callable[[], T]) -> T:
    for connection in connections.all(initialized_only=True):
        # Requests close connections by age; here none ends, so they are kept until they fail.
        connection.close_at = None
        connection.close_if_unusable_or_obsolete()
    return function()
