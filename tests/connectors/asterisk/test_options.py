"""The Asterisk connector's settings."""

import pytest

from cti_django.connectors.asterisk.options import EXTENSION, Options


def test_the_port_goes_with_tls():
    assert Options.read({}).address == ("127.0.0.1", 5038)
    assert Options.read({"tls": "true"}).address == ("127.0.0.1", 5039)
    assert Options.read({"tls": True, "port": "5038"}).address == ("127.0.0.1", 5038)


def test_texts_of_a_command_line_are_read_as_what_they_mean():
    options = Options.read({"queues": "sales, support", "hold_extens": "a,b", "dial_seconds": "20", "tls": "false"})
    assert (options.queues, options.hold_extens, options.dial_seconds) == (("sales", "support"), ("a", "b"), 20.0)


def test_the_phone_is_named_after_the_extension():
    assert Options.read({}).device_of("1001") == "PJSIP/1001"
    assert Options.read({"channel": "SIP/p{extension}"}).device_of("1001") == "SIP/p1001"


def test_transfers_end_where_calls_do_unless_it_is_said_where():
    assert Options.read({"dial_context": "a"}).transfers_to == "a"
    assert Options.read({"dial_context": "a", "transfer_context": "b"}).transfers_to == "b"


def test_auto_answer_is_headers_that_most_phones_obey_or_those_that_are_given():
    names = [name for name, _ in Options.read({"auto_answer": True}).call_variables("1001")]
    assert names == ["PJSIP_HEADER(add,Call-Info)", "PJSIP_HEADER(add,Alert-Info)"]
    assert Options.read({"auto_answer": False}).call_variables("1001") == []
    given = Options.read({"auto_answer": {"X-Auto": "yes"}, "variables": {"__AMPUSER": "{extension}"}})
    assert given.call_variables("1001") == [("PJSIP_HEADER(add,X-Auto)", "yes"), ("__AMPUSER", "1001")]


def test_the_secret_is_not_shown():
    assert "hunter2" not in repr(Options.read({"secret": "hunter2"}))
    with pytest.raises(ValueError, match="secret") as refused:
        Options.read({"secret": "hunter2\r\nAction: Originate"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("host", "pbx example"),
        ("host", "pbx\r\n"),
        ("port", 0),
        ("port", 65_536),
        ("port", True),
        ("port", "x"),
        ("tls", "perhaps"),
        ("channel", "PJSIP/1001"),
        ("channel", "/{extension}"),
        ("channel", "PJSIP/{extension}&PJSIP/2"),
        ("dial_context", ""),
        ("dial_context", "a b"),
        ("transfer_context", "x\r\nAction: Logoff"),
        ("international_prefix", "+0"),
        ("international_prefix", "a"),
        ("check_numbers", "x"),
        ("hold_extens", ["one"]),
        ("hold_extens", "a,b,c"),
        ("answer", "shout"),
        ("auto_answer", {"Alert-Info": 'a"b'}),
        ("auto_answer", ["x"]),
        ("variables", {"A": "b,C=d"}),
        ("variables", {"A b": "c"}),
        ("variables", {"A": "b\n"}),
        ("dial_seconds", "nan"),
        ("dial_seconds", 0),
        ("queues", {"a": 1}),
        ("queues", ["a b"]),
        ("queues", ["x"] * 2_001),
        ("dnd_family", "a/b"),
        ("directory", {"10/01": "Ada"}),
        ("directory", {"1001": "x" * 501}),
        ("directory", [1]),
    ],
)
def test_what_cannot_be_used_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        Options.read({option: value})


def test_an_answer_by_redirect_needs_somewhere_to_send_the_caller():
    with pytest.raises(ValueError, match="answer_context"):
        Options.read({"answer": "redirect"})


@pytest.mark.parametrize("text", ["1001", "a-b_c", "x" * 40])
def test_a_plain_extension_is_one(text):
    assert EXTENSION.fullmatch(text)


@pytest.mark.parametrize("text", ["", "x" * 41, "1001\n", "1001&1002", "1 1", "10/1", "ä", "1001@x", "/^.*/"])
def test_what_is_no_plain_extension_is_none(text):
    assert not EXTENSION.fullmatch(text)
