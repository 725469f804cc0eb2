"""Channels as a list tells them (CoreShowChannels), to those who did not hear how they came to be."""

from .channel_events import CHANNEL_EVENTS, park
from .channels import Channel, Channels, Origin

__all__ = ["link", "read_row"]


def read_row(channels: Channels, row: dict[str, str]) -> Channel | None:
    """Take in one CoreShowChannel: the channel that it tells of, None if there cannot be one."""
    channel = channels.meet(row)
    if channel is None:
        return None
    channels.told_connected(row, channel)
    bridge = row.get("BridgeId", "")
    if bridge:
        CHANNEL_EVENTS["BridgeEnter"](channels, {**row, "BridgeUniqueid": bridge})
    else:
        channels.leave(channel)
    application = row.get("Application", "")
    channel.on_music = application == "MusicOnHold"
    if channel.origin is Origin.UNKNOWN and channel.state in ("Ringing", "Up"):
        _guess(channel, is_dialling=application == "Dial" and not bridge)
    elif channel.origin is Origin.DIALLING:
        channel.far_rings = True
    return channel


def _guess(channel: Channel, *, is_dialling: bool) -> None:
    """Who began the call: the channel that gave it its name was there first."""
    if channel.uniqueid != channel.linkedid:
        channel.origin = Origin.DIALLED
        channel.is_answered = channel.is_up
        return
    channel.origin = Origin.ORIGINATED
    channel.far_rings = is_dialling
    channel.is_answered = channel.is_up and not is_dialling
    if channel.own == channel.connected:
        channel.own = ("", "")  # what a click-to-call shows on the agent's own phone


def link(channels: Channels) -> None:
    """After the last row: join those of one call that no bridge joins (a ringing phone, a call that the PBX holds)."""
    for channel in channels.by_uniqueid.values():
        first = channels.by_uniqueid.get(channel.linkedid)
        if first is None or first is channel or channel.is_local:
            continue
        if channel.origin is Origin.DIALLED and channel.dialled_by is None:
            channel.dialled_by = first
        if not (channel.bridge or channel.last_peer or first.bridge):
            channel.last_peer = first
            first.last_peer = first.last_peer or channel
            park(channel)
            park(first)
