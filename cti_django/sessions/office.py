"""Where the desks of a process stand: which agents' sessions it runs, takes over, hands over, and lets go of.

Whoever starts or stops an agent's session has the agent's turn, so there is never more than one in a process; that
there is never more than one in all of them is the lease's doing.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from secrets import token_hex
from typing import Any
from weakref import WeakValueDictionary

from django import db

from .. import calllog
from ..conf import get_settings
from ..logs import session_log
from ..models import Instruction
from . import bus
from .deliveries import Deliveries
from .desk import Desk
from .exchange import Exchange
from .keeper import Keeper
from .lease import Standing
from .mailbox import Mailbox
from .session import LinkState, SessionState
from .tenure import WAITING_FOR_DATABASE, Tenure

__all__ = ["UNKNOWN", "Office"]

logger = logging.getLogger(__name__)

STOP_SECONDS = 0.7  # how long the process's end waits for its lines to close ...
FLUSH_SECONDS = 0.7  # ... and then for its calls to be written, before others take over ...
RELEASE_SECONDS = 0.5  # ... and for the database to hear that they may
UNKNOWN = "?"
"""Who runs the session, while that cannot be found out."""
CLAIM_SECONDS = 5.0  # how long ``keep`` waits for a claim
STAND_BACK_SECONDS = 3.0  # after handing a session over, before this process would take it back
TAKING_OVER = SessionState(
    state=LinkState.CONNECTING, code="taking_over", message="Your session is being taken over from another server."
)
LOGGED_OUT = SessionState(state=LinkState.LOGGED_OUT)
CLOSED = SessionState(
    state=LinkState.LOGGED_OUT, code="closed", message="Your telephone session was closed by an administrator."
)


class Office:
    """The desks and sessions of one process (one event loop).

    Args:
        exchange: carries what is said to the desks to and from other processes.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.holder = f"{socket.gethostname()[:30]}:{os.getpid()}:{token_hex(4)}"
        self.desks: dict[Any, Desk] = {}
        self.tenures: dict[Any, Tenure] = {}
        self.keeper = Keeper(self.holder, on_lost=self._lose, on_look=self._see, on_instruction=self._obey)
        self.deliveries = Deliveries()
        self.mailbox = Mailbox(self.holder, exchange.hear, self._peer_gone, self._peer_back, self.keeper.look_now)
        self.mailbox.on_delivery = self.deliveries.look_now
        exchange.mailbox = self.mailbox
        self._exchange = exchange
        self._names: dict[str, Any] = {}  # agents' ids, as they travel on the bus
        self._lingering: dict[Any, asyncio.TimerHandle] = {}
        self._turns: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()
        self._chores: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    # -- looking ------------------------------------------------------------------------------------------------

    def desk(self, agent_id: Any) -> Desk:
        """The agent's desk, made if there is none."""
        desk = self.desks.get(agent_id)
        if desk is None:
            desk = Desk(agent_id=agent_id, is_ours=lambda: self.keeper.holds(agent_id))
            desk.end_tenure(SessionState())
            self.desks[agent_id] = desk
            self._names[str(agent_id)] = agent_id
        return desk

    def turn(self, agent_id: Any) -> asyncio.Lock:
        """Whoever starts or stops an agent's session holds this."""
        return self._turns.setdefault(agent_id, asyncio.Lock())

    def runs(self, agent_id: Any) -> bool:
        """Whether this process runs the agent's session, or is about to."""
        return agent_id in self.tenures

    def is_elsewhere(self, desk: Desk) -> bool:
        """Whether another process runs the agent's session, as far as this one knows."""
        return bool(desk.elsewhere) and not self.runs(desk.agent_id)

    def is_silent(self, holder: str) -> bool:
        """Whether another process is known not to answer now, so that asking it would only cost time."""
        return self.mailbox.misses(holder)

    def held_agent(self, name: str) -> Any:
        """The agent whose id travels as `name`, if this process may act for her; else None."""
        agent_id = self._names.get(name)
        return agent_id if agent_id in self.tenures and self.keeper.holds(agent_id) else None

    async def find_holder(self, desk: Desk) -> None:
        """Find out who runs the agent's session; run it here if somebody should. Only for whoever has her turn."""
        try:
            standing = await self.keeper.look(desk.agent_id)
        except db.Error:
            desk.elsewhere = UNKNOWN
            await desk.tell_tabs_here({"type": "session", "session": WAITING_FOR_DATABASE.to_json()})
        else:
            desk.fence = max(desk.fence, standing.fence)
            is_vacant = standing.holder in ("", self.holder)  # ours was given up before it ran out
            is_missed = desk.is_wanted and desk.elsewhere != UNKNOWN  # else somebody else has the first choice
            desk.elsewhere = "" if is_vacant else standing.holder
            if is_vacant and not standing.is_over and (standing.holder or standing.is_wanted or is_missed):
                self.start(desk)
        if self.is_elsewhere(desk):
            self.keeper.watch(desk.agent_id)

    # -- starting and stopping ----------------------------------------------------------------------------------

    def start(self, desk: Desk) -> None:
        """Run the agent's session here, unless her tabs have gone meanwhile. Only for whoever has her turn."""
        if self._is_ending or self.desks.get(desk.agent_id) is not desk:
            return
        desk.is_wanted = True
        tenure = self.tenures[desk.agent_id] = Tenure(desk, self.keeper, self.mailbox, self.deliveries)
        tenure.start().add_done_callback(lambda task: self._tenure_over(desk, tenure))

    def _tenure_over(self, desk: Desk, tenure: Tenure) -> None:
        """It has ended by itself: another process was faster, or there is no such agent any more."""
        if not tenure.task.cancelled() and (error := tenure.task.exception()):
            logger.error("The session of agent %s ended (%s)", desk.agent_id, type(error).__name__)
            desk.is_wanted = False
        if self.tenures.get(desk.agent_id) is tenure and not tenure.is_stopped:
            del self.tenures[desk.agent_id]
            self.begin(self._settle_anew(desk))

    async def _settle_anew(self, desk: Desk) -> None:
        """The session is not run here any more: the tabs of this process go on with whoever runs it."""
        async with self.turn(desk.agent_id):
            if self.runs(desk.agent_id):
                return
            if not desk.tabs.here:
                self._forget(desk)
                return
            await self.find_holder(desk)
            if self.is_elsewhere(desk):
                await self._present_tabs(desk)
            elif not self.runs(desk.agent_id):
                await desk.send_snapshots()

    async def stop(self, agent_id: Any, *, wanted_seconds: float = 0.0, state: SessionState | None = None) -> None:
        """End the agent's session here, if there is one, and let go of her lease. Only for whoever has her turn.

        Args:
            wanted_seconds: for how long another process may go on with it.
            state: what her tabs see from now on.
        """
        tenure = self.tenures.get(agent_id)
        if tenure is None:
            return
        tenure.wanted_seconds = wanted_seconds
        await tenure.stop()
        del self.tenures[agent_id]
        self.desks[agent_id].end_tenure(state or SessionState())

    async def hand_over(self, agent_id: Any, wanted_seconds: float) -> None:
        """Let another process run the agent's session; this one stands back for a while."""
        async with self.turn(agent_id):
            desk = self.desks.get(agent_id)
            if desk is None or not self.runs(agent_id):
                return
            await desk.tell(TAKING_OVER)
            await self.stop(agent_id, wanted_seconds=wanted_seconds, state=TAKING_OVER)
            session_log(agent_id, desk.fence, holder=self.holder).handed_over()
            if desk.tabs.here:
                desk.elsewhere = UNKNOWN
                self.keeper.watch(agent_id, STAND_BACK_SECONDS)
            else:
                self._forget(desk)
            await self.mailbox.tell_of_vacancies()

    async def keep(self, agent_id: Any) -> bool:
        """Run the agent's session without a tab; False if another process has it."""
        await self.mailbox.start()
        async with self.turn(agent_id):
            if not self.runs(agent_id):
                desk = self.desk(agent_id)
                desk.keep_open = True
                self.start(desk)
            tenure = self.tenures.get(agent_id)
        if tenure is None:
            return False
        waiting = asyncio.ensure_future(tenure.is_claimed.wait())
        await asyncio.wait({waiting, tenure.task}, timeout=CLAIM_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return tenure.is_claimed.is_set()

    async def close(self, agent_id: Any) -> None:
        """End the agent's session here, unless a tab has come back or it is to be kept open."""
        async with self.turn(agent_id):
            desk = self.desks.get(agent_id)
            if desk is None or len(desk.tabs):
                return
            self._lingering.pop(agent_id, None)
            if desk.keep_open and desk.session is not None and not desk.session.is_over:
                return
            await self.stop(agent_id)
            if not len(desk.tabs):
                self._forget(desk)

    def _forget(self, desk: Desk) -> None:
        if self.desks.get(desk.agent_id) is not desk:
            return
        self.stay(desk.agent_id)
        self.keeper.unwatch(desk.agent_id)
        del self.desks[desk.agent_id]
        self._names.pop(str(desk.agent_id), None)

    # -- tabs come and go ---------------------------------------------------------------------------------------

    def stay(self, agent_id: Any) -> None:
        """There is a tab again: the session does not linger any more."""
        timer = self._lingering.pop(agent_id, None)
        if timer is not None:
            timer.cancel()

    async def tabs_gone(self, desk: Desk) -> None:
        """Some of the agent's tabs have gone. After the last one her session lingers, then it is closed."""
        if not len(desk.tabs):
            if self.runs(desk.agent_id):
                self.stay(desk.agent_id)
                loop, seconds = asyncio.get_running_loop(), get_settings().linger_seconds
                timer = loop.call_later(seconds, lambda: self.begin(self.close(desk.agent_id)))
                self._lingering[desk.agent_id] = timer
            else:
                self._forget(desk)
        elif not self.is_elsewhere(desk):
            await desk.tabs.elect(desk.fence)

    async def _present_tabs(self, desk: Desk) -> None:
        for tab in desk.tabs.here:
            await self._exchange.present(desk, tab)

    async def _peer_gone(self, holder: str) -> None:
        """Another process is not heard any more: its tabs cannot ring, its sessions do not answer."""
        for desk in list(self.desks.values()):
            if self.runs(desk.agent_id):
                if desk.tabs.forget(lambda tab: tab.holder == holder):
                    await self.tabs_gone(desk)
            elif desk.elsewhere == holder:
                await desk.tell_tabs_here({"type": "session", "session": TAKING_OVER.to_json()})

    async def _peer_back(self, holder: str) -> None:
        """Another process is heard (again); or, with this process's own name, the bus carries messages again."""
        is_bus = holder == self.holder
        for desk in list(self.desks.values()):
            if is_bus:
                for tab in desk.tabs.here:
                    if tab.join is not None:
                        await tab.join()
            if self.keeper.holds(desk.agent_id):
                if is_bus:
                    # Of the tabs elsewhere none may have been able to say that it came or went.
                    desk.tabs.forget(lambda tab: tab.say is None)
                    await bus.tell(bus.agent_group(desk.agent_id), self._who(desk))
                    await self.tabs_gone(desk)
                    await desk.send_snapshots()
            elif is_bus or desk.elsewhere == holder:
                await self._present_tabs(desk)

    def _who(self, desk: Desk) -> dict[str, Any]:
        return {"type": "cti.who", "holder": self.holder, "fence": desk.fence}

    # -- what the keeper says -----------------------------------------------------------------------------------

    async def _lose(self, agent_id: Any) -> None:
        if self.runs(agent_id) and not self.keeper.holds(agent_id):
            self.tenures[agent_id].abandon()  # whoever has her turn may take a while
        async with self.turn(agent_id):
            desk = self.desks.get(agent_id)
            if desk is None or not self.runs(agent_id) or self.keeper.holds(agent_id):
                return
            session_log(agent_id, desk.fence, holder=self.holder).lost()
            await self.stop(agent_id, state=TAKING_OVER)
            await desk.tell_tabs_here({"type": "session", "session": TAKING_OVER.to_json()})
        await self._settle_anew(desk)

    def _see(self, agent_id: Any, standing: Standing) -> None:
        desk = self.desks.get(agent_id)
        if desk is None:
            self.keeper.unwatch(agent_id)
        elif not standing.holder:
            self.begin(self._fill_vacancy(agent_id, standing))
        elif self.runs(agent_id) or standing.fence < desk.fence:
            return  # the claim that is on its way tells; what is known here is newer
        elif standing.holder not in (desk.elsewhere, self.holder):
            desk.fence, desk.elsewhere = standing.fence, standing.holder
            self.begin(self._present_tabs(desk))

    async def _fill_vacancy(self, agent_id: Any, standing: Standing) -> None:
        async with self.turn(agent_id):
            desk = self.desks.get(agent_id)
            if desk is not None and standing.fence < desk.fence:
                return  # somebody has claimed it since the look
            self.keeper.unwatch(agent_id)
            if desk is None or self.runs(agent_id) or self._is_ending:
                return
            desk.fence, desk.elsewhere = max(desk.fence, standing.fence), ""
            if standing.is_wanted or (desk.is_wanted and not standing.is_over):
                self.start(desk)
            else:
                if standing.is_over:
                    desk.state = LOGGED_OUT  # or her pages would log in again
                await desk.tabs.elect(desk.fence)
                await desk.send_snapshots()

    async def _obey(self, agent_id: Any, instruction: str) -> None:
        """Do what an operator wants done with a session."""
        tenure = self.tenures.get(agent_id)
        match instruction:
            case Instruction.HAND_OVER:
                await self.hand_over(agent_id, get_settings().linger_seconds)
            case Instruction.RELOAD if tenure is not None:
                await tenure.begin_anew(only_if_changed=True)
                desk = self.desks.get(agent_id)
                if desk is not None and not desk.keep_open and not len(desk.tabs):
                    await self.close(agent_id)
            case Instruction.CLOSE:
                async with self.turn(agent_id):
                    desk = self.desks.get(agent_id)
                    if desk is not None and self.runs(agent_id):
                        await desk.tell(CLOSED)
                        self.keeper.note_link(agent_id, CLOSED.state.value)
                        await self.stop(agent_id, state=CLOSED)
                        desk.is_wanted = False
                        nobody = {"type": "cti.who", "holder": "", "fence": desk.fence}
                        await bus.tell(bus.agent_group(agent_id), nobody)
                        if not len(desk.tabs):
                            self._forget(desk)

    # -- the end ------------------------------------------------------------------------------------------------

    async def shut_down(self) -> None:
        """End all sessions and hand them over, within two seconds. The process is about to end."""
        self._is_ending = True
        for timer in self._lingering.values():
            timer.cancel()
        tenures = list(self.tenures.values())
        for tenure in tenures:
            tenure.releases = False
        ending = [asyncio.ensure_future(tenure.stop()) for tenure in tenures]
        if ending:
            await asyncio.wait(ending, timeout=STOP_SECONDS)
            await calllog.aflush(FLUSH_SECONDS)
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.keeper.release(list(self.keeper.held), get_settings().linger_seconds)
        except (db.Error, RuntimeError, TimeoutError):
            logger.warning("The leases could not be handed over; they run out by themselves")
        await self.mailbox.tell_of_vacancies()
        self.keeper.stop()
        self.deliveries.stop()
        await self.mailbox.stop()
        for chore in self._chores:
            chore.cancel()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done beside everything else."""
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
