"""How the phones stand: extensions' states for the directory, and the agents' queues.

Source: Asterisk 22, AMI events ExtensionStatus (class call) and QueueMember* (class agent).
"""

from dataclasses import dataclass

from ...calls.notifications import PresenceNotification
from .channels import MAX_TEXT

__all__ = ["ExtensionState", "Extensions", "Queues"]

MAX_EXTENSIONS = 20_000
MAX_MEMBERS = 50_000

_PRESENCE = {
    "0": "idle",
    "1": "busy",  # in use
    "2": "busy",
    "4": "offline",  # not registered
    "8": "ringing",
    "9": "busy",  # in use, and a second call rings
    "16": "hold",
    "17": "hold",
}


@dataclass(slots=True, kw_only=True)
class ExtensionState:
    """One extension.

    Args:
        exten: what colleagues dial.
        context: the dialplan context of its hint.
        device: the phone behind it ("PJSIP/1001"), the first if there are several, "" if none is told.
        presence: idle, ringing, busy, hold or offline.
        name: whose it is, "" if that has not been told.
    """

    exten: str
    context: str = ""
    device: str = ""
    presence: str = "offline"
    name: str = ""


class Extensions:
    """All extensions with a hint."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], ExtensionState] = {}  # by exten and context: tenants have the same numbers
        self._by_device: dict[str, ExtensionState] = {}
        self._names: dict[str, str] = {}  # by device, of those that have no hint (yet)
        self._listed: set[tuple[str, str]] | None = None

    def hear(self, event: dict[str, str]) -> None:
        """Take in an ExtensionStatus."""
        exten, context = event.get("Exten", "")[:MAX_TEXT], event.get("Context", "")[:MAX_TEXT]
        key, status = (exten, context), event.get("Status", "")
        if status.startswith("-") or not exten:  # the hint is gone
            self._forget(key)
            return
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MAX_EXTENSIONS:
                return
            state = self._states[key] = ExtensionState(exten=exten, context=context)
        state.presence = _PRESENCE.get(status, "busy")
        device = event.get("Hint", "")[:MAX_TEXT].partition("&")[0].partition(",")[0]
        if device != state.device:
            self._let_go(state)
            state.device = device
            self._by_device[device] = state
            state.name = self._names.get(device, "")
        if self._listed is not None:
            self._listed.add(key)

    def name(self, device: str, name: str) -> None:
        """`device` is `name`'s phone."""
        if not name or self._names.get(device) == name or len(self._names) >= MAX_EXTENSIONS:
            return
        self._names[device] = name
        state = self._by_device.get(device)
        if state is not None:
            state.name = name

    def of(self, device: str) -> str:
        """The extension of `device`, "" if it has none."""
        state = self._by_device.get(device)
        return state.exten if state else ""

    def device(self, exten: str, context: str) -> str:
        """The phone of `exten` in `context`, "" for any; "" if there is none."""
        state = self._states.get((exten, context)) if context else self.all().get(exten)
        return state.device if state else ""

    def all(self, context: str = "") -> dict[str, ExtensionState]:
        """The extensions in `context`, "" for all contexts, by what colleagues dial."""
        return {state.exten: state for state in self._states.values() if context in ("", state.context)}

    def begin_list(self) -> None:
        """All of them are about to be told."""
        self._listed = set()

    def end_list(self) -> None:
        """All were told: what was not is gone. A list without any was not allowed to be read."""
        if self._listed:
            for key in self._states.keys() - self._listed:
                self._forget(key)
        self._listed = None

    def _forget(self, key: tuple[str, str]) -> None:
        state = self._states.pop(key, None)
        if state is not None:
            self._let_go(state)

    def _let_go(self, state: ExtensionState) -> None:
        if self._by_device.get(state.device) is state:
            del self._by_device[state.device]


@dataclass(slots=True)
class _Membership:
    is_member: bool
    is_paused: bool


class Queues:
    """Who serves which queue.

    Args:
        extensions: tell whose phone a member's state is read from, where that is said by extension.
    """

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._members: dict[str, dict[str, _Membership]] = {}  # by device, then queue
        self._size = 0
        self._listed: set[tuple[str, str]] | None = None

    def hear(self, event: dict[str, str]) -> str:
        """Take in a QueueMember, QueueMemberAdded, ...Status, ...Pause or ...Removed; the device that it is about."""
        queue = event.get("Queue", "")[:MAX_TEXT]
        device = self._device(event)
        if not queue or not device:
            return ""
        self._extensions.name(device, (event.get("MemberName") or event.get("Name") or "")[:MAX_TEXT])
        if self._listed is not None:
            self._listed.add((device, queue))
        membership = self._members.get(device, {}).get(queue)
        if membership is None:
            if self._size >= MAX_MEMBERS:
                return ""
            self._size += 1
            membership = self._members.setdefault(device, {})[queue] = _Membership(True, False)
        membership.is_member = event.get("Event") != "QueueMemberRemoved"
        membership.is_paused = event.get("Paused") == "1"
        return device

    def presence(self, device: str) -> PresenceNotification:
        """How the agent of `device` stands with the queues now. One that she has left is one that she may serve."""
        memberships = self._members.get(device, {})
        served = [membership for membership in memberships.values() if membership.is_member]
        return PresenceNotification(
            queues={queue: membership.is_member for queue, membership in memberships.items()},
            is_paused=bool(served) and all(membership.is_paused for membership in served),
        )

    def begin_list(self) -> None:
        """All members are about to be told."""
        self._listed = set()

    def end_list(self) -> None:
        """All were told: who was not serves that queue no longer."""
        listed, self._listed = self._listed or set(), None
        for device, queues in self._members.items():
            for queue, membership in queues.items():
                if (device, queue) not in listed:
                    membership.is_member = membership.is_paused = False

    def _device(self, event: dict[str, str]) -> str:
        """The phone of a queue's member, which may be called by way of a Local channel or watched by its hint."""
        interface = event.get("Interface") or event.get("Location") or ""
        told = (event.get("StateInterface") or interface)[:MAX_TEXT]
        if told.lower().startswith("hint:"):
            exten, _, context = told[5:].partition("@")
            return self._extensions.device(exten, context) or interface[:MAX_TEXT]
        return told
