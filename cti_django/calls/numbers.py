"""From what a telephone system sent, or a person typed, to a party that can be matched, shown and dialled.

Classify first, parse after: ``phonenumbers`` turns "Alice1234567" into +441234567 and the extension "201" into
+44201 without an error, so nothing reaches it that is not plainly a telephone number.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import phonenumbers

from ..exceptions import InvalidNumber

__all__ = [
    "DEFAULT_NUMBER_PLAN",
    "NumberPlan",
    "Party",
    "PartyKind",
    "classify",
    "dialable",
    "digits_to_dial",
    "display",
    "is_another",
    "read_number",
    "reversed_national",
    "same_party",
    "shown_name",
]

_TELLING_DIGITS = 6  # so many digits at the end of a number name nobody else
MAX_RAW = 128  # characters of an identity or a display name that are kept


class PartyKind(StrEnum):
    """What kind of thing a caller's identity is."""

    NUMBER = "number"
    EXTENSION = "extension"
    WITHHELD = "withheld"
    UNAVAILABLE = "unavailable"
    ALPHANUMERIC = "alphanumeric"
    SIP_URI = "sip-uri"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One side of a call.

    Args:
        kind: what the identity is.
        number_raw: the identity as the telephone system wrote it, capped, without control characters.
        name: the display name, capped, without control characters; hostile all the same: escape it on output.
        number: E.164 ("+442079460018"), "" unless kind is NUMBER.
        extension: "10031", "" unless kind is EXTENSION.
    """

    kind: PartyKind
    number_raw: str = ""
    name: str = ""
    number: str = ""
    extension: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPlan:
    """How one telephone system writes numbers, and where its agents are.

    Args:
        region: ISO 3166 region that national numbers belong to ("GB"); "" if there is none.
        delivers: "international" if the system writes caller numbers with the country code, with or without '+'
            ("442079460018"); "national" if as dialled in `region`.
        extension_pattern: regular expression that a whole extension matches.
    """

    region: str = ""
    delivers: str = "international"
    extension_pattern: str = r"[1-9][0-9]{1,4}"


DEFAULT_NUMBER_PLAN = NumberPlan()

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_WITHHELD = frozenset({"anonymous", "withheld", "private", "restricted", "blocked", "hidden", "no caller id", "clir"})
_UNAVAILABLE = frozenset(
    {"", "unavailable", "unknown", "out of area", "null", "none", "s", "asterisk", "invalid", "not available"}
)
_NUMBERISH = re.compile(r"\+?[\d\s().\-/\u00a0\u2010-\u2015\u2212\u00b7]+")
_SCHEME = re.compile(r"(?i)(sips?|tel):")


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)[:MAX_RAW].strip()


@lru_cache(maxsize=4096)
def classify(number_raw: str, name: str = "", plan: NumberPlan = DEFAULT_NUMBER_PLAN) -> Party:
    """Tell who a telephone system means by `number_raw` (a number, an extension, a SIP or tel URI, a word).

    Never raises: whatever it is, it is some kind of party.
    """
    raw, name = _clean(number_raw), _clean(name)
    identity, is_sip = _identity(raw)
    party = Party(kind=PartyKind.UNAVAILABLE, number_raw=identity if not is_sip or identity else raw, name=name)
    word = identity.lower()
    if word in _WITHHELD or word.startswith("anonymous"):
        return replace(party, kind=PartyKind.WITHHELD)
    if word in _UNAVAILABLE:
        withheld = name.lower() in _WITHHELD
        return replace(party, kind=PartyKind.WITHHELD if withheld else PartyKind.UNAVAILABLE)
    if not _NUMBERISH.fullmatch(identity):
        return replace(party, kind=PartyKind.SIP_URI if is_sip or "@" in identity else PartyKind.ALPHANUMERIC)
    digits = _digits(identity)
    if not identity.startswith("+"):
        if _is_emergency(digits, plan.region):
            return replace(party, kind=PartyKind.EMERGENCY)
        if re.fullmatch(plan.extension_pattern, digits):
            return replace(party, kind=PartyKind.EXTENSION, extension=digits)
    number = _parse_delivered(identity, digits, plan)
    if number:
        return replace(party, kind=PartyKind.NUMBER, number=number)
    if digits and len(digits) <= 6:  # a short code, or an extension outside the pattern
        return replace(party, kind=PartyKind.EXTENSION, extension=digits)
    return replace(party, kind=PartyKind.ALPHANUMERIC if digits else PartyKind.UNAVAILABLE)


def _identity(raw: str) -> tuple[str, bool]:
    """The user part of a URI, or the text itself; and whether it was a SIP URI."""
    scheme = _SCHEME.match(raw)
    if scheme is None:
        return raw, False
    rest = raw[scheme.end() :]
    is_sip = scheme[1].lower() != "tel"
    user, at, _host = rest.partition("@")
    if is_sip and not at:
        return "", True  # a domain alone names nobody
    return user.partition(";")[0].strip(), is_sip


def _digits(text: str) -> str:
    """The decimal digits of `text`, in ASCII, whatever script they were written in."""
    return "".join(str(unicodedata.decimal(char)) for char in text if char.isdecimal())


def _is_emergency(digits: str, region: str) -> bool:
    return bool(region) and len(digits) <= 6 and phonenumbers.is_emergency_number(digits, region)


def _parse_delivered(identity: str, digits: str, plan: NumberPlan) -> str:
    if plan.delivers == "international" and not identity.startswith("+"):
        if digits.startswith("00"):
            return _parse("+" + digits[2:], None)
        if not digits.startswith("0"):
            return _parse("+" + digits, None) or _parse(digits, plan.region)
    return _parse(identity, plan.region)


def _parse(text: str, region: str | None) -> str:
    """E.164, or "" if `text` is no possible number."""
    try:
        parsed = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(parsed):
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=4096)
def read_number(text: str, region: str = "") -> str:
    """E.164 for a number that a person wrote down ("020 7946 0018", "+44 (0)20 ..."), "" if it is none.

    Args:
        text: anything; letters make it no number, except an extension behind it ("x12"), which is dropped.
        region: where it was written down, for numbers without a country code.
    """
    text = re.sub(r"(?i)\s*(?:;ext=|ext\.?|x|#)\s*\d{1,7}$", "", _clean(text)).removeprefix("tel:")
    if not _NUMBERISH.fullmatch(text):
        return ""
    return _parse(text, region)


def dialable(text: str, plan: NumberPlan = DEFAULT_NUMBER_PLAN) -> Party:
    """Whom to dial for `text`, which a person typed or a page shows.

    Raises:
        InvalidNumber: nobody can be dialled with that.
    """
    if _CONTROL.search(text):
        raise InvalidNumber("That number holds characters that cannot be dialled.")
    typed = text.strip()
    if len(typed) > MAX_RAW or not _NUMBERISH.fullmatch(typed.removeprefix("tel:")):
        raise InvalidNumber("That is not a number that can be dialled.")
    digits = _digits(typed)
    if not typed.startswith("+"):
        if _is_emergency(digits, plan.region):
            return Party(kind=PartyKind.EMERGENCY, number_raw=digits)
        if re.fullmatch(plan.extension_pattern, digits):
            return Party(kind=PartyKind.EXTENSION, number_raw=digits, extension=digits)
    number = read_number(typed, plan.region)
    if not number and plan.delivers == "international" and not digits.startswith("0"):
        number = _parse("+" + digits, None)
    if not number:
        raise InvalidNumber("That number is incomplete, or its country code is missing.")
    return Party(kind=PartyKind.NUMBER, number_raw=number, number=number)


def digits_to_dial(party: Party) -> str:
    """Digits without '+' for a party from ``dialable``: "442079460018", "10032"."""
    return (party.extension or party.number or party.number_raw).removeprefix("+")


def same_party(one: Party, other: Party) -> bool:
    """Whether two parties are one telephone, however each was written."""
    if one.number and other.number:
        return one.number == other.number
    if one.extension and other.extension:
        return one.extension == other.extension
    tail, other_tail = _digits(one.number_raw)[-9:], _digits(other.number_raw)[-9:]
    return bool(tail) and tail == other_tail


def is_another(one: Party, other: Party) -> bool:
    """Whether `other` is somebody else than `one`, as far as can be told: two that hide are not."""
    return one != other and not same_party(one, other)


def shown_name(name: str, number_raw: str) -> str:
    """A display name, if it tells more than the number beside it; "" for the number once more, or for "Anonymous".

    Args:
        name: what a telephone system calls somebody.
        number_raw: that party's number, in any form; "" if it is not known.
    """
    name = _clean(name)
    if name.lower() in _WITHHELD | _UNAVAILABLE:
        return ""
    identity, _is_sip = _identity(name)
    if name == number_raw:
        return ""
    if not _NUMBERISH.fullmatch(identity):
        return name
    digits, own = _digits(identity).lstrip("0"), _digits(number_raw)
    is_same = own.endswith(digits) if len(digits) >= _TELLING_DIGITS else own.lstrip("0") == digits
    return "" if is_same or own[-9:] == digits[-9:] else name


def display(number: str, region: str = "") -> str:
    """A number for people: national inside `region`, international elsewhere; anything else as it is."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    # By country code: the library assigns many a real number (and every fictitious one) to no region at all.
    home = region and phonenumbers.country_code_for_region(region) == parsed.country_code
    form = phonenumbers.PhoneNumberFormat.NATIONAL if home else phonenumbers.PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(parsed, form)


def reversed_national(number: str) -> str:
    """The national digits of an E.164 number, last digit first: an index on it finds numbers by their end."""
    try:
        return phonenumbers.national_significant_number(phonenumbers.parse(number))[::-1]
    except phonenumbers.NumberParseException:
        return ""
