"""Recordings: what a connector said, as JSON lines, written while it goes on and said again later.

    {"format": "cti_django recording", "version": 1, "connector": "voipstudio", "recorded_at": "<iso>",
     "masked": false, "capabilities": ["dial", ...]}
    {"t": 0.0, "open": ""}                                  the line was opened; or why it could not be
    {"t": 0.2, "session": {"name": "LOGGED_IN", ...}}       also "leg", "dial", "presence", "snapshot"
    {"t": 9.1, "lost": "ConnectionLost", "message": ".."}   notifications() ended with that; "" : quietly

``t`` and ``started`` are seconds since the recording began. Credentials, the nonce of a second factor and the wire's
own fields are in no recording.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ..calls.commands import Capability, Command, Logout
from ..calls.events import Call
from ..calls.notifications import Notification, SessionNotification
from ..connectors.base import Connector, Credentials, Delivery, Finding
from ..exceptions import CommandRefused, ConnectionLost, ConnectorError, LoginRefused
from .masking import Mask
from .recording_lines import RecordingError, Said, notification_of, text_of, to_json

__all__ = ["Recording", "RecordingConnector", "RecordingError", "ReplayConnector", "read", "record", "replay"]

logger = logging.getLogger(__name__)

FORMAT, VERSION = "cti_django recording", 1
MAX_LINE = 262_144  # characters
MAX_LINES = 200_000
ERRORS = {each.__name__: each for each in (ConnectionLost, LoginRefused, ConnectorError)}


# -- writing ----------------------------------------------------------------------------------------------------------


def record(connector: Connector, path: str | Path, *, mask: bool = False) -> "RecordingConnector":
    """`connector`, which writes down at `path` what it says. The file must not exist; only its owner may read it.

    Args:
        mask: other numbers and names instead of the real ones, the same for the same; texts of the telephone system
            are left out.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return RecordingConnector(connector, os.fdopen(descriptor, "w", encoding="utf-8"), Mask() if mask else None)


class RecordingConnector(Connector):
    """Another connector, and a file that it writes; a file that cannot be written stops nothing."""

    name = "recording"

    def __init__(self, connector: Connector, file: TextIO, mask: Mask | None) -> None:
        super().__init__(connector.credentials, connector.options, number_plan=connector.number_plan)
        self.endpoint, self.names = connector.endpoint, connector.names
        self._connector, self._mask = connector, mask
        self._file: TextIO | None = file
        self._began_at = datetime.now(UTC)
        self._write(
            {
                "format": FORMAT,
                "version": VERSION,
                "connector": connector.name,
                "recorded_at": self._began_at.isoformat(timespec="seconds"),
                "masked": mask is not None,
                "capabilities": sorted(connector.capabilities),
            }
        )

    @property
    def capabilities(self) -> frozenset[Capability]:  # type: ignore[override]
        """Those of the connector."""
        return self._connector.capabilities

    async def open(self) -> None:
        """See ``Connector.open``."""
        try:
            await self._connector.open()
        except ConnectorError as error:
            self._note(open=type(error).__name__, **self._message(error))
            raise
        self._note(open="")

    async def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        try:
            async for notification in self._connector.notifications():
                self._note(**to_json(notification, self._began_at, self._mask))
                yield notification
        except ConnectorError as error:
            self._note(lost=type(error).__name__, **self._message(error))
            raise
        self._note(lost="")

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        await self._connector.execute(command, call)

    async def close(self) -> None:
        """See ``Connector.close``."""
        await self._connector.close()
        if self._file is not None:
            self._file.flush()

    async def refresh(self) -> None:
        """See ``Connector.refresh``."""
        await self._connector.refresh()

    def receive(self, delivery: Delivery) -> None:
        """See ``Connector.receive``."""
        self._connector.receive(delivery)

    def replay(self, deliveries: Iterable[Delivery]) -> Iterator[tuple[datetime, Notification]]:
        """See ``Connector.replay``."""
        return self._connector.replay(deliveries)

    async def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """See ``Connector.examine``."""
        async for finding in self._connector.examine(number=number):
            yield finding

    async def directory(self) -> list[dict[str, str]]:
        """See ``Connector.directory``."""
        return await self._connector.directory()

    def _message(self, error: ConnectorError) -> dict[str, str]:
        return {} if self._mask else {"message": str(error)}

    def _note(self, **what: Any) -> None:
        seconds = (datetime.now(UTC) - self._began_at).total_seconds()
        self._write({"t": round(seconds, 3), **what})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            self._file = None
            logger.warning("The recording cannot be written (%s)", type(error).__name__)


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording, read and checked.

    Args:
        connector: the name of the connector that said it.
        recorded_at: when it began, aware UTC.
        is_masked: whether its numbers and names are stand-ins.
        capabilities: what the connector could do.
        said: everything in it, in order.
    """

    connector: str
    recorded_at: datetime
    is_masked: bool
    capabilities: frozenset[Capability]
    said: tuple[Said, ...]

    def notifications(self, began_at: datetime) -> list[Notification]:
        """What was said, as if the recording had begun at `began_at` (aware UTC)."""
        return [notification_of(each, began_at) for each in self.said if each.kind not in ("open", "lost")]


def read(path: str | Path) -> Recording:
    """The recording at `path`.

    Raises:
        RecordingError: it is none, or one that no connector wrote.
        OSError: the file cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = _lines(file)
        header = next(lines, {})
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise RecordingError("That file is no recording, or one of another version.")
        said = tuple(_said(line) for line in lines)
    try:
        capabilities = frozenset(map(Capability, header.get("capabilities", [])))
        recorded_at = datetime.fromisoformat(text_of(header, "recorded_at"))
    except (TypeError, ValueError):
        raise RecordingError("The first line of the recording cannot be understood.") from None
    recording = Recording(
        connector=text_of(header, "connector"),
        recorded_at=recorded_at,
        is_masked=header.get("masked") is True,
        capabilities=capabilities,
        said=said,
    )
    recording.notifications(datetime.now(UTC))  # whoever plays it must not meet nonsense half-way
    return recording


def _lines(file: TextIO) -> Iterator[dict[str, Any]]:
    for number in range(1, MAX_LINES + 2):
        text = file.readline(MAX_LINE + 1)
        if not text:
            return
        if len(text) > MAX_LINE or number > MAX_LINES:
            raise RecordingError(f"The recording is too large (line {number}).")
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            raise RecordingError(f"Line {number} of the recording is not JSON.") from None
        if not isinstance(line, dict):
            raise RecordingError(f"Line {number} of the recording cannot be understood.")
        yield line


def _said(line: dict[str, Any]) -> Said:
    seconds = line.get("t")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise RecordingError("A line of the recording has no time.")
    for kind in ("open", "lost"):
        if kind in line:
            name, message = text_of(line, kind), text_of(line, "message")
            if name not in ("", *ERRORS):
                raise RecordingError("A line of the recording ends with an unknown error.")
            return Said(max(0.0, float(seconds)), kind, {"error": name, "message": message})
    kind = next((each for each in ("leg", "dial", "session", "presence", "snapshot") if each in line), "")
    if not kind or not isinstance(line[kind], dict):
        raise RecordingError("A line of the recording says nothing that is known.")
    return Said(max(0.0, float(seconds)), kind, line[kind])


# -- saying it again --------------------------------------------------------------------------------------------------


def replay(path: str | Path, *, pace: float = 0.0) -> "ReplayConnector":
    """A connector that says again what is recorded at `path`.

    Args:
        pace: how fast: 1.0 as it was, 2.0 twice as fast; 0: all at once.

    Raises:
        RecordingError: the file is no recording.
        OSError: it cannot be read.
    """
    return ReplayConnector(read(path), pace=pace)


class ReplayConnector(Connector):
    """Says what a recording holds, line lost for line lost; behind it LOGGED_OUT. Takes no commands but Logout."""

    name = "replay"

    def __init__(self, recording: Recording, *, pace: float = 0.0) -> None:
        super().__init__(Credentials(), {})
        self.capabilities = recording.capabilities
        self._said = list(recording.said)
        self._pace = pace
        self._at = 0
        self._seconds = 0.0  # of the recording that have gone by
        self._began_at = datetime.now(UTC)
        self._is_over = asyncio.Event()

    async def open(self) -> None:
        """See ``Connector.open``: what is recorded is opened once more, and fails where it failed."""
        self._is_over.clear()
        if self._at == 0:
            self._began_at = datetime.now(UTC)
        while self._at < len(self._said):
            said = self._said[self._at]
            self._at += 1
            if said.kind == "open":
                await self._wait_for(said.seconds)
                _raise(said.fields)
                return

    async def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        last = ""
        while self._at < len(self._said) and self._said[self._at].kind != "open":
            said = self._said[self._at]
            await self._wait_for(said.seconds)
            if self._is_over.is_set():
                return
            self._at += 1
            if said.kind == "lost":
                _raise(said.fields)
                break
            notification = notification_of(said, self._began_at)
            last = notification.name if isinstance(notification, SessionNotification) else ""
            yield notification
        if last != "LOGGED_OUT" and not self._is_over.is_set():
            yield SessionNotification(name="LOGGED_OUT", message="The recording is over.", code="recording_over")

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        if not isinstance(command, Logout):
            raise CommandRefused("This is a recording: it takes no commands.", code="recording", event_name="INFO")
        self._is_over.set()

    async def close(self) -> None:
        """See ``Connector.close``."""
        self._is_over.set()

    async def _wait_for(self, seconds: float) -> None:
        """Let as much time go by as did in the recording, unless it is to end."""
        pause, self._seconds = seconds - self._seconds, max(self._seconds, seconds)
        if self._pace > 0 and pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause / self._pace):
                    await self._is_over.wait()


def _raise(fields: dict[str, Any]) -> None:
    if fields["error"]:
        raise ERRORS[fields["error"]](fields["message"] or "The line to the telephone system was lost.")
