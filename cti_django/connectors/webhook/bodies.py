"""From the body of a request to its fields: form (both encodings) or JSON, hostile until it has been here."""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from ...exceptions import WebhookError

__all__ = ["MAX_BODY", "Fields", "read_fields", "single"]

Fields = Mapping[str, tuple[str, ...]]
"""The fields of one delivery by name, without the "[]" of a list; each has its values in order, at least one."""

MAX_BODY = 65_536  # bytes
MAX_FIELDS = 200  # names and values of a request; a real one has some twenty
MAX_VALUES = 50  # of one field: users whom a call rings
MAX_VALUE = 256  # characters

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,39})(?:\[[0-9]{0,3}\])?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BOUNDARY = re.compile(r"(?i)boundary=(?:\"([^\"\x00-\x1f]{1,70})\"|([^\s\";,]{1,70}))")
_PART_NAME = re.compile(rb"(?im)^content-disposition:[ \t]*form-data;[^\r\n]*?\bname=\"([^\"\r\n]{1,60})\"([^\r\n]*)")


def read_fields(content_type: str, body: bytes) -> dict[str, tuple[str, ...]]:
    """The fields of a request. What no name could be is left out, and so is what is neither text nor number.

    Args:
        content_type: as the header says; without one, the body's first character tells JSON from a form.

    Raises:
        WebhookError: too large, too many fields, no valid UTF-8, or nothing of that content type.
    """
    if len(body) > MAX_BODY:
        raise WebhookError("The body is too large.")
    kind = content_type.partition(";")[0].strip().lower()
    if not kind:
        kind = "application/json" if body.lstrip()[:1] == b"{" else "application/x-www-form-urlencoded"
    if kind == "application/json":
        return _collected(_from_json(body))
    if kind == "application/x-www-form-urlencoded":
        return _collected(_from_form(body))
    if kind == "multipart/form-data":
        return _collected(_from_parts(content_type, body))
    raise WebhookError("The content type must be a form or JSON.")


def _collected(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for count, (raw_name, value) in enumerate(pairs):
        if count >= MAX_FIELDS:
            raise WebhookError("There are too many fields.")
        name = _NAME.fullmatch(raw_name)
        if name is None:
            continue
        values = found.setdefault(name[1], [])
        if len(values) < MAX_VALUES:
            values.append(_UNPRINTABLE.sub("", value[: MAX_VALUE + 1]).strip()[: MAX_VALUE + 1])
    return {name: tuple(values) for name, values in found.items()}


def _from_form(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:  # no UTF-8, or too many fields
        raise WebhookError("The form cannot be read.") from None


def _from_json(body: bytes) -> Iterable[tuple[str, str]]:
    try:
        # Numbers stay the digits they are: an id must not become a float.
        found = json.loads(body.decode("utf-8"), parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise WebhookError("The JSON cannot be read.") from None
    if not isinstance(found, dict):
        raise WebhookError("The JSON must be an object.")
    for name, value in found.items():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, str):
                yield name, each


def _from_parts(content_type: str, body: bytes) -> Iterable[tuple[str, str]]:
    """The fields of ``multipart/form-data``; files are left out.

    Source: RFC 7578.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise WebhookError("The form has no boundary.")
    mark = b"--" + (boundary[1] or boundary[2]).encode("utf-8", "replace")
    parts = (b"\r\n" + body).split(b"\r\n" + mark, MAX_FIELDS + 2)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise WebhookError("The form is cut off, or has too many fields.")
    for part in parts[1:-1]:
        head, _blank, value = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head[:1000])
        if name is None or b"filename" in head[:1000].lower():
            continue
        try:
            yield name[1].decode("utf-8"), value.decode("utf-8")
        except UnicodeDecodeError:
            raise WebhookError("The form cannot be read.") from None


def single(fields: Fields, *names: str) -> str:
    """The first value of the first of these fields that has one, "" if none has.

    Raises:
        WebhookError: it is longer than MAX_VALUE.
    """
    for name in names:
        for value in fields.get(name, ()):
            if value:
                if len(value) > MAX_VALUE:
                    raise WebhookError(f"The field {name} is too long.")
                return value
    return ""
