"""Tells the project's signal receivers what happened, in order, behind the calls' back; asks them before a call.

Receivers are other people's code: one that is slow delays only the receivers behind it, one that fails is logged.
"""

import logging
from threading import Lock
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.dispatch import Signal

from ..calls.numbers import NumberPlan, dialable
from ..exceptions import CTIError
from ..signals import pre_dial
from ..threads import SIGNAL_THREAD

__all__ = ["announce", "ask_for_veto", "flush"]

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


async def ask_for_veto(agent_id: Any, number: str, plan: NumberPlan) -> str:
    """Why the project's receivers of ``pre_dial`` do not want this call; "" if nobody minds."""
    if not pre_dial.receivers:
        return ""
    try:
        party = dialable(number, plan)
        said = await sync_to_async(pre_dial.send, thread_sensitive=False)(sender=None, agent_id=agent_id, party=party)
    except PermissionDenied as denied:
        return str(denied) or "This call is not allowed."
    except CTIError:
        return ""  # the session says what is wrong with the number
    except Exception:
        # Fail closed: a policy that cannot be asked has not agreed.
        logger.exception("A receiver of pre_dial failed")
        return "Whether this call is allowed could not be found out."
    return next((text for _, text in said if isinstance(text, str) and text), "")
