"""The project's own request: placeholders are values, never syntax."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.connectors.webhook.outgoing import read_outgoing
from cti_django.exceptions import CommandRefused

URL = "https://pbx.example/dial/{extension}?to={number}"
HOSTILE = '"}, {"x": "\r\nX-Evil: 1&to=999#/../?'


def outgoing(**given):
    return read_outgoing("dial", {"url": URL, **given})


def test_a_value_stays_a_value_wherever_it_stands():
    request = outgoing(json={"to": "{number}", "as": ["{user}", {"n": 1, "id": "cti-{command_id}"}], "{number}": True})
    sent = request.prepare({"number": HOSTILE, "user": HOSTILE, "command_id": "7", "extension": "../10?x"})
    assert json.loads(sent.body) == {"to": HOSTILE, "as": [HOSTILE, {"n": 1, "id": "cti-7"}], "{number}": True}
    assert parse_qs(urlsplit(sent.url).query) == {"to": [HOSTILE]}
    assert urlsplit(sent.url).path == "/dial/..%2F10%3Fx"
    form = outgoing(form={"to": "{number}", "line": "SIP/{extension}"}).prepare({"number": HOSTILE, "extension": "10"})
    assert parse_qs(form.body.decode()) == {"to": [HOSTILE], "line": ["SIP/10"]}


@given(st.text())
def test_no_value_breaks_the_line_that_it_stands_in(value):
    value = value.encode("utf-8", "replace").decode()
    sent = outgoing(headers={"Authorization": "Bearer x"}).prepare({"number": value, "extension": f"x{value}"})
    assert sent.url.isascii()
    assert sent.url.isprintable()
    parts = urlsplit(sent.url)
    assert (parts.netloc, parts.path.count("/"), parts.query.count("&")) == ("pbx.example", 2, 0)


def test_a_placeholder_is_filled_once_and_never_again():
    sent = outgoing(json={"to": "{number}"}).prepare({"number": "{user}", "user": "x"})
    assert json.loads(sent.body) == {"to": "{user}"}


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"url": "https://{number}.pbx.example/"}, "dial_url"),
        ({"url": "https://pbx.example:{number}/"}, "dial_url"),
        ({"url": "https://pbx.example/{secret}"}, "dial_url"),
        ({"url": "ftp://pbx.example/"}, "dial_url"),
        ({"url": "https://user:pass@pbx.example/"}, "dial_url"),
        ({"method": "DIAL"}, "dial_method"),
        ({"headers": {"X": "a\r\nB: c"}}, "dial_headers"),
        ({"headers": {"X Y": "a"}}, "dial_headers"),
        ({"headers": {"X": "{number}"}}, "dial_headers"),
        ({"headers": {"Content-Length": "0"}}, "dial_headers"),
        ({"headers": "X: Y"}, "dial_headers"),
        ({"form": {"a": 1}}, "dial_form"),
        ({"form": {}, "json": {}}, "dial_json"),
        ({"json": {"a": {1, 2}}}, "dial_json"),
        ({"json": [[[[[[[[[["{number}"]]]]]]]]]]}, "dial_json"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_name(given, option):
    with pytest.raises(ValueError, match=option):
        outgoing(**given)


def test_without_a_url_there_is_no_request_and_no_secret_shows():
    assert read_outgoing("dial", {}) is None
    request = outgoing(headers={"Authorization": "Bearer s3cret"}, json={"key": "s3cret"})
    assert "s3cret" not in repr(request) + repr(request.prepare({}))


@pytest.mark.parametrize("value", [".", ".."])
@pytest.mark.parametrize("path", ["/calls/{call_id}", "/calls/{call_id}/hangup"])
def test_no_value_leads_to_another_place_of_the_system(path, value):
    request = outgoing(url=f"https://pbx.example{path}", method="DELETE")
    with pytest.raises(CommandRefused):
        request.prepare({"call_id": value})
    assert request.prepare({"call_id": "1..2"}).url
