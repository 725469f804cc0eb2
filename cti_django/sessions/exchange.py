"""Carries what a tab says to the process that runs its agent's session, and takes what other processes' tabs say.

What travels here comes from processes of the same project, over a bus that others may be able to write to: it is
parsed like a browser's, and a command is parsed again by the process that carries it out. Credentials never travel.
"""

import logging
from typing import Any, Protocol

from ..conf import get_settings
from ..exceptions import InvalidCommand
from .desk import Desk
from .mailbox import Mailbox
from .session import CommandAnswer
from .tabs import MAX_POPPED, Tab

__all__ = ["UNHEARD", "Exchange"]

logger = logging.getLogger(__name__)

UNHEARD = CommandAnswer(
    ok=False, code="not_connected", message="The server that runs your session cannot be reached at the moment."
)
LATE = CommandAnswer(
    ok=False,
    code="timed_out",
    message="The server that runs your session did not answer in time; the command may or may not have been "
    "carried out.",
)


class _Host(Protocol):
    """What tabs want, wherever they are connected."""

    async def seat(self, agent_id: Any, tab: Tab, *, focused: bool, wants_snapshot: bool) -> None: ...
    async def leave(self, agent_id: Any, tab_id: str, channel_name: str) -> None: ...
    async def focus(self, agent_id: Any, tab_id: str) -> None: ...
    async def review(self, agent_id: Any) -> None: ...
    async def note_changed(self, agent_id: Any, call_id: str, text: str) -> None: ...
    async def act(self, agent_id: Any, tab_id: str, kind: str, message: dict[str, Any]) -> CommandAnswer: ...
    async def join_login(self, agent_id: Any, proof: str) -> CommandAnswer: ...
    def held_agent(self, name: str) -> Any: ...


class Exchange:
    """Both directions, for one process."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        self.mailbox: Mailbox

    # -- to the holder ------------------------------------------------------------------------------------------

    async def present(self, desk: Desk, tab: Tab, *, focused: bool = False, wants_snapshot: bool = True) -> None:
        """Tell the holder of a tab that is connected here."""
        told = {"id": tab.tab_id, "channel": tab.channel_name, "popped": tab.popped, "connection": tab.connection}
        await self.mailbox.tell(desk.agent_id, "sit", tab=told, focused=focused, wants_snapshot=wants_snapshot)

    async def tell(self, desk: Desk, verb: str, **facts: Any) -> None:
        """Pass on something that wants no answer."""
        await self.mailbox.tell(desk.agent_id, verb, **facts)

    async def ask(self, desk: Desk, verb: str, seconds: float = 0.0, **facts: Any) -> CommandAnswer:
        """Pass on something that wants an answer; within `seconds` (0: the time limit of commands) there is one."""
        try:
            answer = await self.mailbox.ask(desk.agent_id, verb, seconds or get_settings().command_seconds, **facts)
            return CommandAnswer(
                ok=answer["ok"] is True,
                message=str(answer["message"]),
                code=str(answer["code"]),
                data=dict(answer["data"]),
            )
        except ConnectionError:
            return UNHEARD
        except TimeoutError:
            return LATE
        except (KeyError, TypeError, ValueError):
            logger.warning("The answer of another process makes no sense")
            return LATE

    # -- from other processes -----------------------------------------------------------------------------------

    async def hear(self, message: dict[str, Any]) -> None:
        """Take what another process says to a desk of this one; dropped if the lease is not held any more."""
        agent_id = self._host.held_agent(str(message.get("agent")))
        if agent_id is None or message.get("from") == self.mailbox.holder:
            return
        try:
            await self._take(agent_id, message)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("A message of another process makes no sense (%s)", type(error).__name__)

    async def _take(self, agent_id: Any, message: dict[str, Any]) -> None:
        host = self._host
        match message["verb"]:
            case "sit":
                told = message["tab"]
                tab = Tab(
                    tab_id=str(told["id"])[:64],
                    channel_name=str(told["channel"]),
                    holder=str(message["from"]),
                    connection=int(told["connection"]),
                    popped=[str(call_id)[:64] for call_id in told["popped"][-MAX_POPPED:]],
                )
                focused, wants = message["focused"] is True, message["wants_snapshot"] is True
                await host.seat(agent_id, tab, focused=focused, wants_snapshot=wants)
            case "leave":
                await host.leave(agent_id, str(message["tab_id"]), str(message["channel"]))
            case "focus":
                await host.focus(agent_id, str(message["tab_id"]))
            case "review":
                await host.review(agent_id)
            case "note":
                await host.note_changed(agent_id, str(message["call_id"]), str(message["text"]))
            case "login":
                await self._answer(message, await host.join_login(agent_id, str(message["proof"])))
            case "act":
                await self._answer(message, await self._act(agent_id, message))

    async def _act(self, agent_id: Any, message: dict[str, Any]) -> CommandAnswer:
        try:
            return await self._host.act(agent_id, str(message["tab_id"]), str(message["kind"]), message["message"])
        except InvalidCommand as invalid:
            return CommandAnswer(ok=False, message=str(invalid), code=invalid.code)

    async def _answer(self, asked: dict[str, Any], answer: CommandAnswer) -> None:
        facts = {"ok": answer.ok, "message": answer.message, "code": answer.code, "data": answer.data}
        await self.mailbox.answer(asked, facts)
