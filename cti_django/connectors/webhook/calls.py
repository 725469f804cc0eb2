"""What the reports of one endpoint's calls add up to, in whatever order and however often they come.

Of each call only facts are kept that add up: who was rung, who has answered, that it is over. What an agent's leg of it
is follows from them anew each time, so an answer before its new call, or an end before everything, comes to the same.

    nobody has answered                      RINGING
    the agent has, or she was the only one   CONNECTED, or ON_HOLD
    somebody else has                        HANGUP, answered elsewhere
    it is over                               HANGUP, for the reason that the facts give
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary, WeakValueDictionary

from ...calls.notifications import LegNotification
from ...calls.numbers import NumberPlan, classify
from ...calls.states import CallState, Direction, EndReason
from .shapes import Report, Stage

__all__ = ["PushedCall", "PushedCalls", "leg_of"]

MAX_LIVE = 5_000  # calls of one endpoint; beyond that those not heard of for longest are forgotten
MAX_ENDED = 5_000
MAX_NAMES = 100  # of one call
KEEP_ENDED = timedelta(seconds=600)  # how long a late delivery of an ended call is recognised
KEEP_SILENT = timedelta(hours=12)  # how long a call is remembered whose end was never told


@dataclass(slots=True)
class PushedCall:
    """The facts of one call. See ``Report`` for what they are."""

    provider_call_id: str
    started_at: datetime
    heard_at: datetime
    original_call_id: str = ""
    direction: Direction | None = None
    caller: str = ""
    callee: str = ""
    caller_name: str = ""
    callee_name: str = ""
    names: frozenset[str] = field(default_factory=frozenset)
    user_count: int = 0
    answerers: frozenset[str] = field(default_factory=frozenset)
    answering: frozenset[str] = field(default_factory=frozenset)
    is_answered: bool = False
    held_at: datetime | None = None
    resumed_at: datetime | None = None
    ended_at: datetime | None = None
    cause: str = ""
    heirs: frozenset[str] = field(default_factory=frozenset)  # who was offered the call that this one became

    @property
    def is_held(self) -> bool:
        """Whether the newest word is that it was put on hold."""
        return self.held_at is not None and (self.resumed_at is None or self.held_at > self.resumed_at)

    def add(self, report: Report, at: datetime) -> None:
        """Add what `report`, received at `at`, tells."""
        self.started_at, self.heard_at = min(self.started_at, at), max(self.heard_at, at)
        for name in ("original_call_id", "direction", "caller", "callee", "caller_name", "callee_name", "cause"):
            if not getattr(self, name):
                setattr(self, name, getattr(report, name))
        if len(self.names) < MAX_NAMES:
            self.names |= report.names
            self.answerers |= report.answerers
            self.answering |= report.answering
        self.user_count = max(self.user_count, report.user_count)
        match report.stage:
            case Stage.ANSWERED:
                self.is_answered = True
            case Stage.HELD:
                self.is_answered, self.held_at = True, max(self.held_at or at, at)
            case Stage.RESUMED:
                self.is_answered, self.resumed_at = True, max(self.resumed_at or at, at)
            case Stage.ENDED:
                self.ended_at = min(self.ended_at or at, at)


class PushedCalls:
    """The calls of one endpoint, as far as they are remembered: one for all the connectors of an event loop."""

    _shared: "WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, PushedCalls]]" = WeakKeyDictionary()

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        # Each with those not heard of for longest first.
        self._live: dict[str, PushedCall] = {}
        self._ended: dict[str, PushedCall] = {}
        self._newest: datetime | None = None
        self._last: tuple[Report, datetime, PushedCall] | None = None

    @classmethod
    def shared(cls, endpoint: str) -> "PushedCalls":
        """Those of `endpoint` in the running loop; gone when its last connector is."""
        of_loop = cls._shared.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        found = of_loop.get(endpoint)
        if found is None:
            found = of_loop[endpoint] = cls()
        return found

    def __iter__(self) -> Iterator[PushedCall]:
        return iter([*self._ended.values(), *self._live.values()])

    def fold(self, report: Report, at: datetime) -> PushedCall:
        """Take in a report that was received at `at` (aware UTC); the call that it is about. Twice is like once."""
        if self._last is not None and self._last[0] is report and self._last[1] is at:
            return self._last[2]  # each of the endpoint's connectors brings it
        self._newest = max(self._newest or at, at)
        call = self._take(report.provider_call_id, at)
        call.add(report, at)
        self._keep(call)
        if report.original_call_id and report.original_call_id != report.provider_call_id:
            original = self._take(report.original_call_id, at)
            if len(original.heirs) < MAX_NAMES:
                original.heirs |= report.names
            self._keep(original)
        self._last = report, at, call
        return call

    def origin(self, call: PushedCall) -> str:
        """The id of the call that `call` began as, however often it was forwarded since."""
        seen = {call.provider_call_id}
        while call.original_call_id and call.original_call_id not in seen:
            seen.add(call.original_call_id)
            before = self._live.get(call.original_call_id) or self._ended.get(call.original_call_id)
            if before is None:
                return call.original_call_id
            call = before
        return call.provider_call_id

    def _take(self, provider_call_id: str, at: datetime) -> PushedCall:
        known = self._live.pop(provider_call_id, None) or self._ended.pop(provider_call_id, None)
        return known or PushedCall(provider_call_id, started_at=at, heard_at=at)

    def _keep(self, call: PushedCall) -> None:
        """Remember `call`, unless it is history, and forget what has become that."""
        is_live = call.ended_at is None
        calls, seconds, most = (self._live, KEEP_SILENT, MAX_LIVE) if is_live else (self._ended, KEEP_ENDED, MAX_ENDED)
        # A clock that was ahead once must not make history of all that has come since.
        since = min(self._newest or call.heard_at, self._clock()) - seconds
        if call.heard_at >= since:
            calls[call.provider_call_id] = call
        while calls and (len(calls) > most or next(iter(calls.values())).heard_at < since):
            del calls[next(iter(calls))]


def leg_of(call: PushedCall, origin: str, names: frozenset[str], plan: NumberPlan) -> LegNotification | None:
    """The leg of the agent who goes by `names`; None if the call is not hers, or its direction is not known yet."""
    if call.direction is None or names.isdisjoint(call.names):
        return None
    state, reason = _state(call, names)
    inbound = call.direction is Direction.INBOUND
    caller = classify(call.caller, call.caller_name, plan)
    callee = classify(call.callee, call.callee_name, plan)
    return LegNotification(
        provider_call_id=origin,
        leg_id=call.provider_call_id,
        state=state,
        direction=call.direction,
        local=callee if inbound else caller,
        remote=caller if inbound else callee,
        end_reason=reason,
        cause=_CAUSES.get(call.cause, call.cause) if state is CallState.HANGUP else "",
        started_at=call.started_at,
    )


def _state(call: PushedCall, names: frozenset[str]) -> tuple[CallState, EndReason | None]:
    is_hers = _is_hers(call, names)
    if call.ended_at is not None:
        return CallState.HANGUP, _end_reason(call, is_hers, names)
    if is_hers is None:
        return CallState.RINGING, None
    if not is_hers:
        return CallState.HANGUP, EndReason.ELSEWHERE
    return (CallState.ON_HOLD if call.is_held else CallState.CONNECTED), None


def _is_hers(call: PushedCall, names: frozenset[str]) -> bool | None:
    """Whether she is who speaks; None if nobody does, or nobody knows which of several."""
    if not (call.is_answered or call.answerers or call.answering):
        return None
    if call.direction is Direction.OUTBOUND or names & (call.answerers | call.answering):
        return True
    if call.answerers:
        return False
    if call.user_count <= 1:
        return True
    return False if call.answering else None


_UNANSWERED = {
    (Direction.INBOUND, "busy"): EndReason.BUSY,
    (Direction.INBOUND, "rejected"): EndReason.REJECTED,
    (Direction.INBOUND, "forwarded"): EndReason.TRANSFERRED,
    (Direction.OUTBOUND, "busy"): EndReason.BUSY,
    (Direction.OUTBOUND, "rejected"): EndReason.REJECTED,
    (Direction.OUTBOUND, "forwarded"): EndReason.TRANSFERRED,
}
"""All else is a call that was missed, or was not answered."""


_CAUSES = {
    "busy": "The line is busy.",
    "rejected": "The call was declined.",
    "noAnswer": "Nobody answered.",
    "notFound": "There is no such number.",
    **dict.fromkeys(("normalClearing", "cancel", "forwarded"), ""),  # the call's end says as much
}
"""The systems' words, in words for the agent; all others are shown as they were told."""


def _end_reason(call: PushedCall, is_hers: bool | None, names: frozenset[str]) -> EndReason:
    if is_hers is False:
        return EndReason.ELSEWHERE
    if is_hers is None and call.cause != "normalClearing":
        otherwise = EndReason.MISSED if call.direction is Direction.INBOUND else EndReason.NO_ANSWER
        return _UNANSWERED.get((call.direction or Direction.INBOUND, call.cause), otherwise)
    is_handed_over = call.cause == "forwarded" or bool(call.heirs - names and not call.heirs & names)
    return EndReason.TRANSFERRED if is_handed_over else EndReason.COMPLETED
