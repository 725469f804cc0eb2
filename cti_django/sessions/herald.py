"""Tells the project's signal receivers what happened, in order, behind the calls' back.

Receivers are other people's code: one that is slow delays only the receivers behind it, one that fails is logged.
"""

import logging
from threading import Lock
from typing import Any

from django.dispatch import Signal

from ..threads import SIGNAL_THREAD

__all__ = ["announce", "flush"]

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000

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
    SIGNAL_THREAD.submit(_send, signal, arguments)


def _send(signal: Signal, arguments: dict[str, Any]) -> None:
    global _waiting
    try:
        signal.send_robust(sender=None, **arguments)
    except Exception:
        logger.exception("Sending a signal failed")
    finally:
        with _lock:
            _waiting -= 1


def flush(timeout: float | None = None) -> None:
    """Wait until everything announced so far has been sent."""
    SIGNAL_THREAD.submit(lambda: None).result(timeout)
