"""Tokens, quoted texts, lists and parameters."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_grammar import parse_params, quote_string, split_list, unquote_string, write_params


def test_a_list_is_split_at_its_commas():
    assert split_list("INVITE, ACK,BYE ,\tNOTIFY") == ["INVITE", "ACK", "BYE", "NOTIFY"]


def test_a_comma_in_quotes_or_in_brackets_splits_nothing():
    text = '"Bell, Alexander" <sip:a,b@example.com;x=1>;tag=1, <sip:c@example.com>'
    assert split_list(text) == ['"Bell, Alexander" <sip:a,b@example.com;x=1>;tag=1', "<sip:c@example.com>"]


def test_an_escaped_quote_does_not_end_a_quoted_text():
    assert split_list(r'"a\", b" <sip:a@x>, <sip:b@x>') == [r'"a\", b" <sip:a@x>', "<sip:b@x>"]


@pytest.mark.parametrize("text", ["", " ", ",", " , ,, "])
def test_empty_elements_are_left_out(text):
    assert split_list(text) == []


@pytest.mark.parametrize("text", ['a, "b, c', "a, <b, c", 'a, "b, c\\', 'a, "\\"\\"\\", c'])
def test_what_follows_an_unclosed_quote_is_one_element(text):
    assert split_list(text) == ["a", text[3:]]


def test_a_value_is_parted_from_its_parameters():
    assert parse_params("active;expires=60") == ("active", {"expires": "60"})
    assert parse_params('multipart/mixed ; Boundary = "a;b\\"c" ; x') == (
        "multipart/mixed",
        {"boundary": 'a;b"c', "x": None},
    )
    assert parse_params("dialog") == ("dialog", {})


@pytest.mark.parametrize(
    "text",
    [
        "a;b=1;b=2",
        "a;b=1;B=2",
        "a;",
        "a;;b",
        "a;b=",
        'a;b="x',
        "a;b=c d",
        "a,b;c=1",
        "a;b=1, c",
        "a;b\r\n=1",
        "a\x00;b",
    ],
)
def test_malformed_or_repeated_parameters_are_refused(text):
    with pytest.raises(SIPMessageError):
        parse_params(text)


def test_a_line_break_cannot_be_quoted():
    for text in ("a\rb", "a\nb", "\ud800"):
        with pytest.raises(SIPMessageError):
            quote_string(text)


def test_the_name_of_a_parameter_that_is_written_must_be_a_token():
    with pytest.raises(SIPMessageError):
        write_params({"a;b": "1"})


_TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))
_NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~", min_size=1)


@given(_TEXT)
def test_what_is_quoted_can_be_unquoted(text):
    assert unquote_string(quote_string(text)) == text


@given(st.dictionaries(_NAME, st.none() | _TEXT, max_size=5))
def test_parameters_survive_writing_and_reading(params):
    assert parse_params("x" + write_params(params)) == ("x", params)


@given(st.text())
def test_any_text_is_a_list_or_parameters_or_a_refusal(text):
    assert all(split_list(text))
    with contextlib.suppress(SIPMessageError):
        parse_params(text)
