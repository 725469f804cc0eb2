"""Tells the project's signal receivers what happened, in order, behind the calls' back.

Receivers are other people's code: one that is slow delays only the receivers behind it, one that fails is logged.
They run on one thread of their own, with a database connection of their own.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from django.db import close_old_connections
from django.dispatch import Signal

__all__ = ["announce", "flush"]

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cti-herald")
_waiting = 0
_lock = Lock()


def announce(signal: Signal, **arguments: Any) -> None:
    """Have `signal` sent to its receivers, soon. Never blocks; does nothing if nobody listens."""
    global _waiting
    if not signal.receivers:
        return
    with _lock:
        if _waiting >= MAX_WAITING:
            logger.warning("Signal receivers are too slow: one signal was dropped")
            return
        _waiting += 1
    _thread.submit(_send, signal, arguments)


def _send(signal: Signal, arguments: dict[str, Any]) -> None:
    global _waiting
    try:
        close_old_connections()
        signal.send_robust(sender=None, **arguments)
    except Exception:
        logger.exception("Sending a signal failed")
    finally:
        close_old_connections()
        with _lock:
            _waiting -= 1


def flush(timeout: float | None = None) -> None:
    """Wait until everything announced so far has been sent."""
    _thread.submit(lambda: None).result(timeout)
