"""Database work of the sessions, beside asgiref's one shared thread, where anybody's slow query would hold it up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections

__all__ = ["in_session_thread"]

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cti-sessions")
_Result = TypeVar("_Result")


async def in_session_thread(function: Callable[..., _Result], *args: Any) -> _Result:
    """Run `function`, which may use the ORM, on one of the sessions' own threads."""

    def work() -> _Result:
        close_old_connections()
        try:
            return function(*args)
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_threads, work)
