"""Reading a connector's own settings: from Django's settings, from an account, from a command line.

A reader takes (name of the option, value as given) and gives the value as it is used, or raises ValueError with a
sentence that names the option.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Reader", "choice", "flag", "read_options", "seconds", "text", "url"]

Reader = Callable[[str, Any], Any]

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0", ""})


def read_options(kind: str, readers: Mapping[str, Reader], given: Mapping[str, Any]) -> dict[str, Any]:
    """What `given` says, read.

    Args:
        kind: what the connector is called in a sentence ("VoIPstudio").
        readers: one for each option there is.
        given: as it was written; numbers may be texts.

    Raises:
        ValueError: an unknown option, or a value that cannot be used; the sentence names it.
    """
    unknown = sorted(set(given) - set(readers))
    if unknown:
        known = ", ".join(sorted(readers))
        raise ValueError(f"The {kind} connector has no option {', '.join(unknown)}; it has {known}.")
    return {name: readers[name](name, value) for name, value in given.items()}


def seconds(low: float, high: float) -> Reader:
    """A reader of a number of seconds from `low` to `high`."""

    def read(name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not low <= number <= high:  # also turns "nan" away
            raise ValueError(f"The option {name} must be a number of seconds from {low:g} to {high:g}.")
        return number

    return read


def text(name: str, value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ValueError(f"The option {name} must be a text.")
    return value


def flag(name: str, value: Any) -> bool:
    """Read a yes or no."""
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"The option {name} must be true or false.")
    return word in _YES


def choice(*words: str) -> Reader:
    """A reader of one of `words`."""

    def read(name: str, value: Any) -> str:
        if value not in words:
            raise ValueError(f"The option {name} must be one of {', '.join(words)}.")
        return str(value)

    return read


def url(*schemes: str, placeholder: str = "") -> Reader:
    """A reader of a URL with one of `schemes`, in which `placeholder` may stand for a host that is not known yet."""

    def read(name: str, value: Any) -> str:
        address = str(value).strip()
        try:
            parts = urlsplit(address.replace(placeholder, "sip.example") if placeholder else address)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.username is None and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not address.isascii() or not address.isprintable() or " " in address:
            begins = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"The option {name} must be a URL that begins with {begins}.")
        return address

    return read
