"""What VoIPstudio's dialog-info documents mean: how it numbers calls and names nodes. The rest is ``sip_dialogs``."""

import re

from ...calls.notifications import LegNotification, Snapshot
from ...calls.numbers import NumberPlan
from ...wire.dialog_info import DialogInfo
from ..sip_dialogs import leg_of

__all__ = ["provider_call_id", "sip_node", "translate"]

_NODE = re.compile(r"(user|ivr|queue|conf):([1-9][0-9]{1,15})")
_CALL_NUMBER = re.compile(r"[0-9]+(?=-)")


def translate(info: DialogInfo, node: str, plan: NumberPlan) -> list[Snapshot | LegNotification]:
    """What `info` says about `node` ("" for the agent's own): a Snapshot if it is full, else one leg per dialog."""
    legs = tuple(
        leg_of(
            dialog,
            node,
            plan,
            provider_call_id=provider_call_id(dialog.dialog_id),
            # A call number in front of a dialog id is good for one call; what other servers write comes back.
            reuses_ids=_CALL_NUMBER.match(dialog.dialog_id) is None,
        )
        for dialog in info.dialogs
    )
    return [Snapshot(node=node, legs=legs)] if info.is_full else list(legs)


def provider_call_id(dialog_id: str) -> str:
    """The id that REST knows the call of `dialog_id` by.

    VoIPstudio writes "<call id>-<leg>". Other servers write dialog ids of their own make, in which the part before
    the first "-" is the same for every call: there the whole id has to do.
    """
    number = _CALL_NUMBER.match(dialog_id)
    return number[0] if number else dialog_id


def sip_node(node: str) -> str:
    """The user part of the SIP URI that `node` ("user:10032", "ivr:12") is subscribed at, "" if it is no node."""
    match = _NODE.fullmatch(node)
    if match is None:
        return ""
    kind, number = match.groups()
    return number if kind == "user" else f"{kind}-{number}"
