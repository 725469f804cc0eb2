"""The board: notifications in, events out, one id for each call.

Notifications may be repeated, late, out of order, or missing; a call may have several legs (a desk phone and a mobile
that ring together); a click-to-call is announced before the telephone system has a name for it. The board makes one
call of all that: its state is the best of its legs' states, it only moves forward through ``states.may_become``, and
once it is over it stays over.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from .events import Call, CallEvent, Event, EventName, SessionEvent
from .notifications import DialNotification, DialStage, LegNotification, Notification, SessionNotification, Snapshot
from .numbers import Party, PartyKind, same_party
from .states import CallState, Direction, EndReason, may_become

__all__ = ["CallBoard"]

LATE = timedelta(seconds=2)
"""A leg that first shows up this soon after its call ended is an old notification, not a new call."""
STALE = timedelta(seconds=10)
"""A system that uses its ids again may go on listing an ended call as connected for this long."""
KEEP_ENDED = timedelta(seconds=120)
"""How long an ended call is remembered, so that late notifications and re-listings do not revive it."""
PATIENCE = {CallState.INITIAL: timedelta(seconds=180), CallState.ACCEPTED: timedelta(seconds=30)}
"""How long a click-to-call may go without any leg before it is given up."""
MAX_CALLS = 500
MAX_LEGS = 50

_RANK = {CallState.HANGUP: 0, None: 1, CallState.RINGING: 2, CallState.ON_HOLD: 3, CallState.CONNECTED: 4}


@dataclass(slots=True)
class _Entry:
    """One call and what is known of its legs; `call` is None while its legs have shown nothing yet."""

    key: tuple[str, str]  # (node, provider_call_id)
    call: Call | None = None
    legs: dict[str, CallState | None] = field(default_factory=dict)
    expected_end: EndReason | None = None
    last: LegNotification | None = None  # of a leg whose id may come back

    @property
    def ended(self) -> bool:
        return self.call is not None and self.call.state.is_final

    @property
    def awaits_leg(self) -> bool:
        """A click-to-call that the telephone system has not named yet."""
        return self.call is not None and bool(self.call.command_id) and not self.legs and not self.ended

    def best_leg(self) -> str:
        return max(self.legs, key=lambda leg_id: _RANK[self.legs[leg_id]])


class CallBoard:
    """All calls of one agent's session.

    Args:
        new_id: gives a fresh call_id.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._by_call_id: dict[str, _Entry] = {}
        self._dials: dict[str, _Entry] = {}  # by command_id
        self._ended: deque[_Entry] = deque()  # in the order in which they ended

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

        The next Snapshot says which of them still live.
        """
        for call in calls:
            if not call.leg_id:  # a click-to-call without a dialog yet
                call = replace(call, command_id=call.command_id or call.call_id)
            entry = _Entry(key=(call.node, call.provider_call_id or f"dial {call.command_id}"), call=call)
            if call.leg_id:
                entry.legs[call.leg_id] = call.state if call.state in _RANK else None
            else:
                self._dials[call.command_id] = entry
            self._add(entry)

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
        if entry is None or entry.call is None or entry.ended or not _is_another_leg(leg, entry):
            return []
        entry.legs = dict.fromkeys(entry.legs, CallState.HANGUP)
        return [self._put(entry, _moved(entry.call, CallState.HANGUP, now, reason=EndReason.INFERRED), now)]

    def _entry_for(self, leg: LegNotification, now: datetime) -> _Entry | None:
        """The entry that `leg` belongs to, a new one if need be; None if the leg is old news."""
        key = (leg.node, leg.provider_call_id)
        entry = self._entries.get(key)
        if entry is not None and entry.ended and _is_new_ring(leg, entry, now):
            entry = None  # the same provider id rings again: a new call for the agent
        if entry is None:
            entry = self._dial_awaiting(leg)
            if entry is not None:
                entry.key = key
            elif len(self._entries) - len(self._ended) >= MAX_CALLS:
                return None
            else:
                entry = _Entry(key=key)
            self._entries[key] = entry
        return entry

    def _dial_awaiting(self, leg: LegNotification) -> _Entry | None:
        """The click-to-call that `leg` is the dialog of, if it is one."""
        if leg.node or leg.direction is not Direction.OUTBOUND or leg.state is CallState.HANGUP:
            return None
        waiting = [entry for entry in self._dials.values() if entry.awaits_leg]
        for entry in waiting:
            if entry.call and same_party(entry.call.destination, leg.remote):
                return entry
        # The system may write the number in a way of its own: with one dial accepted there is no doubt which it is.
        accepted = [entry for entry in waiting if entry.call and entry.call.state is CallState.ACCEPTED]
        return accepted[0] if len(accepted) == 1 else None

    def _settle(self, entry: _Entry, leg: LegNotification, now: datetime, *, tell_end: bool) -> list[CallEvent]:
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
        call = entry.call = _enriched(call, leg, best_leg)
        if state is None or state is call.state or not may_become(call.state, state):
            return []
        events = []
        if call.state is CallState.INITIAL and state is not CallState.HANGUP:
            # The dialog overtook the answer to the dial request: the agent must have picked up.
            call = replace(call, state=CallState.ACCEPTED)
            events.append(self._put(entry, call, now))
        reason = leg.end_reason or entry.expected_end
        events.append(self._put(entry, _moved(call, state, now, reason=reason, cause=leg.cause), now))
        return events

    def _new_call(self, leg: LegNotification, leg_id: str, state: CallState, now: datetime) -> Call:
        inbound = leg.direction is Direction.INBOUND
        call = Call(
            call_id=self._new_id(),
            provider_call_id=leg.provider_call_id,
            leg_id=leg_id,
            node=leg.node,
            state=CallState.RINGING,
            direction=leg.direction,
            source=leg.remote if inbound else leg.local,
            destination=leg.local if inbound else leg.remote,
            started_at=leg.started_at or now,
        )
        return _moved(call, state, now, reason=leg.end_reason, cause=leg.cause)

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
                call = _moved(entry.call, CallState.HANGUP, now, reason=EndReason.INFERRED)
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
            ended = _moved(call, CallState.CANCEL, now, reason=EndReason.CANCELLED, cause=dial.cause)
            return [self._put(entry, ended, now)]
        if dial.stage is DialStage.ACCEPTED:
            if dial.provider_call_id:
                self._rename(entry, ("", dial.provider_call_id))
            accepted = replace(call, state=CallState.ACCEPTED, provider_call_id=dial.provider_call_id)
            return [self._put(entry, accepted, now)]
        return []

    def _start_dial(self, dial: DialNotification, now: datetime) -> CallEvent:
        call = Call(
            call_id=self._new_id(),
            provider_call_id=dial.provider_call_id,
            leg_id="",
            state=CallState.INITIAL,
            direction=Direction.OUTBOUND,
            source=Party(kind=PartyKind.UNAVAILABLE),
            destination=dial.destination,
            command_id=dial.command_id,
            started_at=now,
        )
        entry = _Entry(key=("", dial.provider_call_id or f"dial {dial.command_id}"), call=call)
        self._dials[dial.command_id] = entry
        self._add(entry)
        return self._put(entry, call, now)

    # -- keeping order ------------------------------------------------------------------------------------------

    def _add(self, entry: _Entry) -> None:
        self._entries[entry.key] = entry
        if entry.call:
            self._by_call_id[entry.call.call_id] = entry

    def _rename(self, entry: _Entry, key: tuple[str, str]) -> None:
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
            if now - call.started_at > PATIENCE[call.state]:
                final = CallState.CANCEL if call.state is CallState.INITIAL else CallState.HANGUP
                events.append(self._put(entry, _moved(call, final, now, reason=EndReason.INFERRED), now))
        return events

    def _put(self, entry: _Entry, call: Call, now: datetime) -> CallEvent:
        """Give an entry its call in a new state, note it among the ended ones if it is over; the event of that."""
        entry.call = call
        if call.state.is_final:
            self._ended.append(entry)
        return CallEvent(name=EventName(call.state.value), call=call, at=now)

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


def _is_new_ring(leg: LegNotification, entry: _Entry, now: datetime) -> bool:
    ended_at = entry.call.ended_at if entry.call else None
    if leg.state is CallState.HANGUP or ended_at is None:
        return False
    if leg.leg_id in entry.legs and not leg.reuses_ids:
        return False
    if leg.started_at is not None and leg.started_at >= ended_at.replace(microsecond=0):
        return True
    if leg.leg_id in entry.legs:
        return leg.state in (None, CallState.RINGING) or _is_other_party(leg, entry) or now - ended_at > STALE
    return now - ended_at > LATE


def _is_another_leg(leg: LegNotification, entry: _Entry) -> bool:
    """Whether `leg` cannot be what its living namesake in `entry` was before."""
    if not leg.reuses_ids or leg.leg_id not in entry.legs or leg.state is CallState.HANGUP:
        return False
    was_answered = entry.legs[leg.leg_id] in (CallState.CONNECTED, CallState.ON_HOLD)
    return (was_answered and leg.state is CallState.RINGING) or _is_other_party(leg, entry)


def _is_other_party(leg: LegNotification, entry: _Entry) -> bool:
    if entry.last is None:
        return False
    before, after = entry.last.remote, leg.remote
    are_known = all(party.number or party.extension for party in (before, after))
    turned = leg.state is not None and leg.direction is not entry.last.direction
    return turned or (are_known and not same_party(before, after))


def _moved(call: Call, state: CallState, now: datetime, *, reason: EndReason | None = None, cause: str = "") -> Call:
    """`call` in `state`, with the times and the end reason that go with it."""
    if not state.is_final:
        connected_at = now if state is CallState.CONNECTED and call.connected_at is None else call.connected_at
        return replace(call, state=state, connected_at=connected_at)
    if reason is None:
        if call.connected_at or call.state in (CallState.CONNECTED, CallState.ON_HOLD):
            reason = EndReason.COMPLETED
        else:
            reason = EndReason.MISSED if call.direction is Direction.INBOUND else EndReason.NO_ANSWER
    return replace(call, state=state, ended_at=now, end_reason=reason, cause=cause)


def _enriched(call: Call, leg: LegNotification, best_leg: str) -> Call:
    """`call` with what `leg` knows better; what is known is never unlearnt."""
    inbound = call.direction is Direction.INBOUND
    source, destination = (leg.remote, leg.local) if inbound else (leg.local, leg.remote)
    new_source, new_destination = _better(call.source, source), _better(call.destination, destination)
    provider_call_id = call.provider_call_id or leg.provider_call_id
    known = (call.source, call.destination, call.leg_id, call.provider_call_id)
    if known == (new_source, new_destination, best_leg, provider_call_id):
        return call
    return replace(
        call, source=new_source, destination=new_destination, leg_id=best_leg, provider_call_id=provider_call_id
    )


def _better(known: Party, told: Party) -> Party:
    if known.kind is PartyKind.UNAVAILABLE and told.kind is not PartyKind.UNAVAILABLE:
        return told
    if told.name and not known.name and same_party(known, told):
        return replace(known, name=told.name)
    return known


def _session_event(said: SessionNotification, now: datetime) -> SessionEvent:
    return SessionEvent(
        name=EventName(said.name), at=now, message=said.message, code=said.code, nonce=said.nonce, uri=said.uri
    )
