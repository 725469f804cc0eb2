"""100,000 damaged messages: each is a message or a SIPMessageError, and what is a message survives writing."""

from pathlib import Path
from random import Random

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_message import parse_message

_FILES = sorted((Path(__file__).parent.parent / "recordings" / "rfc4475").glob("*.dat"))
_PIECES = (
    b'\r|\n|\r\n|\r\n |\r\n\r\n|\x00|\\|"|\\"|<|>|,|;|:|=|@| |\t|%|%00|\xff|\xc3\xa9|\xed\xa0\x80|\xc2\x85|'
    b"\xe2\x80\xa8|-1|99999999999|From: <sip:evil@x>;tag=1\r\n|Content-Length: 0\r\n|l:5\r\n|SIP/2.0|[::1]|;tag=2|z9h"
).split(b"|")


def _damaged(random, seeds):
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        # Most damage goes to the first bytes, because the headers are there.
        at = random.randrange(len(data) + 1) if random.random() < 0.3 else random.randrange(min(len(data), 400) + 1)
        kind = random.randrange(7)
        if kind == 0:
            data[at:at] = random.choice(_PIECES)
        elif kind == 1:
            data[at : at + random.choice((1, 1, 2, 20))] = b""
        elif kind == 2:
            data[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 3:
            data[at : at + len(piece)] = (piece := random.choice(_PIECES))
        elif kind == 4:
            other = random.choice(seeds)
            start = random.randrange(len(other))
            data[at:at] = other[start : start + random.randrange(80)]
        elif kind == 5:
            first, *lines = bytes(data).split(b"\r\n")
            one, other = random.randrange(len(lines) + 1), random.randrange(len(lines) + 1)
            lines[one:one] = lines[other : other + 1]
            data = bytearray(b"\r\n".join([first, *lines]))
        elif random.random() < 0.1:
            data = data[: at + 1]
    return bytes(data)


def test_a_hundred_thousand_damaged_messages_do_no_harm():
    random = Random(4475)
    seeds = [path.read_bytes() for path in _FILES]
    read = 0
    for _ in range(100_000):
        data = _damaged(random, seeds)
        try:
            message = parse_message(data)
        except SIPMessageError:
            continue
        read += 1
        written = bytes(message)
        again = parse_message(written)
        assert again == message, data
        assert bytes(again) == written, data
    assert 10_000 < read < 90_000
