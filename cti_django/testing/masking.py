"""Other numbers and names for real ones: the same for the same within one recording, and no way back."""

import re
import secrets
from dataclasses import replace

from ..calls.numbers import Party, PartyKind, reversed_national

__all__ = ["Mask"]

_DIGITS = re.compile(r"[0-9]+")
_ATTEMPTS = 1_000
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Mask:
    """Masks parties, nodes and ids. What was equal stays equal, what was different stays different.

    The stand-ins are random and nothing of the table is kept: who has only the recording cannot find the numbers.
    """

    def __init__(self) -> None:
        self._digits: dict[str, str] = {}
        self._taken: set[str] = set()
        self._words: dict[tuple[str, str], str] = {}

    def party(self, party: Party) -> Party:
        """The same kind of party, somebody else: as many digits, the country code of an E.164 number kept."""
        masked = replace(party, name=self.word("Name", party.name), number_raw=self._raw(party))
        if party.number:
            masked = replace(masked, number=self._ending(party.number, _national(party.number)))
        if party.extension:
            masked = replace(masked, extension=self.digits(party.extension))
        return masked

    def _raw(self, party: Party) -> str:
        raw = party.number_raw
        if party.kind in (PartyKind.WITHHELD, PartyKind.UNAVAILABLE):
            return ""
        digits = "".join(_DIGITS.findall(raw))
        if not re.fullmatch(r"[\d+() ./-]*", raw, re.ASCII):
            return f"{self.word('Address', raw)} {self.digits(digits)}".rstrip()
        national = _national(party.number) if party.number else digits
        return self._ending(digits, national) if digits.endswith(national) else self.digits(digits)

    def _ending(self, text: str, end: str) -> str:
        return text[: len(text) - len(end)] + self.digits(end)

    def digits(self, digits: str) -> str:
        """As many other digits."""
        if not digits or digits in self._digits:
            return self._digits.get(digits, "")
        for _ in range(_ATTEMPTS):  # of one or two digits there may be no others left
            other = secrets.choice("123456789") + "".join(secrets.choice("0123456789") for _ in digits[1:])
            if other != digits and other not in self._taken:
                break
        self._taken.add(other)
        self._digits[digits] = other
        return other

    def node(self, node: str) -> str:
        """ "user:10032" with another number."""
        return _DIGITS.sub(lambda found: self.digits(found[0]), node)

    def word(self, kind: str, text: str) -> str:
        """ "Name A", "Name B" ... for texts; "" stays ""."""
        if not text:
            return ""
        number = sum(each == kind for each, _ in self._words)
        return self._words.setdefault((kind, text), f"{kind} {_lettered(number)}")


def _national(number: str) -> str:
    return reversed_national(number)[::-1] or number.removeprefix("+")


def _lettered(number: int) -> str:
    """A ... Z, BA, BB ...: no digit, so that nothing in a masked recording looks like a number."""
    rest, last = divmod(number, len(_LETTERS))
    return (_lettered(rest) if rest else "") + _LETTERS[last]
