"""What the dialog documents of SIP servers of any make mean, and how their nodes are named. Nothing here remembers."""

import re

from ...calls.notifications import LegNotification, Snapshot
from ...calls.numbers import NumberPlan
from ...wire.dialog_info import DialogInfo
from ..sip_dialogs import leg_of

__all__ = ["sip_node", "translate"]

_NODE = re.compile(r"(?:user:)?([A-Za-z0-9*_+][A-Za-z0-9._+\-*]{0,63})")


def translate(info: DialogInfo, node: str, plan: NumberPlan) -> list[Snapshot | LegNotification]:
    """What `info` says about `node` ("" for the agent's own): a Snapshot if it is full, else one leg per dialog.

    A dialog is a call of its own: no server says which of its dialogs belong together.
    """
    legs = tuple(
        leg_of(dialog, node, plan, provider_call_id=dialog.dialog_id, reuses_ids=True) for dialog in info.dialogs
    )
    return [Snapshot(node=node, legs=legs)] if info.is_full else list(legs)


def sip_node(node: str) -> str:
    """The user part of the SIP URI that `node` ("1007", "user:1007") is subscribed at, "" if it is no node."""
    match = _NODE.fullmatch(node)
    return match[1] if match else ""
