"""The call log: every call of every agent, written behind the call and never in its way.

``record`` puts an event into the outbox and returns; a thread with a database connection of its own writes. A call
carries all that is known of it, so of several events of one call only the newest is kept, and an outage of the
database costs the log nothing: the rows are as complete as if each event had been written at once.
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
from django.utils import timezone

from .calls.events import Call, CallEvent
from .calls.numbers import Party, PartyKind, classify, display
from .calls.states import CallState, Direction, EndReason
from .conf import get_settings
from .contacts.matching import Candidate, known
from .contacts.rights import AgentRights, rights_of
from .models import NOTE_MAX, CallNote, CallRecord
from .outbox import Entry, Outbox, is_newer
from .threads import WORK_THREADS

__all__ = [
    "aflush",
    "asave_note",
    "contacts_of",
    "flush",
    "link_contact",
    "notes_for",
    "open_calls",
    "outbox",
    "recent_calls",
    "record",
    "save_note",
]

logger = logging.getLogger(__name__)

MAX_RECENT = 50
"""The most calls that ``recent_calls`` returns."""

_OPEN = [state.value for state in CallState if not state.is_final]
_KEPT = ("content_type_id", "object_id")  # what an agent's choice may have filled since
_WRITTEN = [
    field.name
    for field in CallRecord._meta.concrete_fields
    if not field.primary_key and field.name not in ("call_id", "agent", "connector")
]
_LENGTHS = {field.attname: field.max_length for field in CallRecord._meta.concrete_fields if field.max_length}


# -- writing ----------------------------------------------------------------------------------------------------------


def record(agent_id: Any, event: CallEvent, connector: str = "voipstudio") -> None:
    """Note a call's new state for the log. Never waits and never raises; calls of watched nodes are not logged.

    Args:
        agent_id: the user's primary key.
        event: ``event.extra["match_object"]``, if there, is (content type id, object id) of the record that the call
            is certainly about, or None.
        connector: the name of the agent's connector.
    """
    if event.call.is_own:
        outbox.put(Entry(agent_id, event.call, event.at, connector, event.extra.get("match_object")))


def flush(timeout: float = 5.0) -> bool:
    """Wait until everything recorded so far is written; False if that took longer than `timeout` seconds."""
    return outbox.flush(timeout)


async def aflush(timeout: float = 5.0) -> bool:
    """``flush``, without holding up the event loop."""
    return await asyncio.to_thread(outbox.flush, timeout)


def _write(entries: list[Entry]) -> None:
    """Write the newest state of some calls: one look and one statement, whatever their number."""
    alias = router.db_for_write(CallRecord)
    with transaction.atomic(using=alias):
        records = CallRecord.objects.using(alias)
        if connections[alias].features.has_select_for_update:
            records = records.select_for_update()
        present = {row.call_id: row for row in records.filter(call_id__in=[entry.call.call_id for entry in entries])}
        rows = []
        for entry in entries:
            row = present.get(entry.call.call_id)
            # Another process may have written later news, before or after a takeover.
            if row is None or is_newer(CallState(row.state), entry.call.state):
                rows.append(_row(entry, row))
            elif entry.match_object is not None and row.content_type_id is None:
                # The call is over and written; who it was with was found out later.
                row.pk, (row.content_type_id, row.object_id) = None, entry.match_object
                rows.append(row)
        targets = ["call_id"] if connections[alias].features.supports_update_conflicts_with_target else None
        CallRecord.objects.using(alias).bulk_create(
            rows, update_conflicts=True, update_fields=_WRITTEN, unique_fields=targets
        )


def _row(entry: Entry, present: CallRecord | None) -> CallRecord:
    call = entry.call
    values: dict[str, Any] = {
        "call_id": call.call_id,
        "agent_id": entry.agent_id,
        "connector": entry.connector,
        "provider_call_id": call.provider_call_id,
        "leg_id": call.leg_id,
        "command_id": call.command_id,
        "direction": call.direction.value,
        "state": call.state.value,
        "source_raw": call.source.number_raw,
        "source_name": call.source.name,
        "destination_raw": call.destination.number_raw,
        "destination_name": call.destination.name,
        "number": call.remote.number or call.remote.extension,
        "kind": call.remote.kind.value,
        "started_at": call.started_at or entry.at,
        "connected_at": call.connected_at,
        "ended_at": call.ended_at or (entry.at if call.state.is_final else None),
        "end_reason": call.end_reason.value if call.end_reason else "",
        "cause": call.cause,
    }
    if present is not None:
        values["started_at"] = present.started_at
        values["connected_at"] = call.connected_at or present.connected_at
    if present is not None and present.content_type_id is not None:
        values.update({name: getattr(present, name) for name in _KEPT})
    elif entry.match_object is not None:
        values.update(zip(_KEPT, entry.match_object, strict=True))
    for name, length in _LENGTHS.items():
        if name in values:
            values[name] = values[name].replace("\x00", "")[:length]
    return CallRecord(**values)


outbox = Outbox(_write)
"""This process's outbox."""


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


# -- reading ----------------------------------------------------------------------------------------------------------


def open_calls(agent_id: Any) -> list[Call]:
    """The agent's calls that were live when last heard of, oldest first: what a takeover starts from."""
    rows = CallRecord.objects.filter(agent_id=agent_id, state__in=_OPEN).order_by("started_at", "pk")
    calls = {row.call_id: _call(row) for row in rows}
    for call in outbox.calls(agent_id):
        written = calls.get(call.call_id)
        if written is None or is_newer(written.state, call.state):
            calls[call.call_id] = call
    return [call for call in calls.values() if not call.state.is_final]


def recent_calls(agent_id: Any, seconds: float) -> list[dict[str, Any]]:
    """The agent's calls that began in the last `seconds` and are over, newest first, at most 50.

    Returns:
        Call objects as the socket carries them: what ``Call.to_json`` gives, and what the server knows beyond it.
    """
    since = timezone.now() - timedelta(seconds=seconds)
    rows = list(
        CallRecord.objects.filter(agent_id=agent_id, started_at__gte=since)
        .exclude(state__in=_OPEN)
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
        shown.append({**_call(row).to_json(), **more})
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


def _call(row: CallRecord) -> Call:
    direction = Direction(row.direction)
    inbound = direction is Direction.INBOUND
    kind = PartyKind(row.kind)
    remote = Party(
        kind=kind,
        number_raw=row.source_raw if inbound else row.destination_raw,
        name=row.source_name if inbound else row.destination_name,
        number=row.number if kind is PartyKind.NUMBER else "",
        extension=row.number if kind is PartyKind.EXTENSION else "",
    )
    own = classify(
        row.destination_raw if inbound else row.source_raw, row.destination_name if inbound else row.source_name
    )
    return Call(
        call_id=row.call_id,
        provider_call_id=row.provider_call_id,
        leg_id=row.leg_id,
        command_id=row.command_id,
        state=CallState(row.state),
        direction=direction,
        source=remote if inbound else own,
        destination=own if inbound else remote,
        cause=row.cause,
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        started_at=row.started_at,
        connected_at=row.connected_at,
        ended_at=row.ended_at,
    )
