"""What one PBX has told, and what that is to the agents whose phones are watched.

Events in, notifications out: no connection, no clock. One switchboard serves all agents of a PBX; what it knows of a
channel that nobody watches still says who a watched one is connected with.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ...calls.notifications import Notification, PresenceNotification, Snapshot
from ...calls.numbers import DEFAULT_NUMBER_PLAN, NumberPlan
from ...calls.states import Direction, EndReason
from .channel_events import CHANNEL_EVENTS
from .channels import Channel, Channels
from .dials import Originations
from .presence import Extensions, ExtensionState, Queues
from .rows import link, read_row
from .translate import end_of, leg

__all__ = ["Switchboard"]

MAX_ENDED = 10_000  # (device, call) pairs of which an end was told

Told = list[tuple[str, Notification]]
"""(device, notification) pairs."""

_QUEUE_EVENTS = frozenset(
    {"QueueMember", "QueueMemberAdded", "QueueMemberRemoved", "QueueMemberPause", "QueueMemberStatus"}
)
_GOES_ON = frozenset({"BridgeEnter", "MusicOnHoldStart", "Newstate"})


@dataclass(slots=True, eq=False)
class _Withheld:
    """An end that is not told yet: the caller was led away from the ringing phone, perhaps to ring it again."""

    channel: Channel
    caller: Channel
    is_old: bool = False


class Switchboard:
    """The state of one PBX, as far as its events have told it.

    Args:
        number_plan: how the PBX writes numbers.
    """

    def __init__(self, number_plan: NumberPlan = DEFAULT_NUMBER_PLAN) -> None:
        self.originations = Originations()
        """Our click-to-calls; ``begin`` one before its Originate is sent."""
        self._plan = number_plan
        self._channels = Channels()
        self._extensions = Extensions()
        self._queues = Queues(self._extensions)
        self._watched: dict[str, PresenceNotification] = {}  # device -> what was last told of its queues
        self._withheld: list[_Withheld] = []
        self._ended: dict[tuple[str, str], None] = {}  # (device, call)
        self._listed: set[str] | None = None  # the channels of a list that is being told

    # -- watching -----------------------------------------------------------------------------------------------

    def watch(self, device: str) -> None:
        """Tell of `device` ("PJSIP/1001") from now on. What is already going on is in ``snapshot`` and ``presence``."""
        self._watched.setdefault(device, self._queues.presence(device))

    def unwatch(self, device: str) -> None:
        """Tell nothing more of `device`."""
        self._watched.pop(device, None)
        self._withheld = [withheld for withheld in self._withheld if withheld.channel.device != device]
        for channel in self._channels.by_device.get(device, ()):
            channel.told = None

    def snapshot(self, device: str) -> Snapshot:
        """All the calls of `device` now."""
        legs = [withheld.channel.told for withheld in self._withheld if withheld.channel.device == device]
        for channel in self._channels.by_device.get(device, ()):
            if not self.originations.is_pending(channel.uniqueid):
                channel.told = leg(channel, self._channels, self._plan)
                legs.append(channel.told)
        return Snapshot(legs=tuple(each for each in legs if each is not None))

    def presence(self, device: str) -> PresenceNotification:
        """How the agent of `device` stands with the queues now."""
        return self._queues.presence(device)

    # -- asking -------------------------------------------------------------------------------------------------

    def leg(self, device: str, provider_call_id: str) -> Channel | None:
        """The channel of `device` in that call; the best if it has several, None if it has none (any more)."""
        found = self.legs(device, provider_call_id)
        return max(found, key=lambda channel: (channel.is_up, channel.bridge != ""), default=None)

    def legs(self, device: str, provider_call_id: str) -> list[Channel]:
        """All the channels of `device` in that call: an agent may have several phones."""
        channels = self._channels.by_device.get(device, ())
        return [channel for channel in channels if channel.linkedid == provider_call_id]

    def is_conference(self, channel: Channel) -> bool:
        """Whether `channel` hears more than one other."""
        return len(list(self._channels.bridged(channel))) > 1

    def peer(self, channel: Channel) -> Channel | None:
        """Whom `channel` is bridged with; else who dials it, or whom it dials. Local channels are looked through."""
        return self._channels.peer(channel)

    def extensions(self, context: str = "") -> dict[str, ExtensionState]:
        """All extensions with a hint in `context`, "" for all, and how they stand, by what colleagues dial."""
        return self._extensions.all(context)

    # -- hearing ------------------------------------------------------------------------------------------------

    def receive(self, event: dict[str, str]) -> Told:
        """Take in one event of the PBX, live or of a list; what it means to the watched devices, in order."""
        name = event.get("Event", "")
        change = CHANNEL_EVENTS.get(name)
        if change is not None:
            return self._tell_all(change(self._channels, event), name, event)
        if name == "ExtensionStatus":
            self._extensions.hear(event)
        elif name in _QUEUE_EVENTS:
            device = self._queues.hear(event)
            return self._tell_presence(device) if self._listed is None else []
        elif name == "OriginateResponse":
            return self._tell_response(event)
        elif name == "CoreShowChannel" and self._listed is not None:
            channel = read_row(self._channels, event)
            if channel is not None:
                self._listed.add(channel.uniqueid)
        return []

    def settle(self) -> Told:
        """Tell the ends that were held back and that nothing came of. To be called about once a second.

        A caller who is led away from a ringing phone may be on the way back to it (an answer by Redirect): the end of
        the first ringing is told when that is settled, or by the second call of this.
        """
        old = [withheld for withheld in self._withheld if withheld.is_old]
        for withheld in self._withheld:
            withheld.is_old = True
        return [pair for withheld in old for pair in self._release(withheld)]

    def begin_snapshot(self) -> None:
        """The lists of CoreShowChannels, ExtensionStateList and QueueStatus are about to be fed to ``receive``."""
        self._listed = set()
        self._queues.begin_list()
        self._extensions.begin_list()

    def end_snapshot(self) -> Told:
        """All lists were told: what was not in them is gone. A Snapshot for each watched device, and what else is news.

        To be called only if the list of channels was really told: without it everything would be over.
        """
        told: Told = []
        if self._listed is not None:
            for channel in list(self._channels.by_uniqueid.values()):
                if channel.uniqueid not in self._listed:
                    told += filter(None, [self.originations.ended(channel)])
                    self._channels.remove(channel)
                    self._channels.let_go(channel)
            self._listed = None
            for withheld in [each for each in self._withheld if each.caller.is_gone]:
                told += self._release(withheld)
            link(self._channels)
            self._queues.end_list()
            self._extensions.end_list()
        living = self._channels.by_uniqueid
        answered = (self.originations.answered(channel.uniqueid) for channel in living.values() if channel.is_up)
        told += [dial for dial in answered if dial]
        told += self.originations.doubt(living)
        for device in self._watched:
            told += self._tell_presence(device)
            told.append((device, self.snapshot(device)))
        return told

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell_all(self, touched: Iterable[Channel | None], name: str, event: dict[str, str]) -> Told:
        told: Told = []
        for channel in dict.fromkeys(touched):
            if channel is None:
                continue
            if channel.device in self._watched:
                told += self._tell(channel)
            elif channel.is_gone:
                self._channels.let_go(channel)
            if name == "Newchannel" and self._extensions.of(channel.device):
                self._extensions.name(channel.device, channel.own[1])
        if self._withheld:
            told += self._release_for(name, event)
        if self._listed is not None:
            self._listed.update((event.get("Uniqueid", ""), event.get("DestUniqueid", "")))
        return told

    def _tell_response(self, event: dict[str, str]) -> Told:
        channel = self._channels.by_uniqueid.get(event.get("Uniqueid", ""))
        dial = self.originations.response(event, channel)
        told: Told = [dial] if dial else []
        if channel is not None and channel.device in self._watched:
            told += self._tell(channel)
        return told

    def _tell(self, channel: Channel) -> Told:
        if channel.is_gone:
            return self._tell_end(channel)
        dial = None
        if self.originations.is_pending(channel.uniqueid):
            channel.destination = self.originations.destination(channel.uniqueid)
            if not channel.is_up:
                return []
            dial = self.originations.answered(channel.uniqueid)
        if channel.told is None and (channel.device, channel.linkedid) in self._ended:
            channel.rings_again = True
        said = leg(channel, self._channels, self._plan)
        if said is None or said == channel.told:
            return [dial] if dial else []
        channel.told = said
        return [dial, (channel.device, said)] if dial else [(channel.device, said)]

    def _tell_end(self, channel: Channel) -> Told:
        dial = self.originations.ended(channel)
        if dial is not None:
            self._channels.let_go(channel)
            return [dial]
        channel.end_reason, channel.cause = end_of(channel, self._channels)
        caller = self._channels.dialler(channel)
        if caller is not None and _may_ring_again(channel, caller):
            self._withheld.append(_Withheld(channel, caller))
            return []
        return self._say_end(channel)

    def _say_end(self, channel: Channel) -> Told:
        said = leg(channel, self._channels, self._plan)
        self._channels.let_go(channel)
        self._ended[channel.device, channel.linkedid] = None
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        return [(channel.device, said)] if said else []

    def _tell_presence(self, device: str) -> Told:
        if device not in self._watched:
            return []
        presence = self._queues.presence(device)
        if presence == self._watched[device]:
            return []
        self._watched[device] = presence
        return [(device, presence)]

    def _release_for(self, name: str, event: dict[str, str]) -> Told:
        """Tell those ends that were held back of which it is settled now what became of the caller."""
        told: Told = []
        subject = event.get("Uniqueid", "")
        dialled = self._channels.by_uniqueid.get(event.get("DestUniqueid", "")) if name == "DialBegin" else None
        for withheld in list(self._withheld):
            channel, caller = withheld.channel, withheld.caller
            if caller.is_gone or caller.hangup_requested or (name in _GOES_ON and subject == caller.uniqueid):
                told += self._release(withheld)
            elif dialled is not None and not dialled.is_local and self._channels.dialler(dialled) is caller:
                if dialled.device != channel.device:
                    channel.end_reason = EndReason.TRANSFERRED
                told += self._release(withheld)
        return told

    def _release(self, withheld: _Withheld) -> Told:
        self._withheld.remove(withheld)
        return self._say_end(withheld.channel)


def _may_ring_again(channel: Channel, caller: Channel) -> bool:
    """Whether the caller was led away from the phone while it rang, nobody else having answered and alive."""
    if channel.dial_status != "CANCEL" or channel.is_answered or channel.direction is not Direction.INBOUND:
        return False
    return channel.end_reason is None and not caller.is_gone and not caller.hangup_requested
