"""What a manager may do, as what an agent can do; and which right of manager.conf is missing for the rest."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from ...calls.commands import Capability
from .options import Options

__all__ = ["Need", "capabilities_of", "needs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one capability needs.

    Args:
        capability: what the agent can do.
        commands: the manager actions for it; all of them.
        right: the class of right in manager.conf (`write`) that allows them.
        option: the connector's option that it needs too, "" for none.
        is_chosen: whether the options ask for it at all.
        is_missed: whether it is a fault if the rights lack.
    """

    capability: Capability
    commands: frozenset[str]
    right: str
    option: str = ""
    is_chosen: bool = True
    is_missed: bool = True


def needs(options: Options) -> list[Need]:
    """What each capability needs with these options.

    Source: Asterisk's documentation of each action (its privileges); compared with ListCommands of Asterisk 22.
    """

    def need(capability: Capability, commands: str, right: str, option: str = "", is_chosen: bool = True) -> Need:
        allowed = frozenset(commands.split())
        return Need(capability=capability, commands=allowed, right=right, option=option, is_chosen=is_chosen)

    talks = options.answer == "talk"
    return [
        need(Capability.DIAL, "Originate", "originate"),
        need(Capability.HANG_UP, "Hangup", "call"),
        need(Capability.REFUSE, "Hangup", "call"),
        need(Capability.WITHDRAW, "Hangup", "call"),
        need(
            Capability.ANSWER,
            "PJSIPNotify" if talks else "Redirect",
            "system" if talks else "call",
            "answer",
            bool(options.answer),
        ),
        need(Capability.TRANSFER, "BlindTransfer", "call"),
        need(Capability.TRANSFER_HELD, "Redirect BlindTransfer Hangup", "call"),
        need(Capability.DEFLECT, "Redirect", "call"),
        need(Capability.CONSULT, "Atxfer CancelAtxfer Hangup", "call"),
        need(Capability.HOLD, "Redirect Bridge", "call", "hold_context", bool(options.hold_context)),
        need(Capability.DTMF, "PlayDTMF", "call"),
        need(Capability.QUEUES, "QueueAdd QueueRemove", "agent", "queues", bool(options.queues)),
        replace(need(Capability.PAUSE, "QueuePause", "agent"), is_missed=bool(options.queues)),
        need(Capability.DND, "DBPut DBDel", "system", "dnd_family", bool(options.dnd_family)),
        need(Capability.DIRECTORY, "ExtensionStateList", "reporting"),
    ]


def capabilities_of(options: Options, commands: Collection[str]) -> frozenset[Capability]:
    """What an agent can do with a manager who may use `commands`."""
    allowed = frozenset(commands)
    return frozenset(need.capability for need in needs(options) if need.is_chosen and need.commands <= allowed)
