"""The SIP connector: one agent's line to any SIP server that follows the standards.

    open() ── look up, connect, OPTIONS: does it answer, does it know us ──> LOGGED_IN
       ├── REGISTER, where wanted: a shadow contact, which learns who calls
       └── SUBSCRIBE dialog ── accepted ──> SUBSCRIBED, READY, a Snapshot, legs ...
                            └─ 489 and the like ──> with a shadow contact INFO and READY, else LoginRefused

Source: RFC 3261, 3263, 4235, 6665; docs/connectors/sip.md says what of them is used for what.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...calls import commands
from ...calls.commands import Capability, Command
from ...calls.events import Call
from ...calls.notifications import Notification, SessionNotification
from ...calls.numbers import NumberPlan, Party, classify, dialable, digits_to_dial
from ...exceptions import (
    CommandRefused,
    ConnectionLost,
    ConnectorError,
    InvalidNumber,
    LoginRefused,
    NotCapable,
    SIPMessageError,
)
from ...wire.sip_login import Login
from ...wire.sip_subscriber import Subscriber
from ...wire.sip_uri import SIPURI, parse_uri
from ...wire.sip_user_agent import ProtocolFault, UserAgent
from ..base import Connector, Credentials, Finding
from ..complaints import Complaints
from ..sip_line import SIPLine, Subscriptions
from ..sip_watch import Watch
from ..stream import NotificationStream
from ..transports import Network
from .dialling import Dialling
from .examination import examine
from .joining import Joiner
from .leg import CallLine
from .locate import DNS, Resolver
from .options import Options
from .reach import Line, reach
from .registration import Registration
from .shadow import ShadowContact
from .sockets import Flow
from .watch import new_watch

__all__ = ["SIPConnector"]

CLOSE_SECONDS = 1.0
_PLACED = frozenset(
    {
        Capability.HANG_UP,
        Capability.HOLD,
        Capability.TRANSFER,
        Capability.TRANSFER_HELD,
        Capability.CONSULT,
        Capability.DTMF,
    }
)
"""What can be done with calls that we stay in the path of."""
NO_EVENTS = (
    "The telephone system does not tell about calls (status {status}). Switch on its dialog events for this user, or "
    "the option register."
)
POOR = "The telephone system does not tell how calls go on. You hear who rings, and no more."


class SIPConnector(Connector):
    """One agent's line to a SIP server.

    Credentials: the user name of her phone's account ("1001", or "1001@example.com") and its password.
    Options: those of ``options.Options``; `server` is the one that must be given.
    """

    name = "sip"
    number_plan_defaults = NumberPlan(delivers="international", extension_pattern=r"[1-9][0-9]{1,4}")

    def __init__(
        self,
        credentials: Credentials,
        options: Mapping[str, Any],
        *,
        number_plan: NumberPlan = number_plan_defaults,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(credentials, options, number_plan=number_plan)
        self._options = Options.read(options)
        self._resolver = resolver or DNS()
        self._wanted_nodes: list[str] = []
        self._is_logged_out = False
        self._stream = NotificationStream()
        self._complaints = Complaints(self._say)
        user = credentials.username.partition("@")[0]
        self._joiner = Joiner(classify(user, "", number_plan), self._say, _later, _clock)
        self._network: Network | None = None
        self._line: Line | None = None
        self._login: Login | None = None
        self._subscriber: Subscriber | None = None
        self._watch: Watch | None = None
        self._registration: Registration | None = None
        self._shadow: ShadowContact | None = None
        self._dialling: Dialling | None = None
        self.capabilities = frozenset({Capability.DIAL, Capability.WITHDRAW, Capability.SUBSCRIBE})
        if self._options.click_to_call == "3pcc":
            self.capabilities |= _PLACED
        if self._options.directory:
            self.capabilities |= {Capability.DIRECTORY}

    # -- the four verbs -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Reach the server and log in; see ``Connector.open``."""
        await self.close()
        self._stream = NotificationStream()
        if self._is_logged_out:
            self._end_logged_out()
            return
        if not self.credentials.username or not self.credentials.password:
            raise LoginRefused(
                "The user name and the password of a telephone account are needed.", code="no_credentials"
            )
        self._network = Network.shared(self._options.ca_file)
        self._network.hold()
        try:
            async with self._network.turn(self._options.server.url or f"sip://{self._options.server.host}"):
                self._line = await reach(self._options, self._network, self._resolver, self._new_line, self._fail)
        except SIPMessageError:
            await self.close()
            raise LoginRefused("That is no user name of a telephone account.", code="no_credentials") from None
        except BaseException:
            await self.close()
            raise
        self._say(SessionNotification(name="LOGGED_IN"))
        self._go_online(self._line)

    def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        return aiter(self._stream)

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        match command:
            case commands.Logout():
                self._is_logged_out = True
                self._end_logged_out()
            case commands.Dial():
                destination, uri = self._whom(command.number)
                self._online().dial(command.command_id, destination, uri)
            case commands.Subscribe():
                self._online()
                if self._watch is not None:
                    self._watch.add(command.node)
            case _ if call is not None:
                await self._online().control(command, call, self._whom)
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    async def close(self) -> None:
        """See ``Connector.close``. Who talks through us is connected without us, where the server can do that."""
        self._stream.end()
        await self._leave("The line to the telephone system was closed.")

    async def refresh(self) -> None:
        """See ``Connector.refresh``: the agent's own node is subscribed again within its subscription."""
        if self._watch is not None and self._joiner.is_watching:
            self._watch.refresh()
        else:
            self._joiner.say_snapshot()

    async def directory(self) -> list[dict[str, str]]:
        """The colleagues that the options name; see ``Connector.directory``."""
        return [
            {"number": number, "name": name, "node": f"user:{number}"}
            for number, name in self._options.directory.items()
        ]

    @property
    def realm(self) -> str:
        """The realm for which the server wants the log-in, "" while it has not asked."""
        return self._login.realm if self._login is not None else ""

    async def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """See ``Connector.examine``."""
        async for finding in examine(self, self._options, self._resolver, number):
            yield finding

    # -- the line -----------------------------------------------------------------------------------------------

    def _new_line(self, flow: Flow, on_lost: Callable[[ConnectionLost], None]) -> tuple[SIPLine, UserAgent]:
        username = self.credentials.username
        agent = UserAgent(
            address=str(self._options.address(username)),
            username=self._options.auth_username or username.partition("@")[0],
            password=self.credentials.password,
            transport=flow.transport,
            sent_by=flow.sent_by,
            route=self._options.route,
            accept="application/dialog-info+xml, application/sdp, message/sipfrag",
        )
        self._login = agent.login
        line = SIPLine(flow.socket, agent, on_event=self._hear, on_lost=on_lost, room=self._stream.room)
        return line, agent

    def _go_online(self, line: Line) -> None:
        options, agent = self._options, line.agent
        own = agent.uri.user
        self._joiner.begin()
        self._joiner.is_watching = options.watch != "-"
        agent.keep_alive(options.keep_alive_seconds, line.sip.now())
        self._dialling = Dialling(
            CallLine(agent, line.sip.flush),
            self._joiner,
            self._say,
            mode=options.click_to_call,
            phone_uri=self._uri(options.phone or own),
            dial_seconds=options.dial_seconds,
            auto_answer=options.auto_answer,
            on_control=self._can_control,
        )
        if options.register:
            self._register(agent, line.sip)
        if self._joiner.is_watching:
            self._subscriber = Subscriber(agent, expires=round(options.expires_seconds))
            self._watch = new_watch(
                options.watch or own,
                self._wanted_nodes,
                self.number_plan,
                self._complaints,
                self._joiner.hear,
                self._hear_unwatched,
            )
            self._watch.begin(Subscriptions(line.sip, self._subscriber))
        else:
            self._be_ready_unwatched()
        line.sip.flush()

    def _register(self, agent: UserAgent, line: SIPLine) -> None:
        self._shadow = ShadowContact(
            agent,
            classify(agent.uri.user, "", self.number_plan),
            self.number_plan,
            self._joiner,
            lambda: self._dialling is not None and self._dialling.is_ringing,
            line.flush,
        )
        agent.on_request = self._shadow.admit
        self._registration = Registration(agent, self._options.register_seconds, self._hear_unregistered)
        self._registration.begin(line.now())

    async def _leave(self, cause: str) -> None:
        line, self._line = self._line, None
        network, self._network = self._network, None
        talking = self._dialling.close(cause) if self._dialling is not None else []
        if line is not None:
            await asyncio.gather(*(bridge.hand_over() for bridge in talking))
        if self._shadow is not None:
            self._shadow.close()
        if self._watch is not None:
            self._watch.close()
        if line is not None:
            await self._say_goodbye(line)
            await line.sip.close()
        self._dialling = self._shadow = self._watch = self._subscriber = self._registration = None
        if network is not None:
            await network.release()

    async def _say_goodbye(self, line: Line) -> None:
        """What the server would otherwise keep for us until it runs out: without waiting long for its answers."""
        now = line.sip.now()
        if self._registration is not None:
            self._registration.end(now)
        if self._subscriber is not None:
            self._subscriber.unsubscribe(self._options.watch or line.agent.uri.user, now)
        with contextlib.suppress(ConnectorError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for message in line.agent.data_to_send():
                    await line.socket.send(message)

    # -- what is heard ------------------------------------------------------------------------------------------

    def _hear(self, event: Any) -> None:
        if self._watch is not None:
            self._watch.hear(event)
        elif isinstance(event, ProtocolFault):
            self._complaints.tell("sip_fault", "The telephone line carried something that cannot be understood.")

    def _hear_unwatched(self, status: int) -> None:
        """The server will not tell about the agent's calls."""
        if status in (401, 403, 407) and not self._options.register:
            self._fail(LoginRefused(f"The telephone system refuses to tell about your calls (status {status:d})."))
        elif not self._options.register:
            self._fail(LoginRefused(NO_EVENTS.format(status=status), code="no_dialog_events"))
        else:
            self._be_ready_unwatched()

    def _be_ready_unwatched(self) -> None:
        self._joiner.is_watching = False
        self._say(SessionNotification(name="INFO", message=POOR, code="no_dialog_events"))
        self._say(SessionNotification(name="READY"))
        self._joiner.say_snapshot()

    def _hear_unregistered(self, status: int, retry: float | None) -> None:
        because = f"The telephone system does not register this program (status {status:d})."
        if retry is None and status in (401, 403, 407):
            self._fail(LoginRefused(because))
        elif retry is None:
            self._say(SessionNotification(name="ERROR", message=because, code="not_registered"))
        else:
            self._complaints.tell("not_registered", f"{because} It is asked again in {retry:.0f} seconds.")

    def _can_control(self) -> None:
        """We stay in the path of a call that the agent has placed."""
        self.capabilities |= _PLACED

    # -- small change -------------------------------------------------------------------------------------------

    def _whom(self, number: str) -> tuple[Party, str]:
        try:
            party = dialable(number, self.number_plan)
        except InvalidNumber as error:
            raise CommandRefused(str(error), code=error.code) from None
        digits = digits_to_dial(party)
        return party, self._uri(self._options.dial_prefix + digits if party.number else digits)

    def _uri(self, user: str) -> str:
        """The URI of `user` in our domain; a URI stays what it is."""
        if ":" in user:
            return str(parse_uri(user))
        own = self._options.address(self.credentials.username)
        return str(SIPURI("sip", user, own.host, own.port))

    def _online(self) -> Dialling:
        if self._dialling is None or self._stream.is_over:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        return self._dialling

    def _say(self, notification: Notification) -> None:
        self._stream.put(notification)

    def _fail(self, error: ConnectorError) -> None:
        """End this line because of `error`; the agent's phone may go on with what it was asked."""
        if self._dialling is not None:
            self._dialling.close("" if isinstance(error, ConnectionLost) else str(error))
        self._stream.fail(error)

    def _end_logged_out(self) -> None:
        if self._dialling is not None:
            self._dialling.close("You have logged out.")
        self._say(SessionNotification(name="LOGGED_OUT"))
        self._stream.end()


def _later(seconds: float, call: Any) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)


def _clock() -> datetime:
    return datetime.now(UTC)
