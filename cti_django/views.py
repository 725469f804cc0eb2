"""The app's own pages: where a pop leads, and the call log.

Everything is for people who are logged in and have ``cti_django.use_telephone``; a call is shown to its agent and to
those with ``cti_django.supervise_calls``, to all others there is no such call. A GET changes nothing, and no address
that these pages send a browser to comes from the browser.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth import get_permission_codename
from django.contrib.auth.decorators import login_required, permission_required
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from . import calllog
from .calls.numbers import Party, PartyKind
from .calls.states import Direction, EndReason
from .contacts import Candidate, CreationLink, creation_links, match, registered, remember, rights_from
from .models import NOTE_MAX, AgentLease, CallNote, CallRecord
from .sessions.pop import side_of

__all__ = ["call", "calls", "pop"]

PAGE = 50
"""Calls on one page of the call log."""

MAX_PAGE = 200
"""The last page that can be asked for: what is older is found by its number, or on the contact."""

TRIES = 7
"""How often the pop looks for a call that is not written yet."""

QUICK_TRIES = 2
"""How many of these follow at once: most calls are written while the page loads. The others wait a second each."""

View = Callable[..., HttpResponse]


def _for_agents(view: View) -> View:
    return never_cache(login_required(permission_required("cti_django.use_telephone", raise_exception=True)(view)))


def _visible_call(request: HttpRequest, call_id: str) -> CallRecord | None:
    """The call, if it is written and this user may see it. She cannot tell a call of others from one that is not."""
    records = CallRecord.objects.select_related("agent").filter(call_id=call_id)
    if not request.user.has_perm("cti_django.supervise_calls"):
        records = records.filter(agent=request.user)
    return records.first()


def _face(request: HttpRequest) -> str:
    return "admin" if request.GET.get("face") == "admin" else "site"


def _address(name: str, call_id: str, face: str) -> str:
    return reverse(f"cti_django:{name}", args=[call_id]) + ("?face=admin" if face == "admin" else "")


def _number_in(text: str, most: int) -> int:
    """The page or try that a query asks for: 1 for anything that is none."""
    return min(max(int(text), 1), most) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


# -- the pop ----------------------------------------------------------------------------------------------------------


@_for_agents
@require_http_methods(["GET", "HEAD", "POST"])
def pop(request: HttpRequest, call_id: str) -> HttpResponse:
    """Lead to the caller's record, or to the page that tells why there is no one record to show."""
    record = _visible_call(request, call_id)
    if record is None:
        return _wait(request) if _is_on_the_line(request.user) else _gone()
    party = _other_side(record)
    side = request.GET.get("side", "")
    if side not in ("", side_of(party)) and _attempt(request) <= TRIES:
        return _wait(request)  # a transfer whose other side is not written yet
    found = match(party, request.user.pk, rights_from(request.user))  # as of now: other processes change them too
    if found.failed:
        return _wait(request)
    if request.method == "POST":
        return _chosen(request, record, found.candidates)
    if found.kind == "one" or len(found.candidates) == 1:
        return _open(request, record, found.candidates[0])
    if found.candidates:
        choices = [(_key(candidate), candidate) for candidate in found.candidates]
        return _pop_page(request, record, "choose", choices=choices)
    if found.kind == "none":
        return _unknown(request, record)
    if found.kind == "forbidden":
        return _pop_page(request, record, "forbidden", missing=_missing_permissions(request, "view"))
    return _pop_page(request, record, found.kind)  # withheld, internal


def _is_on_the_line(user: Any) -> bool:
    """Whether this agent has a session now, so that a call of hers may be on its way into the log."""
    return AgentLease.objects.filter(agent_id=user.pk, expires_at__gt=timezone.now()).exists()


def _attempt(request: HttpRequest) -> int:
    return _number_in(request.GET.get("try", ""), TRIES + 1)


def _wait(request: HttpRequest) -> HttpResponse:
    attempt = _attempt(request)
    if attempt > TRIES:
        return _gone()
    asked = {"try": attempt + 1, "face": "admin" if _face(request) == "admin" else "", "side": request.GET.get("side")}
    again = "?" + urlencode({name: value for name, value in asked.items() if value})
    seconds = 0 if attempt <= QUICK_TRIES else 1
    context = {"again": again, "seconds": seconds, "cti_face": _face(request)}
    return render(request, "cti_django/pop_wait.html", context, status=202)


def _gone() -> HttpResponse:
    raise Http404


def _other_side(record: CallRecord) -> Party:
    inbound = record.direction == Direction.INBOUND
    kind = PartyKind(record.kind)
    return Party(
        kind=kind,
        number_raw=record.source_raw if inbound else record.destination_raw,
        name=record.source_name if inbound else record.destination_name,
        number=record.number if kind is PartyKind.NUMBER else "",
        extension=record.number if kind is PartyKind.EXTENSION else "",
    )


def _pop_page(request: HttpRequest, record: CallRecord, page: str, **context: Any) -> HttpResponse:
    face = _face(request)
    context |= {"call": record, "cti_face": face, "call_url": _address("call", record.call_id, face)}
    return render(request, f"cti_django/pop_{page}.html", context)


def _open(request: HttpRequest, record: CallRecord, candidate: Candidate) -> HttpResponse:
    url = _record_address(request, candidate)
    if not url:
        return _pop_page(request, record, "known", candidate=candidate)
    return HttpResponseRedirect(url)


def _record_address(request: HttpRequest, candidate: Candidate) -> str:
    """Where this user looks at a record, "" for nowhere: staff may fall back on the admin, and prefer it there."""
    admin_url = candidate.admin_url if request.user.is_staff else ""
    return (admin_url or candidate.url) if _face(request) == "admin" else (candidate.url or admin_url)


def _key(candidate: Candidate) -> str:
    return f"{candidate.content_type_id}:{candidate.object_id}"


def _chosen(request: HttpRequest, record: CallRecord, candidates: tuple[Candidate, ...]) -> HttpResponse:
    """The agent has said who it is: remember that for the number, and go there."""
    candidate = next((each for each in candidates if _key(each) == request.POST.get("choice")), None)
    if candidate is None:
        return HttpResponseRedirect(_address("pop", record.call_id, _face(request)))
    try:
        chosen = ContentType.objects.get_for_id(candidate.content_type_id).get_object_for_this_type(
            pk=candidate.object_id
        )
    except ObjectDoesNotExist:
        raise Http404 from None
    remember(request.user.pk, record.number, chosen)
    calllog.link_contact(record.call_id, candidate.content_type_id, candidate.object_id)
    return _open(request, record, candidate)


def _unknown(request: HttpRequest, record: CallRecord) -> HttpResponse:
    """Nobody has this number: where can somebody be created who has?"""
    rights = rights_from(request.user)
    choices = list(creation_links(record.number, rights))
    if _face(request) == "admin" and request.user.is_staff:
        choices = _admin_creation_links(record.number, rights) or choices
    if len(choices) == 1:
        return HttpResponseRedirect(choices[0].url)
    if not choices and request.user.is_staff:
        choices = _admin_creation_links(record.number, rights)
    return _pop_page(request, record, "create", choices=choices, missing=_missing_permissions(request, "add"))


def _missing_permissions(request: HttpRequest, action: str) -> list[str]:
    """What staff have to give this user ("crm.view_person"), if the user is staff; nothing is told to others."""
    if not request.user.is_staff:
        return []
    rights = rights_from(request.user)
    is_allowed = {"view": rights.may_view, "add": rights.may_add}[action]
    metas = [source.model._meta for source in registered() if not is_allowed(source.model)]
    return [f"{meta.app_label}.{get_permission_codename(action, meta)}" for meta in metas]


def _admin_creation_links(number: str, rights: Any) -> list[CreationLink]:
    """The admin's own pages that create a record; the admin fills its form from the query."""
    links = []
    for source in registered():
        meta = source.model._meta
        if not (source.fields and rights.may_add(source.model)):
            continue
        try:
            url = reverse(f"admin:{meta.app_label}_{meta.model_name}_add")
        except NoReverseMatch:
            continue
        url += "?" + urlencode({source.fields[0]: number})
        links.append(CreationLink(label=str(meta.verbose_name), model=source.model_label, url=url))
    return links


# -- the call log -----------------------------------------------------------------------------------------------------


@_for_agents
@require_safe
def calls(request: HttpRequest) -> HttpResponse:
    """The user's own calls, newest first; a supervisor may ask for everybody's."""
    may_see_all = request.user.has_perm("cti_django.supervise_calls")
    asked = {
        "direction": request.GET.get("direction", ""),
        "missed": "1" if request.GET.get("missed") else "",
        "agents": "all" if may_see_all and request.GET.get("agents") == "all" else "",
    }
    page = _number_in(request.GET.get("page", ""), MAX_PAGE)
    records = CallRecord.objects.select_related("agent").prefetch_related(
        Prefetch("notes", CallNote.objects.select_related("author").order_by("pk"))
    )
    # everybody's calls come by primary key: it is the order of the log, and the only index of the whole of it
    records = records.order_by("-pk") if asked["agents"] else records.filter(agent=request.user)
    if asked["direction"] in ("inbound", "outbound"):
        records = records.filter(direction=asked["direction"].upper())
    if asked["missed"]:
        records = records.filter(end_reason=EndReason.MISSED.value)
    found = list(records[(page - 1) * PAGE : page * PAGE + 1])  # one more tells whether there is a further page
    has_older = len(found) > PAGE and page < MAX_PAGE
    _show_contacts(request, found[:PAGE])
    context = {
        "calls": found[:PAGE],
        "may_see_all": may_see_all,
        "filters": _filters(asked, may_see_all),
        "newer_url": _query(asked, page=page - 1) if page > 1 else "",
        "older_url": _query(asked, page=page + 1) if has_older else "",
    }
    return render(request, "cti_django/calls.html", context)


def _show_contacts(request: HttpRequest, records: list[CallRecord]) -> None:
    """Give each call the contact that the templates show with it (``shown_contact``), as far as the user may see it."""
    found = calllog.contacts_of(records, rights_from(request.user))
    for record in records:
        if candidate := found.get(record.pk):
            url = _record_address(request, candidate)
            record.shown_contact = {"label": candidate.label, "detail": candidate.detail, "url": url}


def _query(asked: dict[str, str], **changes: Any) -> str:
    return "?" + urlencode({key: value for key, value in {**asked, **changes}.items() if value})


def _filters(asked: dict[str, str], may_see_all: bool) -> list[dict[str, Any]]:
    which = [
        (gettext("All"), {"direction": "", "missed": ""}),
        (gettext("Inbound"), {"direction": "inbound", "missed": ""}),
        (gettext("Outbound"), {"direction": "outbound", "missed": ""}),
        (gettext("Missed"), {"direction": "", "missed": "1"}),
    ]
    if may_see_all:
        which += [(gettext("My calls"), {"agents": ""}), (gettext("Everybody's calls"), {"agents": "all"})]
    return [
        {"label": label, "url": _query(asked, **changes), "is_current": changes.items() <= asked.items()}
        for label, changes in which
    ]


class NoteForm(forms.Form):
    """One agent's note on one call."""

    text = forms.CharField(
        label=_("Your note"), max_length=NOTE_MAX, required=False, widget=forms.Textarea(attrs={"rows": 5})
    )


@_for_agents
@require_http_methods(["GET", "HEAD", "POST"])
def call(request: HttpRequest, call_id: str) -> HttpResponse:
    """One call with everybody's notes, and a form for one's own."""
    record = _visible_call(request, call_id)
    if record is None:
        raise Http404
    face = _face(request)
    notes = list(record.notes.select_related("author").order_by("pk"))
    own = next((note.text for note in notes if note.author_id == request.user.pk), "")
    form = NoteForm(request.POST if request.method == "POST" else None, initial={"text": own})
    if request.method == "POST" and form.is_valid():
        calllog.save_note(record.call_id, request.user.pk, form.cleaned_data["text"])
        return HttpResponseRedirect(_address("call", record.call_id, face))
    _show_contacts(request, [record])
    context = {
        "call": record,
        "cti_face": face,
        "form": form,
        "others_notes": [note for note in notes if note.author_id != request.user.pk],
        "pop_url": _address("pop", record.call_id, face),
    }
    return render(request, "cti_django/call.html", context)
