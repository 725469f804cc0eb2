"""Whole messages: what is read, what is refused, what is written."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_message import (
    MAX_BYTES,
    MAX_HEADERS,
    MAX_LINE,
    Headers,
    SIPRequest,
    SIPResponse,
    parse_message,
)
from cti_django.wire.sip_uri import CSeq, NameAddr, Via

_NOTIFY = {
    "Via": "SIP/2.0/WSS 203.0.113.7:443;branch=z9hG4bK1",
    "From": "<sip:482910@sip.example>;tag=server",
    "To": "<sip:482910@sip.example>;tag=client",
    "Call-ID": "6b1f8f6a",
    "CSeq": "2 NOTIFY",
}


def wire(start="NOTIFY sip:482910@client.invalid;transport=ws SIP/2.0", body=b"", extra="", **changes):
    """A good NOTIFY with changes: a header is replaced, or left out if its new value is None."""
    headers = _NOTIFY | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [start, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode() + body


def test_a_request_is_read():
    message = parse_message(wire(extra="Event: dialog\r\nContent-Length: 5\r\n", body=b"<a\x00/>"))
    assert isinstance(message, SIPRequest)
    assert message.method == "NOTIFY"
    assert message.uri == "sip:482910@client.invalid;transport=ws"
    assert message.vias == [Via("WSS", "203.0.113.7", 443, {"branch": "z9hG4bK1"})]
    assert message.from_ == NameAddr("sip:482910@sip.example", "", {"tag": "server"})
    assert message.to.tag == "client"
    assert message.call_id == "6b1f8f6a"
    assert message.cseq == CSeq(2, "NOTIFY")
    assert message.headers.get("Event") == "dialog"
    assert message.body == b"<a\x00/>"


def test_a_response_is_read():
    message = parse_message(wire("SIP/2.0 481 Gibt es nicht – leider", CSeq="2 SUBSCRIBE"))
    assert isinstance(message, SIPResponse)
    assert (message.status, message.reason) == (481, "Gibt es nicht – leider")


@pytest.mark.parametrize("line", ["SIP/2.0 200 ", "SIP/2.0 200", "sip/2.0 200 "])
def test_a_response_needs_no_reason_phrase(line):
    assert parse_message(wire(line)).reason == ""


def test_line_breaks_in_front_of_a_message_are_skipped():
    assert parse_message(b"\r\n\r\n" + wire()) == parse_message(wire())


def test_a_folded_header_is_one_line():
    message = parse_message(wire(extra="Subject: first\r\n\t second\r\n  third \r\n"))
    assert message.headers["s"] == "first second third"


def test_a_body_is_cut_at_its_content_length():
    message = parse_message(wire(extra="l: 3\r\n", body=b"abcINVITE sip:x SIP/2.0"))
    assert message.body == b"abc"
    assert message.headers["Content-Length"] == "3"


def test_without_content_length_the_body_is_the_rest():
    message = parse_message(wire(body=b"abc\r\n"))
    assert message.body == b"abc\r\n"
    assert message.headers["Content-Length"] == "5"


@pytest.mark.parametrize(
    "length", ["4", "-1", "+3", "3 ", "0x3", "", "3;", "3, 3", "٣", "1e1", "9" * 30], ids=lambda length: length[:5]
)
def test_a_content_length_that_lies_or_is_no_number_is_refused(length):
    if length == "3 ":
        assert parse_message(wire(extra=f"Content-Length: {length}\r\n", body=b"abc")).body == b"abc"
        return
    with pytest.raises(SIPMessageError):
        parse_message(wire(extra=f"Content-Length: {length}\r\n", body=b"abc"))


@pytest.mark.parametrize("name", list(_NOTIFY))
def test_a_message_without_a_mandatory_header_is_refused(name):
    with pytest.raises(SIPMessageError, match=name):
        parse_message(wire(**{name: None}))


@pytest.mark.parametrize(
    "line",
    [
        "From: <sip:evil@x>;tag=1",
        "f: <sip:evil@x>;tag=1",
        "TO: <sip:x@x>",
        "i: 2",
        "CSeq: 2 NOTIFY",
        "Call-id: 6b1f8f6a",
    ],
)
def test_a_second_header_of_a_kind_that_is_single_is_refused(line):
    with pytest.raises(SIPMessageError, match="more than one"):
        parse_message(wire(extra=line + "\r\n"))


@pytest.mark.parametrize(
    "pair",
    [
        "Content-Length: 0\r\nl: 0",
        "Content-Type: a/b\r\nc: a/b",
        "Max-Forwards: 1\r\nMax-Forwards: 1",
        "Event: a\r\no: a",
        "Expires: 1\r\nExpires: 2",
        "Subscription-State: active\r\nSubscription-State: terminated",
    ],
)
def test_two_lines_of_a_single_header_are_refused_even_if_they_agree(pair):
    with pytest.raises(SIPMessageError, match="more than one"):
        parse_message(wire(extra=pair + "\r\n"))


@pytest.mark.parametrize(
    "extra",
    [
        "Subject: a\rFrom: <sip:evil@x>\r\n",
        "Subject: a\nFrom: <sip:evil@x>\r\n",
        "Subject: a\r\r\n",
        "Subject: a\n\r\n",
        "Subject: a\x00b\r\n",
        "Subject: a\x08b\r\n",
        "Subject: a\\\\\x00b\r\n",
        "Subject\x00: a\r\n",
        "Sub ject: a\r\n",
        "Subject\r\n",
        ": a\r\n",
        "Sübject: a\r\n",
        "Subject\r\n : a\r\n\x1f",
        "\x00\r\n",
    ],
)
def test_characters_that_two_readers_may_read_in_two_ways_are_refused(extra):
    with pytest.raises(SIPMessageError):
        parse_message(wire(extra=extra))


def test_bare_line_feeds_as_line_endings_are_refused():
    with pytest.raises(SIPMessageError):
        parse_message(wire().replace(b"\r\n", b"\n"))


def test_headers_that_are_not_utf_8_are_refused():
    with pytest.raises(SIPMessageError, match="UTF-8"):
        parse_message(wire().replace(b"6b1f8f6a", b"6b1f\xff"))


@pytest.mark.parametrize(
    "start",
    [
        "",
        "NOTIFY",
        "NOTIFY sip:x@x",
        "NOTIFY sip:x@x SIP/3.0",
        "NOTIFY sip:x@x HTTP/1.1",
        " NOTIFY sip:x@x SIP/2.0",
        "NOTIFY  sip:x@x SIP/2.0",
        "NOTIFY sip:x@x SIP/2.0 ",
        "NOTIFY <sip:x@x> SIP/2.0",
        "NOTIFY sip:x y@x SIP/2.0",
        "NOTIFY x SIP/2.0",
        "NOTIFY sip:@ SIP/2.0",
        "NOTIFY sip:x@x?a=b SIP/2.0",
        "NOTIFY sip:é@x SIP/2.0",
        "NO(TIFY sip:x@x SIP/2.0",
        "SIP/2.0 99 Low",
        "SIP/2.0 700 High",
        "SIP/2.0 1000 More",
        "SIP/2.0 2e2 OK",
        "SIP/2.0 -200 OK",
        "SIP/2.0 ٢٠٠ OK",
        "SIP/2.0",
        "SIP/1.0 200 OK",
        "SIP/2.0  200 OK",
        "SIP/2.0 200 O\\\x00K",
        "SIP/2.0 200 OK\r\n folded",
    ],
)
def test_a_first_line_that_is_none_is_refused(start):
    with pytest.raises(SIPMessageError):
        parse_message(wire(start))


def test_requests_to_uris_of_other_schemes_are_messages():
    assert parse_message(wire("NOTIFY sipx:a%zz SIP/2.0")).uri == "sipx:a%zz"
    assert parse_message(wire("NOTIFY tel:+442079460018 SIP/2.0")).uri == "tel:+442079460018"


@pytest.mark.parametrize(
    "change",
    [
        {"CSeq": "2 INVITE"},
        {"CSeq": "2 notify"},
        {"CSeq": "2147483648 NOTIFY"},
        {"From": '"a <sip:a@x>'},
        {"To": "bob"},
        {"Via": "SIP/2.0/UDP h;;"},
        {"Via": ","},
        {"Via": "SIP/2.0/UDP h, x"},
        {"Call-ID": "a b"},
        {"Call-ID": ""},
        {"Max-Forwards": "256"},
        {"Max-Forwards": "x"},
        {"Call-ID": "ä"},
    ],
)
def test_a_malformed_mandatory_header_is_refused(change):
    with pytest.raises(SIPMessageError):
        parse_message(wire(**change))


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 999, b"\x00", wire()[:-2], b"a" * 999])
def test_what_is_no_whole_message_is_refused(data):
    with pytest.raises(SIPMessageError):
        parse_message(data)


def test_there_is_a_limit_to_everything():
    parse_message(wire(body=b"x" * 60_000))
    parse_message(wire(extra="Z: " + "x" * (MAX_LINE - 3) + "\r\n"))
    parse_message(wire(extra="Z: 1\r\n" * (MAX_HEADERS - len(_NOTIFY))))
    for data in (
        wire(body=b"x" * MAX_BYTES),
        wire(extra="Z: " + "x" * (MAX_LINE - 2) + "\r\n"),
        wire(extra="Z: 1\r\n" + " x\r\n" * (MAX_LINE // 2)),
        wire(extra="Z: 1\r\n" * (MAX_HEADERS - len(_NOTIFY) + 1)),
        wire("NOTIFY sip:" + "x" * MAX_LINE + "@x SIP/2.0"),
    ):
        with pytest.raises(SIPMessageError, match="too"):
            parse_message(data)
    with pytest.raises(SIPMessageError, match="too large"):
        parse_message(wire(), max_bytes=100)


@pytest.mark.parametrize(
    "piece",
    [
        b"\r\n ",
        b" ",
        b"\t",
        b'"',
        b"<",
        b"\\",
        b'\\"',
        b",",
        b";",
        b";a",
        b";a=",
        b';a="',
        b'"<',
        b'",',
        b"%4",
        b"@",
        b":",
        b"[",
        b"\r\n\t\r\n ",
        b"a",
        b"a=b,",
        b"\xc3\xa9",
        b"\\\x00",
        b'"\\',
        b"=",
        b"/",
        b"SIP/2.0/UDP ",
        b"/2.0/",
        b"0",
    ],
    ids=repr,
)
def test_hostile_repetition_costs_no_more_than_its_length(piece):
    # A quadratic pattern would need minutes for these, an exponential one for ever.
    long = (piece * (MAX_LINE // len(piece)))[: MAX_LINE - 100]
    for name in (b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Contact", b"Subject", b"Content-Length"):
        for head in (b"", b"sip:", b'"', b"SIP/2.0/UDP ", b"<sip:a@x>", b"1 "):
            data = wire(**{name.decode(): None}).removesuffix(b"\r\n") + name + b": " + head + long + b"\r\n\r\n"
            try:
                message = parse_message(data)
            except SIPMessageError:
                continue
            message.headers.get_all(name.decode())
    for start in (b"NOTIFY sip:", b"NOTIFY ", b"SIP/2.0 200 ", b""):
        with_start = start + long + wire()[6:]
        with contextlib.suppress(SIPMessageError):
            parse_message(with_start)


def test_a_message_is_written_with_the_right_length():
    request = SIPRequest("NOTIFY", "sip:a@x", Headers([*_NOTIFY.items(), ("Content-Length", "999")]), b"\x00\xff")
    assert bytes(request) == (
        b"NOTIFY sip:a@x SIP/2.0\r\n"
        b"Via: SIP/2.0/WSS 203.0.113.7:443;branch=z9hG4bK1\r\n"
        b"From: <sip:482910@sip.example>;tag=server\r\n"
        b"To: <sip:482910@sip.example>;tag=client\r\n"
        b"Call-ID: 6b1f8f6a\r\n"
        b"CSeq: 2 NOTIFY\r\n"
        b"Content-Length: 2\r\n"
        b"\r\n"
        b"\x00\xff"
    )


@pytest.mark.parametrize(
    "message",
    [
        SIPRequest("NOT IFY", "sip:a@x"),
        SIPRequest("", "sip:a@x"),
        SIPRequest("NOTIFY", "sip:a@x SIP/2.0\r\nEvil: 1\r\n\r\n"),
        SIPRequest("NOTIFY", "sip:a b@x"),
        SIPRequest("NOTIFY", "alice"),
        SIPResponse(99, ""),
        SIPResponse(700, ""),
        SIPResponse(200, "OK\r\nEvil: 1"),
        SIPResponse(200, "O\x00K"),
        SIPResponse(200, "\ud800"),
    ],
    ids=repr,
)
def test_nothing_can_be_smuggled_through_the_first_line(message):
    with pytest.raises(SIPMessageError):
        bytes(message)


def test_a_reply_goes_back_the_way_the_request_came():
    request = parse_message(
        wire(
            extra="v: SIP/2.0/TCP a;branch=2 , SIP/2.0/UDP b;branch=3\r\nTimestamp: 54\r\nSubject: x\r\n", To="sip:b@x"
        )
    )
    reply = request.reply(200, to_tag="mine")
    assert (reply.status, reply.reason, reply.body) == (200, "OK", b"")
    assert [via.branch for via in reply.vias] == ["z9hG4bK1", "2", "3"]
    assert reply.to == NameAddr("sip:b@x", "", {"tag": "mine"})
    assert (reply.from_, reply.call_id, reply.cseq) == (request.from_, request.call_id, request.cseq)
    assert "Subject" not in reply.headers
    assert "Timestamp" not in reply.headers
    assert request.reply(100).headers["Timestamp"] == "54"
    assert parse_message(bytes(reply)).to.tag == "mine"


def test_a_reply_keeps_a_tag_that_is_there_and_adds_none_unasked():
    request = parse_message(wire())
    assert request.reply(481, to_tag="mine").to.tag == "client"
    assert parse_message(wire(To="<sip:b@x>")).reply(100).to.tag == ""


def test_a_reply_has_the_phrase_that_is_asked_for():
    request = parse_message(wire())
    assert request.reply(489).reason == "Bad Event"
    assert request.reply(489, "No").reason == "No"
    assert request.reply(599).reason == ""


def test_a_tag_cannot_smuggle_a_header():
    with pytest.raises(SIPMessageError):
        parse_message(wire(To="<sip:b@x>")).reply(200, to_tag="a\r\nEvil: 1")


def test_a_request_that_lacks_what_a_reply_needs_has_none():
    with pytest.raises(SIPMessageError):
        SIPRequest("NOTIFY", "sip:a@x").reply(200)


def test_the_repr_shows_no_numbers_and_no_secrets():
    message = parse_message(wire(extra="Authorization: secret\r\n", body=b"+442079460018"))
    assert "482910" not in repr(message)
    assert "secret" not in repr(message)
    assert "0018" not in repr(message)


_TOKEN = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=20)
_VALUE = st.text(
    st.characters(exclude_characters="\\\x7f", exclude_categories=["Cs", "Cc"]) | st.just("\t"), max_size=60
)
_ADDRESS = st.builds(NameAddr, uri=st.just("sip:a@x"), display=_VALUE, params=st.fixed_dictionaries({"tag": _TOKEN}))
_BODY = st.binary(max_size=200)


@st.composite
def _messages(draw):
    method = draw(_TOKEN)
    headers = Headers(
        [
            *(("Via", f"SIP/2.0/WS {branch};branch={branch}") for branch in draw(st.lists(st.just("h"), min_size=1))),
            ("From", str(draw(_ADDRESS))),
            ("To", str(draw(_ADDRESS))),
            ("Call-ID", draw(_TOKEN)),
            ("CSeq", f"{draw(st.integers(0, 2**31 - 1))} {method}"),
            *draw(st.lists(st.tuples(_TOKEN.map("X-{}".format), _VALUE), max_size=5)),
        ]
    )
    body = draw(_BODY)
    headers.set("Content-Length", str(len(body)))
    if draw(st.booleans()):
        return SIPRequest(method, "sip:b@x", headers, body)
    return SIPResponse(draw(st.integers(100, 699)), draw(_VALUE.map(str.strip)), headers, body)


@given(_messages())
def test_a_message_survives_writing_and_reading(message):
    assert parse_message(bytes(message)) == message


@given(st.binary(max_size=500))
def test_any_bytes_are_a_message_or_a_refusal(data):
    for whole in (data, wire()[:-2] + data, wire("NOTIFY sip:a@x SIP/2.0", extra="Z: ") + data):
        try:
            parse_message(whole)
        except SIPMessageError:
            continue
