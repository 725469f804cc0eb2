"""``{% load cti %}``: the call bar, click-to-call and call history in anybody's templates.

Every tag renders a small template under ``cti_django/`` that a project may override, and escapes whatever it is given.
The call bar and the call history show nothing to people without ``cti_django.use_telephone``; a number is a
``tel:`` link for everybody.
"""

import re
from functools import lru_cache
from typing import Any

from django import template
from django.db import router
from django.db.models import Model, Prefetch, Q, QuerySet
from django.template import Context
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, get_script_prefix, is_valid_path, reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from phonenumbers import PhoneNumberFormat, PhoneNumberMatch, PhoneNumberMatcher, format_number

from ..calls import numbers
from ..calls.numbers import NumberPlan, PartyKind, dialable, display, read_number
from ..calls.states import CallState
from ..conf import get_settings
from ..contacts.number_index import content_type_id
from ..contacts.sources import source_for
from ..exceptions import InvalidNumber
from ..models import CallNote, CallRecord, ContactNumber
from .bar_texts import BAR_TEXTS, LINE_TEXTS

__all__ = [
    "call_bar",
    "call_duration",
    "call_history",
    "click_to_call",
    "cti_head",
    "cti_home",
    "linkify_numbers",
    "shown_name",
]

MAX_LINKIFIED = 10_000
"""Characters of a text that are searched for numbers; what comes after them stays as it is."""

MAX_HISTORY = 200
"""The most calls that one call history shows, whatever a template asks for."""

FACES = ("site", "admin")

_OVER = [state.value for state in CallState if state.is_final]

register = template.Library()


def _user(context: Context) -> Any:
    request = context.get("request")
    return getattr(request, "user", None) or context.get("user")


def _may_telephone(context: Context) -> bool:
    user = _user(context)
    return user is not None and user.has_perm("cti_django.use_telephone")


@register.inclusion_tag("cti_django/head.html", takes_context=True)
def cti_head(context: Context) -> dict[str, Any]:
    """The stylesheet and the deferred scripts of the call bar; they go into the page's head."""
    return {"allowed": _may_telephone(context), "socket": _socket_path()}


@register.inclusion_tag("cti_django/call_bar.html", takes_context=True)
def call_bar(context: Context, face: str = "") -> dict[str, Any]:
    """The call bar itself, at the end of the page's body.

    Args:
        face: "site", or "admin" where records open as admin change pages; default: as the page itself was opened.
    """
    if not _may_telephone(context):
        return {"allowed": False}
    settings = get_settings()
    face = face or context.get("cti_face", "")
    config = {
        "socket": _socket_path(),
        "face": face if face in FACES else "site",
        "popPath": _path("cti_django:pop", "CALL").removesuffix("CALL/"),
        "callsUrl": _path("cti_django:calls"),
        "region": settings.region,
        "strings": _translations(),
    }
    return {"allowed": True, "config": config}


def _socket_path() -> str:
    return get_script_prefix().rstrip("/") + get_settings().socket_path


def _translations() -> dict[str, str]:
    """English text -> its translation, where that differs: the browser falls back to the English."""
    pairs = ((text, gettext(text)) for text in (*BAR_TEXTS, *LINE_TEXTS))
    return {text: translation for text, translation in pairs if translation != text}


def _path(name: str, *args: str) -> str:
    """The path of one of our pages; "" in a project that has left out our urls."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


@register.simple_tag
def click_to_call(number: Any, label: str = "") -> SafeString:
    """A link that calls `number`; plain text if `number` is nothing that can be dialled.

    Args:
        number: as the project keeps it: a text, or an object whose text is a number.
        label: shown instead of the number, if there is a link.
    """
    text = "" if number is None else str(number)
    to_dial, shown = _read(text, get_settings().region)
    return _link(to_dial, shown, str(label or "")) if to_dial else escape(text)


def _link(number: str, shown: str, label: str = "") -> SafeString:
    context = {"number": number, "shown": shown, "label": label}
    return mark_safe(render_to_string("cti_django/number.html", context).strip())  # noqa: S308  (the template escapes)


@lru_cache(maxsize=4096)
def _read(text: str, region: str) -> tuple[str, str]:
    """What to dial for `text` (E.164 or an extension; "" for nothing), and how to show it."""
    try:
        party = dialable(text, NumberPlan(region=region))
    except InvalidNumber:
        return read_number(text, region), text  # an extension behind the number is shown, not dialled
    if party.kind is PartyKind.NUMBER:
        return party.number, display(party.number, region)
    return party.extension, text  # an emergency number is nothing to click on by accident


@register.filter
def linkify_numbers(text: Any) -> SafeString:
    """`text`, escaped, with the telephone numbers in it turned into links that call them.

    Only numbers that exist in some country's plan and stand alone are taken; dates, prices, IDs, addresses of pages
    are not. `text` is always taken as plain text: use this filter before ``linebreaks``, never behind it.
    """
    text = "" if text is None else str(text)
    pieces, done = [], 0
    for found in PhoneNumberMatcher(text[:MAX_LINKIFIED], get_settings().region or None, max_tries=MAX_LINKIFIED):
        if not _stands_alone(text, found):
            continue
        number = format_number(found.number, PhoneNumberFormat.E164)
        pieces += [escape(text[done : found.start]), _link(number, found.raw_string)]
        done = found.end
    pieces.append(escape(text[done:]))
    return mark_safe("".join(pieces))  # noqa: S308  (each piece is escaped)


_PART_OF_MORE_BEFORE = re.compile(r"[\w@/#=&%.-]$")
_PART_OF_MORE_BEHIND = re.compile(r"[\w@/=%]|[.-]\w")


def _stands_alone(text: str, found: PhoneNumberMatch) -> bool:
    """Whether what was found is a number by itself, and not a part of an address, a file name or an ID."""
    bare = found.raw_string.isdecimal() and not found.raw_string.startswith("0")
    before, behind = text[max(found.start - 1, 0) : found.start], text[found.end : found.end + 2]
    return not (bare or _PART_OF_MORE_BEFORE.search(before) or _PART_OF_MORE_BEHIND.match(behind))


@register.inclusion_tag("cti_django/call_history.html", takes_context=True)
def call_history(context: Context, record: Model | None, limit: int = 20) -> dict[str, Any]:
    """The newest calls with `record`: those linked to it, and those with one of its numbers. Only calls that are over:
    a page does not hear how a call goes on, the call bar does.

    Three queries, however many calls there are. Shows nothing to people without ``cti_django.use_telephone``.

    Args:
        record: a record of the CRM; one that is not saved yet has no calls.
        limit: how many calls, at most MAX_HISTORY.
    """
    if record is None or record.pk is None or not _may_telephone(context):
        return {"allowed": False}
    limit = min(max(limit, 1), MAX_HISTORY)
    found = list(_calls_with(record)[: limit + 1])
    user = _user(context)
    return {
        "allowed": True,
        "calls": found[:limit],
        "is_cut": len(found) > limit,
        "user": user,
        "may_see_all": user.has_perm("cti_django.supervise_calls"),
    }


def _calls_with(record: Model) -> QuerySet[CallRecord]:
    source = source_for(type(record))
    type_id = content_type_id(source.model if source else type(record), router.db_for_read(CallRecord))
    rows = ContactNumber.objects.filter(content_type_id=type_id, object_id=str(record.pk))
    # The numbers are asked for first: inside the next query they would cost the database its index on the calls.
    numbers = [number or extension for number, extension in rows.values_list("number", "extension")]
    linked = Q(content_type_id=type_id, object_id=str(record.pk))
    calls = CallRecord.objects.filter(linked | Q(number__in=numbers) if numbers else linked)
    return (
        calls.filter(state__in=_OVER)
        .select_related("agent")
        .prefetch_related(Prefetch("notes", CallNote.objects.select_related("author").order_by("pk")))
    )


@register.simple_tag(takes_context=True)
def cti_home(context: Context) -> str:
    """The way back from the app's own pages: the root of the site, for staff in the admin its index; "" for none."""
    admin_index = _path("admin:index") if getattr(_user(context), "is_staff", False) else ""
    if context.get("cti_face") == "admin" and admin_index:
        return admin_index
    return get_script_prefix() if is_valid_path("/") else admin_index


@register.filter
def shown_name(name: str, number_raw: str) -> str:
    """A caller's name, "" if it is but the number once more, however written."""
    return numbers.shown_name(name, number_raw)


@register.filter
def call_duration(call: CallRecord) -> str:
    """How long the two talked, "3:07"; "" if they did not, or still do."""
    if call.connected_at is None or call.ended_at is None:
        return ""
    minutes, seconds = divmod(max(int((call.ended_at - call.connected_at).total_seconds()), 0), 60)
    return f"{minutes}:{seconds:02}"
