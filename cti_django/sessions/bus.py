"""The only file that knows the channel layer: group names, and the messages that travel through it.

What is published is already JSON text, so that a consumer relays without looking inside.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

__all__ = ["EVERYBODY", "agent_group", "ask_to_recheck", "encode", "publish", "send_to"]

logger = logging.getLogger(__name__)

EVERYBODY = "cti.everybody"
"""The group of all the consumers of all processes."""


def agent_group(agent_id: Any) -> str:
    """The group of an agent's tabs; no two agents share one, whatever their ids look like.

    Channel layers allow fewer than 100 ASCII letters, digits, hyphens, underscores and periods in a name.
    """
    name = str(agent_id)
    if not (name.isascii() and name.isalnum() and len(name) <= 64):
        name = "." + hashlib.sha256(name.encode()).hexdigest()
    return f"cti.agent.{name}"


def encode(message: dict[str, Any]) -> str:
    """One message to a browser, as text."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)


@contextmanager
def _at_most_once() -> Iterator[None]:
    """A layer that fails must not stop a session: a tab that misses something asks for a snapshot."""
    try:
        yield
    except ChannelFull:
        pass
    except Exception as error:
        logger.warning("The channel layer failed (%s); a message is lost", type(error).__name__)


async def publish(agent_id: Any, message: dict[str, Any]) -> None:
    """Send one message to all tabs of an agent, wherever they are connected. At most once: a tab may miss it."""
    layer = get_channel_layer()
    if layer is not None:
        with _at_most_once():
            await layer.group_send(agent_group(agent_id), {"type": "cti.relay", "text": encode(message)})


async def send_to(channel_name: str, message: dict[str, Any]) -> None:
    """Send one message to one tab. At most once, like ``publish``."""
    layer = get_channel_layer()
    if layer is not None:
        with _at_most_once():
            await layer.send(channel_name, {"type": "cti.relay", "text": encode(message)})


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
