"""The VoIPstudio connector: REST for log-in and call control, SIP over WebSocket for what the calls do.

    open()  ── log in (or use the token again) ── two-factor? ──> TWO_FACTOR_AUTH ... execute(TwoFactorCode)
       └──> LOGGED_IN ── WebSocket ── SUBSCRIBE own node ── accepted ──> SUBSCRIBED, READY, further nodes
    GET /ping every 25 s: refused ──> LOGGED_OUT, the end; unanswered ──> ConnectionLost; "not now" ──> ERROR, goes on

Source: VoIPstudio's "Integrations - CTI Connector" and "API: calls"; docs/connectors/voipstudio.md.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from ...calls.commands import Capability, Command, Dial, Hold, Logout, Resume, Subscribe, TwoFactorCode
from ...calls.events import Call
from ...calls.notifications import Notification, SessionNotification
from ...calls.numbers import NumberPlan
from ...exceptions import (
    CommandRefused,
    ConnectionLost,
    ConnectorError,
    CTIError,
    LoginRefused,
    NotCapable,
    RESTError,
    WireError,
)
from ...wire import voipstudio_rest as rest
from ..base import Connector, Credentials, Finding
from ..complaints import Complaints
from ..sip_line import SIPLine, Subscriptions
from ..sip_watch import Watch
from ..stream import NotificationStream
from ..transports import Network
from .api import API
from .call_control import callee, refused, request_for
from .dialler import Dialler
from .examination import examine
from .options import Options
from .subscriber import new_subscriber
from .watch import new_watch

__all__ = ["VoIPstudioConnector"]

Answer = TypeVar("Answer")

SUBPROTOCOL = "sip"  # RFC 7118 section 4
EXPIRED = "Your session with the telephone system has ended. Please log in again."
NO_HOLD = "Your telephone system does not let other programs hold a call. Use the hold key of your phone."
_CREDENTIALS_AT_FAULT = frozenset({400, 401, 402, 403, 409, 422, 423})
_NOT_ABOUT_HOLD = frozenset({401, 404, 408, 409, 425, 429})


class VoIPstudioConnector(Connector):
    """One agent's line to VoIPstudio (or to the sandbox, which speaks the same).

    Credentials: e-mail address and password, or an API key (``key`` or ``user_id:key``).
    Options: those of ``options.Options``: api_url, sip_url, ca_file, request_seconds, dial_seconds, ping_seconds,
    expires_seconds.
    """

    name = "voipstudio"
    number_plan_defaults = NumberPlan(delivers="international", extension_pattern=r"[1-9][0-9]{3,4}")

    def __init__(
        self, credentials: Credentials, options: Mapping[str, Any], *, number_plan: NumberPlan = number_plan_defaults
    ) -> None:
        super().__init__(credentials, options, number_plan=number_plan)
        self.capabilities = frozenset(
            {
                Capability.DIAL,
                Capability.ANSWER,
                Capability.HANG_UP,
                Capability.HOLD,
                Capability.TRANSFER,
                Capability.SUBSCRIBE,
                Capability.LINK,
                Capability.DIRECTORY,
            }
        )
        self._options = Options.read(options)
        self._token = ""
        self._nonce = ""
        self._is_logged_out = False
        self._wanted_nodes: list[str] = []
        self._stream = NotificationStream()
        self._complaints = Complaints(self._say)
        self._network: Network | None = None
        self._api: API | None = None
        self._dialler: Dialler | None = None
        self._watch: Watch | None = None
        self._line: SIPLine | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._chores: set[asyncio.Task[None]] = set()

    # -- the four verbs -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Log in and open the line; see ``Connector.open``."""
        await self.close()
        self._stream = NotificationStream()
        if self._is_logged_out:
            self._end_logged_out("")
            return
        self._network = Network.shared(self._options.ca_file)
        self._network.hold()
        self._api = API(self._network, self._options.api_url, self._options.request_seconds)
        try:
            async with self._network.turn(self._options.api_url):
                if self._is_logged_out:  # meanwhile, and LOGGED_OUT was said
                    return
                me = await self._log_in(self._api)
                if me is not None:
                    await self._go_online(self._api, me)
        except WireError as error:
            await self.close()
            raise ConnectionLost(str(error), code=error.code) from None
        except BaseException:
            await self.close()
            raise

    def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        return aiter(self._stream)

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        match command:
            case Logout():
                await self._log_out()
            case TwoFactorCode():
                await self._log_in_with_code(command)
            case Dial():
                self._dial(command)
            case Subscribe():
                self._online_watch().add(command.node)
            case _ if call is not None:
                await self._control(command, call)
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    async def close(self) -> None:
        """See ``Connector.close``. The token is kept: the next ``open`` uses it again."""
        self._stream.end()
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        if self._dialler is not None:
            self._dialler.abandon("The line to the telephone system was closed.")
        if self._watch is not None:
            self._watch.close()
        chores = [chore for chore in self._chores if chore is not asyncio.current_task()]
        for chore in chores:
            chore.cancel()
        line, self._line = self._line, None
        network, self._network = self._network, None
        self._ping_timer = self._dialler = self._watch = self._api = None
        with contextlib.suppress(ConnectorError, OSError):
            await asyncio.gather(*chores, return_exceptions=True)
            if line is not None:
                await line.close()
        if network is not None:
            await network.release()

    async def refresh(self) -> None:
        """See ``Connector.refresh``: the agent's own node is subscribed again within its subscription."""
        if self._watch is not None:
            self._watch.refresh()

    async def directory(self) -> list[dict[str, str]]:
        """The colleagues; see ``Connector.directory``."""
        api, watch = self._online_api(), self._online_watch()
        answer = await self._ask(api, rest.users_request(api.token), rest.read_users)
        if isinstance(answer, rest.Refusal):
            raise refused(answer)
        return [
            {"number": user.extension or user.user_id, "name": user.name, "node": f"user:{user.user_id}"}
            for user in answer
            if user.user_id not in watch.own_numbers
        ]

    async def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """See ``Connector.examine``."""
        async for finding in examine(self, self._options, number):
            yield finding

    # -- logging in ---------------------------------------------------------------------------------------------

    async def _log_in(self, api: API) -> rest.Me | None:
        """Who has logged in, or None if a code is wanted first."""
        if self._token:
            me = await api.ask(rest.me_request(self._token), rest.read_me)
            if isinstance(me, rest.Me):
                api.token = self._token
                return me
            if not me.is_final:
                raise _unavailable(me)
            self._token = ""
        return await self._log_in_anew(api)

    async def _log_in_anew(self, api: API) -> rest.Me | None:
        credentials = self.credentials
        if credentials.api_key:
            return await self._log_in_with_token(
                api, credentials.api_key, "The telephone service refuses this API key."
            )
        if not credentials.username or not credentials.password:
            raise LoginRefused("An e-mail address and a password, or an API key, are needed.", code="no_credentials")
        answer = await api.ask(rest.login_request(credentials.username, credentials.password), rest.read_login)
        match answer:
            case rest.LoggedIn():
                return await self._log_in_with_token(api, answer.token, "The telephone service refused its own token.")
            case rest.TwoFactorAsked():
                self._ask_for_code(answer.nonce)
                return None
            case rest.Refusal():
                raise _login_refused(answer, "The telephone service refuses this e-mail address and password.")

    async def _log_in_with_token(self, api: API, token: str, sentence: str) -> rest.Me:
        try:
            request = rest.me_request(token)
        except RESTError as error:
            raise LoginRefused(str(error)) from None
        me = await api.ask(request, rest.read_me)
        if isinstance(me, rest.Refusal):
            raise _login_refused(me, sentence)
        self._token = api.token = token
        return me

    def _ask_for_code(self, nonce: str) -> None:
        self._nonce = nonce
        message = "Enter the code of your second factor."
        self._say(SessionNotification(name="TWO_FACTOR_AUTH", message=message, nonce=nonce))

    async def _log_in_with_code(self, command: TwoFactorCode) -> None:
        api = self._api
        if api is None or not self._nonce:
            raise CommandRefused("No code is asked for now.", code="no_code_wanted", event_name="INFO")
        request = rest.two_factor_request(command.code, command.nonce or self._nonce)
        answer = await self._ask(api, request, rest.read_login)
        match answer:
            case rest.LoggedIn():
                self._nonce = ""
                self._token = answer.token
                self._spawn(self._go_online_after_code(api, answer.token))
            case rest.TwoFactorAsked():
                self._ask_for_code(answer.nonce)
                raise CommandRefused("The telephone service did not accept that code.", code="wrong_code")
            case rest.Refusal():
                sentence = answer.sentence or "The telephone service did not accept that code."
                raise CommandRefused(sentence, code="wrong_code")

    async def _go_online_after_code(self, api: API, token: str) -> None:
        try:
            async with Network.shared(self._options.ca_file).turn(self._options.api_url):
                me = await self._log_in_with_token(api, token, "The telephone service refused its own token.")
                await self._go_online(api, me)
        except WireError as error:
            self._fail(ConnectionLost(str(error), code=error.code))
        except ConnectorError as error:
            self._fail(error)

    # -- the line -----------------------------------------------------------------------------------------------

    async def _go_online(self, api: API, me: rest.Me) -> None:
        if self._network is None:
            return  # closed meanwhile
        self._say(SessionNotification(name="LOGGED_IN"))
        options = self._options
        self._dialler = Dialler(api, self._say, self._ping, options.dial_seconds)
        watch = new_watch(me.user_id, self._wanted_nodes, self.number_plan, self._complaints, self._say, self._fail)
        if me.extension:
            watch.own_numbers.add(me.extension)
        sip_url = options.sip_url_for(me.sip_domain)
        subscriber = new_subscriber(me, sip_url, options.expires_seconds)
        try:
            socket = await self._network.connect(sip_url, subprotocol=SUBPROTOCOL)
        except ConnectionLost as lost:
            self._fail(lost)  # told behind LOGGED_IN: so far it went well
            return
        self._watch = watch
        self._line = SIPLine(socket, subscriber, on_event=watch.hear, on_lost=self._fail, room=self._stream.room)
        watch.begin(Subscriptions(self._line, subscriber))
        self._plan_ping()

    def _plan_ping(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        self._ping_timer = asyncio.get_running_loop().call_later(self._options.ping_seconds, self._ping)

    def _ping(self) -> None:
        if self._api is not None and not self._stream.is_over:
            self._spawn(self._keep_alive(self._api))

    async def _keep_alive(self, api: API) -> None:
        try:
            answer = await api.ask(rest.ping_request(api.token), rest.read_done)
        except RESTError as error:
            self._complaints.tell(error.code, str(error))
        except ConnectionLost as lost:
            self._fail(lost)
            return
        else:
            if isinstance(answer, rest.Refusal) and answer.is_final:
                self._token = ""
                self._end_logged_out(EXPIRED, "session_expired")
                return
            if isinstance(answer, rest.Refusal):  # a service that restarts has not forgotten anybody
                self._complaints.tell("service_unavailable", str(_unavailable(answer)))
        self._plan_ping()

    # -- the agent's wishes -------------------------------------------------------------------------------------

    def _dial(self, command: Dial) -> None:
        watch = self._online_watch()
        destination = callee(command.number, self.number_plan, watch.own_numbers)
        if self._dialler is not None:
            self._dialler.dial(command.command_id, destination)

    async def _control(self, command: Command, call: Call) -> None:
        api, watch = self._online_api(), self._online_watch()
        request = request_for(command, call, api.token, self.number_plan, watch.own_numbers)
        answer = await self._ask(api, request, rest.read_done)
        if isinstance(answer, rest.Done):
            return
        if answer.status == 401:
            self._ping()
        about_hold = 400 <= answer.status < 500 and answer.status not in _NOT_ABOUT_HOLD
        if isinstance(command, (Hold, Resume)) and about_hold:
            # No page of the service's documents a way to hold a call: having tried once is enough.
            self.capabilities -= {Capability.HOLD}
            raise CommandRefused(NO_HOLD, code="no_hold", event_name="INFO")
        raise refused(answer)

    async def _log_out(self) -> None:
        token, self._token, self._nonce = self._token, "", ""
        self._is_logged_out = True
        if token:
            network = Network.shared(self._options.ca_file)
            network.hold()
            api = API(network, self._options.api_url, self._options.request_seconds)
            # Whatever the service says: for the agent this session is over.
            with contextlib.suppress(CTIError):
                await api.ask(rest.logout_request(token), rest.read_done)
            await network.release()
        self._end_logged_out("")

    # -- small change -------------------------------------------------------------------------------------------

    def _say(self, notification: Notification) -> None:
        self._stream.put(notification)

    def _fail(self, error: ConnectorError) -> None:
        """End this line because of `error`."""
        if self._dialler is not None:
            self._dialler.leave_open()
        self._stream.fail(error)

    def _end_logged_out(self, message: str, code: str = "") -> None:
        if self._dialler is not None:
            self._dialler.abandon(message or "You have logged out.")
        self._say(SessionNotification(name="LOGGED_OUT", message=message, code=code))
        self._stream.end()

    def _online_api(self) -> API:
        if self._api is None or self._watch is None:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        return self._api

    def _online_watch(self) -> Watch:
        if self._watch is None:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        return self._watch

    async def _ask(self, api: API, request: rest.Request, read: Callable[[int, str, bytes], Answer]) -> Answer:
        """``api.ask`` for a command: an answer that makes no sense refuses the command and nothing else."""
        try:
            return await api.ask(request, read)
        except RESTError as error:
            raise CommandRefused(str(error), code=error.code) from None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(coroutine)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


def _login_refused(refusal: rest.Refusal, sentence: str) -> ConnectorError:
    if refusal.is_final and (refusal.sentence or refusal.status in _CREDENTIALS_AT_FAULT):
        return LoginRefused(refusal.sentence or sentence)
    return _unavailable(refusal)


def _unavailable(refusal: rest.Refusal) -> ConnectionLost:
    told = f": {refusal.sentence}" if refusal.sentence else "."
    return ConnectionLost(f"The telephone service is not available now (status {refusal.status:d}){told}")
