"""A connector for the toy PBX, as docs/adding-a-connector.md writes it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cti_django.calls.commands import Answer, Capability, Command, Dial, HangUp, Logout
from cti_django.calls.events import Call
from cti_django.calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    Notification,
    SessionNotification,
    Snapshot,
)
from cti_django.calls.numbers import NumberPlan, classify, dialable, digits_to_dial
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Connector, Credentials
from cti_django.connectors.complaints import Complaints
from cti_django.connectors.stream import NotificationStream
from cti_django.exceptions import CommandRefused, ConnectionLost, InvalidNumber, LoginRefused, NotCapable, WireError

MAX_LINE = 4_096  # bytes; nothing that the PBX says is longer
SECONDS = 10.0  # how long the PBX may take to answer the log-in
STATES = {"RINGING": CallState.RINGING, "TALKING": CallState.CONNECTED, "OVER": CallState.HANGUP}
DIRECTIONS = {"IN": Direction.INBOUND, "OUT": Direction.OUTBOUND}


def translate(fields: list[str], own: str, plan: NumberPlan) -> LegNotification:
    """What ``STATE <call> <state> <direction> <number> <unix seconds> <name>`` means for extension `own`.

    Raises:
        WireError: it means nothing.
    """
    try:
        call_id, state, direction, number, started, name = fields
        return LegNotification(
            provider_call_id=call_id[:64],
            leg_id=call_id[:64],
            state=STATES[state],
            direction=DIRECTIONS[direction],
            local=classify(own, "", plan),
            remote=classify(number, name, plan),
            started_at=datetime.fromtimestamp(int(started), UTC),
        )
    except (ValueError, KeyError, OverflowError, OSError):
        raise WireError("The telephone system told about a call in an unknown way.") from None


class ToyConnector(Connector):
    """One agent's line to the toy PBX.

    Credentials: her extension and its password. Options: host, port.
    """

    name = "toy"
    number_plan_defaults = NumberPlan(delivers="international", extension_pattern=r"[1-9][0-9]{2}")

    def __init__(
        self, credentials: Credentials, options: Mapping[str, Any], *, number_plan: NumberPlan = number_plan_defaults
    ) -> None:
        super().__init__(credentials, options, number_plan=number_plan)
        self.capabilities = frozenset({Capability.DIAL, Capability.ANSWER, Capability.HANG_UP, Capability.REFUSE})
        if unknown := sorted(set(options) - {"host", "port"}):
            raise ValueError(f"The toy connector has no option {', '.join(unknown)}; it has host, port.")
        self._host, self._port = str(options.get("host", "127.0.0.1")), int(options.get("port", 7070))
        self._stream = NotificationStream()
        self._complaints = Complaints(self._say)
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._live: set[str] = set()  # the calls that there are now
        self._listing: list[LegNotification] | None = None  # the legs of a Snapshot that is being told
        self._is_ready = False

    def _say(self, notification: Notification) -> None:
        self._stream.put(notification)

    def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        return aiter(self._stream)

    async def open(self) -> None:
        """See ``Connector.open``."""
        await self.close()
        self._stream, self._live, self._listing, self._is_ready = NotificationStream(), set(), [], False
        try:
            async with asyncio.timeout(SECONDS):
                reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=MAX_LINE)
                self._send("LOGIN", self.credentials.username, self.credentials.password)
                answer = await _fields(reader)
            if answer[0] != "WELCOME":
                raise LoginRefused("The telephone system refuses this extension and password.")
        except (OSError, EOFError, TimeoutError, ValueError):
            await self.close()
            raise ConnectionLost("The telephone system cannot be reached.") from None
        except BaseException:  # also if the opening is cancelled: nothing may be left open
            await self.close()
            raise
        self._say(SessionNotification(name="LOGGED_IN"))
        self._say(SessionNotification(name="SUBSCRIBED", uri=f"user:{self.credentials.username}"))
        self._reading = asyncio.create_task(self._read(reader, self._stream))

    async def close(self) -> None:
        """See ``Connector.close``."""
        self._stream.end()
        reading, self._reading = self._reading, None
        writer, self._writer = self._writer, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, stream: NotificationStream) -> None:
        try:
            while True:
                kind, *fields = await _fields(reader)
                try:
                    self._hear(kind, fields)
                except WireError as error:  # nonsense costs the agent a sentence, once a minute, and never the line
                    self._complaints.tell(error.code, str(error))
                await stream.room()
        except (OSError, EOFError, ValueError):
            stream.fail(ConnectionLost("The line to the telephone system was lost."))

    def _hear(self, kind: str, fields: list[str]) -> None:
        match kind, fields:
            case "STATE", _:
                self._hear_leg(translate(fields, self.credentials.username, self.number_plan))
            case "END", []:
                legs, self._listing = self._listing or [], None
                self._say(Snapshot(legs=tuple(legs)))
                if not self._is_ready:
                    self._is_ready = True
                    self._say(SessionNotification(name="READY"))
            case "PICKED_UP", [command_id, digits, call_id]:
                self._say_dial(command_id, digits, DialStage.ACCEPTED, provider_call_id=call_id[:64])
            case "FAILED", [command_id, digits, cause]:
                self._say_dial(command_id, digits, DialStage.FAILED, cause=cause[:200])
            case _:
                raise WireError("The telephone system said something unknown.")

    def _hear_leg(self, leg: LegNotification) -> None:
        if leg.state is CallState.HANGUP:
            self._live.discard(leg.provider_call_id)
        else:
            self._live.add(leg.provider_call_id)
        if self._listing is None:
            self._say(leg)
        else:
            self._listing.append(leg)

    async def refresh(self) -> None:
        """See ``Connector.refresh``."""
        if self._writer is not None and self._listing is None:
            self._listing = []
            self._send("LIST")

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        if self._writer is None:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        match command:
            case Dial():
                self._dial(command)
            case Answer() | HangUp():
                if call is None or call.provider_call_id not in self._live:
                    raise CommandRefused("That call is over.", code="no_such_call", event_name="INFO")
                self._send("ANSWER" if isinstance(command, Answer) else "HANGUP", call.provider_call_id)
            case Logout():
                self._say(SessionNotification(name="LOGGED_OUT"))
                self._stream.end()
            case _:
                raise NotCapable("The toy PBX cannot do that.")

    def _dial(self, command: Dial) -> None:
        try:
            digits = digits_to_dial(dialable(command.number, self.number_plan))
        except InvalidNumber as error:
            raise CommandRefused(str(error), code=error.code) from None
        self._say_dial(command.command_id, digits, DialStage.STARTED)
        self._send("CALL", command.command_id, digits)

    def _say_dial(self, command_id: str, digits: str, stage: DialStage, **more: str) -> None:
        destination = classify(digits, "", self.number_plan)
        self._say(DialNotification(command_id=command_id, destination=destination, stage=stage, **more))

    def _send(self, *fields: str) -> None:
        if self._writer is None or not all(field.isprintable() for field in fields):
            raise CommandRefused("That cannot be said to the telephone system.")
        self._writer.write("\t".join(fields).encode() + b"\n")


async def _fields(reader: asyncio.StreamReader) -> list[str]:
    """The next line. Raises EOFError or OSError if there is none, ValueError if it is too long."""
    line = await reader.readuntil(b"\n")
    return line.decode(errors="replace").rstrip("\n").split("\t")
