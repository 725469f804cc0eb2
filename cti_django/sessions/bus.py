"""The only file that knows the channel layer: group names, and the messages that travel through it.

Two kinds of readers: consumers (each a tab), and hosts (each a process), which read their ``mailbox``. What is meant
for browsers is already JSON text, so that a consumer relays without looking inside; its fence travels beside it.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer

from .. import metrics

__all__ = [
    "EVERYBODY",
    "HOSTS",
    "agent_group",
    "ask_to_recheck",
    "desk_group",
    "encode",
    "join",
    "leave",
    "new_address",
    "publish",
    "receive",
    "send",
    "send_to",
    "spans_processes",
    "tell",
    "tell_of_delivery",
]

logger = logging.getLogger(__name__)

EVERYBODY = "cti.everybody"
"""The group of all the consumers of all processes."""
HOSTS = "cti.hosts"
"""The group of all processes' mailboxes."""
SEND_SECONDS = 2.0  # a layer that hangs must not hold up a session longer than this ...
PAUSE_SECONDS = 1.0  # ... and then is left alone for so long

_resume_at = 0.0  # on the monotonic clock


def agent_group(agent_id: Any) -> str:
    """The group of an agent's tabs; no two agents share one, whatever their ids look like."""
    return f"cti.agent.{_short(agent_id)}"


def desk_group(agent_id: Any) -> str:
    """The group that the process which runs an agent's session listens to."""
    return f"cti.desk.{_short(agent_id)}"


def _short(agent_id: Any) -> str:
    # Channel layers allow fewer than 100 ASCII letters, digits, hyphens, underscores and periods in a name.
    name = str(agent_id)
    if name.isascii() and name.isalnum() and len(name) <= 64:
        return name
    return "." + hashlib.sha256(name.encode()).hexdigest()


def encode(message: dict[str, Any]) -> str:
    """One message to a browser, as text."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)


def spans_processes() -> bool:
    """Whether what is sent reaches other processes at all."""
    layer = get_channel_layer()
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


# -- at most once -----------------------------------------------------------------------------------------------------


async def _attempt(sending: Awaitable[None]) -> bool:
    """A layer that fails must not stop a session: a tab that misses something asks for a snapshot."""
    global _resume_at
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await sending
    except ChannelFull:
        return False
    except Exception as error:
        if isinstance(error, TimeoutError):
            _resume_at = monotonic() + PAUSE_SECONDS
        metrics.bus_failures_total.inc()
        logger.warning("The channel layer failed (%s); a message is lost", type(error).__name__)
        return False
    finally:
        # redis-py waits with Python 3.11's wait_for, which may lose the word that its task is to end.
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
    return True


async def tell(group: str, message: dict[str, Any]) -> bool:
    """Send one message to all members of a group; False if it surely did not arrive."""
    layer = get_channel_layer()
    if layer is None or monotonic() < _resume_at:
        return False
    return await _attempt(layer.group_send(group, message))


async def send(channel_name: str, message: dict[str, Any]) -> bool:
    """Send one message to one channel; False if it surely did not arrive."""
    layer = get_channel_layer()
    if layer is None or monotonic() < _resume_at:
        return False
    return await _attempt(layer.send(channel_name, message))


async def publish(agent_id: Any, envelope: dict[str, Any]) -> bool:
    """Send an envelope to all tabs of an agent, wherever they are connected."""
    relayed = {"type": "cti.relay", "text": encode(envelope), "fence": envelope.get("fence")}
    return await tell(agent_group(agent_id), relayed)


async def send_to(channel_name: str, message: dict[str, Any]) -> bool:
    """Send a message to one tab."""
    return await send(channel_name, {"type": "cti.relay", "text": encode(message), "fence": message.get("fence")})


# -- the mailbox's side -----------------------------------------------------------------------------------------------


async def new_address() -> str:
    """A channel of this process's own. Raises whatever the layer raises."""
    layer = get_channel_layer()
    assert layer is not None
    return str(await layer.new_channel("cti.host."))


async def receive(address: str) -> dict[str, Any]:
    """The next message for an address of this process. Raises whatever the layer raises."""
    layer = get_channel_layer()
    assert layer is not None
    message: dict[str, Any] = await layer.receive(address)
    return message


async def join(group: str, address: str) -> bool:
    """Have a group's messages delivered to an address of this process."""
    layer = get_channel_layer()
    return layer is not None and await _attempt(layer.group_add(group, address))


async def leave(group: str, address: str) -> bool:
    """No longer."""
    layer = get_channel_layer()
    return layer is not None and await _attempt(layer.group_discard(group, address))


async def tell_of_delivery() -> None:
    """Tell all processes that a telephone system has pushed something. Who misses it finds out a little later."""
    if spans_processes():
        await tell(HOSTS, {"type": "cti.delivered"})


def ask_to_recheck(agent_id: Any | None = None) -> None:
    """Have the consumers of an agent (None: of everybody) check again whether they may go on. Synchronous."""
    layer = get_channel_layer()
    if layer is None:
        return
    group = EVERYBODY if agent_id is None else agent_group(agent_id)
    try:
        async_to_sync(layer.group_send)(group, {"type": "cti.recheck"})
    except Exception:
        # A failing layer must not break the log-out or the admin form that brought us here; the consumers also
        # check by themselves from time to time.
        logger.exception("Consumers could not be asked to check their permissions again")
