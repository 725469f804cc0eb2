"""Whom the switch can call, who may call it, and its way of saying no."""

import re
from collections.abc import Container

from ..exceptions import CTIError
from .legs import ANONYMOUS, Party

__all__ = ["Refused", "check_dialled", "outside_party"]

_EXTENSION = re.compile(r"[1-9][0-9]{3,4}")
_NUMBER = re.compile(r"[1-9][0-9]{5,15}")
_WITHHELD = frozenset({"", "withheld", "anonymous", "private"})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 cannot carry most of them
MAX_NAME = 200


class Refused(CTIError):
    """The switch does not do that.

    Args:
        field: the request's field that is to blame, "" if none is.
    """

    code = "refused"

    def __init__(self, message: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


def check_dialled(own: str, to: str, extensions: Container[str]) -> None:
    """Refuse what extension `own` cannot call: itself, an extension that nobody has, anything but plain digits."""
    if to == own:
        raise Refused("You are unable to call yourself.", field="to", code="invalid")
    if not (_EXTENSION.fullmatch(to) or _NUMBER.fullmatch(to)):
        raise Refused("This number has an invalid format.", field="to", code="invalid")
    if _EXTENSION.fullmatch(to) and to not in extensions:
        raise Refused("There is no such extension.", field="to", code="invalid")


def outside_party(number: str, name: str) -> Party:
    """Who calls from outside; "" and "withheld" are anonymous, anything else is shown as it is."""
    number = _UNPRINTABLE.sub("", number)[:MAX_NAME].strip()
    if number.lower() in _WITHHELD:
        return ANONYMOUS
    return Party(number.removeprefix("+"), _UNPRINTABLE.sub("", name)[:MAX_NAME])
