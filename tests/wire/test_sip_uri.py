"""URIs, addresses, Via and CSeq."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_uri import (
    SIPURI,
    CSeq,
    NameAddr,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_uri,
    parse_via,
)


def test_a_uri_is_taken_apart():
    uri = parse_uri("SIPS:al%69ce:se%40cret@[2001:db8::1]:5061;Transport=WS;lr?Subject=a%20b&Route=%3Csip:x%3E")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (
        "sips",
        "alice",
        "se@cret",
        "[2001:db8::1]",
        5061,
    )
    assert uri.params == {"transport": "WS", "lr": None}
    assert uri.headers == (("Subject", "a b"), ("Route", "<sip:x>"))


def test_a_telephone_uri_has_a_number_and_no_host():
    uri = parse_uri("tel:+44-20-7946-0018;phone-context=example.com")
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("tel", "+44-20-7946-0018", "", None)
    assert uri.params == {"phone-context": "example.com"}
    assert str(uri) == "tel:+44-20-7946-0018;phone-context=example.com"


def test_names_and_users_that_real_systems_send_are_understood():
    assert parse_uri("sip:*98#@my_pbx.local").user == "*98#"
    assert parse_uri("sip:abc123.invalid;transport=ws;ob").host == "abc123.invalid"
    assert parse_uri("sip:user;par=u%40example.net@example.com").user == "user;par=u@example.net"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip:@x",
        "sip:a@",
        "sip:a b@x",
        "sip:a@x y",
        "<sip:a@x>",
        "sip:a@b@c",
        "sip:a@x:",
        "sip:a@x:65536",
        "sip:a@x:-1",
        "sip:a@x:٣",
        "sip:a@x;lr;lr",
        "sip:a@x;a=1;A=2",
        "sip:a@x;",
        "sip:a@x?b",
        "sip:a@x?=b",
        "sip:%zz@x",
        "sip:%ff@x",
        "sip:a@x\r\n",
        "sip:a@x\n",
        " sip:a@x",
        "sip:a@[::1",
        "http://example.com",
        "tel:",
        "tel:abc-xyz",
        "sip:a\x00@x",
        "sip:é@x",
        'sip:"a"@x',
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(SIPMessageError):
        parse_uri(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ],
)
def test_the_equal_uris_of_the_standard_are_equal(one, other):
    assert parse_uri(one) == parse_uri(other)
    assert hash(parse_uri(one)) == hash(parse_uri(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;newparam=6"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a@x", "sip:a@x;maddr=y"),
        ("sip:a@x;user=phone", "sip:a@x"),
        ("sip:a@x", "sips:a@x"),
    ],
)
def test_the_different_uris_of_the_standard_differ(one, other):
    assert parse_uri(one) != parse_uri(other)


def test_a_uri_is_no_text():
    assert parse_uri("sip:a@x") != "sip:a@x"


@pytest.mark.parametrize(
    "parts",
    [
        {"scheme": "http", "host": "x"},
        {"scheme": "sip", "host": ""},
        {"scheme": "sip", "host": "x>\r\nEvil: 1"},
        {"scheme": "sip", "host": "x", "port": 65536},
        {"scheme": "tel", "user": "1", "host": "x"},
        {"scheme": "tel"},
    ],
)
def test_a_uri_that_cannot_be_written_cannot_be_made(parts):
    with pytest.raises(SIPMessageError):
        SIPURI(**parts)


def test_a_part_of_a_uri_stays_that_part_when_it_is_written():
    uri = SIPURI("sip", user="a@evil>\r\n;x", host="good", params={"p": "1;lr?<"}, headers=(("a&b", "c=d&e"),))
    assert str(uri) == "sip:a%40evil%3E%0D%0A;x@good;p=1%3Blr%3F%3C?a%26b=c%3Dd%26e"
    assert parse_uri(str(uri)) == uri
    with pytest.raises(SIPMessageError):
        str(SIPURI("sip", user="\ud800", host="x"))


def test_the_password_of_a_uri_is_not_in_its_repr():
    assert "secret" not in repr(parse_uri("sip:a:secret@x"))


def test_an_address_is_taken_apart():
    address = parse_name_addr('"Alice \\"A\\" Agent"  <sip:alice@example.com;lr>;tag=1;+sip.instance="<urn:uuid:1>"')
    assert address == NameAddr(
        "sip:alice@example.com;lr", 'Alice "A" Agent', {"tag": "1", "+sip.instance": "<urn:uuid:1>"}
    )
    assert address.tag == "1"


def test_parameters_without_brackets_belong_to_the_address():
    address = parse_name_addr("sip:+16505552222@example.net;user=phone;tag=2")
    assert address.uri == "sip:+16505552222@example.net"
    assert address.params == {"user": "phone", "tag": "2"}


def test_a_name_may_stand_without_quotes():
    assert parse_name_addr("Anna Müller (Sales) <sip:a@x>").display == "Anna Müller (Sales)"
    assert parse_name_addr("caller<sip:a@x>").display == "caller"
    assert parse_name_addr("<sip:a@x>").display == ""


@pytest.mark.parametrize(
    "display",
    ["sip:evil@x", "<sip:evil@x>", 'a" <sip:evil@x>;b="', 'a\\" <sip:evil@x>', "x>, <sip:evil@x", "\\", '"', "a\x00b"],
)
def test_a_quoted_name_never_becomes_the_uri(display):
    written = str(NameAddr("sip:good@y", display, {"tag": "1"}))
    assert parse_name_addr(written) == NameAddr("sip:good@y", display, {"tag": "1"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "<>",
        "<alice>",
        '"a <sip:a@x>',
        'a" <sip:a@x>',
        "<sip:a@x",
        "sip:a@x>",
        "< sip:a@x >",
        "<sip:a@x><sip:b@x>",
        "sip:evil@x <sip:good@y>",
        "Bell, Alexander <sip:a@x>",
        "<sip:a@x>;tag=1;tag=2",
        "<sip:a@x>;tag=1;TAG=2",
        "<sip:a@x>, <sip:b@x>",
        "sip:a@x,sip:b@x",
        "sip:a@x?Route=%3Csip:b%3E",
        "<sip:a@x> x",
        '"a\nb" <sip:a@x>',
        "<sip:a@x\r\n>",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(SIPMessageError):
        parse_name_addr(text)


@pytest.mark.parametrize("uri", ["", "no-scheme", "sip:a>b", "sip:a b", "sip:a\r\nb", 'sip:"'])
def test_an_address_with_a_malformed_uri_cannot_be_written(uri):
    with pytest.raises(SIPMessageError):
        str(NameAddr(uri))


def test_a_via_is_taken_apart():
    via = parse_via("SIP / 2.0 / wss [2001:db8::9] : 443 ; branch = z9hG4bK1 ;received=2001:db8::7;rport")
    assert via == Via("WSS", "[2001:db8::9]", 443, {"branch": "z9hG4bK1", "received": "2001:db8::7", "rport": None})
    assert via.branch == "z9hG4bK1"
    assert str(via) == "SIP/2.0/WSS [2001:db8::9]:443;branch=z9hG4bK1;received=2001:db8::7;rport"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 host",
        "SIP/2.0/UDP host;;",
        "SIP/2.0/UDP host:99999",
        "SIP/2.0/UDP host:x",
        "SIP/2.0/UDP host;branch=1;branch=2",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP h, SIP/2.0/UDP h",
    ],
)
def test_what_is_no_via_is_refused(text):
    with pytest.raises(SIPMessageError):
        parse_via(text)


def test_a_malformed_via_cannot_be_written():
    for via in (Via("U DP", "x"), Via("UDP", "x\r\ny"), Via("UDP", "x", params={"a b": None}), Via("UDP", "x", -1)):
        with pytest.raises(SIPMessageError):
            str(via)


def test_a_cseq_is_read_and_written():
    assert parse_cseq("0009 \t INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(2**31 - 1, "NOTIFY")) == "2147483647 NOTIFY"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "1INVITE", "-1 INVITE", "2147483648 BYE", "1 A B", "٣ BYE", "9" * 99 + " A"]
)
def test_what_is_no_cseq_is_refused(text):
    with pytest.raises(SIPMessageError):
        parse_cseq(text)


def test_a_malformed_cseq_cannot_be_written():
    for cseq in (CSeq(-1, "BYE"), CSeq(2**31, "BYE"), CSeq(1, "B YE")):
        with pytest.raises(SIPMessageError):
            str(cseq)


_TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))
_HOST = st.from_regex(r"[a-z0-9][a-z0-9.\-]{0,20}", fullmatch=True) | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")
_PARAMS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz-.!%*_+`'~", min_size=1), st.none() | _TEXT.filter(bool), max_size=3
)
_PORT = st.none() | st.integers(0, 65535)
_URIS = st.builds(
    SIPURI,
    scheme=st.sampled_from(["sip", "sips"]),
    user=_TEXT,
    host=_HOST,
    port=_PORT,
    params=_PARAMS,
    headers=st.lists(st.tuples(_TEXT.filter(bool), _TEXT), max_size=3).map(tuple),
)


@given(_URIS)
def test_a_uri_survives_writing_and_reading(uri):
    again = parse_uri(str(uri))
    assert again == uri
    assert (again.params, again.headers) == (uri.params, uri.headers)
    assert str(again) == str(uri)


@given(_URIS, _TEXT, _PARAMS)
def test_an_address_survives_writing_and_reading(uri, display, params):
    address = NameAddr(str(uri), display, params)
    assert parse_name_addr(str(address)) == address


@given(_HOST, _PORT, _PARAMS)
def test_a_via_survives_writing_and_reading(host, port, params):
    via = Via("WSS", host, port, params)
    assert parse_via(str(via)) == via


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for parse in (parse_uri, parse_name_addr, parse_via, parse_cseq):
        with contextlib.suppress(SIPMessageError):
            parse(text)
