"""What one agent's session tells the world: her browser tabs, the call log, the project's signals.

A desk stands in each process that has a tab of the agent; the one in the process that runs her session knows all her
tabs, wherever they are connected, and which of them is elected to ring and pop. It numbers the envelopes, and adds to a
call what only the server knows: who the caller is, what the agent may do now, and which page shall open. Whatever is
said without the lease is said to nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from .. import calllog, contacts, metrics
from ..calls.commands import Capability, actions
from ..calls.events import Call, CallEvent, Event, EventName, SessionEvent
from ..calls.numbers import Party, PartyKind, display, is_another
from ..calls.states import CallState, Direction
from ..conf import get_settings
from ..connectors.base import Credentials
from ..logs import log_call_event, session_log
from ..signals import call_event, contact_matched, session_event
from . import bus
from .herald import announce
from .pop import PopPolicy, pop_key
from .session import AgentSession, CommandAnswer, LinkState, SessionState
from .tabs import Tabs

__all__ = ["Desk"]

logger = logging.getLogger(__name__)

MAX_RECENT = 50
CLAIM_SECONDS = 1.0  # from the offer of a pop to the elected tab's question for it
NEVER_NUMBERED = 2**40
"""``seq`` in a snapshot under a fence whose holder has let go: above whatever that one published."""
_NO_POP = {
    "popped": "Another tab has opened it.",
    "not_elected": "Another tab opens it.",
    "over": "There is nothing to open.",
}
LOOK_UP_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before each attempt to match a caller


@dataclass(slots=True)
class _Dossier:
    """What the server knows of one call beyond the board."""

    party: Party
    match: contacts.Match | None = None
    note: str = ""
    pop: dict[str, Any] | None = None
    offered: str = ""  # the key of the pop that was offered last, now or before a takeover


@dataclass(slots=True, kw_only=True)
class Desk:
    """One agent, her tabs and her session, in this process.

    Args:
        agent_id: the user's primary key.
        is_ours: whether this process holds the agent's lease at this very moment.
    """

    agent_id: Any
    is_ours: Callable[[], bool] = lambda: True
    fence: int = 0  # of the session here; else the highest one seen
    elsewhere: str = ""  # the process that runs her session, if it is another
    is_loading: bool = False  # her calls are being looked up in the call log: no snapshot would be whole
    is_wanted: bool = False  # whether she has logged in, here or elsewhere, so that somebody should run it
    region: str = ""
    connector: str = ""
    pop_policy: PopPolicy = field(default_factory=PopPolicy)
    keep_open: bool = False  # whether it stays when her last tab has gone
    credentials: Credentials | None = field(default=None, repr=False)  # as she typed them here; None: her account's
    session: AgentSession | None = None
    tabs: Tabs = field(default_factory=Tabs)
    recent: list[dict[str, Any]] = field(default_factory=list)
    state: SessionState = field(default_factory=SessionState)
    _seq: int = 0
    is_under_review: bool = False
    _dossiers: dict[str, _Dossier] = field(default_factory=dict)
    _late: set[asyncio.Task[None]] = field(default_factory=set)
    _order: asyncio.Lock = field(default_factory=asyncio.Lock)

    # -- what the session says ----------------------------------------------------------------------------------

    async def tell(self, said: Event | SessionState) -> None:
        """Pass on one thing that the session said: to the log, to the tabs, to the signal receivers."""
        if not self.is_ours():
            if isinstance(said, SessionState):
                await self.tell_tabs_here({"type": "session", "session": said.to_json()})
            else:
                metrics.fenced_total.inc()
            return
        match said:
            case CallEvent():
                await self._tell_call(said)
            case SessionEvent():
                metrics.events_total.labels(name=said.name.value).inc()
                await self._publish({"type": "event", "event": said.to_json()})
                announce(session_event, agent_id=self.agent_id, event=said)
            case SessionState():
                self._note_state(said)
                await self._publish({"type": "session", "session": said.to_json()})

    def _note_state(self, state: SessionState) -> None:
        if state.state is not self.state.state:
            session_log(self.agent_id, self.fence).link(state.state.value, state.code)
            if state.state is LinkState.LOST:
                metrics.reconnects_total.inc()
        self.state = state

    async def _tell_call(self, event: CallEvent) -> None:
        began_at = perf_counter()
        metrics.events_total.labels(name=event.name.value).inc()
        call = event.call
        if not call.is_own:
            await self._publish({"type": "event", "event": event.with_extra(**self._facts(call, None)).to_json()})
            return
        dossier = await self._dossier(call)
        offer = self.pop_policy.offer(call, dossier.offered)
        if offer is not None:
            dossier.pop, dossier.offered = offer, offer["key"]
        event = event.with_extra(**self._facts(call, dossier))
        self._record(event, dossier)
        if not await self._publish({"type": "event", "event": event.to_json()}):
            return
        if call.state is CallState.RINGING and call.direction is Direction.INBOUND:
            metrics.ring_to_publish_seconds.observe(perf_counter() - began_at)
        if offer is not None:
            metrics.pops_total.labels(outcome="offered").inc()
            self._await_claim(call.call_id, dossier.offered)
        announce(call_event, agent_id=self.agent_id, event=event)
        log_call_event(self.agent_id, self.fence, event)
        await calllog.room()
        if call.state.is_final:
            self._close_dossier(call, event.to_json()["call"])

    def _record(self, event: CallEvent, dossier: _Dossier) -> None:
        certain = dossier.match.certain if dossier.match else None
        event = event.with_extra(match_object=certain)
        calllog.record(self.agent_id, event, connector=self.connector, fence=self.fence)

    def _facts(self, call: Call, dossier: _Dossier | None) -> dict[str, Any]:
        match = dossier.match if dossier else None
        facts = {
            "display": display(call.remote.number, self.region) if call.remote.number else call.remote.number_raw,
            "actions": actions(call, self._capabilities()),
            "match": "pending" if dossier else "",
            "contacts": [],
            "canCreate": False,
            "pop": dossier.pop if dossier else None,
            "note": dossier.note if dossier else "",
        }
        if match is not None:
            facts |= match.to_json()
        if call.remote.kind is PartyKind.WITHHELD:
            facts["display"] = ""
        return facts

    def _capabilities(self) -> frozenset[Capability]:
        return self.session.connector.capabilities if self.session else frozenset()

    # -- who is it ----------------------------------------------------------------------------------------------

    async def _dossier(self, call: Call) -> _Dossier:
        """What is known of `call`; asks the contacts once for each other side, and no longer than the time budget."""
        dossier = self._dossiers.get(call.call_id)
        if dossier is not None and dossier.party == call.remote:
            return dossier
        if dossier is None:
            dossier = self._dossiers[call.call_id] = _Dossier(party=call.remote)
        elif is_another(dossier.party, call.remote):
            dossier.match = None  # of somebody else
        dossier.party = call.remote
        look_up = asyncio.ensure_future(self._look_up(call))
        done, _ = await asyncio.wait({look_up}, timeout=get_settings().match_seconds)
        if done:
            self._note_match(call, dossier, look_up.result())
        else:
            self._await_match(call, dossier, look_up)
        return dossier

    def _await_match(self, call: Call, dossier: _Dossier, look_up: "asyncio.Task[contacts.Match | None]") -> None:
        self._begin(self._fill_in(call, dossier, look_up))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        late = asyncio.ensure_future(work)
        self._late.add(late)
        late.add_done_callback(self._late.discard)

    async def _look_up(self, call: Call) -> contacts.Match | None:
        """Who it is; while the database cannot be asked, again and again for a while. None if that comes to nothing."""
        for pause in LOOK_UP_PAUSES:
            await asyncio.sleep(pause)
            try:
                match = await contacts.amatch(call.remote, self.agent_id)
            except Exception:
                logger.exception("Matching a caller failed")
                return None
            if not match.failed:
                return match
        return None

    def _note_match(self, call: Call, dossier: _Dossier, match: contacts.Match | None) -> None:
        if match is not None:
            dossier.match = match
            announce(contact_matched, agent_id=self.agent_id, call=call, match=match)

    async def _fill_in(self, asked: Call, dossier: _Dossier, look_up: "asyncio.Task[contacts.Match | None]") -> None:
        """The match came after the browser had to hear of the call: tell it now."""
        match = await look_up
        call = self.session.board.get(asked.call_id) if self.session else None
        if call is None or match is None or is_another(asked.remote, call.remote) or not self.is_ours():
            return
        self._note_match(call, dossier, match)
        event_now = CallEvent(name=EventName(call.state.value), call=call, at=datetime.now(UTC))
        self._record(event_now, dossier)
        facts = {**call.to_json(), **self._facts(call, dossier)}
        for known in self.recent:
            if known["id"] == call.call_id:
                known.update(facts)
        event = {"name": "MATCHED", "message": "", "at": datetime.now(UTC).isoformat(), "call": facts}
        await self._publish({"type": "event", "event": event})

    def take_over(self, calls: list[Call], notes: dict[str, str]) -> None:
        """Know the calls again that were live before this session, with the agent's notes; ask who they are with."""
        known, self._dossiers = self._dossiers, {}
        for call in calls:
            if call.state.is_final:
                continue
            dossier = known.get(call.call_id)
            if dossier is None:
                note = notes.get(call.call_id, "")
                # If the former holder offered its pop, who asked for it is no longer known.
                offered = pop_key(call) if self.pop_policy.has_been_due(call) else ""
                dossier = _Dossier(party=call.remote, note=note, offered=offered)
                self._await_match(call, dossier, asyncio.ensure_future(self._look_up(call)))
            self._dossiers[call.call_id] = dossier

    def review(self, recent: list[dict[str, Any]]) -> None:
        """What the agent may see has changed: forget who her calls are with, and ask again.

        Args:
            recent: her recent calls, as she may see them now.
        """
        unwritten = [call for call in self.recent if call["id"] not in {known["id"] for known in recent}]
        for call in unwritten:
            call.update(match="", contacts=[])
        self.recent = [*unwritten, *recent][:MAX_RECENT]
        for call in self.session.board.calls() if self.session else []:
            if dossier := self._dossiers.get(call.call_id):
                dossier.match = None
                self._await_match(call, dossier, asyncio.ensure_future(self._look_up(call)))

    def note_changed(self, call_id: str, text: str) -> None:
        """The agent has written a note: further snapshots carry it."""
        if call_id in self._dossiers:
            self._dossiers[call_id].note = text
        for call in self.recent:
            if call["id"] == call_id:
                call["note"] = text

    def _close_dossier(self, call: Call, json: dict[str, Any]) -> None:
        dossier = self._dossiers.pop(call.call_id, None)
        if dossier is not None:
            json["note"] = dossier.note  # she may have written one since `json` was made
        self.recent = [json, *(c for c in self.recent if c["id"] != call.call_id)][:MAX_RECENT]

    # -- the pop ------------------------------------------------------------------------------------------------

    def claim_pop(self, tab_id: str, call_id: str, key: str = "") -> CommandAnswer:
        """A tab asks whether it may open a call's pop: one tab may, once.

        Args:
            key: of the pop that it was offered; "" for the present one.
        """
        offered = self._offered(call_id)
        refused = self.tabs.claim(tab_id, offered) if offered and key in ("", offered) else "over"
        metrics.pops_total.labels(outcome=refused or "granted").inc()
        data = {} if refused else {"key": offered}
        return CommandAnswer(ok=not refused, message=_NO_POP.get(refused, ""), code=refused, data=data)

    def _offered(self, call_id: str) -> str:
        """The key of the pop that stands open to this session's tabs, "" for none."""
        call = self.session.board.get(call_id) if self.session else None
        dossier = self._dossiers.get(call_id)
        is_over = call is None or call.state.is_final or dossier is None or dossier.pop is None
        return "" if is_over else dossier.offered

    def _await_claim(self, call_id: str, key: str) -> None:
        asyncio.get_running_loop().call_later(CLAIM_SECONDS, self._miss_claim, call_id, key, self.tabs.elected)

    def _miss_claim(self, call_id: str, key: str, tab_id: str) -> None:
        """The elected tab does not ask for the pop that it was offered: it may have died without a word."""
        if self._offered(call_id) != key or self.tabs.has_popped(key) or not self.tabs.pass_over(tab_id):
            return
        metrics.pops_total.labels(outcome="missed").inc()
        self._begin(self._offer_again(call_id, key))

    async def _offer_again(self, call_id: str, key: str) -> None:
        await self.tabs.elect(self.fence)
        self._await_claim(call_id, key)

    # -- snapshots and envelopes --------------------------------------------------------------------------------

    async def send_snapshot(self, tab_id: str) -> None:
        """Send a tab everything it must know, behind the envelopes that the snapshot counts: none comes too late."""
        async with self._order:
            tab = self.tabs.get(tab_id)
            # Else the holder's word counts, or this desk's own a little later: a snapshot must be whole.
            if tab is not None and not self.elsewhere and not self.is_loading:
                await bus.send_to(tab.channel_name, self.snapshot(tab_id))

    async def send_snapshots(self) -> None:
        """Send one to each tab."""
        for tab in self.tabs:
            await self.send_snapshot(tab.tab_id)

    def snapshot(self, tab_id: str) -> dict[str, Any]:
        """Everything a tab must know when it connects or has missed something."""
        calls = self.session.board.calls() if self.session else []
        since = (datetime.now(UTC) - timedelta(seconds=get_settings().recent_seconds)).isoformat()
        return {
            "type": "snapshot",
            "fence": self.fence,
            "seq": self._seq,
            "elected": tab_id == self.tabs.elected,
            "session": self.state.to_json(),
            "calls": [{**call.to_json(), **self._facts(call, self._dossiers.get(call.call_id))} for call in calls],
            "recent": [call for call in self.recent if (call["endedAt"] or call["startedAt"] or "") >= since],
        }

    async def show(self) -> None:
        """What there is to know of her calls is known: every tab gets a snapshot."""
        self.is_loading = False
        await self.send_snapshots()

    def begin_tenure(self, fence: int) -> None:
        """This process runs the session from now on, under `fence`; ``show`` follows."""
        self.is_loading = True
        self.fence, self._seq, self.elsewhere = fence, 0, ""
        self.tabs.recall_claims()
        self.state = SessionState(state=LinkState.CONNECTING)

    def end_tenure(self, state: SessionState) -> None:
        """It does so no longer: what this desk still knows is of its own tabs, and no news."""
        self._seq, self.session, self.state, self.is_loading = NEVER_NUMBERED, None, state, False
        self.tabs.forget(lambda tab: tab.say is None)
        self.tabs.elected = ""  # the next election tells whom it elects

    async def tell_standing(self, state: SessionState) -> None:
        """How she stands without a session."""
        self.state = state
        await self.tell_tabs_here({"type": "session", "session": state.to_json()})
        await self.send_snapshots()

    async def tell_tabs_here(self, message: dict[str, Any]) -> None:
        """Say something to the tabs of this process that is not numbered: the holder knows nothing of it."""
        for tab in self.tabs.here:
            if tab.say is not None:
                await tab.say(message)

    async def _publish(self, message: dict[str, Any]) -> bool:
        """Tell her tabs, wherever they are; False if that is not this process's to say any more."""
        async with self._order:
            if not self.is_ours():  # the lease may have run out while the match was looked up
                metrics.fenced_total.inc()
                return False
            self._seq += 1
            await bus.publish(self.agent_id, {**message, "fence": self.fence, "seq": self._seq})
            return True
