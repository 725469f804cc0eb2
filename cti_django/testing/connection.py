"""One database connection for a test and for the sessions behind it, so that both see the same transaction."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from django.db import connections
from django.urls import get_script_prefix, set_script_prefix

from ..threads import DatabaseThreads

__all__ = ["commit", "one_connection"]

T = TypeVar("T")


def commit() -> None:
    """Do what this app does after a commit: the transaction around a test never ends in one."""
    for connection in connections.all(initialized_only=True):
        ours = [each for each in connection.run_on_commit if each[1].__module__.startswith("cti_django.")]
        connection.run_on_commit = [each for each in connection.run_on_commit if each not in ours]
        for each in ours:
            each[1]()


@contextmanager
def one_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have all database work done on the test's own connection: it sees what the test's transaction holds.

    On one thread: the test waits for it meanwhile, so that the connection is never used by two at once.
    """
    shared = {alias: connections[alias] for alias in connections}

    def begin() -> None:
        for alias, connection in shared.items():
            connections[alias] = connection

    pool = ThreadPoolExecutor(1, thread_name_prefix="cti-testing", initializer=begin)

    def submit(_self: DatabaseThreads, function: Callable[..., T], *args: Any, **kwargs: Any) -> "Future[T]":
        prefix = get_script_prefix()

        def act() -> T:
            set_script_prefix(prefix)
            return function(*args, **kwargs)

        return pool.submit(act)

    for connection in shared.values():
        connection.inc_thread_sharing()
    monkeypatch.setattr(DatabaseThreads, "submit", submit)
    try:
        yield
    finally:
        pool.shutdown(wait=True)
        for connection in shared.values():
            connection.dec_thread_sharing()
