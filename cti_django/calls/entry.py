"""One call on the board: what is known of its legs, and what a leg means to it."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from .events import Call
from .notifications import LegNotification
from .numbers import Party, PartyKind, is_another, same_party
from .states import CallState, Direction, EndReason

__all__ = ["LATE", "RANK", "STALE", "Entry", "enriched", "is_another_leg", "is_new_ring", "is_updated", "moved"]

LATE = timedelta(seconds=2)
"""A leg that first shows up this soon after its call ended is an old notification, not a new call."""
STALE = timedelta(seconds=10)
"""A system that uses its ids again may go on listing an ended call as connected for this long."""

RANK: dict[CallState | None, int] = {
    CallState.HANGUP: 0,
    None: 1,
    CallState.RINGING: 2,
    CallState.ON_HOLD: 3,
    CallState.CONNECTED: 4,
}
"""Which leg speaks for the call: the one with the highest."""


@dataclass(slots=True)
class Entry:
    """One call and what is known of its legs; `call` is None while its legs have shown nothing yet."""

    key: tuple[str, str]  # (node, provider_call_id)
    call: Call | None = None
    legs: dict[str, CallState | None] = field(default_factory=dict)
    expected_end: EndReason | None = None
    last: LegNotification | None = None  # of a leg whose id may come back
    doubted_at: datetime | None = None  # since when nobody will say what became of a click-to-call

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.call is not None and self.call.state.is_final

    @property
    def awaits_leg(self) -> bool:
        """A click-to-call that the telephone system has not named yet."""
        return self.call is not None and bool(self.call.command_id) and not self.legs and not self.ended

    def best_leg(self) -> str:
        """The leg that speaks for the call."""
        return max(self.legs, key=lambda leg_id: RANK[self.legs[leg_id]])


def is_new_ring(leg: LegNotification, entry: Entry, now: datetime) -> bool:
    """Whether `leg` begins another call under the provider id of `entry`, whose call is over."""
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


def is_another_leg(leg: LegNotification, entry: Entry) -> bool:
    """Whether `leg` cannot be what its living namesake in `entry` was before."""
    if not leg.reuses_ids or leg.leg_id not in entry.legs or leg.state is CallState.HANGUP:
        return False
    was_answered = entry.legs[leg.leg_id] in (CallState.CONNECTED, CallState.ON_HOLD)
    return (was_answered and leg.state is CallState.RINGING) or _is_other_party(leg, entry)


def _is_other_party(leg: LegNotification, entry: Entry) -> bool:
    if entry.last is None:
        return False
    before, after = entry.last.remote, leg.remote
    are_known = all(party.number or party.extension for party in (before, after))
    turned = leg.state is not None and leg.direction is not entry.last.direction
    return turned or (are_known and not same_party(before, after))


def moved(call: Call, state: CallState, now: datetime, *, reason: EndReason | None = None, cause: str = "") -> Call:
    """`call` in `state`, with the times and the end reason that go with it."""
    if not state.is_final:
        connected_at = now if state is CallState.CONNECTED and call.connected_at is None else call.connected_at
        return replace(call, state=state, connected_at=connected_at)
    if reason is None:
        if call.connected_at or call.state in (CallState.CONNECTED, CallState.ON_HOLD):
            reason = EndReason.COMPLETED
        else:
            reason = EndReason.MISSED if call.direction is Direction.INBOUND else EndReason.NO_ANSWER
    return replace(call, state=state, ended_at=now, end_reason=reason, cause=cause, consult=None)


def enriched(call: Call, leg: LegNotification, best_leg: str, *, is_late: bool) -> Call:
    """`call` with what `leg` knows better; what is known is never unlearnt, unless the leg follows its remote party.

    Args:
        is_late: `leg` tells of a state that lies behind: whom the agent speaks with now, it does not know.
    """
    speaks = leg.leg_id == best_leg and not is_late
    inbound = call.direction is Direction.INBOUND
    source, destination = (leg.remote, leg.local) if inbound else (leg.local, leg.remote)
    new_source, new_destination = _better(call.source, source), _better(call.destination, destination)
    provider_call_id = call.provider_call_id or leg.provider_call_id
    if leg.follows_remote and speaks and leg.remote.kind is not PartyKind.UNAVAILABLE:
        if inbound:
            new_source = _replaced(call.source, leg.remote)
        else:
            new_destination = _replaced(call.destination, leg.remote)
    consult = leg.consult if speaks else call.consult
    known = (call.source, call.destination, call.leg_id, call.provider_call_id, call.consult)
    if known == (new_source, new_destination, best_leg, provider_call_id, consult):
        return call
    return replace(
        call,
        source=new_source,
        destination=new_destination,
        leg_id=best_leg,
        provider_call_id=provider_call_id,
        consult=consult,
    )


def is_updated(call: Call, before: Call) -> bool:
    """Whether the agent should hear of `call` although its state is that of `before`."""
    return call.consult != before.consult or is_another(before.remote, call.remote)


def _replaced(known: Party, told: Party) -> Party:
    """`told`, unless it is `known` in another spelling: then that, with the name if it had none."""
    return _better(known, told) if same_party(known, told) else told


def _better(known: Party, told: Party) -> Party:
    if known.kind is PartyKind.UNAVAILABLE and told.kind is not PartyKind.UNAVAILABLE:
        return told
    if told.name and not known.name and same_party(known, told):
        return replace(known, name=told.name)
    return known
