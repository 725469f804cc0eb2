"""What every connector is: two facts, four verbs, and some more for systems that can do more.

A connector speaks to one telephone system for one agent. It reconnects nothing, stores nothing, and knows no agent,
no database and no Django: the session above it does all that.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from ..calls.commands import Capability, Command
from ..calls.events import Call
from ..calls.notifications import Notification
from ..calls.numbers import DEFAULT_NUMBER_PLAN, NumberPlan
from ..exceptions import ConnectorError

__all__ = ["Connector", "Credentials", "Delivery", "Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How an agent proves who she is. A plain value, never a model; secrets stay out of its repr.

    Args:
        username: as the telephone system wants it (VoIPstudio: the e-mail address).
        password: goes with the username.
        api_key: instead of both.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delivery:
    """What a system has pushed to an endpoint, once. Each is only itself: two with the same fields are two.

    Args:
        endpoint: the name of the endpoint.
        received_at: when, aware UTC.
        fields: the names and values that were posted, those that the endpoint's shape knows.
    """

    endpoint: str
    received_at: datetime
    fields: Mapping[str, tuple[str, ...]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one step of an examination has found.

    Args:
        step: what was tried, in a few words ("Log in to the manager").
        ok: whether it went well; None if it could not be tried, or says nothing either way.
        message: what was found, a plain sentence without secrets.
        advice: what to do about it, "" if nothing.
    """

    step: str
    ok: bool | None
    message: str
    advice: str = ""


class Connector(ABC):
    """One agent's line to one telephone system.

    The life of a connector: ``open()``, then one task iterates ``notifications()`` while others ``execute()``
    commands, then ``close()``. After ConnectionLost the same object may be opened again: it keeps what spares the
    agent a second log-in (a token), and nothing else.

    Args:
        credentials: who logs in.
        options: this connector's own settings (its docstring lists them); unknown keys raise ValueError naming the key.
        number_plan: how numbers are read and written for this agent.
    """

    name: ClassVar[str]
    """The connector's short name, as settings and accounts spell it ("voipstudio")."""

    number_plan_defaults: ClassVar[NumberPlan] = DEFAULT_NUMBER_PLAN
    """How this kind of system writes numbers; the agent's region is added to it."""

    takes_typed_credentials: ClassVar[bool] = True
    """Whether an agent may log in with what she types. Where the account alone says which phone is hers (a manager
    connection that serves all agents), what she typed could name anybody's."""

    endpoint: str = ""
    """For systems that push: the endpoint whose deliveries ``receive`` takes; "" for all others."""

    names: frozenset[str] = frozenset()
    """For systems that push: what deliveries call this agent."""

    capabilities: frozenset[Capability]
    """What this system can do. May shrink while connected (a system that turns out to refuse hold)."""

    def __init__(
        self,
        credentials: Credentials,
        options: Mapping[str, Any],
        *,
        number_plan: NumberPlan = DEFAULT_NUMBER_PLAN,
    ) -> None:
        self.credentials = credentials
        self.options = options
        self.number_plan = number_plan

    @abstractmethod
    async def open(self) -> None:
        """Reach the system and log in, as far as that goes without the agent.

        Where a second factor is needed this returns all the same; ``notifications()`` says TWO_FACTOR_AUTH, and
        ``execute(TwoFactorCode(...))`` goes on.

        Raises:
            ConnectionLost: the system cannot be reached, or answers nonsense. Later may help.
            LoginRefused: the system refuses these credentials. Trying again unchanged cannot help.
        """

    @abstractmethod
    def notifications(self) -> AsyncIterator[Notification]:
        """Everything the system says from ``open()`` on, in order: LOGGED_IN, SUBSCRIBED, a Snapshot, READY, legs ...

        Ends (StopAsyncIteration) after LOGGED_OUT, or after ``close()``.

        Raises:
            ConnectionLost: the line is gone. ``open()`` again starts everything anew.
            LoginRefused: refused after ``open()`` (by the SIP server, say).
        """

    @abstractmethod
    async def execute(self, command: Command, call: Call | None = None) -> None:
        """Carry out `command`, which made sense for `call` a moment ago (``calls.commands.refusal`` said so).

        What comes of it is heard through ``notifications()``: a Dial gives DialNotifications (STARTED before the
        first await, so that INITIAL is instant), a Logout LOGGED_OUT. Returns when the system has taken the command
        (for a Dial: as soon as STARTED is said; the rest happens in the background).

        Raises:
            CommandRefused: with the system's own sentence where it gave one.
            ConnectionLost: the command may or may not have arrived.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the line without logging the agent out of anything else. Never raises; may be called twice."""

    async def refresh(self) -> None:  # noqa: B027 - a system may have nothing to ask
        """Have the system say a Snapshot of the agent's own calls anew, soon. Never says anything itself.

        Where a system cannot be asked, or the line is not there, nothing happens.
        """

    def receive(self, delivery: Delivery) -> None:  # noqa: B027 - most systems push nothing
        """Take what the system has pushed to ``endpoint``, about whomever. Never raises; the same again is harmless.

        Before ``open()`` it is history, which goes into the first Snapshot; afterwards ``notifications()`` says what
        it means for this agent.
        """

    def replay(self, deliveries: Iterable[Delivery]) -> Iterator[tuple[datetime, Notification]]:
        """What `deliveries`, in this order, have meant for this agent, and when. Changes nothing, never raises.

        For the log, which so learns of calls that were over before anybody listened.
        """
        return iter(())

    async def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """Try, step by step, everything that this connector needs, for ``manage.py cti_doctor``. Never raises.

        Leaves nothing behind: what it opens it closes. To be called on a connector that is not open.

        Args:
            number: place a call to it at the end, in which the agent's own phone rings; "" for none.
        """
        try:
            await self.open()
        except ConnectorError as error:
            yield Finding(step="Log in", ok=False, message=str(error))
        else:
            yield Finding(step="Log in", ok=True, message="The telephone system accepts the account.")
        await self.close()

    async def directory(self) -> list[dict[str, str]]:
        """The colleagues, for transfers: [{"number": "10032", "name": "Bob Agent", "node": "user:10032"}].

        A system that knows how they stand adds "presence": "idle", "ringing", "busy", "hold" or "offline".

        Empty unless Capability.DIRECTORY is there.

        Raises:
            ConnectionLost, CommandRefused: as for ``execute``.
        """
        return []
