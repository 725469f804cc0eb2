"""The map of headers."""

import pytest

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_headers import Headers


def test_names_are_case_insensitive_and_keep_their_order():
    headers = Headers([("VIA", "a"), ("x-Custom", "1"), ("via", "b"), ("X-CUSTOM", "2")])
    assert headers.get_all("Via") == ["a", "b"]
    assert headers.get_all("X-custom") == ["1", "2"]
    assert list(headers.items()) == [("Via", "a"), ("Via", "b"), ("x-Custom", "1"), ("x-Custom", "2")]


@pytest.mark.parametrize(
    ("compact", "full"),
    [
        ("a", "Accept-Contact"),
        ("b", "Referred-By"),
        ("c", "Content-Type"),
        ("d", "Request-Disposition"),
        ("e", "Content-Encoding"),
        ("f", "From"),
        ("i", "Call-ID"),
        ("j", "Reject-Contact"),
        ("k", "Supported"),
        ("l", "Content-Length"),
        ("m", "Contact"),
        ("n", "Identity-Info"),
        ("o", "Event"),
        ("r", "Refer-To"),
        ("s", "Subject"),
        ("t", "To"),
        ("u", "Allow-Events"),
        ("v", "Via"),
        ("x", "Session-Expires"),
        ("y", "Identity"),
    ],
)
def test_a_compact_name_is_its_full_name(compact, full):
    headers = Headers([(compact.upper(), "1")])
    assert list(headers.items()) == [(full, "1")]
    assert compact in headers
    assert full.lower() in headers
    assert headers.get(compact) == headers[full] == "1"


def test_list_headers_are_split_and_authentication_headers_are_not():
    challenge = 'Digest realm="a", nonce="b"'
    headers = Headers([("Allow", "INVITE, ACK"), ("Allow", "BYE")])
    for name in ("WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization"):
        headers.add(name, challenge)
        headers.add(name, challenge)
        assert headers.get_all(name) == [challenge, challenge]
    assert headers.get_all("Allow") == ["INVITE", "ACK", "BYE"]
    assert headers.get_all("Route") == []


@pytest.mark.parametrize(
    "value", ["a\rb", "a\nb", "a\r\nEvil: 1", "a\x00b", "a\x1bb", "a\x7f", "\\\n", "\\\\\x00", "\ud800"]
)
def test_no_value_breaks_out_of_its_line(value):
    headers = Headers()
    with pytest.raises(SIPMessageError):
        headers.add("Subject", value)
    with pytest.raises(SIPMessageError):
        headers.set("Subject", value)
    with pytest.raises(SIPMessageError):
        Headers([("Subject", value)])
    assert "Subject" not in headers


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\x00", " a", "a/b"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(SIPMessageError):
        Headers().add(name, "1")


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Content-Length",
        "Content-Type",
        "Max-Forwards",
        "Event",
        "Expires",
        "Subscription-State",
        "f",
        "o",
        "Retry-After",
        "Session-Expires",
    ],
)
def test_a_header_that_may_stand_once_stands_once(name):
    headers = Headers([(name, "1")])
    with pytest.raises(SIPMessageError):
        headers.add(name.upper(), "2")
    headers.set(name, "2")
    assert headers.get_all(name) == ["2"]


def test_what_is_missing_is_none_or_an_error():
    headers = Headers()
    assert headers.get("From") is None
    assert headers.get("From", "x") == "x"
    with pytest.raises(SIPMessageError, match="no From header"):
        headers["f"]


def test_a_number_is_read_with_care():
    assert Headers([("Expires", "0" * 50 + "60")]).get_number("Expires") == 60
    assert Headers([("Expires", "00")]).get_number("Expires") == 0
    assert Headers().get_number("Expires") is None
    for much in ("4294967296", "9" * 19, "9" * 8000):
        assert Headers([("Expires", much)]).get_number("Expires") == 2**32 - 1
    for text in ("", "-1", "+1", "1.5", "6 0", "٣", "0x10", "1_0"):
        with pytest.raises(SIPMessageError):
            Headers([("Expires", text)]).get_number("Expires")


def test_set_replaces_and_remove_removes():
    headers = Headers([("Route", "<sip:a>"), ("Route", "<sip:b>"), ("Subject", "x")])
    headers.set("route", "<sip:c>")
    headers.remove("s")
    headers.remove("s")
    assert list(headers.items()) == [("Route", "<sip:c>")]


def test_a_copy_is_independent():
    headers = Headers([("Via", "a")])
    twin = headers.copy()
    twin.add("Via", "b")
    assert headers != twin
    assert headers == Headers([("v", "a")])
    assert headers != "Via: a"


def test_the_repr_shows_no_values():
    assert (
        repr(Headers([("From", "sip:+442079460018@x"), ("Authorization", "secret")]))
        == "<Headers: From, Authorization>"
    )


def test_a_line_may_be_put_in_front_of_all_others():
    headers = Headers([("From", "<sip:a@b>"), ("Via", "SIP/2.0/UDP second"), ("To", "<sip:c@d>")])
    headers.prepend("v", "SIP/2.0/UDP first")
    assert [name for name, _ in headers.items()] == ["Via", "Via", "From", "To"]
    assert headers.get_all("Via") == ["SIP/2.0/UDP first", "SIP/2.0/UDP second"]


@pytest.mark.parametrize(("name", "value"), [("To", "<sip:x@y>"), ("Via", "a\r\nX: 1"), ("no name", "x")])
def test_what_cannot_be_added_cannot_be_put_in_front(name, value):
    headers = Headers([("To", "<sip:c@d>")])
    with pytest.raises(SIPMessageError):
        headers.prepend(name, value)
    assert list(headers.items()) == [("To", "<sip:c@d>")]
