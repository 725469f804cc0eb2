"""The rows of the call log: what the outbox's entries make of them, and the calls that they stand for.

Every entry carries the fence under which it was said. If the agent's lease has a higher one, the entry is a former
holder's last word: it came late, from a process that was cut off from the database, or that stood still. Whatever it
saw of a call that nobody else knows is written; what it does not know to be over is not left open, for it follows that
call no more.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connections, router, transaction
from django.db.models import BooleanField, DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now

from .calls.events import Call
from .calls.numbers import Party, PartyKind, classify
from .calls.states import CallState, Direction, EndReason
from .conf import get_settings
from .models import AgentLease, CallRecord
from .outbox import Entry, Said, is_newer

__all__ = ["GUESSED", "OPEN", "call_of", "write"]

OPEN = [state.value for state in CallState if not state.is_final]
"""The states of calls that go on."""
GUESSED = Q(end_reason=EndReason.INFERRED, heard_at__gte=F("ended_at"))
"""Calls whose end this log alone has inferred: nobody has looked since they were last heard of."""

_SAME = timedelta(seconds=120)  # two holders' calls with the same other side, begun no further apart, are one
_EARLIER = timedelta(seconds=-2)  # a telephone system may tell a call's start in whole seconds
_NEW_LEASE = timedelta(seconds=120)  # for so long after a claim former holders' last words are looked for

_KEPT = ("content_type_id", "object_id")  # what an agent's choice may have filled since
_WRITTEN = [
    field.name
    for field in CallRecord._meta.concrete_fields
    if not field.primary_key and field.name not in ("call_id", "agent", "connector")
]
_LENGTHS = {field.attname: field.max_length for field in CallRecord._meta.concrete_fields if field.max_length}


@dataclass(frozen=True, slots=True)
class _Lease:
    """The present lease of an entry's agent."""

    fence: int = 0
    is_new: bool = False


def write(entries: list[Entry]) -> None:
    """Write the newest state of some calls, all or none: a few statements, whatever their number."""
    try:
        _write(entries)
    except IntegrityError:
        _write(entries)  # another process wrote one of these calls first: now its row is seen


def _write(entries: list[Entry]) -> None:
    alias = router.db_for_write(CallRecord)
    with transaction.atomic(using=alias):
        present = _present(alias, entries)
        leases = _leases(entries)
        strangers = [entry for entry in entries if entry.call.call_id not in present]
        kin = _kin(alias, strangers, leases)
        new, changed = [], []
        for entry in entries:
            row = present.get(entry.call.call_id)
            lease = leases.get(entry.agent_id, _Lease())
            if row is None and lease.is_new and entry.fence:
                row = _adopted(alias, entry, kin)
            if row is not None:
                changed += [row] if _is_changed(entry, row) else []
            elif not 0 < entry.fence < lease.fence or entry.call.state.is_final:
                new.append(_row(entry))
            elif not _known_to_a_successor(entry, kin):
                new.append(_closed(entry))
        _save(alias, new, changed)


def _save(alias: str, new: list[CallRecord], changed: list[CallRecord]) -> None:
    records = CallRecord.objects.using(alias)
    # Not an upsert: what another process has written meanwhile must be looked at, not written over.
    records.bulk_create(new)
    targets = ["call_id"] if connections[alias].features.supports_update_conflicts_with_target else None
    for row in changed:
        row.pk = None
    records.bulk_create(changed, update_conflicts=True, update_fields=_WRITTEN, unique_fields=targets)


def _present(alias: str, entries: list[Entry]) -> dict[str, CallRecord]:
    records = CallRecord.objects.using(alias)
    if connections[alias].features.has_select_for_update:
        records = records.select_for_update()
    return {row.call_id: row for row in records.filter(call_id__in=[entry.call.call_id for entry in entries])}


def _leases(entries: list[Entry]) -> dict[Any, _Lease]:
    """The leases of the agents for whom something was said under a fence."""
    agent_ids = {entry.agent_id for entry in entries if entry.fence and entry.agent_id is not None}
    if not agent_ids:
        return {}
    long_ago = ExpressionWrapper(Now() - Value(_NEW_LEASE), output_field=DateTimeField())
    rows = AgentLease.objects.using(router.db_for_write(AgentLease)).filter(agent_id__in=agent_ids)
    rows = rows.annotate(is_new=ExpressionWrapper(Q(since__gt=long_ago), output_field=BooleanField()))
    found = rows.values_list("agent_id", "fence", "is_new")
    return {agent_id: _Lease(fence, bool(is_new)) for agent_id, fence, is_new in found}


# -- one call under two ids -------------------------------------------------------------------------------------------


def _kin(alias: str, strangers: list[Entry], leases: dict[Any, _Lease]) -> dict[Any, list[CallRecord]]:
    """The rows, by agent, that may be of these calls although they bear other ids of ours.

    Two holders give a call the same id if the telephone system tells them enough of it. Of a click-to-call it does not
    while the agent's own phone rings, and some systems never do.
    """
    asked = [
        entry
        for entry in strangers
        if entry.fence and (lease := leases.get(entry.agent_id)) and (lease.is_new or entry.fence < lease.fence)
    ]
    if not asked:
        return {}
    believed = timedelta(seconds=get_settings().believed_seconds)
    last_words = [entry.fence for entry in asked if entry.fence < leases[entry.agent_id].fence]
    rows = CallRecord.objects.using(alias).filter(
        GUESSED | Q(fence__gt=min(last_words)) if last_words else GUESSED,
        Q(provider_call_id__in={entry.call.provider_call_id for entry in asked} - {""})
        | Q(number__in={_number(entry.call) for entry in asked}),
        agent_id__in={entry.agent_id for entry in asked},
        started_at__gte=min(map(_started_at, asked)) - believed,
        fence__gt=0,
    )
    kin: dict[Any, list[CallRecord]] = {}
    for row in rows:
        kin.setdefault(row.agent_id, []).append(row)
    return kin


def _known_to_a_successor(entry: Entry, kin: dict[Any, list[CallRecord]]) -> bool:
    """Whether a later holder has written this call of a former one under another id."""
    for row in kin.get(entry.agent_id, ()):
        if row.fence > entry.fence and (row.ended_at is None or row.ended_at > _started_at(entry)):
            if entry.call.provider_call_id and entry.call.provider_call_id == row.provider_call_id:
                return True
            if _may_be_same(entry.call, row) and _EARLIER <= row.started_at - _started_at(entry) <= _SAME:
                return True
    return False


def _adopted(alias: str, entry: Entry, kin: dict[Any, list[CallRecord]]) -> CallRecord | None:
    """The row that a former holder's last word of this call became, before its present holder wrote of it.

    From now on it bears the id that the present holder knows; notes on it stay.
    """
    for row in kin.get(entry.agent_id, ()):
        if 0 < row.fence < entry.fence and _is_guess(row) and _may_be_same(entry.call, row):
            is_same = entry.call.provider_call_id and entry.call.provider_call_id == row.provider_call_id
            if is_same or _EARLIER <= _started_at(entry) - row.started_at <= _SAME:
                row.call_id = entry.call.call_id
                CallRecord.objects.using(alias).filter(pk=row.pk).update(call_id=row.call_id)
                return row
    return None


def _may_be_same(call: Call, row: CallRecord) -> bool:
    """Whether they went the same way to the same other side, and the telephone system did not name them apart."""
    if call.provider_call_id and row.provider_call_id and call.provider_call_id != row.provider_call_id:
        return False
    return (call.direction, _number(call)) == (row.direction, row.number)


def _is_guess(row: CallRecord) -> bool:
    """Whether the row is one of the ``GUESSED``."""
    if row.end_reason != EndReason.INFERRED or row.heard_at is None or row.ended_at is None:
        return False
    return row.heard_at >= row.ended_at


# -- an entry and its row ---------------------------------------------------------------------------------------------


def _is_changed(entry: Entry, row: CallRecord) -> bool:
    """Bring `row` in line with what `entry` knows better; whether that changed anything."""
    if is_newer(Said(CallState(row.state), row.end_reason == EndReason.INFERRED, row.fence), entry.said):
        _fill(row, entry)
        return True
    is_changed = False
    if entry.match_object is not None and row.content_type_id is None:
        # The call is over and written; who it was with was found out later.
        row.content_type_id, row.object_id = entry.match_object
        is_changed = True
    if 0 < entry.fence < row.fence:
        # A later holder follows the call, but the former one was there when it began and when it was answered.
        before = row.started_at, row.connected_at
        row.started_at = min(row.started_at, _started_at(entry))
        row.connected_at = _earliest(row.connected_at, entry.call.connected_at)
        is_changed = is_changed or before != (row.started_at, row.connected_at)
    return is_changed


def _row(entry: Entry) -> CallRecord:
    row = CallRecord(
        call_id=entry.call.call_id[:64], agent_id=entry.agent_id, connector=entry.connector[:40], object_id=""
    )
    row.started_at = _started_at(entry)
    _fill(row, entry)
    return row


def _closed(entry: Entry) -> CallRecord:
    """The row of a call that a former holder knows as live and nobody else knows at all."""
    final = CallState.CANCEL if entry.call.state is CallState.INITIAL else CallState.HANGUP
    call = replace(entry.call, state=final, end_reason=EndReason.INFERRED, ended_at=entry.at)
    row = _row(replace(entry, call=call))
    row.heard_at = row.ended_at
    return row


def _fill(row: CallRecord, entry: Entry) -> None:
    """Let `row` say what `entry` says."""
    call = entry.call
    values: dict[str, Any] = {
        "provider_call_id": call.provider_call_id,
        "leg_id": call.leg_id,
        "command_id": call.command_id,
        "direction": call.direction.value,
        "state": call.state.value,
        "source_raw": call.source.number_raw,
        "source_name": call.source.name,
        "destination_raw": call.destination.number_raw,
        "destination_name": call.destination.name,
        "number": _number(call),
        "kind": call.remote.kind.value,
        "connected_at": _earliest(row.connected_at, call.connected_at),
        "ended_at": call.ended_at or (entry.at if call.state.is_final else None),
        "end_reason": call.end_reason.value if call.end_reason else "",
        "cause": call.cause,
        "heard_at": _heard_at(row, entry),
        "fence": max(row.fence, entry.fence),
    }
    if row.number and row.number != values["number"]:
        row.content_type_id, row.object_id = None, ""  # a transfer: she speaks with somebody else
    if row.content_type_id is None and entry.match_object is not None:
        values.update(zip(_KEPT, entry.match_object, strict=True))
    for name, value in values.items():
        length = _LENGTHS.get(name)
        setattr(row, name, value.replace("\x00", "")[:length] if length else value)


def _heard_at(row: CallRecord, entry: Entry) -> datetime:
    """When the telephone system last said something of the call. That it no longer lists it, is not of the call."""
    is_inferred = entry.call.end_reason is EndReason.INFERRED
    at = entry.call.connected_at or _started_at(entry) if is_inferred else entry.at
    return max(at, row.heard_at) if row.heard_at else at


def _started_at(entry: Entry) -> datetime:
    return entry.call.started_at or entry.at


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _number(call: Call) -> str:
    return call.remote.number or call.remote.extension


def call_of(row: CallRecord) -> Call:
    """The call that a row stands for."""
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
