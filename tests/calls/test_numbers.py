"""Who a caller is, and whom a typed number dials: classified first, parsed after."""

import pytest

from cti_django.calls.numbers import (
    NumberPlan,
    PartyKind,
    classify,
    dialable,
    digits_to_dial,
    display,
    read_number,
    reversed_national,
    same_party,
    shown_name,
)
from cti_django.exceptions import InvalidNumber

PLAN = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{3,4}")


@pytest.mark.parametrize(
    ("raw", "kind", "number"),
    [
        ("442079460018", PartyKind.NUMBER, "+442079460018"),
        ("+442079460018", PartyKind.NUMBER, "+442079460018"),
        ("00442079460018", PartyKind.NUMBER, "+442079460018"),
        ("02079460018", PartyKind.NUMBER, "+442079460018"),
        ("sip:442079460018@pbx.example;user=phone", PartyKind.NUMBER, "+442079460018"),
        ("tel:+44-20-7946-0018;phone-context=x", PartyKind.NUMBER, "+442079460018"),
        ("٤٤٢٠٧٩٤٦٠٠١٨", PartyKind.NUMBER, "+442079460018"),
        ("10031", PartyKind.EXTENSION, ""),
        ("sip:10031@pbx.example", PartyKind.EXTENSION, ""),
        ("201", PartyKind.EXTENSION, ""),
        ("999", PartyKind.EMERGENCY, ""),
        ("anonymous", PartyKind.WITHHELD, ""),
        ("sip:anonymous@anonymous.invalid", PartyKind.WITHHELD, ""),
        ("Restricted", PartyKind.WITHHELD, ""),
        ("Unavailable", PartyKind.UNAVAILABLE, ""),
        ("sip:invalid@pbx.example", PartyKind.UNAVAILABLE, ""),
        ("", PartyKind.UNAVAILABLE, ""),
        ("sip:", PartyKind.UNAVAILABLE, ""),
        ("sip:alice@pbx.example", PartyKind.SIP_URI, ""),
        ("Alice1234567", PartyKind.ALPHANUMERIC, ""),
        ("<img src=x onerror=alert(1)>", PartyKind.ALPHANUMERIC, ""),
        ("1" * 500, PartyKind.ALPHANUMERIC, ""),
    ],
)
def test_a_caller_identity_is_classified_before_anything_is_parsed(raw, kind, number):
    party = classify(raw, "", PLAN)
    assert (party.kind, party.number) == (kind, number)
    assert len(party.number_raw) <= 128


def test_an_empty_identity_with_an_anonymous_name_is_withheld():
    assert classify("", "Anonymous", PLAN).kind is PartyKind.WITHHELD


def test_control_and_bidi_characters_never_survive_in_what_is_shown():
    party = classify("442079460018\r\nX: y", "Da\x00na\u202egnp.exe", PLAN)
    assert "\r" not in party.number_raw
    assert party.name == "Danagnp.exe"


def test_a_system_that_delivers_national_numbers_is_read_in_its_region():
    plan = NumberPlan(region="US", delivers="national", extension_pattern=r"[1-9][0-9]{2}")
    assert classify("2025550143", "", plan).number == "+12025550143"


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("020 7946 0018", "442079460018"),
        ("+44 (0)20 7946 0018", "442079460018"),
        ("020/7946-0018", "442079460018"),
        ("442079460018", "442079460018"),
        ("tel:+442079460018", "442079460018"),
        ("+1 202 555 0143", "12025550143"),
        ("10032", "10032"),
        ("999", "999"),
    ],
)
def test_what_a_person_types_becomes_the_digits_that_are_dialled(typed, digits):
    assert digits_to_dial(dialable(typed, PLAN)) == digits


@pytest.mark.parametrize(
    "typed", ["", "abc", "Alice1234567", "+44", "020 7946 0018\r\nINVITE", "++44", "1" * 40, "12345 or so"]
)
def test_what_nobody_can_dial_is_refused(typed):
    with pytest.raises(InvalidNumber):
        dialable(typed, PLAN)


def test_an_extension_behind_a_written_number_is_dropped():
    assert read_number("020 7946 0018 ext. 12", "GB") == "+442079460018"
    assert read_number("n/a", "GB") == ""


def test_one_telephone_is_recognised_however_it_is_written():
    assert same_party(classify("442079460018", "", PLAN), dialable("020 7946 0018", PLAN))
    assert not same_party(classify("442079460018", "", PLAN), dialable("020 7946 0019", PLAN))
    assert same_party(classify("10032", "", PLAN), dialable("10032", PLAN))
    assert not same_party(classify("", "", PLAN), classify("", "", PLAN))


def test_numbers_are_shown_nationally_at_home_and_internationally_abroad():
    assert display("+442079460018", "GB") == "020 7946 0018"
    assert display("+447700900018", "GB") == "07700 900018"
    assert display("+442079460018", "US") == "+44 20 7946 0018"
    assert display("10032", "GB") == "10032"


def test_the_reversed_national_digits_leave_the_country_out():
    assert reversed_national("+442079460018") == "8100649702"
    assert reversed_national("nonsense") == ""


@pytest.mark.parametrize(
    ("name", "number_raw"),
    [
        ("+49 30 23125333", "493023125333"),
        ("030 23125333", "493023125333"),
        ("+44 (0)20 7946 0018", "442079460018"),
        ("sip:442079460018@pbx.example", "442079460018"),
        ("10031", "10031"),
        ("Anonymous", ""),
        ("unknown", "442079460018"),
        ("", "442079460018"),
    ],
)
def test_a_name_that_is_the_number_once_more_is_no_name(name: str, number_raw: str) -> None:
    assert shown_name(name, number_raw) == ""


@pytest.mark.parametrize(
    ("name", "number_raw"),
    [
        ("Dana", "442079460018"),
        ("24/7", "10031"),
        ("333", "493023125333"),
        ("030 999999", "493023125333"),
        ("4711 Ltd", "4711"),
    ],
)
def test_a_name_that_tells_more_is_shown(name: str, number_raw: str) -> None:
    assert shown_name(name, number_raw) == name
