"""What is told of one call in several ways, joined: dialog documents, a shadow contact, and what we place ourselves.

    documents (sip_watch)   ──hear──────────────┐
    the shadow contact      ──rang, stopped─────┼──> one LegNotification stream, one leg a call
    calls placed by us      ──place, tell, ...──┘

Some servers' documents tell everything. Others have one dialog for a whole line, with no word of who is at the other
side once it is answered (Asterisk). So a call keeps what any of its sources has said, and the sources are matched by
the dialog's id, by the other side, and, where a document is bare, by there being just one call that it can mean.

Pure but for ``later``: no I/O, and the clock is handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from ...calls.notifications import LegNotification, Notification, Snapshot
from ...calls.numbers import Party, PartyKind, same_party
from ...calls.states import CallState, Direction, EndReason

__all__ = ["GRACE_SECONDS", "Joiner"]

GRACE_SECONDS = 1.5
"""How long the documents may lag behind what a shadow contact or a placed call has heard already."""
REFUSED_SECONDS = 0.5
"""How long a shadow contact may ring on when the documents say that nothing rings: its CANCEL is on the way."""
UNSEEN = "The telephone system does not tell what became of this call."

MAX_DIALOGS = 500
"""Of one line: as many as a board has calls. A server that tells of more is not believed."""

_ORDER = (None, CallState.RINGING, CallState.ON_HOLD, CallState.CONNECTED)
_UNKNOWN = Party(kind=PartyKind.UNAVAILABLE)


@dataclass(slots=True, eq=False)
class _Call:
    call_id: str
    direction: Direction
    remote: Party
    local: Party = _UNKNOWN
    state: CallState | None = None
    started_at: datetime | None = None
    dialogs: dict[str, CallState | None] = field(default_factory=dict)  # those that live, by the documents
    rings_here: bool = False  # at the shadow contact
    is_ours: bool = False  # placed by us, and we know best
    is_over: bool = False
    follows: bool = False
    consult: Party | None = None
    end: EndReason | None = None  # what the shadow contact was told


class Joiner:
    """All calls of one agent.

    Args:
        own: the agent herself, as her server writes her.
        say: hears the notifications.
        later: calls something so many seconds from now (``loop.call_later``).
        clock: the time, aware UTC.

    ``refuse`` is told the key of a call that rings at the shadow contact alone: the agent's phones have refused it.
    """

    def __init__(
        self,
        own: Party,
        say: Callable[[Notification], None],
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], datetime],
    ) -> None:
        self.refuse: Callable[[str], None] = lambda key: None
        self.is_watching = True
        """Whether documents come at all."""
        self._own = own
        self._say = say
        self._later = later
        self._clock = clock
        self._before: dict[str, _Call] = {}
        self.begin()

    def begin(self) -> None:
        """The line is new: what the documents said of it before matters only where they go on with the same dialog."""
        self._before = {name: call for name, call in getattr(self, "_by_dialog", {}).items() if not call.is_over}
        self._calls: dict[str, _Call] = {}  # those that live
        self._by_dialog: dict[str, _Call] = {}
        self._second: dict[str, _Call] = {}  # by dialog: a call that rings while the dialog's own goes on
        self._shadows: dict[str, _Call] = {}
        self._just_ended: list[_Call] = []  # of which a document may still be under way
        self._line = ""  # the dialog of a server that has one for a whole line
        self._has_state = False

    # -- documents ----------------------------------------------------------------------------------------------

    def hear(self, notification: Notification) -> None:
        """Take in what the watch says; what is not of the agent's own calls is passed on."""
        if isinstance(notification, Snapshot) and not notification.node:
            listed = {leg.leg_id for leg in notification.legs}
            for leg in notification.legs:
                self._hear_leg(leg)
            for name, call in list(self._by_dialog.items()):
                if name not in listed:
                    self._hear_end(name, call, None, "")
            self._has_state = True
            self.say_snapshot()
        elif isinstance(notification, LegNotification) and not notification.node:
            self._hear_leg(notification)
        else:
            self._say(notification)

    def say_snapshot(self) -> None:
        """Say all that lives."""
        told = (call for call in self._calls.values() if call.state is not None)
        self._say(Snapshot(legs=tuple(_leg(call) for call in told)))

    def _hear_leg(self, leg: LegNotification) -> None:
        name, call = leg.leg_id, self._by_dialog.get(leg.leg_id)
        is_bare = leg.remote.kind is PartyKind.UNAVAILABLE
        if leg.state is CallState.HANGUP:
            if is_bare:
                self._line = name
            if call is not None:
                self._hear_end(name, call, leg.end_reason, leg.cause)
            return
        if call is not None and call.is_over:
            if leg.state is not CallState.RINGING:
                return  # the dialog outlives what it was for: a phone that nobody has put down yet
            del self._by_dialog[name]
            call = None
        if call is None:
            if len(self._by_dialog) >= MAX_DIALOGS:
                return
            call = self._fitting(leg, is_bare) or self._begin_call(leg, is_bare)
            self._by_dialog[name] = call
        elif self._hear_second(leg, call):
            return
        call.dialogs[name] = leg.state
        self._learn(call, leg)
        if not call.is_ours:
            call.state = max(call.dialogs.values(), key=_ORDER.index)
            self._tell(call)

    def _hear_end(self, name: str, call: _Call, reason: EndReason | None, cause: str) -> None:
        del self._by_dialog[name]
        call.dialogs.pop(name, None)
        second = self._second.pop(name, None)
        if second is not None:
            self._end(second)
        if call.is_over or call.is_ours or call.dialogs:
            return
        if call.state not in (CallState.CONNECTED, CallState.ON_HOLD):
            reason = reason or call.end
        if call.rings_here:  # the CANCEL is on its way, and says more
            self._later(REFUSED_SECONDS, lambda: self._end_refused(call, reason, cause))
        else:
            self._end(call, reason, cause)

    def _hear_second(self, leg: LegNotification, call: _Call) -> bool:
        """A dialog that was answered rings again: another caller waits (Asterisk with notify_early_inuse_ringing)."""
        name, second = leg.leg_id, self._second.get(leg.leg_id)
        if leg.state is not CallState.RINGING:
            if second is not None:
                del self._second[name]
                if second.rings_here:
                    self._later(REFUSED_SECONDS, partial(self._end_refused, second, None, ""))
                else:
                    self._end(second, EndReason.INFERRED)  # answered or gone: the document does not say
            return False
        if call.is_ours and same_party(leg.remote, self._own):
            return False  # her own phone rings for a click-to-call, while we are busy on the line already
        if call.dialogs.get(name) not in (CallState.CONNECTED, CallState.ON_HOLD) or leg.remote == call.remote:
            return False
        if second is None:
            is_bare = leg.remote.kind is PartyKind.UNAVAILABLE  # a caller who has gone has no name any more
            if any(is_bare or same_party(each.remote, leg.remote) for each in self._just_ended):
                return True  # a document that comes late
            ringing = (each for each in self._calls.values() if each.rings_here and each is not call)
            second = next((each for each in ringing if same_party(each.remote, leg.remote)), None)
            second = second or self._add(f"{name} 2", leg.direction, leg.remote)
            self._second[name] = second
        second.state = CallState.RINGING
        self._learn(second, leg)
        self._tell(second)
        return True

    def _fitting(self, leg: LegNotification, is_bare: bool) -> _Call | None:
        """The call that is known otherwise, and that a dialog without a call of its own tells of."""
        for call in self._calls.values():
            if call.is_ours and (is_bare or same_party(leg.remote, call.remote) or same_party(leg.remote, self._own)):
                return call
        for call in self._calls.values():
            is_told = call.rings_here or call.end is not None
            if not is_told or (leg.direction is Direction.OUTBOUND and not is_bare):
                continue
            is_silent = call.remote.kind in (PartyKind.UNAVAILABLE, PartyKind.WITHHELD)
            if same_party(leg.remote, call.remote) or ((is_bare or is_silent) and not call.dialogs):
                return call
        if leg.state is CallState.RINGING:
            return next((call for call in self._just_ended if self._is_late(leg, is_bare, call)), None)
        return None

    def _is_late(self, leg: LegNotification, is_bare: bool, call: _Call) -> bool:
        if call.direction is Direction.INBOUND:
            return is_bare or same_party(leg.remote, call.remote)
        return is_bare or same_party(leg.remote, self._own)  # her own phone has rung for what she clicked

    def _begin_call(self, leg: LegNotification, is_bare: bool) -> _Call:
        before = self._before.pop(leg.leg_id, None)
        if before is not None and leg.state is not CallState.RINGING:
            call = replace(before, dialogs={}, rings_here=False, is_ours=False, consult=None, state=None)
            self._calls[call.call_id] = call
            return call
        # Who is called is told while it rings: a line that is busy all at once is one that dials.
        direction = Direction.OUTBOUND if is_bare and leg.state is not CallState.RINGING else leg.direction
        call = self._add(leg.leg_id, direction, leg.remote)
        call.started_at = leg.started_at or call.started_at
        return call

    def _learn(self, call: _Call, leg: LegNotification) -> None:
        if call.local.kind is PartyKind.UNAVAILABLE:
            call.local = leg.local
        if call.is_ours or leg.remote.kind is PartyKind.UNAVAILABLE:
            return
        if call.remote.kind is PartyKind.UNAVAILABLE:
            call.remote = leg.remote
        elif same_party(call.remote, leg.remote):
            call.remote = leg.remote if leg.remote.name and not call.remote.name else call.remote
        elif leg.state in (CallState.CONNECTED, CallState.ON_HOLD):
            call.remote, call.follows = leg.remote, True  # it was transferred

    # -- the shadow contact -------------------------------------------------------------------------------------

    def rang(self, key: str, remote: Party, local: Party) -> None:
        """The shadow contact rings: `key` is the INVITE's."""
        call = next((each for each in self._calls.values() if self._may_be(each, remote)), None)
        if call is None:
            call = self._add(self._free_line() or key, Direction.INBOUND, remote)
            call.local = local
            self._take_late_dialogs(call)
        elif call.remote.kind is PartyKind.UNAVAILABLE or (remote.name and not call.remote.name):
            call.remote = remote
        call.rings_here = True
        call.state = call.state or CallState.RINGING
        self._shadows[key] = call
        self._tell(call)

    def stopped(self, key: str, *, elsewhere: bool) -> None:
        """It rings no more: somebody has answered `elsewhere`, or the caller has given up."""
        call = self._shadows.pop(key, None)
        if call is None:
            return
        call.rings_here = False
        call.end = EndReason.ELSEWHERE if elsewhere else EndReason.MISSED
        self._remember(call)
        if not self.is_watching or not (elsewhere or call.dialogs):
            self._end_unanswered(call)
        else:  # the documents know whether it was the agent who answered
            self._later(GRACE_SECONDS, lambda: self._end_unanswered(call))

    def _may_be(self, call: _Call, remote: Party) -> bool:
        is_documented = bool(call.dialogs) or any(each is call for each in self._second.values())
        if call.is_ours or call.rings_here or not is_documented or call.direction is not Direction.INBOUND:
            return False
        is_unanswered = call.state in (None, CallState.RINGING)
        is_silent = call.remote.kind is PartyKind.UNAVAILABLE or call.remote.kind is remote.kind is PartyKind.WITHHELD
        return is_unanswered and (is_silent or same_party(call.remote, remote))

    def _take_late_dialogs(self, call: _Call) -> None:
        """A document that seemed to be late was this call's: one call may ring as soon as another has ended."""
        for name, each in self._by_dialog.items():
            if each.is_over and each.dialogs.get(name) is CallState.RINGING:
                self._by_dialog[name] = call
                call.dialogs[name] = each.dialogs.pop(name)

    def _end_unanswered(self, call: _Call) -> None:
        if call.state in (None, CallState.RINGING):
            self._end(call, call.end)

    def _end_refused(self, call: _Call, reason: EndReason | None, cause: str) -> None:
        for key in [key for key, each in self._shadows.items() if each is call and call.rings_here]:
            del self._shadows[key]
            self.refuse(key)
        call.rings_here = False
        if not call.dialogs:
            self._end(call, reason or call.end, cause)

    # -- what we place ------------------------------------------------------------------------------------------

    def place(self, key: str, remote: Party) -> str:
        """We are calling `remote` for the agent; the id that the call has from now on."""
        call = self._add(self._free_line() or key, Direction.OUTBOUND, remote)
        call.local, call.is_ours = self._own, True
        return call.call_id

    def tell(self, call_id: str, state: CallState, *, consult: Party | None = None) -> None:
        """A call that we have placed is in `state`."""
        call = self._calls.get(call_id)
        if call is not None:
            call.state, call.consult = state, consult
            self._tell(call)

    def end(self, call_id: str, reason: EndReason | None = None, cause: str = "", *, quietly: bool = False) -> None:
        """A call that we have placed is over; `quietly`: a DialNotification has said so."""
        call = self._calls.get(call_id)
        if call is None:
            return
        self._remember(call)
        if quietly:
            self._forget(call)
        else:
            self._end(call, reason, cause)

    def release(self, call_id: str) -> None:
        """The phone has taken over what we have placed: from now on the documents alone tell of it."""
        call = self._calls.get(call_id)
        if call is None:
            return
        call.is_ours = False

        def give_up() -> None:
            if not call.dialogs:
                self._end(call, EndReason.INFERRED, UNSEEN)

        self._later(GRACE_SECONDS, give_up)

    # -- small change -------------------------------------------------------------------------------------------

    def _free_line(self) -> str:
        """The id of the line's one dialog, if nothing goes on there: who takes over this session knows it by that."""
        is_taken = self._line in self._by_dialog or self._line in self._calls
        return "" if is_taken else self._line

    def _add(self, call_id: str, direction: Direction, remote: Party) -> _Call:
        call = _Call(call_id, direction, remote, started_at=self._clock() if self._has_state else None)
        self._calls[call_id] = call
        return call

    def _remember(self, call: _Call) -> None:
        ended = self._just_ended
        ended.append(call)
        self._later(GRACE_SECONDS, lambda: ended.remove(call))

    def _tell(self, call: _Call) -> None:
        if not call.is_over:
            self._say(_leg(call))

    def _end(self, call: _Call, reason: EndReason | None = None, cause: str = "") -> None:
        if self._calls.get(call.call_id) is call:  # else it is over, or was an old line's
            call.state = CallState.HANGUP
            self._say(_leg(call, reason, cause))
            self._forget(call)

    def _forget(self, call: _Call) -> None:
        call.is_over = True
        if self._calls.get(call.call_id) is call:
            del self._calls[call.call_id]


def _leg(call: _Call, reason: EndReason | None = None, cause: str = "") -> LegNotification:
    return LegNotification(
        provider_call_id=call.call_id,
        leg_id=call.call_id,
        state=call.state,
        direction=call.direction,
        local=call.local,
        remote=call.remote,
        end_reason=reason,
        cause=cause,
        started_at=call.started_at,
        follows_remote=call.follows,
        consult=call.consult,
        reuses_ids=not call.follows,
    )
