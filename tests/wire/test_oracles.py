"""Our codec against two others, aiosipua and sipmessage: they agree on what is well-formed.

Where they are known to be wrong we differ on purpose; those tests are at the end, and say on which side the harm is.
"""

import subprocess
import sys
from pathlib import Path

import pytest

aiosipua = pytest.importorskip("aiosipua")
sipmessage = pytest.importorskip("sipmessage")

from aiosipua.auth import SipDigestAuth, build_credentials  # noqa: E402
from aiosipua.headers import parse_address, parse_auth  # noqa: E402
from aiosipua.headers import parse_cseq as aiosipua_cseq  # noqa: E402
from aiosipua.headers import parse_uri as aiosipua_uri  # noqa: E402
from aiosipua.headers import parse_via as aiosipua_via  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from cti_django.exceptions import DigestError, SIPMessageError  # noqa: E402
from cti_django.wire.sip_digest import Challenge, DigestClient, parse_challenge, parse_credentials  # noqa: E402
from cti_django.wire.sip_message import Headers, SIPRequest, SIPResponse, parse_message  # noqa: E402
from cti_django.wire.sip_uri import parse_cseq, parse_name_addr, parse_uri, parse_via  # noqa: E402

_FOLDER = Path(__file__).parent.parent / "recordings" / "rfc4475"
# Messages without folds, escapes that span fields, or other things that one of the oracles cannot read.
_PLAIN = ["badbranch", "baddate", "bcast", "bext01", "cparam02", "invut", "lwsdisp", "mpart01", "noreason", "regaut01"]
_PLAIN += ["sdp01", "transports", "unreason", "zeromf"]

_URIS = [
    "sip:example.com",
    "sip:alice@example.com",
    "sips:alice@example.com:5061",
    "sip:+442079460018@sip.example;user=phone",
    "sip:10031@192.0.2.7:5060;transport=ws;lr",
    "sip:10031@[2001:db8::1]:443;transport=ws",
    "sip:482910@k3jd83kd.invalid;transport=ws",
    "sip:a.b-c_d~e!f@host-1.example.com",
]
_ADDRESSES = [
    "<sip:alice@example.com>",
    "<sip:alice@example.com>;tag=9k3jf93k",
    "Alice <sip:alice@example.com>;tag=1",
    "Alice Agent <sip:alice@example.com;transport=ws>;tag=1;expires=300",
    '"Alice Agent" <sip:alice@example.com>;tag=1',
    '"Bell, Alexander; Jr." <sip:a.g.bell@example.com>;tag=43',
    '"sip:evil@x" <sip:good@y>',
    "sip:alice@example.com;tag=1",
    "sip:alice@example.com",
]
_VIAS = [
    "SIP/2.0/UDP 192.0.2.1",
    "SIP/2.0/WSS k3jd83kd.invalid;branch=z9hG4bK776asdhds",
    "SIP/2.0/TCP host.example.com:5060;branch=z9hG4bK1;received=192.0.2.9;rport=5062",
    "SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK2;rport",
]
_CHALLENGES = [
    'Digest realm="sip.example", nonce="abc"',
    'Digest realm="sip.example", nonce="abc", algorithm=MD5, qop="auth"',
    'Digest realm="sip.example", nonce="YWJj/+==", opaque="x", algorithm=SHA-256, qop="auth", stale=FALSE',
]


def meaning(message):
    """A message without what its writer is free to choose: in how many lines a list stands."""
    return message.body, {name: message.headers.get_all(name) for name, _ in message.headers.items()}


@pytest.mark.parametrize("name", _PLAIN)
def test_messages_are_read_alike(name):
    data = (_FOLDER / f"{name}.dat").read_bytes()
    ours, one, two = parse_message(data), aiosipua.SipMessage.parse(data), sipmessage.Message.parse(data)
    assert ours.body == one.body == two.body
    if isinstance(ours, SIPRequest):
        assert (ours.method, ours.uri) == (one.method, one.uri) == (two.method, str(two.uri))
    else:
        assert (ours.status, ours.reason) == (one.status_code, one.reason_phrase) == (two.code, two.phrase)
    assert ours.call_id == one.call_id == two.call_id
    for via, its, theirs in zip(ours.vias, one.via, two.via, strict=True):
        assert (via.transport, via.host, via.port) == (its.transport, its.host, its.port)
        assert (via.transport, via.host, via.port) == (theirs.transport, theirs.host, theirs.port)
        assert via.params == its.params == dict(theirs.parameters)
    assert ours.from_.tag == one.from_addr.tag == two.from_address.parameters["tag"]
    assert ours.from_.display == (one.from_addr.display_name or "") == two.from_address.name
    assert ours.cseq.number == one.cseq.seq == two.cseq.sequence
    assert ours.headers.get("Content-Type") == one.content_type


@pytest.mark.parametrize("name", _PLAIN)
def test_what_we_write_the_others_read(name):
    ours = parse_message((_FOLDER / f"{name}.dat").read_bytes())
    one, two = aiosipua.SipMessage.parse(bytes(ours)), sipmessage.Message.parse(bytes(ours))
    assert meaning(parse_message(bytes(one))) == meaning(parse_message(bytes(two))) == meaning(ours)


@pytest.mark.parametrize("text", _URIS)
def test_uris_are_read_alike(text):
    ours, one, two = parse_uri(text), aiosipua_uri(text), sipmessage.URI.parse(text)
    assert (ours.scheme, ours.user, ours.host, ours.port) == (one.scheme, one.user or "", one.host, one.port)
    assert (ours.scheme, ours.user, ours.host, ours.port) == (two.scheme, two.user or "", two.host, two.port)
    assert ours.params == one.params == dict(two.parameters)
    assert str(ours) == str(two) == text


@pytest.mark.parametrize("text", _ADDRESSES)
def test_addresses_are_read_alike(text):
    ours, one, two = parse_name_addr(text), parse_address(text), sipmessage.Address.parse(text)
    assert ours.uri == aiosipua.headers.stringify_uri(one.uri) == str(two.uri)
    assert ours.display == (one.display_name or "") == two.name
    assert ours.params == one.params == dict(two.parameters)


@pytest.mark.parametrize("text", _VIAS)
def test_vias_are_read_alike(text):
    ours, one, two = parse_via(text), aiosipua_via(text), sipmessage.Via.parse(text)
    for other, params in ((one, one.params), (two, dict(two.parameters))):
        assert (ours.transport, ours.host, ours.port) == (other.transport, other.host, other.port)
        assert ours.params == params
    assert str(ours) == str(two) == text


@given(st.integers(0, 2**31 - 1), st.sampled_from(["INVITE", "NOTIFY", "SUBSCRIBE"]), st.sampled_from([" ", "   "]))
def test_cseqs_are_read_alike(number, method, space):
    text = f"{number}{space}{method}"
    ours, one, two = parse_cseq(text), aiosipua_cseq(text), sipmessage.CSeq.parse(text)
    assert (ours.number, ours.method) == (one.seq, one.method) == (two.sequence, two.method)


@pytest.mark.parametrize("text", _CHALLENGES)
def test_challenges_are_read_alike(text):
    ours, one, two = parse_challenge(text), parse_auth(text), sipmessage.AuthChallenge.parse(text)
    assert one.params == dict(two.parameters)
    assert (ours.realm, ours.nonce, ours.opaque) == (one.params["realm"], one.params["nonce"], one.params.get("opaque"))
    assert ours.algorithm == one.params.get("algorithm", "MD5")


@given(
    st.sampled_from(["MD5", "SHA-256"]),
    st.sampled_from([(), ("auth",), ("auth", "auth-int")]),
    st.text("abc012+/=", min_size=1),
    # sipmessage splits at a comma inside a quoted string too.
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and not set('"\\,') & set(text)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_challenges_are_answered_alike(algorithm, qop, nonce, username, password):
    challenge = Challenge(realm="sip.example", nonce=nonce, algorithm=algorithm, qop=qop)
    params = {"realm": "sip.example", "nonce": nonce, "algorithm": algorithm}
    if qop:
        params["qop"] = ",".join(qop)
    theirs = build_credentials(
        SipDigestAuth(username, password),
        aiosipua.headers.AuthChallenge("Digest", params),
        "SUBSCRIBE",
        "sip:482910@sip.example",
        cnonce="c",
    )
    value = DigestClient(username, password).authorization(challenge, "SUBSCRIBE", "sip:482910@sip.example", cnonce="c")
    ours = parse_credentials(value)
    assert ours.response == theirs.params["response"]
    assert (ours.nc, ours.qop) == (theirs.params.get("nc", ""), theirs.params.get("qop", ""))
    assert dict(sipmessage.AuthCredentials.parse(value).parameters) == theirs.params


_GOOD = (
    b"NOTIFY sip:a@x SIP/2.0\r\nVia: SIP/2.0/WS h;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:a@x>;tag=2\r\n"
    b"Call-ID: 1\r\nCSeq: 1 NOTIFY\r\n"
)


@pytest.mark.parametrize("smuggled", [b"\r", b"\n"])
def test_aiosipua_lets_a_bare_line_break_smuggle_a_header_and_we_do_not(smuggled):
    data = _GOOD + b"Subject: x" + smuggled + b"Authorization: evil\r\n\r\n"
    assert aiosipua.SipMessage.parse(data).get_header("Authorization") == "evil"
    with pytest.raises(SIPMessageError):
        parse_message(data)


def test_sipmessage_keeps_a_bare_line_break_in_a_value_and_writes_it_out_again():
    data = _GOOD + b"Subject: x\rAuthorization: evil\r\n\r\n"
    assert b"x\rAuthorization: evil" in bytes(sipmessage.Message.parse(data))
    with pytest.raises(SIPMessageError):
        parse_message(data)


@pytest.mark.parametrize(
    "text",
    ['"<sip:evil@x>" <sip:good@y>;tag=1', '"a\\" <sip:evil@x>" <sip:good@y>', '"Al; <sip:evil@x>;" <sip:good@y>'],
)
def test_in_aiosipua_a_quoted_name_can_become_the_uri_and_here_it_cannot(text):
    assert parse_address(text).uri.user == "evil"
    assert parse_name_addr(text).uri == "sip:good@y"
    assert "sip:evil@x" in parse_name_addr(text).display


def test_sipmessage_runs_two_contacts_into_one_name_and_we_do_not():
    text = '"A" <sip:a@x>, "B" <sip:b@y>'
    assert [str(address.uri) for address in sipmessage.Address.parse_many(text)] == ["sip:b@y"]
    contacts = Headers([("Contact", text)]).get_all("Contact")
    assert [parse_name_addr(value).uri for value in contacts] == ["sip:a@x", "sip:b@y"]


def test_a_challenge_that_sipmessage_never_finishes_is_refused_at_once_here():
    hostile = 'Digest a="' + '\\",a="' * 60 + "!"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-c", f"import sipmessage; sipmessage.AuthChallenge.parse({hostile!r})"],
            timeout=2,
            check=False,
        )
    with pytest.raises(DigestError):
        parse_challenge(hostile)


@pytest.mark.parametrize(
    "line",
    [
        "Content-Length: -1",
        "Content-Length: 1, 1",
        "From: <sip:evil@x>;tag=9",
        "Content-Length: 9",
        "CSeq: 2 NOTIFY",
        "A\x00: b",
    ],
)
def test_what_the_others_let_pass_we_refuse(line):
    data = _GOOD + line.encode() + b"\r\n\r\n"
    aiosipua.SipMessage.parse(data)
    sipmessage.Message.parse(data)
    with pytest.raises(SIPMessageError):
        parse_message(data)


def test_the_others_read_a_header_of_a_quoted_parameter_differently():
    text = '<sip:a@x>;note="a;tag=2"'
    assert parse_address(text).params["tag"] == '2"'
    assert parse_name_addr(text).params == {"note": "a;tag=2"}


def test_responses_without_a_phrase_are_read_here_alone():
    data = _GOOD.replace(b"NOTIFY sip:a@x SIP/2.0", b"SIP/2.0 200") + b"\r\n"
    assert isinstance(parse_message(data), SIPResponse)
    with pytest.raises(ValueError, match="neither request nor response"):
        sipmessage.Message.parse(data)
