from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_stream import MAX_BODY, MAX_HEAD, SIPStream

PING, PONG = b"\r\n\r\n", b"\r\n"


def a_message(body=b"", *, length=None, name="Content-Length", start="OPTIONS sip:a@b SIP/2.0"):
    lines = [start, "Via: SIP/2.0/TCP c;branch=z9hG4bK1", "Call-ID: 1"]
    if length != "":
        lines.append(f"{name}: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def messages_of(*chunks):
    stream, found = SIPStream(), []
    for chunk in chunks:
        stream.receive_data(chunk)
        while (message := stream.next_message()) is not None:
            found.append(message)
    return found


def test_a_message_is_as_long_as_its_content_length_says():
    first, second = a_message(b"hello\r\n\r\nworld"), a_message(start="SIP/2.0 200 OK")
    assert messages_of(first + second) == [first, second]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_however_the_stream_is_cut_the_messages_are_the_same(bodies, data):
    whole = [a_message(body) for body in bodies]
    wire = b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    chunks = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert messages_of(*chunks) == whole


def test_one_byte_at_a_time_is_enough():
    message = a_message(b"body")
    assert messages_of(*(bytes([byte]) for byte in message + message)) == [message, message]


@pytest.mark.parametrize("name", ["l", "L", "content-length", "CONTENT-LENGTH", "l "])
def test_the_length_may_be_spelt_in_any_way(name):
    message = a_message(b"body", name=name)
    assert messages_of(message + message) == [message, message]


def test_a_folded_length_is_a_length():
    message = a_message(b"body", length="\r\n 4")
    assert messages_of(message + message) == [message, message]


def test_a_message_without_a_length_has_no_body():
    message = a_message(length="")
    assert messages_of(message + message) == [message, message]


def test_keep_alives_between_messages_are_handed_out():
    message = a_message(b"x")
    assert messages_of(PING + message + PONG) == [PING, message, PONG]
    assert messages_of(message, PING, PING, message) == [message, PING, PING, message]


def test_a_ping_in_two_pieces_is_seen_when_its_second_half_comes():
    assert messages_of(message := a_message(), b"\r", b"\n", b"\r\n", message) == [message, PONG, PING, message]


def test_nothing_is_handed_out_before_it_is_whole():
    message = a_message(b"body")
    assert messages_of(message[:-1]) == []
    assert messages_of(message[:20]) == []


@pytest.mark.parametrize(
    "length", ["-1", "x", "", "1, 1", "9999999999", "17000000", "4\r\nContent-Length: 4", "4\r\nl: 9"]
)
def test_a_length_that_makes_no_sense_ends_the_stream(length):
    stream = SIPStream()
    stream.receive_data(a_message(b"body", length=f" {length}"))
    with pytest.raises(SIPMessageError):
        stream.next_message()


@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b" \r\n\r\n", b"x\r\n\r\n"]
)
def test_what_is_no_sip_ends_the_stream_but_not_what_came_before(rubbish):
    stream = SIPStream()
    stream.receive_data(a_message() + rubbish)
    assert stream.next_message() == a_message()
    with pytest.raises(SIPMessageError):
        stream.next_message()


@pytest.mark.parametrize("chunk", [1000, 10_000_000])
def test_headers_without_an_end_are_given_up(chunk):
    data = b"OPTIONS sip:a@b SIP/2.0\r\nX: " + b"y" * (2 * MAX_HEAD)
    with pytest.raises(SIPMessageError):
        messages_of(*(data[start : start + chunk] for start in range(0, len(data), chunk)))


@pytest.mark.parametrize("chunk", [1000, 65536, 10_000_000])
def test_the_body_of_a_huge_message_is_skipped_and_the_next_one_is_found(chunk):
    huge, after = a_message(b"x" * (MAX_BODY + 1)), a_message(b"after")
    wire = huge + after
    found = messages_of(*(wire[start : start + chunk] for start in range(0, len(wire), chunk)))
    assert found == [huge[: -MAX_BODY - 1], after]


def test_it_holds_no_more_than_a_message_and_a_chunk():
    stream, most = SIPStream(), 0
    wire = a_message(b"x" * 1_000_000) + PING * 10_000 + a_message(b"y" * MAX_BODY) * 3
    for start in range(0, len(wire), 4096):
        stream.receive_data(wire[start : start + 4096])
        while stream.next_message() is not None:
            pass
        most = max(most, len(stream._buffer))
    assert most <= MAX_HEAD + MAX_BODY


def test_random_bytes_raise_nothing_else():
    random = Random(18)
    for _ in range(3000):
        stream = SIPStream()
        try:
            for _ in range(random.randrange(6)):
                stream.receive_data(random.choice([PING, PONG, a_message(b"z"), random.randbytes(9), b"l: 7\r\n\r\n"]))
                while stream.next_message() is not None:
                    pass
        except SIPMessageError:
            pass
