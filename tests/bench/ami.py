"""AMI bytes to call events, on one core: the reader, the switchboard and the agents' boards; all but the socket."""

import itertools
import re
import sys
import time
import tracemalloc
from datetime import UTC, datetime

from cti_django.calls.board import CallBoard
from cti_django.calls.numbers import NumberPlan
from cti_django.connectors.asterisk.switchboard import Switchboard
from cti_django.wire.ami import AMIReader
from tests.connectors.asterisk.story import RECORDINGS

from .report import line

FLOWS = ("inbound-answered", "hold-unhold", "queue-call", "attended-transfer", "outbound-from-phone")
EVENTS = 25  # that these are to the agents
TIMES = 400  # calls of each of the flows
CHUNK = 16_384  # bytes that one read of the socket brings
AGENTS = 1_000
ROUNDS = 3


def _stream() -> bytes:
    """What a PBX says during all those calls, each with channels and bridges of its own."""
    parts = []
    flows = [(RECORDINGS / flow / "ami.txt").read_text().partition("\n")[2] for flow in FLOWS]
    for number, text in itertools.product(range(TIMES), flows):
        parts.append(_another_call(text, number, agent=1101 + number))
    return b"Asterisk Call Manager/11.0.0\r\n" + "".join(parts).replace("\n", "\r\n").encode()


def _another_call(text: str, number: int, *, agent: int) -> str:
    """The same call with other ids, for another agent."""
    renamed = re.sub(r"(id: [0-9]{10}\.)", rf"\g<1>{number:05}", text).replace("PJSIP/1001", f"PJSIP/{agent}")
    return renamed.replace("BridgeUniqueid: ", f"BridgeUniqueid: {number:05}")


def _floor(stream: bytes) -> float:
    """Messages a second if all that is done is to split the same bytes into dicts."""
    began = time.perf_counter()
    messages = [
        dict(each.split(": ", 1) for each in text.split("\r\n") if ": " in each)
        for text in stream.decode().split("\r\n\r\n")
    ]
    return len(messages) / (time.perf_counter() - began)


def _measure(stream: bytes) -> tuple[float, int, int]:
    """AMI events a second, how many there were, and how many call events came of them."""
    reader, switchboard, ids = AMIReader(), Switchboard(NumberPlan(region="GB")), itertools.count()
    boards = {f"PJSIP/{agent}": CallBoard(new_id=lambda _: str(next(ids))) for agent in range(1001, 1001 + AGENTS)}
    for device in boards:
        switchboard.watch(device)
    now = datetime.now(UTC)
    heard = events = 0
    began = time.perf_counter()
    for at in range(0, len(stream), CHUNK):
        reader.receive_data(stream[at : at + CHUNK])
        for message in reader.messages_received():
            heard += 1
            for device, notification in switchboard.receive(message):
                events += len(boards[device].fold(notification, now))
    return heard / (time.perf_counter() - began), heard, events


def _memory() -> float:
    """Bytes that the switchboard holds for each of 1,000 agents, all of them in a call."""
    texts = (RECORDINGS / "inbound-answered" / "ami.txt").read_text().partition("HangupRequest")[0]
    body = texts.partition("\n")[2].rpartition("Event:")[0]
    tracemalloc.start()
    reader, switchboard = AMIReader(), Switchboard(NumberPlan(region="GB"))
    reader.receive_data(b"Asterisk Call Manager/11.0.0\n")
    for number, agent in enumerate(range(1001, 1001 + AGENTS)):
        switchboard.watch(f"PJSIP/{agent}")
        reader.receive_data(_another_call(body, number, agent=agent).encode())
        for message in reader.messages_received():
            switchboard.receive(message)
        assert switchboard.snapshot(f"PJSIP/{agent}").legs
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / AGENTS


def main() -> None:
    """Measure, and print a line for the speed and one for the memory."""
    stream = _stream()
    speed, heard, events = max(_measure(stream) for _ in range(ROUNDS))
    assert events == TIMES * EVENTS, events
    floor = max(_floor(stream) for _ in range(ROUNDS))
    line("ami_to_event", speed, "AMI events/s", floor=floor, goal=">= 10000", ami_events=heard, call_events=events)
    line("ami_memory", _memory(), "bytes/agent", agents=AGENTS, what="the switchboard, every agent in a call")


if __name__ == "__main__":
    sys.exit(main())
