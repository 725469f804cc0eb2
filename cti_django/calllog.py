"""The call log: every call of every agent, written behind the call and never in its way.

``record`` puts an event into the outbox and returns; a thread with a database connection of its own writes. A call
carries all that is known of it, so of several events of one call only the newest is kept, and an outage of the
database costs the log nothing: the rows are as complete as if each event had been written at once.

What a crash left open is closed by whoever takes the session over (the provider's snapshot no longer lists the call),
or, if nobody does, by ``reap``. Neither saw the end. A takeover comes within seconds and records the snapshot's time;
``reap`` comes hours later and records the last time that the call was heard of. The end that nobody saw lies between
``heard_at`` and, after a takeover, ``ended_at``. If it turns out that a former holder did see it, its word replaces
the inferred one.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import db
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import connections, router, transaction
from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from . import metrics
from .calllog_rows import GUESSED, OPEN, call_of, write
from .calls.board import KEEP_ENDED
from .calls.events import Call, CallEvent
from .calls.numbers import display
from .calls.states import CallState, EndReason
from .conf import get_settings
from .contacts.matching import Candidate, known
from .contacts.rights import AgentRights, rights_of
from .models import NOTE_MAX, AgentLease, CallNote, CallRecord
from .outbox import BACKPRESSURE_SECONDS, BATCH, Entry, Outbox, Said, is_newer
from .threads import WORK_THREADS

__all__ = [
    "aflush",
    "asave_note",
    "calls_to_restore",
    "close_orphans",
    "contacts_of",
    "flush",
    "link_contact",
    "notes_for",
    "open_calls",
    "outbox",
    "reap",
    "recent_calls",
    "record",
    "room",
    "save_note",
]

logger = logging.getLogger(__name__)

MAX_RECENT = 50
"""The most calls that ``recent_calls`` returns."""

_BATCHES = 20  # of orphans that are closed at a time; the rest is for the next time

outbox = Outbox(write)
"""This process's outbox."""
metrics.watch("outbox_length", lambda: outbox.length)
metrics.watch("outbox_fill", lambda: outbox.fill)
metrics.watch("outbox_oldest_seconds", lambda: outbox.oldest_seconds)


# -- writing ----------------------------------------------------------------------------------------------------------


def record(agent_id: Any, event: CallEvent, connector: str = "voipstudio", fence: int = 0) -> None:
    """Note a call's new state for the log. Never waits and never raises; calls of watched nodes are not logged.

    Args:
        agent_id: the user's primary key.
        event: ``event.extra["match_object"]``, if there, is (content type id, object id) of the record that the call
            is certainly about, or None.
        connector: the name of the agent's connector.
        fence: of the lease under which the session runs; 0: there is no lease, and the event is always written.
    """
    if event.call.is_own:
        outbox.put(Entry(agent_id, event.call, event.at, connector, event.extra.get("match_object"), fence))


async def room() -> bool:
    """Wait while the outbox is full, at most 5 seconds; whether there is room. Returns at once almost always.

    For those who record, after they have told everybody else: a session that waits here reads no further news from its
    telephone system for so long.
    """
    return await outbox.room(BACKPRESSURE_SECONDS)


def flush(timeout: float = 5.0) -> bool:
    """Wait until everything recorded so far is written; False if that took longer than `timeout` seconds."""
    return outbox.flush(timeout)


async def aflush(timeout: float = 5.0) -> bool:
    """``flush``, without holding up the event loop."""
    return await asyncio.to_thread(outbox.flush, timeout)


def link_contact(call_id: str, content_type_id: int, object_id: str) -> None:
    """Note which record of the CRM a call is about, as the agent said. A later guess does not replace it."""
    outbox.write_now(call_id)
    CallRecord.objects.filter(call_id=call_id).update(content_type_id=content_type_id, object_id=object_id)


# -- notes ------------------------------------------------------------------------------------------------------------


def save_note(call_id: str, author_id: Any, text: str) -> None:
    """Keep `text` as an agent's note on a call; it replaces her former one, and an empty one removes it.

    Args:
        call_id: a call that was recorded; it need not be written yet.
        author_id: the primary key of the user who writes.
        text: what is beyond 10,000 characters is cut off.

    Raises:
        PermissionDenied: there is no such call, or it is somebody else's and the author does not supervise calls.
    """
    outbox.write_now(call_id)
    found = CallRecord.objects.filter(call_id=call_id).first()
    if found is None or (found.agent_id != author_id and not _supervises(author_id)):
        raise PermissionDenied("That is not your call.")
    text = text.replace("\x00", "").replace("\r\n", "\n")[:NOTE_MAX]
    if text.strip():
        CallNote.objects.update_or_create(call=found, author_id=author_id, defaults={"text": text})
    else:
        CallNote.objects.filter(call=found, author_id=author_id).delete()


async def asave_note(call_id: str, author_id: Any, text: str) -> None:
    """``save_note``, without holding up the event loop or Django's shared database thread."""
    await WORK_THREADS.run(save_note, call_id, author_id, text)


def notes_for(call_ids: Iterable[str], author_id: Any) -> dict[str, str]:
    """One author's notes: {call_id: text}; calls without one are missing."""
    notes = CallNote.objects.filter(call__call_id__in=list(call_ids), author_id=author_id)
    return dict(notes.values_list("call__call_id", "text"))


def _supervises(author_id: Any) -> bool:
    author = get_user_model()._default_manager.filter(pk=author_id).first()
    return author is not None and author.has_perm("cti_django.supervise_calls")


# -- takeover ---------------------------------------------------------------------------------------------------------


def open_calls(agent_id: Any) -> list[Call]:
    """The agent's calls that were live when last heard of, oldest first."""
    return [call for call in _with_news(agent_id, Q(state__in=OPEN)) if not call.state.is_final]


def calls_to_restore(agent_id: Any) -> list[Call]:
    """What the board of a new holder starts from, oldest first: the agent's open calls and those that ended just now.

    The board keeps ended calls for 120 seconds, so that late news and re-listings do not revive them. An end that only
    this log has inferred is not among them: nobody has looked whether the call is gone, and if it is not, the board
    must hear of it as of any other.

    To be called by the holder of the agent's lease, once it has claimed it: her open calls count as said under its
    fence from now on, so that what an earlier holder still says of them live is not written.
    """
    fences = AgentLease.objects.using(router.db_for_write(AgentLease)).filter(agent_id=agent_id)
    fence = fences.values_list("fence", flat=True).first() or 0
    outbox.adopt(agent_id, fence)
    _rows().filter(agent_id=agent_id, state__in=OPEN, fence__lt=fence).update(fence=fence)
    since = timezone.now() - KEEP_ENDED
    believed = since - timedelta(seconds=get_settings().believed_seconds)
    ended = Q(started_at__gte=believed, ended_at__gte=since)
    calls = _with_news(agent_id, Q(state__in=OPEN) | (ended & ~GUESSED))
    return [call for call in calls if call.ended_at is None or call.ended_at >= since]


def _with_news(agent_id: Any, which: Q) -> list[Call]:
    """The agent's calls whose rows are like that, as this process knows them now, and those that have no row yet."""
    calls = {row.call_id: call_of(row) for row in _rows().filter(which, agent_id=agent_id).order_by("started_at", "pk")}
    for call in outbox.calls(agent_id):
        written = calls.get(call.call_id)
        if written is None or is_newer(Said(written.state), Said(call.state)):
            calls[call.call_id] = call
    return list(calls.values())


def _rows() -> QuerySet[CallRecord]:
    return CallRecord.objects.using(router.db_for_write(CallRecord))


# -- orphans ----------------------------------------------------------------------------------------------------------


def reap() -> int:
    """Close the calls that no session follows and that are older than believed; return how many there were.

    To be called once a minute on ``WORK_THREADS`` by every process that runs sessions; any number of them may.
    """
    return close_orphans(get_settings().believed_seconds)


def close_orphans(older_than_seconds: float) -> int:
    """Close the open calls that began longer ago than that and that no session follows; return how many there were.

    No session follows a call if nobody holds its agent's lease, or if the present holder did not find it among the
    open calls when it began. Its end was not seen: it is inferred, at the last time that it was heard of, or that a
    session whose line was up is known to have followed it. All times are by the database's clock.
    """
    alias = router.db_for_write(CallRecord)
    closed = 0
    for _batch in range(_BATCHES):
        with transaction.atomic(using=alias):
            orphans = _orphans(older_than_seconds)
            if connections[alias].features.has_select_for_update_skip_locked:
                orphans = orphans.select_for_update(skip_locked=True)  # another process closes those
            found = list(orphans.values_list("pk", flat=True)[:BATCH])
            # The same question again: meanwhile somebody may have claimed the lease.
            closed += (
                _orphans(older_than_seconds)
                .filter(pk__in=found)
                .update(
                    state=Case(
                        When(state=CallState.INITIAL, then=Value(CallState.CANCEL)), default=Value(CallState.HANGUP)
                    ),
                    end_reason=EndReason.INFERRED,
                    ended_at=_last_heard(),
                    heard_at=_last_heard(),
                )
            )
        if len(found) < BATCH:
            break
    if closed:
        logger.warning("%d calls that no session follows were closed; nobody saw their ends.", closed)
    return closed


def _orphans(older_than_seconds: float) -> QuerySet[CallRecord]:
    held = AgentLease.objects.filter(agent_id=OuterRef("agent_id"), expires_at__gt=Now()).exclude(holder="")
    # A holder that has just claimed may not have come to ``calls_to_restore`` yet.
    newer = held.filter(fence__gt=OuterRef("fence"), since__lt=_ago(KEEP_ENDED))
    is_followed = Exists(held) & ~(Q(fence__gt=0) & Exists(newer))
    began = _ago(timedelta(seconds=older_than_seconds))
    return _rows().filter(~is_followed, state__in=OPEN, started_at__lt=began).order_by("pk")


def _last_heard() -> Greatest:
    """When a call was last heard of, or its session last renewed its lease with the line up."""
    followed = AgentLease.objects.filter(
        agent_id=OuterRef("agent_id"), fence=OuterRef("fence"), link="ready", expires_at__lt=Now()
    )
    lease_life = Value(timedelta(seconds=get_settings().lease_seconds))
    renewed = ExpressionWrapper(F("expires_at") - lease_life, output_field=DateTimeField())
    renewed_at = Subquery(followed.annotate(renewed_at=renewed).values("renewed_at")[:1])
    # Beside a NULL, databases disagree about what is the greatest.
    known = [Coalesce(each, F("started_at")) for each in (F("connected_at"), F("heard_at"), renewed_at)]
    return Greatest(F("started_at"), *known, output_field=DateTimeField())


def _ago(duration: timedelta) -> ExpressionWrapper:
    return ExpressionWrapper(Now() - Value(duration), output_field=DateTimeField())


# -- reading ----------------------------------------------------------------------------------------------------------


def recent_calls(agent_id: Any, seconds: float) -> list[dict[str, Any]]:
    """The agent's calls that began in the last `seconds` and are over, newest first, at most 50.

    Returns:
        Call objects as the socket carries them: what ``Call.to_json`` gives, and what the server knows beyond it.
    """
    since = timezone.now() - timedelta(seconds=seconds)
    rows = list(
        CallRecord.objects.filter(agent_id=agent_id, started_at__gte=since)
        .exclude(state__in=OPEN)
        .order_by("-started_at", "-pk")[:MAX_RECENT]
    )
    notes = notes_for([row.call_id for row in rows], agent_id) if rows else {}
    contacts = contacts_of(rows, rights_of(agent_id)) if rows else {}
    region = get_settings().region
    shown = []
    for row in rows:
        contact = contacts.get(row.pk)
        more = {
            "display": display(row.number, region) if row.number else "",
            "actions": [],
            "pop": None,
            "match": "one" if contact else "",
            "contacts": [contact.to_json()] if contact else [],
            "note": notes.get(row.call_id, ""),
        }
        shown.append({**call_of(row).to_json(), **more})
    return shown


def contacts_of(rows: Iterable[CallRecord], rights: AgentRights) -> dict[int, Candidate]:
    """The records that these calls are linked to, by the call's primary key, as far as `rights` let them be seen.

    One query (and one for each source with its own ``get_queryset``), whatever the number of calls.
    """
    keys = {row.pk: (row.content_type_id, row.object_id) for row in rows if row.content_type_id is not None}
    try:
        found = known(set(keys.values()), rights) if keys else {}
    except db.Error:
        raise
    except Exception:
        # A source is the project's own code; without names a list of calls is still better than none.
        logger.exception("A contact source failed for a list of calls.")
        return {}
    return {pk: found[key] for pk, key in keys.items() if key in found}
