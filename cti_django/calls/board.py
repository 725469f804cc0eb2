"""The board: notifications in, events out, one id for each call.

Notifications may be repeated, late, out of order, or missing; a call may have several legs (a desk phone and a mobile
that ring together); a click-to-call is announced before the telephone system has a name for it. The board makes one
call of all that: its state is the best of its legs' states, it only moves forward through ``states.may_become``, and
once it is over it stays over.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from .entry import RANK, Entry, enriched, is_another_leg, is_new_ring, is_updated, moved
from .events import Call, CallEvent, Event, EventName, SessionEvent
from .notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    Notification,
    PresenceNotification,
    SessionNotification,
    Snapshot,
)
from .numbers import Party, PartyKind, same_party
from .states import CallState, Direction, EndReason, may_become

__all__ = ["CallBoard"]

KEEP_ENDED = timedelta(seconds=120)
"""How long an ended call is remembered, so that late notifications and re-listings do not revive it."""
PATIENCE = {CallState.INITIAL: timedelta(seconds=180), CallState.ACCEPTED: timedelta(seconds=30)}
"""How long a click-to-call may go without any leg before it is given up ..."""
PATIENCE_IN_DOUBT = timedelta(seconds=35)
"""... and how long after the answer to its request was lost."""
MAX_CALLS = 500
MAX_FORMER = 100  # ended calls whose ids no other call may get
MAX_LEGS = 50
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class CallBoard:
    """All calls of one agent's session.

    Args:
        new_id: gives the call_id for a text that names a call for good: whoever hears of that call, in whatever
            process, has the same text for it. "" names nothing (the system told no start): the id must be fresh.
    """

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self._entries: dict[tuple[str, str], Entry] = {}
        self._by_call_id: dict[str, Entry] = {}
        self._dials: dict[str, Entry] = {}  # by command_id
        self._ended: deque[Entry] = deque()  # in the order in which they ended
        self._former: dict[str, str] = {}  # the text that names an ended call -> its call_id

    # -- what stands on the board -------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """The live calls, oldest first; those on watched nodes too (``call.is_own`` tells)."""
        return [entry.call for entry in self._by_call_id.values() if entry.call and not entry.ended]

    def get(self, call_id: str) -> Call | None:
        """The call with that id; an ended one for a while too."""
        entry = self._by_call_id.get(call_id)
        return entry.call if entry else None

    def oldest_ringing(self) -> Call | None:
        """The agent's own inbound call that has been ringing longest."""
        ringing = (c for c in self.calls() if c.is_own and c.state is CallState.RINGING)
        return next((c for c in ringing if c.direction is Direction.INBOUND), None)

    def expect_end(self, call_id: str, reason: EndReason | None) -> None:
        """If the call ends now without a reason given, it is for this one; None: nothing is expected (any more)."""
        entry = self._by_call_id.get(call_id)
        if entry is not None:
            entry.expected_end = reason

    def restore(self, calls: Iterable[Call]) -> None:
        """Put `calls` (from the call log, after a takeover) on the board without an event.

        The next Snapshot says which of the live ones still live. Those that are over stay so whatever is still said
        of them, and a call that begins under a provider id of theirs gets an id of its own.
        """
        by_end = sorted(calls, key=lambda call: (not call.state.is_final, call.ended_at or _LONG_AGO))
        for call in by_end:  # the live ones last: a provider id that is in use again is theirs
            if not call.leg_id and not call.state.is_final:  # a click-to-call without a dialog yet
                call = replace(call, command_id=call.command_id or call.call_id)
            entry = Entry(
                key=(call.node, call.provider_call_id or f"dial {call.command_id or call.call_id}"), call=call
            )
            if call.leg_id:
                entry.legs[call.leg_id] = call.state if call.state in RANK else None
            elif call.command_id:
                self._dials[call.command_id] = entry
            self._add(entry)
            if call.state.is_final:
                self._note_ended(entry, call)

    # -- folding ------------------------------------------------------------------------------------------------

    def fold(self, notification: Notification, now: datetime) -> list[Event]:
        """Take in one notification; return what the agent should hear of it, in order (often nothing).

        Args:
            notification: anything a connector says.
            now: aware UTC.
        """
        self._forget(now)
        events: list[Event] = []
        match notification:
            case LegNotification():
                events.extend(self._fold_leg(notification, now, live_news=True))
            case Snapshot():
                events.extend(self._fold_snapshot(notification, now))
            case DialNotification():
                events.extend(self._fold_dial(notification, now))
            case SessionNotification():
                events.append(_session_event(notification, now))
            case PresenceNotification():
                pass  # says nothing of calls
        return events

    def _fold_leg(self, leg: LegNotification, now: datetime, *, live_news: bool) -> list[CallEvent]:
        replaced = self._end_replaced(leg, now)
        entry = self._entry_for(leg, now)
        if entry is None:
            return replaced
        if leg.reuses_ids:
            entry.last = leg
        state = entry.legs.get(leg.leg_id)
        if leg.leg_id not in entry.legs:
            if len(entry.legs) >= MAX_LEGS:
                return replaced
            entry.legs[leg.leg_id] = None
        if leg.state is not None and leg.state is not state and may_become(state, leg.state):
            entry.legs[leg.leg_id] = leg.state
        if entry.ended:
            return replaced
        return [*replaced, *self._settle(entry, leg, now, tell_end=live_news)]

    def _end_replaced(self, leg: LegNotification, now: datetime) -> list[CallEvent]:
        """End the call whose leg id `leg` has taken over for another call, while nobody listened."""
        entry = self._entries.get((leg.node, leg.provider_call_id))
        if entry is None or entry.call is None or entry.ended or not is_another_leg(leg, entry):
            return []
        entry.legs = dict.fromkeys(entry.legs, CallState.HANGUP)
        return [self._put(entry, moved(entry.call, CallState.HANGUP, now, reason=EndReason.INFERRED), now)]

    def _entry_for(self, leg: LegNotification, now: datetime) -> Entry | None:
        """The entry that `leg` belongs to, a new one if need be; None if the leg is old news."""
        key = (leg.node, leg.provider_call_id)
        entry = self._entries.get(key)
        if entry is not None and entry.ended and is_new_ring(leg, entry, now):
            entry = None  # the same provider id rings again: a new call for the agent
        if entry is None:
            entry = self._dial_awaiting(leg)
            if entry is not None:
                entry.key = key
            elif len(self._entries) - len(self._ended) >= MAX_CALLS:
                return None
            else:
                entry = Entry(key=key)
            self._entries[key] = entry
        return entry

    def _dial_awaiting(self, leg: LegNotification) -> Entry | None:
        """The click-to-call that `leg` is the dialog of, if it is one."""
        if leg.node or leg.direction is not Direction.OUTBOUND or leg.state is CallState.HANGUP:
            return None
        waiting = [entry for entry in self._dials.values() if entry.awaits_leg]
        for entry in waiting:
            if entry.call and same_party(entry.call.destination, leg.remote):
                return entry
        # The system may write the number in a way of its own: with one dial accepted there is no doubt which it is.
        accepted = [
            entry
            for entry in waiting
            if entry.call and entry.call.state is CallState.ACCEPTED and not entry.call.provider_call_id
        ]
        return accepted[0] if len(accepted) == 1 else None

    def _settle(self, entry: Entry, leg: LegNotification, now: datetime, *, tell_end: bool) -> list[CallEvent]:
        """Bring the call in line with its legs; the events of that."""
        best_leg = entry.best_leg()
        state = entry.legs[best_leg]
        call = entry.call
        if call is None:
            if state is None:
                return []
            event = self._put(entry, self._new_call(leg, best_leg, state, now), now)
            self._add(entry)
            # An end that is all we ever saw is worth telling when it is news, not when a full state lists it.
            return [event] if tell_end or not entry.ended else []
        is_late = leg.state is not entry.legs[leg.leg_id]
        before, call = call, enriched(call, leg, best_leg, is_late=is_late)
        entry.call = call
        if state is None or state is call.state or not may_become(call.state, state):
            is_news = before.provider_call_id != "" and is_updated(call, before)
            return [CallEvent(name=EventName.UPDATED, call=call, at=now)] if is_news else []
        events = []
        if call.state is CallState.INITIAL and state is not CallState.HANGUP:
            # The dialog overtook the answer to the dial request: the agent must have picked up.
            call = replace(call, state=CallState.ACCEPTED)
            events.append(self._put(entry, call, now))
        reason = leg.end_reason or entry.expected_end
        events.append(self._put(entry, moved(call, state, now, reason=reason, cause=leg.cause), now))
        return events

    def _new_call(self, leg: LegNotification, leg_id: str, state: CallState, now: datetime) -> Call:
        inbound = leg.direction is Direction.INBOUND
        call = Call(
            call_id=self._id_for(_name_of(leg.node, leg.provider_call_id, leg.started_at)),
            provider_call_id=leg.provider_call_id,
            leg_id=leg_id,
            node=leg.node,
            state=CallState.RINGING,
            direction=leg.direction,
            source=leg.remote if inbound else leg.local,
            destination=leg.local if inbound else leg.remote,
            started_at=leg.started_at or now,
        )
        return moved(call, state, now, reason=leg.end_reason, cause=leg.cause)

    def _fold_snapshot(self, snapshot: Snapshot, now: datetime) -> list[CallEvent]:
        events: list[CallEvent] = []
        living = {leg.leg_id for leg in snapshot.legs if leg.state is not CallState.HANGUP}
        for leg in snapshot.legs:
            if leg.state is not CallState.HANGUP or not leg.reuses_ids or leg.leg_id not in living:
                events.extend(self._fold_leg(leg, now, live_news=False))
        listed = {(leg.provider_call_id, leg.leg_id) for leg in snapshot.legs}
        for entry in list(self._entries.values()):
            node, provider_call_id = entry.key
            if node != snapshot.node or entry.ended:
                continue
            for leg_id in entry.legs:
                if (provider_call_id, leg_id) not in listed:
                    entry.legs[leg_id] = CallState.HANGUP
            if entry.call and all(state is CallState.HANGUP for state in entry.legs.values()) and entry.legs:
                call = moved(entry.call, CallState.HANGUP, now, reason=EndReason.INFERRED)
                events.append(self._put(entry, call, now))
        return events

    def _fold_dial(self, dial: DialNotification, now: datetime) -> list[CallEvent]:
        entry = self._dials.get(dial.command_id)
        if entry is None:
            if dial.stage is not DialStage.STARTED:
                return []
            return [self._start_dial(dial, now)]
        call = entry.call
        if call is None or call.state is not CallState.INITIAL:
            return []  # the dialog has told more than this already
        if dial.stage is DialStage.FAILED:
            ended = moved(call, CallState.CANCEL, now, reason=EndReason.CANCELLED, cause=dial.cause)
            return [self._put(entry, ended, now)]
        if dial.stage is DialStage.DOUBTFUL:
            entry.doubted_at, entry.call = now, replace(call, cause=dial.cause)
        if dial.stage is DialStage.ACCEPTED:
            if dial.provider_call_id:
                self._rename(entry, ("", dial.provider_call_id))
            accepted = replace(call, state=CallState.ACCEPTED, provider_call_id=dial.provider_call_id)
            return [self._put(entry, accepted, now)]
        return []

    def _start_dial(self, dial: DialNotification, now: datetime) -> CallEvent:
        call = Call(
            call_id=self._id_for(_name_of("dial", dial.command_id, now)),
            provider_call_id=dial.provider_call_id,
            leg_id="",
            state=CallState.INITIAL,
            direction=Direction.OUTBOUND,
            source=Party(kind=PartyKind.UNAVAILABLE),
            destination=dial.destination,
            command_id=dial.command_id,
            started_at=now,
        )
        entry = Entry(key=("", dial.provider_call_id or f"dial {dial.command_id}"), call=call)
        self._dials[dial.command_id] = entry
        self._add(entry)
        return self._put(entry, call, now)

    # -- keeping order ------------------------------------------------------------------------------------------

    def _add(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        if entry.call:
            self._by_call_id[entry.call.call_id] = entry

    def _rename(self, entry: Entry, key: tuple[str, str]) -> None:
        if key not in self._entries:
            self._entries.pop(entry.key, None)
            entry.key = key
            self._entries[key] = entry

    def give_up(self, now: datetime) -> list[Event]:
        """End the click-to-calls that began long ago and never got a dialog. To be called now and then."""
        events: list[Event] = []
        for entry in self._dials.values():
            call = entry.call
            if call is None or not entry.awaits_leg or not call.started_at:
                continue
            is_doubted = entry.doubted_at is not None and now - entry.doubted_at > PATIENCE_IN_DOUBT
            if is_doubted or now - call.started_at > PATIENCE[call.state]:
                final = CallState.CANCEL if call.state is CallState.INITIAL else CallState.HANGUP
                events.append(
                    self._put(entry, moved(call, final, now, reason=EndReason.INFERRED, cause=call.cause), now)
                )
        return events

    def _put(self, entry: Entry, call: Call, now: datetime) -> CallEvent:
        """Give an entry its call in a new state, note it among the ended ones if it is over; the event of that."""
        entry.call = call
        if call.state.is_final:
            self._note_ended(entry, call)
        return CallEvent(name=EventName(call.state.value), call=call, at=now)

    def _note_ended(self, entry: Entry, call: Call) -> None:
        self._ended.append(entry)
        self._former[_name_of(call.node, call.provider_call_id, call.started_at)] = call.call_id
        while len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    def _id_for(self, name: str) -> str:
        """The id of the call with that name: another one for a call that comes after one of the same name."""
        former = self._former.pop(name, "") if name else ""
        return self._new_id(f"{name}\nafter {former}" if former else name)

    def _forget(self, now: datetime) -> None:
        """Let go of calls that ended long ago, sooner if there are very many."""
        while self._ended:
            entry = self._ended[0]
            call = entry.call
            if call and call.ended_at and now - call.ended_at <= KEEP_ENDED and len(self._ended) < MAX_CALLS:
                return
            self._ended.popleft()
            if call:
                self._by_call_id.pop(call.call_id, None)
                self._dials.pop(call.command_id, None)
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]


def _name_of(node: str, provider_id: str, started_at: datetime | None) -> str:
    """A text that names a call for good, "" if that cannot be had without its start."""
    return f"{node}\n{provider_id}\n{int(started_at.timestamp())}" if started_at else ""


def _session_event(said: SessionNotification, now: datetime) -> SessionEvent:
    return SessionEvent(
        name=EventName(said.name), at=now, message=said.message, code=said.code, nonce=said.nonce, uri=said.uri
    )
