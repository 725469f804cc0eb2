"""Channels as a list tells them (CoreShowChannels), to those who did not hear how they came to be."""

from .channel_events import CHANNEL_EVENTS, park
from .channels import Channel, Channels, Origin

__all__ = ["link", "read_row"]


def read_row(channels: Channels, row: dict[str, str]) -> Channel | None:
    """Take in one CoreShowChannel: the channel that it tells of, None if there cannot be one."""
    is_new = row.get("Uniqueid") not in channels.by_uniqueid
    channel = channels.meet(row)
    if channel is None:
        return None
    channels.listed_connected(row, channel)
    bridge = row.get("BridgeId", "")
    if bridge:
        CHANNEL_EVENTS["BridgeEnter"](channels, {**row, "BridgeUniqueid": bridge})
    else:
        channels.leave(channel)
    application = row.get("Application", "")
    channel.on_music = application == "MusicOnHold"
    if is_new:
        _guess(channel, is_dialling=application == "Dial" and not bridge)
    return channel


def _guess(channel: Channel, *, is_dialling: bool) -> None:
    """Who began the call: the channel that gave it its name was there first."""
    channel.far_rings = is_dialling
    if channel.origin is Origin.DIALLING:
        return
    if channel.uniqueid != channel.linkedid:
        channel.origin = Origin.DIALLED
        channel.is_answered = channel.is_up
        return
    channel.origin = Origin.ORIGINATED
    channel.is_answered = channel.is_up and not is_dialling
    if channel.own == channel.connected:
        channel.own = ("", "")  # what a click-to-call shows on the agent's own phone


def link(channels: Channels) -> None:
    """After the last row: join those of one call that no bridge joins.

    A phone that rings, and the caller; the two sides of a call that the PBX holds; an agent who asks somebody before a
    transfer, and who waits for that. A call that a phone holds is not told apart from one that it does not hold.
    """
    waiting = {
        channel.linkedid: channel
        for channel in channels.by_uniqueid.values()
        if channel.bridge and not channel.is_local and not any(channels.bridged(channel))
    }
    asking = {channel.bridge for channel in channels.by_uniqueid.values() if channel.name.endswith(";1")} - {""}
    diallers = {
        (channel.linkedid, channel.exten): channel
        for channel in channels.by_uniqueid.values()
        if channel.name.endswith(";2") and channel.far_rings
    }
    for channel in channels.by_uniqueid.values():
        if channel.is_local:
            continue
        first = channels.by_uniqueid.get(channel.linkedid)
        if not channel.is_up:  # a Local channel may ring it, for an agent who asks before a transfer
            first = diallers.get((channel.linkedid, channel.exten), first)
        if first is not None and first is not channel:
            _join(channel, first)
        if channel.bridge in asking:
            _consult(channel, waiting.get(channel.linkedid))


def _join(channel: Channel, first: Channel) -> None:
    if channel.origin is Origin.DIALLED and channel.dialled_by is None:
        channel.dialled_by = first
        if first.answered_by is not None and first.answered_by.is_gone:
            first.answered_by = None  # by an earlier dial's phone, such as one that has handed the call over
    if channel.is_up and (channel.on_music or first.on_music) and not (channel.bridge or first.bridge):
        channel.last_peer, first.last_peer = first, channel
        park(channel)
        park(first)


def _consult(channel: Channel, waiting: Channel | None) -> None:
    if waiting is None or channel.is_held:
        return
    channel.is_held = channel.consulting = True
    channel.held_peer, channel.held_bridge, channel.held_connected = waiting, waiting.bridge, waiting.own
    waiting.last_peer = channel
