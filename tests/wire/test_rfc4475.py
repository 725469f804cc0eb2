"""The torture test messages of RFC 4475.

Each is a file of tests/recordings/rfc4475, named as in the RFC. The second body part of mpart01 is not the RFC's
signature but every possible byte, line breaks of all kinds among them.
"""

from pathlib import Path

import pytest

from cti_django.exceptions import DigestError, SIPMessageError
from cti_django.wire.sip_digest import parse_challenge
from cti_django.wire.sip_message import SIPRequest, SIPResponse, parse_message
from cti_django.wire.sip_uri import CSeq, NameAddr, Via, parse_name_addr, parse_uri

_FOLDER = Path(__file__).parent.parent / "recordings" / "rfc4475"

_REFUSED = {
    "badaspec": "Not a SIP address",  # 3.1.2.14: the white space could be inferred away; two readers might differ
    "baddn": "Not a SIP address",  # 3.1.2.15: likewise
    "badinv01": "Via is malformed",
    "badvers": "no SIP message",
    "bigcode": "no SIP message",
    "clerr": "shorter than its Content-Length",
    "escruri": "carries headers",
    "insuf": "no From header",
    "ltgtruri": "no SIP message",
    "lwsruri": "no SIP message",
    "lwsstart": "no SIP message",
    "mcl01": "more than one Content-Length",
    "mismatch01": "another method",
    "mismatch02": "another method",
    "multi01": "more than one CSeq",
    "ncl": "Content-Length header is no number",
    "quotbal": "Not a SIP address",
    "scalar02": "Max-Forwards is more than 255",
    "scalarlg": "CSeq is malformed",
    "trws": "no SIP message",
}


def raw(name):
    return (_FOLDER / f"{name}.dat").read_bytes()


def read(name):
    return parse_message(raw(name))


@pytest.mark.parametrize("name", list(_REFUSED))
def test_a_broken_message_is_refused(name):
    with pytest.raises(SIPMessageError, match=_REFUSED[name]):
        read(name)


@pytest.mark.parametrize("name", sorted({path.stem for path in _FOLDER.glob("*.dat")} - set(_REFUSED)))
def test_a_sound_message_is_read_and_written_and_read_again(name):
    message = read(name)
    again = parse_message(bytes(message))
    assert again == message
    assert bytes(again) == bytes(message)
    assert message.call_id.startswith(name) or name == "mpart01"


def test_the_recordings_are_all_there():
    assert len(list(_FOLDER.glob("*.dat"))) == 49


def test_wsinv_is_full_of_white_space_and_folds():
    message = read("wsinv")
    assert message.uri == "sip:vivekg@chair-dnrc.example.com;unknownparam"
    assert message.to == NameAddr("sip:vivekg@chair-dnrc.example.com", "", {"tag": "1918181833n"})
    assert message.from_ == NameAddr("sip:jdrosen@example.com", 'J Rosenberg \\"', {"tag": "98asjd8"})
    assert message.headers.get_number("Max-Forwards") == 68
    assert message.cseq == CSeq(9, "INVITE")
    assert message.vias == [
        Via("UDP", "192.0.2.2", None, {"branch": "390skdjuw"}),
        Via("TCP", "spindle.example.com", None, {"branch": "z9hG4bK9ikj8"}),
        Via("UDP", "192.168.255.111", None, {"branch": "z9hG4bK30239"}),
    ]
    assert message.headers["Subject"] == ""
    assert message.headers["newfangledheader"] == "newfangled value continued newfangled value"
    assert message.headers["UnknownHeaderWithUnusualValue"] == ";;,,;;,;"
    assert message.headers.get_all("Route") == ["<sip:services.example.com;lr;unknownwith=value;unknown-no-value>"]
    assert parse_name_addr(message.headers["Contact"]) == NameAddr(
        "sip:jdrosen@example.com", 'Quoted string ""', {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    )
    assert len(message.body) == 150


def test_intmeth_uses_every_character_that_is_allowed_somewhere():
    message = read("intmeth")
    uri = parse_uri(message.uri)
    assert message.method == message.cseq.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.vias[0].branch == "z9hG4bK-.!%66*_+`'~"
    assert message.to.display == "BEL:\a NUL:\0 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.params == {"fromparam''~+*_!.-%": "работающий", "tag": "_token~1'+`*%!-."}
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.headers["extensionHeader-!.%*+_`'~"] == "\ufeff大停電"


def test_esc01_is_unescaped_once_and_only_where_escapes_exist():
    message = read("esc01")
    assert parse_uri(message.uri).user == "sips:user@example.com"
    assert parse_uri(message.to.uri) == parse_uri("sip:user@example.com")
    assert parse_uri(message.from_.uri).user == "I have spaces"
    contact = parse_uri(parse_name_addr(message.headers["Contact"]).uri)
    assert (contact.user, contact.params) == ("caller", {"lr": None, "name": "value%41"})


def test_escnull_has_nulls_in_its_users_that_end_nothing():
    message = read("escnull")
    assert parse_uri(message.to.uri).user == "null-\0-null"
    contacts = [parse_uri(parse_name_addr(value).uri) for value in message.headers.get_all("Contact")]
    assert [contact.user for contact in contacts] == ["\0", "\0\0"]
    assert contacts[0] != contacts[1]


def test_esc02_has_percent_signs_that_escape_nothing():
    message = read("esc02")
    assert message.method == "RE%47IST%45R"
    assert message.to.display == message.from_.display == "%Z%45"
    assert message.headers.get_all("Contact") == ["<sip:alias1@host1.example.com>", "<sip:alias3@host3.example.com>"]
    assert message.headers["C%6Fntact"] == "<sip:alias2@host2.example.com>"


def test_lwsdisp_has_no_space_between_name_and_bracket():
    assert read("lwsdisp").from_ == NameAddr("sip:caller@example.com", "caller", {"tag": "323"})


def test_longreq_is_long():
    message = read("longreq")
    assert [via.host for via in message.vias][:-1] == [f"sip{number}.example.com" for number in range(33, 0, -1)]
    assert message.vias[-1].params["received"] == "192.0.2.5"
    assert len(message.from_.tag) == 155
    assert len(parse_uri(message.to.uri).params) == 3


def test_dblreq_ends_where_its_content_length_says():
    message = read("dblreq")
    assert message.method == "REGISTER"
    assert message.body == b""
    assert b"INVITE" not in bytes(message)


def test_semiuri_has_a_semicolon_in_its_user():
    message = read("semiuri")
    assert parse_uri(message.uri).user == "user;par=u@example.net"
    assert parse_uri(message.uri).host == "example.com"
    assert len(message.headers.get_all("Accept")) == 6


def test_transports_has_transports_of_all_kinds():
    assert [via.transport for via in read("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_has_a_body_of_bytes():
    message = read("mpart01")
    assert bytes(range(256)) in message.body
    assert message.body == raw("mpart01").partition(b"\r\n\r\n")[2]


def test_unreason_and_noreason_have_unusual_reasons():
    assert read("unreason").reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    assert (read("noreason").status, read("noreason").reason) == (100, "")


@pytest.mark.parametrize("name", ["unreason", "noreason", "bcast"])
def test_responses_are_responses(name):
    assert isinstance(read(name), SIPResponse)


def test_a_date_that_cannot_be_is_not_our_business():
    assert read("baddate").headers["Date"] == "Fri, 01 Jan 2010 16:00:00 EST"


def test_regbadct_is_refused_when_its_contact_is_looked_at():
    with pytest.raises(SIPMessageError):
        parse_name_addr(read("regbadct").headers["Contact"])


def test_regescrt_has_a_route_within_its_contact():
    contact = parse_uri(parse_name_addr(read("regescrt").headers["Contact"]).uri)
    assert contact.headers == (("Route", "<sip:sip.example.com>"),)


def test_badbranch_is_read_and_its_branch_is_only_the_cookie():
    assert read("badbranch").vias[0].branch == "z9hG4bK"


@pytest.mark.parametrize("name", ["unkscm", "novelsc"])
def test_unknown_schemes_are_for_the_application_to_answer(name):
    message = read(name)
    assert isinstance(message, SIPRequest)
    assert message.reply(416).reason == "Unsupported URI Scheme"
    with pytest.raises(SIPMessageError):
        parse_uri(message.uri)


def test_unksm2_has_addresses_that_are_no_sip_addresses():
    message = read("unksm2")
    assert message.to.uri == "isbn:2983792873"
    assert message.from_.uri == "http://www.example.com"
    assert parse_name_addr(message.headers["Contact"]).uri == "name:John_Smith"


def test_bext01_requires_what_nobody_has():
    assert read("bext01").headers.get_all("Require") == ["nothingSupportsThis", "nothingSupportsThisEither"]


def test_regaut01_has_an_authentication_scheme_that_nobody_knows():
    value = read("regaut01").headers["Authorization"]
    assert value == "NoOneKnowsThisScheme opaque-data=here"
    with pytest.raises(DigestError):
        parse_challenge(value)


def test_bcast_would_go_to_everybody_and_is_just_a_message():
    assert read("bcast").vias[1].host == "255.255.255.255"


def test_zeromf_may_go_no_further():
    assert read("zeromf").headers.get_number("Max-Forwards") == 0


def test_cparam01_and_cparam02_have_their_parameter_in_different_places():
    outside = parse_name_addr(read("cparam01").headers["Contact"])
    inside = parse_name_addr(read("cparam02").headers["Contact"])
    assert (outside.uri, outside.params) == ("sip:+19725552222@gw1.example.net", {"unknownparam": None})
    assert (inside.uri, inside.params) == ("sip:+19725552222@gw1.example.net;unknownparam", {})


def test_inv2543_is_older_than_tags_branches_and_lengths():
    message = read("inv2543")
    assert message.from_.tag == ""
    assert message.vias[0].branch == ""
    assert message.to == NameAddr("sip:+16505552222@ss1.example.net", "", {"user": "phone"})
    assert message.headers.get_number("Content-Length") == len(message.body)
