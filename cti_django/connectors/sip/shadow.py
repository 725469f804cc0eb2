"""A phone that never answers: calls that the server forks to our Contact tell who is calling.

It says 100 and nothing else while it rings, so it neither makes the caller hear ringing nor takes a call away from the
agent's real phone. It ends with the 487 that a CANCEL asks for; or with 480, once the documents say that the agent's
phones ring no more, so that a call which she has refused does not go on for the caller (or after five minutes).

Source: RFC 3261 9.2, 13.3, 16; RFC 3325 (who calls); RFC 5806 (whom they called); RFC 3326 (Reason).
"""

import asyncio
from collections.abc import Callable

from ...calls.numbers import NumberPlan, Party, PartyKind, classify, same_party
from ...exceptions import SIPMessageError
from ...wire.sip_grammar import parse_params
from ...wire.sip_message import SIPRequest, SIPResponse
from ...wire.sip_uri import NameAddr, parse_name_addr
from ...wire.sip_user_agent import Usage, UserAgent
from .joining import Joiner

__all__ = ["ShadowContact", "caller", "was_answered_elsewhere"]

MAX_RINGING = 20
MAX_RING_SECONDS = 300.0


class ShadowContact:
    """What becomes of the calls that reach us.

    Args:
        agent: of the line.
        own: the agent herself.
        plan: how the server writes numbers.
        joiner: hears who calls, and when it stops.
        is_dialling: whether a click-to-call rings the agent's own phones, of which this is one.
        flush: sends what the user agent has to send.
    """

    def __init__(
        self,
        agent: UserAgent,
        own: Party,
        plan: NumberPlan,
        joiner: Joiner,
        is_dialling: Callable[[], bool],
        flush: Callable[[], None],
    ) -> None:
        self._agent = agent
        self._own = own
        self._plan = plan
        self._joiner = joiner
        self._is_dialling = is_dialling
        self._flush = flush
        self._ringing: dict[str, tuple[SIPRequest, asyncio.TimerHandle]] = {}
        joiner.refuse = self.refuse

    def close(self) -> None:
        """Forget what rings; the server ends it when the line is gone."""
        for _, timer in self._ringing.values():
            timer.cancel()
        self._ringing.clear()

    def admit(self, request: SIPRequest, now: float) -> Usage | None:
        """For ``UserAgent.on_request``."""
        return self if request.method == "INVITE" and len(self._ringing) < MAX_RINGING else None

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """See ``Usage``."""
        call_id = request.call_id
        if request.method == "CANCEL":
            self._stop(call_id, elsewhere=was_answered_elsewhere(request))
        elif request.method != "INVITE" or call_id in self._ringing:
            self._agent.respond(request, 481, now)
        elif self._is_dialling() and same_party(caller(request, self._plan), self._own):
            self._agent.respond(request, 480, now)  # our own click-to-call is for the phones that can answer it
            self._agent.detach(call_id)
        else:
            timer = asyncio.get_running_loop().call_later(MAX_RING_SECONDS, self._give_up, call_id)
            self._ringing[call_id] = request, timer
            self._joiner.rang(call_id, caller(request, self._plan), _called(request, self._plan))

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """See ``Usage``: we ask nothing here."""

    def refuse(self, call_id: str) -> None:
        """Nobody will take this call: say so, as a phone does that is not there."""
        if call_id in self._ringing:
            request, timer = self._ringing.pop(call_id)
            timer.cancel()
            self._agent.respond(request, 480, asyncio.get_running_loop().time())
            self._agent.detach(call_id)
            self._flush()

    def _give_up(self, call_id: str) -> None:
        self.refuse(call_id)
        self._joiner.stopped(call_id, elsewhere=False)

    def _stop(self, call_id: str, *, elsewhere: bool) -> None:
        if call_id in self._ringing:
            self._ringing.pop(call_id)[1].cancel()
            self._agent.detach(call_id)
            self._joiner.stopped(call_id, elsewhere=elsewhere)


def caller(invite: SIPRequest, plan: NumberPlan) -> Party:
    """Who calls: whom the server vouches for, unless the caller hides.

    Raises:
        SIPMessageError: From is malformed.
    """
    said = _party(invite.from_, plan)
    if said.kind is PartyKind.WITHHELD:
        return said
    for value in invite.headers.get_all("P-Asserted-Identity"):
        try:
            vouched = _party(parse_name_addr(value), plan)
        except SIPMessageError:
            continue
        if vouched.kind is not PartyKind.UNAVAILABLE:
            return vouched if vouched.name else classify(vouched.number_raw, said.name, plan)
    return said


def was_answered_elsewhere(cancel: SIPRequest) -> bool:
    """Whether a CANCEL says that another phone has taken the call. Source: RFC 3326; Q.850 cause 26 is the same."""
    for value in cancel.headers.get_all("Reason"):
        try:
            protocol, params = parse_params(value)
        except SIPMessageError:
            continue
        if (protocol.lower(), params.get("cause")) in (("sip", "200"), ("q.850", "26")):
            return True
    return False


def _called(invite: SIPRequest, plan: NumberPlan) -> Party:
    """Whom they called: before it was diverted here, if it was."""
    for value in reversed(invite.headers.get_all("Diversion")):
        try:
            return _party(parse_name_addr(value), plan)
        except SIPMessageError:
            continue
    return _party(invite.to, plan)


def _party(address: NameAddr, plan: NumberPlan) -> Party:
    return classify(address.uri, address.display, plan)
