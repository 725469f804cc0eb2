"""The switch: who is ringing, talking and holding. No I/O and no clock of its own.

A call begins with ``ring`` (somebody outside calls) or ``click_to_call`` (an agent's own phone rings first) and goes
on by what phones do: ``answer``, ``hold``, ``resume``, ``hang_up``, ``transfer``. Phones whose conduct is not manual
act by themselves, through `schedule`.

    ring ─────────────────────────────┐
    click_to_call ──> own phone rings ┴─> other side rings ──> connected <──> on hold ──> over
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .dialling import Refused, check_dialled, outside_party
from .legs import Call, Cause, Leg, LegState, Party, Timer
from .users import Behaviour, Conduct, User

__all__ = ["DEFAULT_TIMINGS", "Refused", "Switch", "Timings"]

KEEP_ENDED = 50


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds.

    Args:
        ring: how long a phone rings before the switch gives up.
        failure: how long a caller hears that the other side is busy or does not exist.
        outside_answer: when a number outside answers that nobody has given a conduct.
    """

    ring: float = 60.0
    failure: float = 1.0
    outside_answer: float = 2.0


DEFAULT_TIMINGS = Timings()


class Switch:
    """All users, nodes and calls of the sandbox.

    Args:
        users: who has an extension here.
        schedule: ``loop.call_later``, or a stand-in.
        now: unix seconds.
        nodes: further nodes that can be watched, with their names ({"queue-17": "Sales queue"}), and through which
            calls can come in (``ring(..., via=...)``).
        first_call_id: call ids rise from here.
    """

    def __init__(
        self,
        users: Iterable[User],
        *,
        schedule: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float],
        timings: Timings = DEFAULT_TIMINGS,
        nodes: Mapping[str, str] | None = None,
        first_call_id: int = 7310025,
    ) -> None:
        self.users = {user.user_id: user for user in users}
        self.nodes = dict(nodes or {})
        self.timings = timings
        self.outside: dict[str, Conduct] = {}
        self.outside_default = Conduct(Behaviour.ANSWERS, timings.outside_answer)
        self.calls: dict[str, Call] = {}
        self.ended: deque[Call] = deque(maxlen=KEEP_ENDED)
        self.listeners: list[Callable[[Leg], None]] = []
        self.call_listeners: list[Callable[[Call], None]] = []
        self._schedule = schedule
        self._now = now
        self._next_call_id = first_call_id
        self._live: dict[str, dict[str, Leg]] = {}

    # -- what there is ------------------------------------------------------------------------------------------

    def has_node(self, node: str) -> bool:
        """Whether there is such a user, queue, IVR or conference."""
        return node in self.users or node in self.nodes

    def legs_at(self, node: str) -> list[Leg]:
        """The live legs that a watcher of `node` sees, oldest first."""
        return [leg for leg in self._live.get(node, {}).values() if leg.state is not LegState.SUMMONED]

    def calls_of(self, user_id: str) -> list[Call]:
        """The live calls of a user, oldest first."""
        return list({leg.call.call_id: leg.call for leg in self._live.get(user_id, {}).values()}.values())

    def call(self, call_id: str) -> Call:
        """The live call with that id. Raises Refused (code "no_such_call")."""
        try:
            return self.calls[call_id]
        except KeyError:
            raise Refused("There is no such call.", code="no_such_call") from None

    # -- beginnings ---------------------------------------------------------------------------------------------

    def ring(self, to: str, number: str = "", name: str = "", *, via: str = "") -> Call:
        """Somebody calls.

        Args:
            to: an extension, or several separated by commas, which ring together.
            number: who calls: an extension (that phone dials), a number outside, "" or "withheld" if that is withheld;
                anything else is shown as it is.
            name: the caller's name, "" if none is sent.
            via: a queue or IVR that the call comes through; its watchers see a leg of their own.
        """
        targets = list(dict.fromkeys(one.strip() for one in to.split(",")))
        for target in targets:
            if target not in self.users:
                raise Refused("There is no such extension.", field="to", code="no_such_extension")
            if target == number:
                raise Refused("A phone cannot call itself.", field="from", code="invalid")
        if via and via not in self.nodes:
            raise Refused("There is no such node.", field="via", code="no_such_node")
        caller = self._party(number) if number in self.users else outside_party(number, name)
        call = self._new_call(self._party(targets[0]))
        self._add_leg(call, number if number in self.users else "", caller, call.target, initiator=True)
        if via:
            self._add_leg(call, via, Party(via, self.nodes[via]), caller, initiator=False).observes = True
        self._alert(call, targets, caller)
        return call

    def click_to_call(self, user_id: str, to: str) -> Call:
        """Ring a user's own phone, and `to` as soon as she picks up.

        Raises:
            Refused: code "invalid" for a number nobody can call, "no_phone" if no phone of hers is registered.
        """
        user = self.users[user_id]
        check_dialled(user_id, to, self.users)
        if not user.phone.registered:
            raise Refused("SIP endpoint not found.", code="no_phone")
        call = self._new_call(self._party(to))
        call.click_to_call = True
        leg = self._add_leg(call, user_id, self._party(user_id), call.target, initiator=True, state=LegState.SUMMONED)
        self._conduct(leg, user.phone.pick_up or user.phone.conduct)
        return call

    # -- what phones do -----------------------------------------------------------------------------------------

    def answer(self, call_id: str, side: str = "") -> Call:
        """Pick up a ringing phone.

        Args:
            side: "agent" for a phone in the house, "remote" for one outside, an extension for that one;
                "" for whichever rings: a click-to-call first on the agent's own phone, then on the other side.
        """
        call = self.call(call_id)
        self._pick_up(self._ringing_leg(call, side))
        return call

    def decline(self, call_id: str, side: str = "", cause: Cause = Cause.DECLINED) -> Call:
        """Turn down a call on the phone that rings; the caller hears `cause`."""
        call = self.call(call_id)
        self._fail(self._ringing_leg(call, side), cause)
        return call

    def hold(self, call_id: str, side: str = "agent") -> Call:
        """Put a call on hold at one phone (`side` as for ``answer``)."""
        return self._set_hold(call_id, side, on_hold=True)

    def resume(self, call_id: str, side: str = "agent") -> Call:
        """Take a call off hold."""
        return self._set_hold(call_id, side, on_hold=False)

    def hang_up(self, call_id: str, node: str = "") -> Call:
        """End a call. If `node` only rings, that is a refusal, and other phones may go on ringing."""
        call = self.call(call_id)
        ringing = call.live(node, LegState.EARLY) if node else []
        if any(leg.is_target for leg in ringing):
            for leg in ringing:
                self._fail(leg, Cause.DECLINED)
        else:
            self._end(call, Cause.COMPLETED if call.connected_at else Cause.CANCELLED)
        return call

    def transfer(self, call_id: str, node: str, to: str) -> Call:
        """Hand the other side of a call to `to` (blind): the leg at `node` ends, `to` rings.

        Works while the call is connected, on hold, or rings at `node`.
        """
        call = self.call(call_id)
        check_dialled(node, to, self.users)
        mine = next((leg for leg in call.live(node) if leg.state is not LegState.SUMMONED), None)
        kept = None
        if mine and (mine.state is LegState.CONFIRMED or not mine.initiator):
            kept = call.counterpart(mine)
        if kept is None:
            raise Refused("That call cannot be transferred now.", code="not_now")
        self._cancel_timers(call)
        call.referred_by = node
        call.target = self._party(to)
        kept.remote = call.target
        for leg in call.live():
            if leg is not kept and not leg.observes:
                self._end_leg(leg, Cause.TRANSFERRED)
        self._changed(kept)
        self._alert(call, [to], kept.party)
        return call

    def set_link(self, call_id: str, url: str, text: str) -> Call:
        """Show a link on the agent's phone while the call lasts."""
        call = self.call(call_id)
        call.link = {"url": url, "text": text}
        self._call_changed(call)
        return call

    def set_phone(self, user_id: str, *, registered: bool | None = None, conduct: Conduct | None = None) -> None:
        """Plug a phone in or out, or tell it how to behave from the next call on."""
        phone = self.users[user_id].phone
        phone.registered = phone.registered if registered is None else registered
        phone.conduct = conduct or phone.conduct

    def hang_up_all(self) -> None:
        """End every call, as when the switch is turned off."""
        for call in list(self.calls.values()):
            self._end(call, Cause.COMPLETED if call.connected_at else Cause.CANCELLED)

    # -- inside: parties and legs -------------------------------------------------------------------------------

    def _party(self, number: str) -> Party:
        user = self.users.get(number)
        return Party(number, user.name if user else "")

    def _new_call(self, target: Party) -> Call:
        call = Call(str(self._next_call_id), self._now(), target)
        self._next_call_id += 1
        self.calls[call.call_id] = call
        return call

    def _add_leg(
        self,
        call: Call,
        node: str,
        party: Party,
        remote: Party,
        *,
        initiator: bool,
        state: LegState = LegState.EARLY,
    ) -> Leg:
        leg_id = f"{call.call_id}-{sum(bool(leg.node) for leg in call.legs) + 1}" if node else ""
        leg = Leg(call, leg_id, node, initiator, party, remote, state)
        call.legs.append(leg)
        if node:
            self._live.setdefault(node, {})[leg_id] = leg
        self._changed(leg)
        return leg

    def _ringing_leg(self, call: Call, side: str) -> Leg:
        if call.origin.state is LegState.SUMMONED and side in ("", "agent", call.origin.node):
            return call.origin
        for leg in call.live(state=LegState.EARLY):
            if leg.is_target and _is_on_side(leg, side):
                return leg
        raise Refused("No phone is ringing there.", code="not_now")

    # -- inside: ringing ----------------------------------------------------------------------------------------

    def _alert(self, call: Call, numbers: list[str], caller: Party) -> None:
        """Ring every phone of `numbers`; if none can ring, the call is over, at once or after the busy tone."""
        cause = Cause.NOT_REGISTERED
        for number in numbers:
            user = self.users.get(number)
            if user is None:
                self._conduct(
                    self._add_leg(call, "", self._party(number), caller, initiator=False),
                    self.outside.get(number, self.outside_default),
                )
            elif not user.phone.registered:
                continue
            elif user.phone.conduct.behaviour is Behaviour.BUSY:
                cause = Cause.BUSY
            else:
                for _ in range(user.phone.devices):
                    leg = self._add_leg(call, number, self._party(number), caller, initiator=False)
                    self._conduct(leg, user.phone.conduct)
        if not self._is_ringing(call):
            audience = any(leg.node in self.users for leg in call.live())
            if audience:
                self._later(call, self.timings.failure, lambda: self._end(call, cause))
            else:
                self._end(call, cause)

    def _conduct(self, leg: Leg, conduct: Conduct) -> None:
        """Let a phone that has begun to ring act by itself."""
        delay, act = self.timings.ring, lambda: self._fail(leg, Cause.NO_ANSWER)
        match conduct.behaviour:
            case Behaviour.ANSWERS:
                delay, act = conduct.seconds, lambda: self._pick_up(leg)
            case Behaviour.DECLINES:
                delay, act = conduct.seconds, lambda: self._fail(leg, Cause.DECLINED)
            case Behaviour.BUSY:
                delay, act = conduct.seconds or self.timings.failure, lambda: self._fail(leg, Cause.BUSY)
            case Behaviour.UNOBTAINABLE:
                delay, act = conduct.seconds or self.timings.failure, lambda: self._fail(leg, Cause.UNOBTAINABLE)
        self._later(leg.call, delay, act)

    def _is_ringing(self, call: Call) -> bool:
        return any(leg.is_target for leg in call.live(state=LegState.EARLY))

    def _pick_up(self, leg: Leg) -> None:
        call = leg.call
        if leg.state is LegState.SUMMONED:
            self._cancel_timers(call)
            self._set_state(leg, LegState.EARLY)
            self._alert(call, [call.target.number], leg.party)
        elif leg.state is LegState.EARLY:
            self._cancel_timers(call)
            call.connected_at = call.connected_at or self._now()
            for other in call.live(state=LegState.EARLY):
                if other.is_target and other is not leg:
                    self._end_leg(other, Cause.ANSWERED_ELSEWHERE)
                else:
                    self._set_state(other, LegState.CONFIRMED)

    def _fail(self, leg: Leg, cause: Cause) -> None:
        """A phone that rang rings no longer; the call is over if it was the last."""
        call = leg.call
        if leg.state is LegState.SUMMONED:
            self._end(call, cause)
        elif leg.state is LegState.EARLY:
            self._end_leg(leg, cause)
            if not self._is_ringing(call):
                self._end(call, cause)

    # -- inside: changes ----------------------------------------------------------------------------------------

    def _set_hold(self, call_id: str, side: str, *, on_hold: bool) -> Call:
        call = self.call(call_id)
        legs = [leg for leg in call.live(state=LegState.CONFIRMED) if not leg.observes]
        leg = next((leg for leg in legs if _is_on_side(leg, side)), None)
        if leg is None:
            raise Refused("That call is not connected.", code="not_now")
        if leg.on_hold is not on_hold:
            leg.on_hold = on_hold
            self._changed(leg)
        return call

    def _set_state(self, leg: Leg, state: LegState) -> None:
        leg.state = state
        self._changed(leg)

    def _end_leg(self, leg: Leg, cause: Cause) -> None:
        leg.cause = cause
        if leg.node:
            live = self._live[leg.node]
            live.pop(leg.leg_id, None)
            if not live:
                del self._live[leg.node]
        summoned = leg.state is LegState.SUMMONED
        leg.state = LegState.TERMINATED
        if summoned:  # watchers have never seen it
            self._call_changed(leg.call)
        else:
            self._changed(leg)

    def _end(self, call: Call, cause: Cause) -> None:
        if call.ended:
            return
        self._cancel_timers(call)
        call.ended_at, call.cause = self._now(), cause
        self.calls.pop(call.call_id, None)
        self.ended.append(call)
        for leg in call.live():
            self._end_leg(leg, cause)
        self._call_changed(call)

    def _changed(self, leg: Leg) -> None:
        if leg.state is not LegState.SUMMONED:
            for listener in self.listeners:
                listener(leg)
        self._call_changed(leg.call)

    def _call_changed(self, call: Call) -> None:
        for listener in (*call.listeners, *self.call_listeners):
            listener(call)

    def _later(self, call: Call, delay: float, act: Callable[[], None]) -> None:
        call.timers.append(self._schedule(delay, act))

    def _cancel_timers(self, call: Call) -> None:
        for timer in call.timers:
            timer.cancel()
        call.timers.clear()


def _is_on_side(leg: Leg, side: str) -> bool:
    match side:
        case "":
            return True
        case "agent":
            return bool(leg.node)
        case "remote":
            return not leg.node
    return leg.node == side
