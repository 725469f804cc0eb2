"""What one PBX's channels are doing, as its events have told: who dials whom, who is in which bridge, who is on hold.

The words are Asterisk's: a *channel* is one phone's part of a call (a leg), known by its Uniqueid and never by its
name; channels that hear each other are in one *bridge*; a *Local* channel is a pair of ends without a phone, through
which the PBX joins one dial to another. Every fact is taken in any order, any number of times, and most may be missing.

Source: Asterisk 22, AMI events of the classes call and agent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ...calls.notifications import LegNotification
from ...calls.numbers import Party
from ...calls.states import Direction, EndReason

__all__ = ["MAX_CHANNELS", "MAX_TEXT", "Channel", "Channels", "Origin", "device_of", "is_known"]

MAX_CHANNELS = 50_000
MAX_TEXT = 256  # characters of any text that is kept
MAX_GONE = 5_000  # channels whose end is remembered, so that a late event does not revive them
MAX_HOPS = 4  # Local channels in a row that are looked through
MAX_PEERS = 8  # members of a bridge that may be one another's other side

_PROGRESS = {"Down": 0, "Rsrvd": 0, "OffHook": 0, "Dialing": 0, "Ring": 1, "Ringing": 1, "Busy": 1, "Up": 2}
_UNKNOWN = frozenset({"", "<unknown>"})
_ANSWERED_ELSEWHERE = 26  # a hang-up cause of ITU-T Q.850

Identity = tuple[str, str]
"""A number and a name, as told; "" for what is not known."""


class Origin(Enum):
    """How a channel came to be. It tells the direction of the call; the caller's number does not."""

    UNKNOWN = "unknown"
    DIALLING = "dialling"  # somebody dialled on this phone, or called in from outside
    DIALLED = "dialled"  # another channel's dial made this phone ring
    ORIGINATED = "originated"  # the PBX itself made this phone ring: a click-to-call


@dataclass(slots=True, eq=False)
class Channel:
    """One channel.

    Args:
        uniqueid: its name for life.
        name: "PJSIP/1001-0000001a".
        device: "PJSIP/1001", whose phone it is.
        linkedid: the call that it belongs to, as it was when the channel was first heard of.
        state: Asterisk's word: Down, Ring, Ringing, Up.
        own: its own identity, when it was made.
        connected: whom it is connected with.
        dialled: what was dialled when it was made; `context` and `exten`: where the dialplan has got to.
        destination: with a click-to-call of ours, whom the agent asked for.
        bridge: the bridge that it is in, "" if none.
        is_held: the phone has put the call on hold; `is_parked`: the PBX has.
        consulting: it has left the held call's bridge for somebody who is asked before a transfer.
        consulted: who was asked, for as long as the PBX takes to notice that the call is with its other side again.
        is_answered: it has spoken with somebody.
        end_reason, cause: why it ended; `hangup_cause` by ITU-T Q.850, 0 while unknown.
    """

    uniqueid: str
    name: str
    device: str
    linkedid: str
    state: str = "Down"
    origin: Origin = Origin.UNKNOWN
    direction: Direction | None = None
    own: Identity = ("", "")
    connected: Identity = ("", "")
    connected_first: Identity = ("", "")
    dialled: str = ""
    context: str = ""
    exten: str = ""
    destination: Party | None = None
    dialled_by: "Channel | None" = None
    dialling: "Channel | None" = None
    answered_by: "Channel | None" = None
    dial_status: str = ""
    far_rings: bool = False
    far_cause: int = 0
    has_rung: bool = False
    is_answered: bool = False
    bridge: str = ""
    last_peer: "Channel | None" = None
    peer_left_first: bool = False
    is_held: bool = False
    held_bridge: str = ""
    held_peer: "Channel | None" = None
    held_connected: Identity = ("", "")
    consulted: Identity | None = None
    is_parked: bool = False
    consulting: bool = False
    on_music: bool = False
    is_transferred: bool = False
    is_picked_up: bool = False
    hangup_requested: bool = False
    is_gone: bool = False
    hangup_cause: int = 0
    end_reason: EndReason | None = None
    cause: str = ""
    rings_again: bool = False
    told: LegNotification | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether no phone is behind it."""
        return self.name.startswith("Local/")

    @property
    def is_up(self) -> bool:
        """Whether it is answered, by a phone or by the dialplan."""
        return self.state == "Up"

    def advance(self, state: str) -> bool:
        """Take in Asterisk's word for its state, which only moves forward; whether that is news."""
        if state == self.state or _PROGRESS.get(state, -1) < _PROGRESS.get(self.state, 0):
            return False
        self.state = state
        if state == "Ringing":
            self.has_rung = True
        return True


def device_of(name: str) -> str:
    """The device of a channel's name: "PJSIP/1001" of "PJSIP/1001-0000001a"; "" if it is none."""
    return name.rpartition("-")[0]


def is_known(identity: Identity) -> bool:
    """Whether there is a number, or at least a name."""
    return identity != ("", "")


class Channels:
    """All channels of one PBX, and who hears whom. Bounded: what is too much is not taken in."""

    def __init__(self) -> None:
        self.by_uniqueid: dict[str, Channel] = {}
        self.by_device: dict[str, dict[Channel, None]] = {}
        self._locals: dict[str, Channel] = {}
        self._bridges: dict[str, dict[Channel, None]] = {}
        self._gone: dict[str, None] = {}

    def meet(self, event: dict[str, str], prefix: str = "") -> Channel | None:
        """The channel that the headers with `prefix` ("", "Dest") tell of; a new one if it was not heard of before.

        What they tell of its state and, as long as nothing was known, of its other side is taken in. None without a
        Uniqueid, for a channel that is gone, and when there are too many.
        """
        channel = self.by_uniqueid.get(event.get(prefix + "Uniqueid", ""))
        if channel is None:
            return self._make(event, prefix)
        channel.advance(event.get(prefix + "ChannelStateDesc", ""))
        if channel.connected == ("", ""):
            self.connect(channel, _identity(event, prefix + "ConnectedLine"))
        exten = event.get(prefix + "Exten")
        if exten and exten != channel.exten:
            channel.exten = exten[:MAX_TEXT]
            channel.context = event.get(prefix + "Context", "")[:MAX_TEXT]
        return channel

    def _make(self, event: dict[str, str], prefix: str) -> Channel | None:
        uniqueid, name = event.get(prefix + "Uniqueid", ""), event.get(prefix + "Channel", "")
        if not uniqueid or not name or max(len(uniqueid), len(name)) > MAX_TEXT:
            return None
        if uniqueid in self._gone or len(self.by_uniqueid) >= MAX_CHANNELS:
            return None
        exten = event.get(prefix + "Exten", "")[:MAX_TEXT]
        channel = Channel(
            uniqueid=uniqueid,
            name=name,
            device=device_of(name),
            linkedid=event.get(prefix + "Linkedid", "")[:MAX_TEXT] or uniqueid,
            own=_identity(event, prefix + "CallerID"),
            dialled=exten,
            exten=exten,
            context=event.get(prefix + "Context", "")[:MAX_TEXT],
        )
        channel.advance(event.get(prefix + "ChannelStateDesc", ""))
        if channel.state == "Ring":
            channel.origin = Origin.DIALLING
        elif channel.state == "Down" and uniqueid == channel.linkedid:
            channel.origin = Origin.ORIGINATED  # who is dialled has the Linkedid of whoever dials
        self.connect(channel, _identity(event, prefix + "ConnectedLine"))
        self.by_uniqueid[uniqueid] = channel
        if channel.is_local:
            self._locals[name] = channel
        else:
            self.by_device.setdefault(channel.device, {})[channel] = None
        return channel

    def connect(self, channel: Channel, identity: Identity) -> None:
        """`channel` is connected with `identity` now."""
        channel.connected = identity
        if channel.connected_first == ("", ""):
            channel.connected_first = identity

    def told_connected(self, event: dict[str, str], channel: Channel) -> None:
        """The event says anew whom `channel` is connected with, unknown or not."""
        channel.consulted = None
        self.connect(channel, _identity(event, "ConnectedLine"))

    def listed_connected(self, row: dict[str, str], channel: Channel) -> None:
        """A list says whom `channel` is connected with."""
        identity = _identity(row, "ConnectedLine")
        if identity != channel.consulted:
            self.told_connected(row, channel)

    def rename(self, channel: Channel, name: str) -> None:
        """`channel` has another name from now on; it is the same phone's."""
        self._forget_local(channel)
        channel.name = name[:MAX_TEXT]
        if channel.is_local:
            self._locals[channel.name] = channel

    def remove(self, channel: Channel) -> None:
        """`channel` has ended."""
        self.leave(channel)
        channel.is_gone = True
        self.by_uniqueid.pop(channel.uniqueid, None)
        self._forget_local(channel)
        siblings = self.by_device.get(channel.device)
        if siblings is not None:
            siblings.pop(channel, None)
            if not siblings:
                del self.by_device[channel.device]
        self.note_gone(channel.uniqueid)

    def let_go(self, channel: Channel) -> None:
        """Nothing more will be said of `channel`, which is gone: it must not keep others alive."""
        channel.dialled_by = channel.dialling = channel.answered_by = None
        channel.last_peer = channel.held_peer = None

    def note_gone(self, uniqueid: str) -> None:
        """Nothing that is still told of `uniqueid` revives it."""
        self._gone[uniqueid[:MAX_TEXT]] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def _forget_local(self, channel: Channel) -> None:
        if self._locals.get(channel.name) is channel:
            del self._locals[channel.name]

    # -- bridges ------------------------------------------------------------------------------------------------

    def enter(self, channel: Channel, bridge: str) -> list[Channel]:
        """`channel` is in `bridge` now; the others there."""
        if channel.bridge != bridge:
            self.leave(channel)
            channel.bridge = bridge
        members = self._bridges.setdefault(bridge, {})
        members[channel] = None
        if len(members) > MAX_PEERS:
            return []
        return [member for member in members if member is not channel]

    def leave(self, channel: Channel) -> list[Channel]:
        """`channel` is in no bridge now; those who were with it."""
        members = self._bridges.get(channel.bridge, {})
        members.pop(channel, None)
        if not members:
            self._bridges.pop(channel.bridge, None)
        channel.bridge = ""
        return list(members) if len(members) < MAX_PEERS else []

    def bridged(self, channel: Channel) -> Iterator[Channel]:
        """Those who are in one bridge with `channel`."""
        return (member for member in self._bridges.get(channel.bridge, ()) if member is not channel)

    # -- who is with whom ---------------------------------------------------------------------------------------

    def other_end(self, channel: Channel) -> Channel | None:
        """The other end of a Local channel."""
        name = channel.name
        return self._locals.get(f"{name[:-1]}{'2' if name.endswith('1') else '1'}") if channel.is_local else None

    def peer(self, channel: Channel) -> Channel | None:
        """Whom `channel` is with: in its bridge, or, while somebody is being dialled, on the other side of the dial.

        Local channels are looked through; None if nobody is there.
        """
        seen = channel
        for _ in range(MAX_HOPS):
            found = next(self.bridged(seen), None) or self._on_the_dial(seen)
            end = self.other_end(found) if found else None
            if found is None or not found.is_local:
                return found if found is not channel else None
            if end is None:
                return None
            seen = end
        return None

    def _on_the_dial(self, channel: Channel) -> Channel | None:
        for side in (channel.dialled_by, channel.dialling, channel.last_peer):
            # Whom it has spoken with and who is in a bridge again speaks with somebody else by now.
            if side is not None and not side.is_gone and not (channel.is_answered and side.bridge):
                return side
        return None

    def dialler(self, channel: Channel) -> Channel | None:
        """Who dialled `channel` in the first place, looking through Local channels."""
        found = channel.dialled_by
        for _ in range(MAX_HOPS):
            end = self.other_end(found) if found else None
            if end is None or end.dialled_by is None:
                return found
            found = end.dialled_by
        return found

    def is_answered_elsewhere(self, channel: Channel) -> bool:
        """Whether somebody else has answered: who was dialled together with `channel`, or who picked its call up."""
        if channel.is_picked_up or channel.hangup_cause == _ANSWERED_ELSEWHERE:
            return True
        found: Channel | None = channel
        for _ in range(MAX_HOPS):
            dialler = found.dialled_by if found else None
            if dialler is None:
                return False
            if dialler.answered_by not in (None, found):
                return True
            found = self.other_end(dialler)
        return False


def _identity(event: dict[str, str], prefix: str) -> Identity:
    number, name = event.get(prefix + "Num", ""), event.get(prefix + "Name", "")
    return (
        "" if number in _UNKNOWN else number[:MAX_TEXT],
        "" if name in _UNKNOWN else name[:MAX_TEXT],
    )
