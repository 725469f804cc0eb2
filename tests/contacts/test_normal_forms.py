"""What CRMs keep in number fields, and what is read from it."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.calls.numbers import PartyKind
from cti_django.contacts.normal_forms import MAX_FORMS, NormalForm, normal_forms

LONDON = NormalForm("+442079460018")


@pytest.mark.parametrize(
    "text",
    [
        "+442079460018",
        "+44 20 7946 0018",
        "+44 (0)20 7946 0018",
        "0044 20 7946 0018",
        "020 7946 0018",
        "(020) 7946-0018",
        "020.7946.0018",
        "020/7946 0018",
        " 02079460018 ",
        "tel:+442079460018",
        "020\u00a07946\u00a00018",
        "\u202a+442079460018\u202c",
        "٠٢٠ ٧٩٤٦ ٠٠١٨",
    ],
)
def test_one_number_however_it_is_written(text: str) -> None:
    assert normal_forms(text, "GB") == [LONDON]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("020 7946 0018; 020 7946 0019", ["+442079460018", "+442079460019"]),
        ("020 7946 0018, 020 7946 0019", ["+442079460018", "+442079460019"]),
        ("020 7946 0018 / 020 7946 0019", ["+442079460018", "+442079460019"]),
        ("020 7946 0018 or 020 7946 0019", ["+442079460018", "+442079460019"]),
        ("020 7946 0018\n020 7946 0018", ["+442079460018"]),
        (["020 7946 0018", None, "", "junk", "+493012345678"], ["+442079460018", "+493012345678"]),
        ([{"number": "020 7946 0018", "type": "work"}, {"value": "+493012345678"}], ["+442079460018", "+493012345678"]),
        ({"phone": ["020 7946 0018"]}, ["+442079460018"]),
        (442079460018, ["+442079460018"]),
        (phonenumbers.parse("+442079460018"), ["+442079460018"]),
        (None, []),
        ("", []),
        (True, []),
        (1.5, []),
        (object(), []),
        ("call me", []),
        ("Alice1234567", []),
        ("999", []),
        ("anonymous", []),
        ([[[["020 7946 0018"]]]], []),
    ],
)
def test_values_of_all_shapes(value: object, expected: list[str]) -> None:
    assert [form.number for form in normal_forms(value, "GB")] == expected


@pytest.mark.parametrize(
    "text", ["020 7946 0018 x12", "020 7946 0018 ext. 12", "020 7946 0018, ext 12", "+442079460018;ext=12"]
)
def test_an_extension_behind_a_number_is_kept_apart(text: str) -> None:
    assert normal_forms(text, "GB") == [NormalForm("+442079460018", "12")]


def test_a_phonenumbers_object_keeps_its_extension_and_an_unreadable_one_its_text() -> None:
    assert normal_forms(phonenumbers.parse("+442079460018 ext 12")) == [NormalForm("+442079460018", "12")]
    assert normal_forms(phonenumbers.PhoneNumber(raw_input="020 7946 0018"), "GB") == [LONDON]


def test_a_short_number_is_an_extension_and_never_a_number_abroad() -> None:
    (form,) = normal_forms("201", "GB")
    assert (form.number, form.extension, form.kind) == ("", "201", PartyKind.EXTENSION)


def test_without_a_region_only_international_numbers_are_read() -> None:
    assert normal_forms("020 7946 0018") == []
    assert normal_forms("+44 20 7946 0018") == [LONDON]


def test_a_value_gives_no_more_than_so_many_numbers() -> None:
    assert len(normal_forms([f"+4420794{number:05}" for number in range(500)])) == MAX_FORMS


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(), lambda each: st.lists(each, max_size=4)))
def test_nothing_that_a_field_may_hold_raises(value: object) -> None:
    for form in normal_forms(value, "GB"):
        assert form.number or form.extension
        assert len(form.number) <= 20
        assert len(form.extension) <= 20
