"""From whatever a CRM keeps in a number field to the normal forms that callers are compared with.

People write two numbers into one field, forms keep lists in JSON, some fields give ``phonenumbers`` objects. All of
that is read here, once, when a record is saved; at a ring nothing is parsed and raw texts are never compared.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import phonenumbers

from ..calls.numbers import NumberPlan, PartyKind, classify, read_number

__all__ = ["MAX_FORMS", "NormalForm", "normal_forms"]

MAX_FORMS = 50
"""The most numbers that are read from one value."""
_MAX_TEXT = 1000
_MAX_DEPTH = 3

_SEPARATOR = re.compile(r"(?i)[;,|\n\r\t](?!\s*ext)|\s+/\s+|\s+(?:or|and|&)\s+")
_EXTENSION = re.compile(r"(?i)(?:;ext=|,?\s*(?:ext\.?|x|#))\s*(\d{1,7})$")
_KEYS = ("number", "phone", "value", "tel", "e164")


@dataclass(frozen=True, slots=True)
class NormalForm:
    """One number as it is compared.

    Args:
        number: E.164, "" for a bare extension.
        extension: digits; "" if there is none.
    """

    number: str
    extension: str = ""

    @property
    def kind(self) -> PartyKind:
        """NUMBER, or EXTENSION for a bare extension."""
        return PartyKind.NUMBER if self.number else PartyKind.EXTENSION


def normal_forms(value: Any, region: str = "") -> list[NormalForm]:
    """The numbers in `value`, in order, without repetitions; what is no number is left out.

    Args:
        value: a text (with one or several numbers), an integer, a ``phonenumbers`` object, None, or a list of
            those, or of dicts that hold one under "number", "phone", "value", "tel" or "e164".
        region: ISO 3166 region of numbers without a country code.
    """
    forms: dict[NormalForm, None] = {}
    for part in _parts(value, _MAX_DEPTH):
        form = part if isinstance(part, NormalForm) else _read(part, region)
        if form is not None:
            forms[form] = None
        if len(forms) == MAX_FORMS:
            break
    return list(forms)


def _parts(value: Any, depth: int) -> Iterator[str | NormalForm]:
    if value is None or value == "" or isinstance(value, bool):
        return
    if isinstance(value, phonenumbers.PhoneNumber):
        if value.country_code:
            e164 = phonenumbers.format_number(value, phonenumbers.PhoneNumberFormat.E164)
            yield NormalForm(read_number(e164), (value.extension or "")[:7])
        elif raw := value.raw_input:  # PhoneNumberField's way to keep what it could not read
            yield from _parts(str(raw), depth)
    elif isinstance(value, str | int):
        yield from (part.strip() for part in _SEPARATOR.split(str(value)[:_MAX_TEXT]))
    elif depth == 0:
        return
    elif isinstance(value, Mapping):
        for key in _KEYS:
            yield from _parts(value.get(key), depth - 1)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _parts(each, depth - 1)


def _read(text: str, region: str) -> NormalForm | None:
    # A short number is an extension, whatever a parser would make of it; a person wrote it, so it is national.
    party = classify(text, plan=NumberPlan(region=region, delivers="national"))
    match party.kind:
        case PartyKind.NUMBER:
            return NormalForm(party.number)
        case PartyKind.EXTENSION:
            return NormalForm("", party.extension)
        case PartyKind.EMERGENCY:
            return None
    extension = _EXTENSION.search(text)
    number = read_number(text[: extension.start()] if extension else text, region)
    return NormalForm(number, extension[1] if extension else "") if number else None
