"""A table: what each event of the PBX changes about its channels.

Each function takes in one event and gives the channels whose calls may look different now. None of them relies on an
order, and each may be called twice with the same event.
"""

from collections.abc import Callable, Sequence

from .channels import Channel, Channels, Origin

__all__ = ["CHANNEL_EVENTS", "park"]

Touched = Sequence[Channel | None]
Event = dict[str, str]

_NOTHING: Touched = ()
_RINGS = frozenset({"RINGING", "PROGRESS"})
_CAUSES = {"BUSY": 17, "NOANSWER": 19}  # of a dial's status, as long as no hang-up cause is told
_NORMAL = frozenset({0, 16})


def _met(channels: Channels, event: Event) -> Touched:
    """Newchannel, Newstate, NewCallerid and others of which only the usual headers count."""
    channel = channels.meet(event)
    if channel is None:
        return _NOTHING
    if channel.state == "Ringing" and channel.dialled_by is not None and not channel.dialled_by.far_rings:
        return channel, *_far_rings(channels, channel.dialled_by)
    return (channel,)


def _new_connected_line(channels: Channels, event: Event) -> Touched:
    channel = channels.meet(event)
    if channel is None:
        return _NOTHING
    channels.told_connected(event, channel)
    return (channel,)


def _dial(channels: Channels, event: Event) -> tuple[Channel | None, Channel | None]:
    """The two sides of a dial: who dials (None: the PBX itself) and who is dialled."""
    dialler = channels.meet(event) if "Uniqueid" in event else None
    dialled = channels.meet(event, "Dest")
    if dialled is None or dialler is dialled:
        return dialler, None
    if dialler is not None:
        dialled.dialled_by = dialler
        if dialled.origin is Origin.UNKNOWN:
            # A click-to-call that was made through a Local channel: the phone rings because the PBX wants it to.
            end = channels.other_end(dialler)
            is_originated = end is not None and end.origin is Origin.ORIGINATED
            dialled.origin = Origin.ORIGINATED if is_originated else Origin.DIALLED
        dialler.dialling = dialled
        if dialled.state == "Ringing":
            dialler.far_rings = True
    return dialler, dialled


def _dial_begin(channels: Channels, event: Event) -> Touched:
    dialler, dialled = _dial(channels, event)
    if dialled is not None and dialler is None and dialled.origin is Origin.UNKNOWN:
        dialled.origin = Origin.ORIGINATED
    if dialler is not None:  # what became of its last dial says nothing of this one
        dialler.far_cause = 0
        dialler.answered_by = None
    return dialler, dialled


def _dial_state(channels: Channels, event: Event) -> Touched:
    dialler, dialled = _dial(channels, event)
    if event.get("DialStatus") not in _RINGS or dialled is None:
        return dialler, dialled
    if event["DialStatus"] == "RINGING":
        dialled.advance("Ringing")
    return dialled, *(_far_rings(channels, dialler) if dialler else ())


def _far_rings(channels: Channels, dialler: Channel) -> Touched:
    dialler.far_rings = True
    behind = _behind(channels, dialler)
    if behind is not None:
        behind.far_rings = True
    return dialler, behind


def _behind(channels: Channels, channel: Channel) -> Channel | None:
    """The phone that dials by way of a Local channel."""
    end = channels.other_end(channel)
    found = channels.peer(end) if end is not None else None
    return found if found is not None and found.origin is not Origin.DIALLED else None


def _dial_end(channels: Channels, event: Event) -> Touched:
    dialler, dialled = _dial(channels, event)
    if dialled is None:
        return (dialler,)
    status = event.get("DialStatus", "")
    if status != "ANSWER":
        dialled.dial_status = status
        if dialler is not None:
            dialler.far_cause = dialler.far_cause or _CAUSES.get(status, 0)
        return dialler, dialled
    if dialled.origin is Origin.DIALLED:
        dialled.is_answered = True
    if dialler is None:
        return (dialled,)
    dialler.answered_by = dialled
    dialler.is_answered = True
    behind = _behind(channels, dialler)
    if behind is not None:
        behind.is_answered = True
    return dialler, dialled, behind


def _bridge_enter(channels: Channels, event: Event) -> Touched:
    channel, bridge = channels.meet(event), event.get("BridgeUniqueid", "")
    if channel is None or not bridge:
        return _NOTHING
    if channel.bridge != bridge:
        channel.peer_left_first = False
    members = channels.enter(channel, bridge)
    for member in members:
        member.last_peer, channel.last_peer = channel, member
        member.peer_left_first = False  # somebody else did: an end of a Local channel that was optimized away
        member.is_answered = member.is_answered or not channel.is_local
        channel.is_answered = channel.is_answered or not member.is_local
    channel.is_parked = False
    if channel.origin is not Origin.ORIGINATED:
        channel.is_answered = True
    if channel.consulting and bridge == channel.held_bridge:
        _come_back(channel)
    elif channel.is_held and bridge != channel.held_bridge and any(member.is_local for member in members):
        _consult(channel)
    return channel, *members


def _consult(channel: Channel) -> None:
    """The call waits in the bridge that `channel` has left for somebody who is asked before a transfer."""
    if not channel.consulting:
        channel.consulting = True
        channel.held_connected = channel.connected


def _come_back(channel: Channel) -> None:
    """Whoever was asked is gone; the call is with its other side again, whatever the connected line still says."""
    channel.consulting = channel.is_held = False
    channel.consulted, channel.connected = channel.connected, channel.held_connected


def _bridge_leave(channels: Channels, event: Event) -> Touched:
    channel = channels.meet(event)
    if channel is None or channel.bridge != event.get("BridgeUniqueid"):
        return _NOTHING
    members = channels.leave(channel)
    for member in members:
        member.peer_left_first = True
    park(channel)
    return channel, *members


def park(channel: Channel | None) -> None:
    """Note it if the PBX holds the call: both sides were led out of their bridge, and the other one hears music."""
    if channel is None or channel.bridge or not channel.is_answered or channel.is_transferred or channel.is_gone:
        return
    peer = channel.last_peer
    if peer is not None and peer.on_music and not peer.bridge:
        channel.is_parked = True


def _hold(channels: Channels, event: Event) -> Touched:
    channel = channels.meet(event)
    if channel is None or channel.is_held:
        return _NOTHING
    channel.is_held = True
    channel.held_bridge, channel.held_peer = channel.bridge, channel.last_peer
    return (channel,)


def _unhold(channels: Channels, event: Event) -> Touched:
    channel = channels.meet(event)
    if channel is None or not channel.is_held or channel.consulting:
        return _NOTHING
    channel.is_held = False
    return (channel,)


def _music_start(channels: Channels, event: Event) -> Touched:
    return _music(channels, event, is_on=True)


def _music_stop(channels: Channels, event: Event) -> Touched:
    return _music(channels, event, is_on=False)


def _music(channels: Channels, event: Event, *, is_on: bool) -> Touched:
    channel = channels.meet(event)
    if channel is None:
        return _NOTHING
    channel.on_music = is_on
    park(channel.last_peer)
    return channel, channel.last_peer


def _hangup_request(channels: Channels, event: Event) -> Touched:
    channel = channels.meet(event)
    if channel is None:
        return _NOTHING
    channel.hangup_requested = True
    _note_cause(channel, event)
    return (channel,)


def _note_cause(channel: Channel, event: Event) -> None:
    cause = event.get("Cause", "")
    if cause.isascii() and cause.isdecimal() and len(cause) <= 3:
        channel.hangup_cause = int(cause)
    dialler = channel.dialled_by
    if dialler is not None and not channel.is_answered and channel.hangup_cause not in _NORMAL:
        dialler.far_cause = channel.hangup_cause


def _hangup(channels: Channels, event: Event) -> Touched:
    """Hangup: the channel, gone; and whoever was with it."""
    channel = channels.by_uniqueid.get(event.get("Uniqueid", ""))
    if channel is None:
        channels.note_gone(event.get("Uniqueid", ""))
        return _NOTHING
    _note_cause(channel, event)
    channels.remove(channel)
    peer = channel.last_peer
    if peer is not None and peer.held_peer is channel and peer.consulting:
        # The held side has hung up: who was only asked is who she speaks with now.
        peer.consulting = peer.is_held = False
    return channel, peer


def _blind_transfer(channels: Channels, event: Event) -> Touched:
    return _transferred(channels, event, "Transferer")


def _attended_transfer(channels: Channels, event: Event) -> Touched:
    return *_transferred(channels, event, "OrigTransferer"), *_transferred(channels, event, "SecondTransferer")


def _transferred(channels: Channels, event: Event, prefix: str) -> Touched:
    channel = channels.by_uniqueid.get(event.get(prefix + "Uniqueid", ""))
    if channel is not None and event.get("Result") == "Success":
        channel.is_transferred = True
    return (channel,)


def _pickup(channels: Channels, event: Event) -> Touched:
    target = channels.by_uniqueid.get(event.get("TargetUniqueid", ""))
    if target is not None:
        target.is_picked_up = True
    return (target,)


def _rename(channels: Channels, event: Event) -> Touched:
    channel, name = channels.by_uniqueid.get(event.get("Uniqueid", "")), event.get("Newname", "")
    if channel is not None and name:
        channels.rename(channel, name)
    return (channel,)


CHANNEL_EVENTS: dict[str, Callable[[Channels, Event], Touched]] = {
    "Newchannel": _met,
    "Newstate": _met,
    "NewCallerid": _met,
    "NewConnectedLine": _new_connected_line,
    "DialBegin": _dial_begin,
    "DialState": _dial_state,
    "DialEnd": _dial_end,
    "BridgeEnter": _bridge_enter,
    "BridgeLeave": _bridge_leave,
    "Hold": _hold,
    "Unhold": _unhold,
    "MusicOnHoldStart": _music_start,
    "MusicOnHoldStop": _music_stop,
    "HangupRequest": _hangup_request,
    "SoftHangupRequest": _hangup_request,
    "Hangup": _hangup,
    "BlindTransfer": _blind_transfer,
    "AttendedTransfer": _attended_transfer,
    "Pickup": _pickup,
    "Rename": _rename,
}
