"""100,000 damaged pieces of recorded flows: nothing but AMIError is raised, nothing grows without end."""

import itertools
from datetime import timedelta
from random import Random

import pytest

from cti_django.calls.board import CallBoard
from cti_django.calls.notifications import Notification, Snapshot
from cti_django.connectors.asterisk import channels as channels_module
from cti_django.connectors.asterisk.switchboard import Switchboard
from cti_django.exceptions import AMIError
from cti_django.wire.ami import AMIReader

from .story import AGENTS, FLOWS, NOW, PLAN, RECORDINGS

INPUTS = 100_000
MAX_CHANNELS = 300
_PIECES = (
    b"\r|\n|\r\n|\r\n\r\n|\n\n|\x00|: |:|\xff|\xc2\x85|\xe2\x80\xa8|-1|99999999999999999999|<unknown>|anonymous|"
    b"Event: Hangup\r\n|Event: CoreShowChannel\r\n|Event: Rename\r\nNewname: PJSIP/1002-1\r\n|Uniqueid: 1.1\r\n|"
    b"Channel: Local/1@x-1;1\r\n|Channel: Local/1@x-1;2\r\n|DestUniqueid: 1.1\r\n|BridgeUniqueid: b\r\n|Hint: x\r\n|;2|"
    b"Cause: 4294967295\r\n|Status: -2\r\n|Exten: ~~s~~\r\n|PJSIP/1001|StateInterface: hint:1001@hints\r\n|"
    b"Linkedid: \r\n|Event: Pickup\r\nTargetUniqueid: 1.1\r\n|Paused: 1\r\n|"
    b"Event: QueueMemberRemoved\r\n|Event: AttendedTransfer\r\n"
).split(b"|")


@pytest.fixture
def small(monkeypatch):
    """Limits that are reached within the test."""
    monkeypatch.setattr(channels_module, "MAX_CHANNELS", MAX_CHANNELS)
    monkeypatch.setattr(channels_module, "MAX_GONE", MAX_CHANNELS)


def _damaged(random, text, others):
    data = bytearray(text)
    for _ in range(random.choice((0, 0, 0, 1, 1, 2, 5))):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind == 0:
            data[at:at] = random.choice(_PIECES)
        elif kind == 1:
            data[at : at + random.choice((1, 1, 2, 20))] = b""
        elif kind == 2:
            data[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 3:
            data[at : at + len(piece)] = (piece := random.choice(_PIECES))
        else:  # a header of another message
            lines = data.split(b"\n")
            other = random.choice(others).split(b"\n")
            lines[random.randrange(len(lines))] = random.choice(other)
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def _pieces_of_flows(random):
    flows = [(RECORDINGS / flow / "ami.txt").read_bytes().partition(b"\n")[2].split(b"\n\n") for flow in FLOWS]
    everything = [text for flow in flows for text in flow if text]
    while True:
        epoch = b"%05d" % random.randrange(100_000)  # another call each time
        for text in random.choice(flows):
            if text and random.random() < 0.97:
                yield _damaged(random, text, everything).replace(b"17953", epoch) + b"\r\n\r\n"


def test_a_hundred_thousand_damaged_messages_do_no_harm(small):
    random = Random(5038)
    switchboard, ids = Switchboard(PLAN), itertools.count()
    boards = {f"PJSIP/{agent}": CallBoard(lambda _: str(next(ids))) for agent in AGENTS}
    for device in boards:
        switchboard.watch(device)
    reader = AMIReader()
    reader.receive_data(b"Asterisk Call Manager/11.0.0\n")
    read = events = 0
    now = NOW
    for number, data in enumerate(itertools.islice(_pieces_of_flows(random), INPUTS)):
        reader.receive_data(data)
        for message in reader.messages_received():
            read += 1
            now += timedelta(seconds=1)
            events += _fold(boards, switchboard.receive(message), now)
        if number % 500 == 0:
            events += _ask_everything(random, switchboard, boards, now)
    assert read > INPUTS * 0.9
    assert events > 5_000
    assert sum(map(len, vars(switchboard._channels).values())) < 10 * MAX_CHANNELS


def _fold(boards, told, now):
    events = 0
    for device, notification in told:
        assert isinstance(notification, Notification)
        events += len(boards[device].fold(notification, now))
    return events


def _ask_everything(random, switchboard, boards, now):
    told = switchboard.settle()
    for device, board in boards.items():
        told.append((device, switchboard.snapshot(device)))
        for call in board.calls():
            channel = switchboard.leg(device, call.provider_call_id)
            if channel is not None:
                switchboard.peer(channel)
    switchboard.extensions()
    if random.random() < 0.2:
        switchboard.begin_snapshot()
        for channel in list(switchboard._channels.by_uniqueid.values())[::2]:
            row = {"Event": "CoreShowChannel", "Uniqueid": channel.uniqueid, "Channel": channel.name, "BridgeId": "b"}
            told += switchboard.receive(row)
        told += switchboard.end_snapshot()
    return _fold(boards, told, now)


def test_a_hundred_thousand_bytes_of_noise_are_no_manager_or_no_messages():
    random = Random(1)
    for _ in range(200):
        reader = AMIReader()
        try:
            reader.receive_data(random.choice((b"", b"Asterisk Call Manager\n")))
            reader.receive_data(random.randbytes(500))
        except AMIError:
            continue
        for message in reader.messages_received():
            assert Switchboard(PLAN).receive(message) == []


def test_all_that_a_pbx_invents_is_bounded(small):
    switchboard = Switchboard(PLAN)
    switchboard.watch("PJSIP/1001")
    for number in range(5 * MAX_CHANNELS):
        row = {"Channel": f"PJSIP/1001-{number}", "Uniqueid": f"1.{number}", "ChannelStateDesc": "Up"}
        switchboard.receive({"Event": "Newchannel", **row, "Linkedid": "x" * 9_000, "Exten": "x" * 9_000})
        switchboard.receive({"Event": "BridgeEnter", **row, "BridgeUniqueid": f"b{number}"})
        switchboard.receive({"Event": "Hangup", **row, "Uniqueid": f"2.{number}"})
    assert len(switchboard._channels.by_uniqueid) == MAX_CHANNELS
    assert len(switchboard._channels._bridges) <= MAX_CHANNELS
    assert len(switchboard._channels._gone) <= MAX_CHANNELS
    assert isinstance(switchboard.snapshot("PJSIP/1001"), Snapshot)
    assert max(len(channel.linkedid + channel.exten) for channel in switchboard._channels.by_uniqueid.values()) < 600
