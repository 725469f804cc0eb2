"""The webhook connector: one agent's share of what an endpoint hears.

    receive(delivery) ... ── history ──> open() ──> LOGGED_IN, SUBSCRIBED, Snapshot, READY
    receive(delivery) ── shapes.py ──> calls.py ── hers, and news? ──> LegNotification
    execute(Dial) ──> STARTED ── outgoing request ── taken: the next new call to that number is it; refused ──> FAILED

There is no line that could be lost: what comes, comes through ``receive``, from the journal of the floor above.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from ...calls.commands import Capability, Command, Dial, HangUp, Logout
from ...calls.events import Call
from ...calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    Notification,
    SessionNotification,
    Snapshot,
)
from ...calls.numbers import NumberPlan, Party, dialable, digits_to_dial
from ...calls.states import CallState
from ...exceptions import (
    CommandRefused,
    ConnectionLost,
    InvalidNumber,
    LoginRefused,
    NotCapable,
    RESTError,
    WebhookError,
)
from ..base import Connector, Credentials, Delivery, Finding
from ..stream import NotificationStream
from ..transports import UNREACHABLE, Network
from .calls import PushedCall, PushedCalls, leg_of
from .options import Options
from .outgoing import Outgoing
from .shapes import Report, name_of, read_report

__all__ = ["WebhookConnector"]

MAX_SAID = 300  # calls of the agent whose last state is remembered
RINGING_BELIEVED = timedelta(minutes=5)  # after so long without a word a refresh no longer lists a ringing call ...
BELIEVED = timedelta(hours=4)  # ... and a connected one
NO_ENDPOINT = "Your telephone account names no endpoint that is configured."
NO_NAME = "Your telephone account does not say what the telephone system calls you."
IN_DOUBT = "The telephone system did not answer; the call may come about all the same."
CANNOT = "Your telephone system does not offer that here. Use your phone."


@lru_cache(maxsize=64)
def _read(shape: str, delivery: Delivery) -> Report | None:
    """What the endpoint's connectors, one after the other, all ask of the same delivery."""
    try:
        return read_report(shape, delivery.fields)
    except WebhookError:  # it was checked before it was stored, but the endpoint may speak another shape since
        return None


class WebhookConnector(Connector):
    """One agent at a system that pushes.

    Credentials: the user name is what the system calls her: her name, her id, or her number; options may add more.
    There is no password: the endpoint's secret is the project's.
    Options: those of ``options.Options``.
    """

    name = "webhook"
    takes_typed_credentials = False

    def __init__(self, credentials: Credentials, options: Mapping[str, Any], **more: NumberPlan) -> None:
        super().__init__(credentials, options, **more)
        self._options = Options.read(options)
        self.endpoint = self._options.endpoint
        self.names = frozenset({name_of(credentials.username)} - {""}) | self._options.user_ids
        capabilities = {Capability.DIAL} if self._options.dial else set()
        if self._options.hang_up:
            capabilities |= {Capability.HANG_UP, Capability.REFUSE, Capability.WITHDRAW}
        self.capabilities = frozenset(capabilities)
        self._said: OrderedDict[str, LegNotification] = OrderedDict()  # by the system's id of the call
        self._ends: OrderedDict[str, LegNotification] = OrderedDict()  # received while not open, not replayed
        self._has_replayed = False
        self._calls: PushedCalls | None = None
        self._is_open = False
        self._stream = NotificationStream()
        self._network: Network | None = None
        self._dialling: dict[str, tuple[asyncio.Task[None], Party]] = {}

    # -- what the system says -----------------------------------------------------------------------------------

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery; see ``Connector.receive``."""
        leg = self._take(delivery, self._shared_calls())
        if leg is None or self._said.get(leg.leg_id) == leg:
            return
        self._note_said(leg)
        if self._is_open:
            self._stream.put(leg)
        elif leg.state is CallState.HANGUP:
            self._ends[leg.leg_id] = leg
            while len(self._ends) > MAX_SAID:
                self._ends.popitem(last=False)

    def replay(self, deliveries: Iterable[Delivery]) -> Iterator[tuple[datetime, LegNotification]]:
        """See ``Connector.replay``."""
        self._has_replayed = True
        calls = PushedCalls()
        for delivery in deliveries:
            leg = self._take(delivery, calls)
            if leg is not None:
                if leg.state is CallState.HANGUP:
                    self._ends.pop(leg.leg_id, None)
                yield delivery.received_at, leg

    def _take(self, delivery: Delivery, calls: PushedCalls) -> LegNotification | None:
        endpoint = self._options.endpoints.get(self.endpoint)
        if endpoint is None or delivery.endpoint != self.endpoint:
            return None
        report = _read(endpoint.shape, delivery)
        return self._leg(calls, calls.fold(report, delivery.received_at)) if report is not None else None

    def _shared_calls(self) -> PushedCalls:
        if self._calls is None:
            self._calls = PushedCalls.shared(self.endpoint)
        return self._calls

    def _leg(self, calls: PushedCalls, call: PushedCall) -> LegNotification | None:
        if self.names.isdisjoint(call.names):
            return None
        return leg_of(call, calls.origin(call), self.names, self.number_plan)

    def _note_said(self, leg: LegNotification) -> None:
        self._said[leg.leg_id] = leg
        self._said.move_to_end(leg.leg_id)
        while len(self._said) > MAX_SAID:
            self._said.popitem(last=False)

    def _snapshot(self, believed_since: datetime | None = None) -> Snapshot:
        """All her calls; with `believed_since` those that were not heard of for too long are taken to be over."""
        calls = self._shared_calls()
        live: dict[str, LegNotification] = {}
        ended: dict[str, LegNotification] = {}
        for call in calls:
            leg = self._leg(calls, call)
            if leg is None or (believed_since is not None and _is_doubtful(leg, call, believed_since)):
                continue
            (ended if leg.state is CallState.HANGUP else live)[leg.leg_id] = leg
        going_on = {leg.provider_call_id for leg in live.values()}
        # A forwarded call goes on in its newest leg; that it has left the first one is told by leaving that out.
        over = [leg for leg in ended.values() if leg.provider_call_id not in going_on]
        for leg in (*over, *live.values()):
            self._note_said(leg)
        return Snapshot(legs=(*over, *live.values()))

    def _unheard_ends(self, snapshot: Snapshot) -> list[LegNotification]:
        """The ends that came behind the history that was replayed: a Snapshot alone would not make news of them."""
        going_on = {leg.provider_call_id for leg in snapshot.legs if leg.state is not CallState.HANGUP}
        ends, self._ends = self._ends, OrderedDict()
        return [leg for leg in ends.values() if self._has_replayed and leg.provider_call_id not in going_on]

    # -- the four verbs -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to listen; see ``Connector.open``."""
        await self.close()
        self._stream = NotificationStream()
        if not self.endpoint:
            raise LoginRefused(NO_ENDPOINT, code="no_endpoint")
        if not self.names:
            raise LoginRefused(NO_NAME, code="no_name")
        if self._options.dial or self._options.hang_up:
            self._network = Network.shared(self._options.ca_file)
            self._network.hold()
        self._is_open = True
        self._say(SessionNotification(name="LOGGED_IN"))
        self._say(SessionNotification(name="SUBSCRIBED", uri=f"user:{self.credentials.username or self.endpoint}"))
        snapshot = self._snapshot()
        for leg in self._unheard_ends(snapshot):
            self._say(leg)
        self._say(snapshot)
        self._say(SessionNotification(name="READY"))

    def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        return aiter(self._stream)

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        if not self._is_open:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        match command:
            case Dial() if self._options.dial is not None:
                self._dial(command, self._options.dial)
            case HangUp() if self._options.hang_up is not None and call is not None:
                values = {**self._values(command), "call_id": call.leg_id or call.provider_call_id}
                await self._ask(self._options.hang_up, values)
            case Logout():
                self._abandon("You have logged out.")
                self._say(SessionNotification(name="LOGGED_OUT"))
                self._stream.end()
            case _:
                raise NotCapable(CANNOT)

    async def refresh(self) -> None:
        """Say a Snapshot of what is still believed: the system cannot be asked."""
        if self._is_open:
            self._say(self._snapshot(datetime.now(UTC)))

    async def close(self) -> None:
        """See ``Connector.close``."""
        self._is_open = False
        self._abandon("")
        self._stream.end()
        network, self._network = self._network, None
        if network is not None:
            await network.release()

    # -- outgoing requests --------------------------------------------------------------------------------------

    def _dial(self, command: Dial, request: Outgoing) -> None:
        try:
            destination = dialable(command.number, self.number_plan)
        except InvalidNumber as error:
            raise CommandRefused(str(error), code=error.code) from None
        started = DialNotification(command_id=command.command_id, destination=destination, stage=DialStage.STARTED)
        self._say(started)
        values = self._values(command)
        values["number"] = destination.number or destination.extension or destination.number_raw
        values["digits"] = digits_to_dial(destination)
        task = asyncio.create_task(self._place(command.command_id, destination, request, values))
        self._dialling[command.command_id] = task, destination

    async def _place(self, command_id: str, destination: Party, request: Outgoing, values: dict[str, str]) -> None:
        stage, cause = None, ""
        try:
            await self._ask(request, values)
        except CommandRefused as refused:
            stage, cause = DialStage.FAILED, str(refused)
        except ConnectionLost as lost:
            was_sent = lost.code != UNREACHABLE
            stage, cause = (DialStage.DOUBTFUL, IN_DOUBT) if was_sent else (DialStage.FAILED, str(lost))
        self._dialling.pop(command_id, None)
        if stage is not None:
            self._say(DialNotification(command_id=command_id, destination=destination, stage=stage, cause=cause))

    async def _ask(self, request: Outgoing, values: Mapping[str, str]) -> None:
        if self._network is None:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        prepared = request.prepare(values)
        try:
            answer = await self._network.request(
                prepared.method,
                prepared.url,
                headers=prepared.headers,
                body=prepared.body,
                timeout_seconds=self._options.request_seconds,
            )
        except RESTError as error:
            raise CommandRefused(str(error), code=error.code) from None
        if not 200 <= answer.status < 300:
            raise CommandRefused(_refusal(answer.status), code="refused")

    def _values(self, command: Command) -> dict[str, str]:
        user, extension = self.credentials.username, self._options.extension
        return {"command_id": command.command_id, "user": user, "extension": extension}

    def _abandon(self, cause: str) -> None:
        """Stop waiting for requests. Without a `cause` nobody knows what becomes of them."""
        dialling, self._dialling = self._dialling, {}
        stage = DialStage.FAILED if cause else DialStage.DOUBTFUL
        for command_id, (task, destination) in dialling.items():
            task.cancel()
            self._say(
                DialNotification(command_id=command_id, destination=destination, stage=stage, cause=cause or IN_DOUBT)
            )

    def _say(self, notification: Notification) -> None:
        self._stream.put(notification)

    # -- for cti_doctor -----------------------------------------------------------------------------------------

    async def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """See ``Connector.examine``. Places a call only if a number is given."""
        for finding in self._examine_endpoint():
            yield finding
        if self.names:
            yield Finding(step="Know the agent", ok=True, message=f"Names that are hers: {len(self.names)}.")
        else:
            advice = "Give the account a user name: the name, the id or the number that the system pushes."
            yield Finding(step="Know the agent", ok=False, message=NO_NAME, advice=advice)
        message = "The system calls this server, which cannot be tried from here."
        advice = "Make a call, and look at the deliveries in the admin."
        yield Finding(step="Hear a delivery", ok=None, message=message, advice=advice)
        if self._options.dial is None:
            yield Finding(step="Click to call", ok=None, message="No dial_url is configured: nobody can click to call.")
        elif number:
            yield await self._examine_dial(number, self._options.dial)
        else:
            yield Finding(step="Click to call", ok=None, message="Not tried: that would place a call.")

    def _examine_endpoint(self) -> list[Finding]:
        endpoint = self._options.endpoints.get(self.endpoint)
        if endpoint is None:
            advice = 'Name it in CTI_DJANGO["CONNECTOR_OPTIONS"]["webhook"]["endpoints"].'
            return [Finding(step="Find the endpoint", ok=False, message=NO_ENDPOINT, advice=advice)]
        found = [Finding(step="Find the endpoint", ok=True, message=f"{endpoint.name} speaks {endpoint.shape}.")]
        if endpoint.weaknesses:
            message = f"Nobody is let in: {', and '.join(endpoint.weaknesses)}."
            found.append(Finding(step="Prove who calls", ok=False, message=message, advice="Set its secret."))
        else:
            found.append(Finding(step="Prove who calls", ok=True, message=f"By {endpoint.auth}."))
        if endpoint.shape == "sipgate" and not endpoint.base_url:
            message = "Without a base_url the system is not told where to push answers and hang-ups."
            found.append(
                Finding(step="Be called back", ok=False, message=message, advice="Set the endpoint's base_url.")
            )
        elif endpoint.base_url:
            is_safe = endpoint.base_url.startswith("https://")
            message = (
                "The system is told an https address." if is_safe else "The system is told an address without TLS."
            )
            advice = "" if is_safe else "Serve the site with https, and say so in base_url."
            found.append(Finding(step="Be called back", ok=is_safe, message=message, advice=advice))
        return found

    async def _examine_dial(self, number: str, request: Outgoing) -> Finding:
        step = "Click to call"
        try:
            destination = dialable(number, self.number_plan)
            self._network = Network.shared(self._options.ca_file)
            self._network.hold()
            digits = digits_to_dial(destination)
            values = {
                **self._values(Dial(command_id="cti-doctor", number=number)),
                "number": destination.number or digits,
            }
            await self._ask(request, {**values, "digits": digits})
        except (ConnectionLost, CommandRefused, ValueError) as error:
            return Finding(
                step=step, ok=False, message=str(error), advice="Compare dial_url with the system's own page."
            )
        finally:
            await self.close()
        return Finding(step=step, ok=True, message="The system has taken the request.")


def _is_doubtful(leg: LegNotification, call: PushedCall, now: datetime) -> bool:
    return now - call.heard_at > (RINGING_BELIEVED if leg.state is CallState.RINGING else BELIEVED)


def _refusal(status: int) -> str:
    if status in (401, 403):
        return "The telephone system does not let this server place calls."
    if status == 429:
        return "The telephone system has been asked too often. Try again in a moment."
    if 400 <= status < 500:
        return f"The telephone system has refused that (status {status})."
    return f"The telephone system could not do that (status {status})."
