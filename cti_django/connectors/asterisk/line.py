"""One open line to a manager interface: a socket, one reading task, actions and their answers, a heartbeat."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import count

from ...exceptions import AMIError, CommandRefused, ConnectionLost
from ...wire.ami import AMIReader, action
from ..transports import UNREACHABLE

__all__ = ["MAX_LISTED", "AMILine", "Message", "reach"]

logger = logging.getLogger(__name__)

Message = dict[str, str]

CONNECT_SECONDS = 10.0
CHUNK = 65_536  # bytes that are read, and told, at a time
MAX_UNSENT = 262_144  # bytes that may wait for a PBX that takes nothing
MAX_LISTED = 50_000
"""Entries of one list: more than any PBX has calls, extensions and queue members together."""
LOG_SECONDS = 60.0
LIST_PATIENCE = 4  # a list may take so many times as long as an answer


@dataclass(slots=True, eq=False)
class _Listing:
    done: asyncio.Future[None]
    on_item: Callable[[Message], None] | None
    listed: int = 0


async def reach(host: str, port: int, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a socket to `host`, with TLS if there is a context for it.

    Raises:
        ConnectionLost: it cannot be had; the sentence names the host, and with TLS what is wrong with its certificate.
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(host, port, ssl=tls, limit=CHUNK)
    except ssl.SSLCertVerificationError as error:
        detail = error.verify_message or "it cannot be verified"
        raise ConnectionLost(f"The certificate of {where} is not trusted: {detail}.", code="certificate") from None
    except ssl.SSLError:
        raise ConnectionLost(f"{where} does not speak TLS as it should.", code="not_ami") from None
    except TimeoutError:
        raise ConnectionLost(f"{where} did not answer in time.", code=UNREACHABLE) from None
    except (OSError, ValueError):
        raise ConnectionLost(f"{where} cannot be reached.", code=UNREACHABLE) from None


class AMILine:
    """One open line.

    Args:
        reader: of the socket, from ``reach``.
        writer: of the same socket; the line closes it.
        where: "host:port", for sentences.
        on_event: hears each event, those of lists too. Must not block.
        on_lost: hears why the line is gone, unless ``close`` was called before.
        room: awaited after each chunk, so that a flood waits on the network and not in memory.
        request_seconds: how long an answer may take.
        ping_seconds: how often the line is tried. A half-open one is found out in less than twice that.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        where: str,
        on_event: Callable[[Message], None],
        on_lost: Callable[[ConnectionLost], None],
        room: Callable[[], Awaitable[None]],
        request_seconds: float,
        ping_seconds: float,
    ) -> None:
        self.where = where
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._on_lost = on_lost
        self._room = room
        self._request_seconds = request_seconds
        self._ping_seconds = ping_seconds
        self._wire = AMIReader()
        self._ids = count(1)
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._listings: dict[str, _Listing] = {}
        self._greeted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._heard_at = asyncio.get_running_loop().time()
        self._silent_until = 0.0
        self._is_waiting_for_room = False
        self._lost: ConnectionLost | None = None
        self._tasks = [asyncio.create_task(self._read())]

    async def banner(self) -> str:
        """What the PBX says first: ``Asterisk Call Manager/11.0.0``.

        Raises:
            ConnectionLost: it says nothing, or nothing of the kind.
        """
        try:
            async with asyncio.timeout(self._request_seconds):
                return await asyncio.shield(self._greeted)
        except TimeoutError:
            raise ConnectionLost(f"{self.where} is no manager interface: it does not greet.", code="not_ami") from None

    def keep_alive(self) -> None:
        """Try the line from now on, now and then."""
        self._tasks.append(asyncio.create_task(self._beat()))

    async def ask(self, name: str, headers: Iterable[tuple[str, str]] = (), *, seconds: float | None = None) -> Message:
        """Send one action.

        Returns:
            The response, whatever it says.

        Raises:
            CommandRefused: the action cannot be written; nothing was sent.
            ConnectionLost: there is no response (code "timed_out"), or the line is gone.
        """
        action_id = self._send(name, headers)
        answer = self._answers[action_id]
        try:
            async with asyncio.timeout(self._request_seconds if seconds is None else seconds):
                return await answer
        except TimeoutError:
            raise ConnectionLost(f"{self.where} did not answer in time.", code="timed_out") from None
        finally:
            self._answers.pop(action_id, None)

    async def ask_list(
        self,
        name: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        on_item: Callable[[Message], None] | None = None,
    ) -> Message:
        """Send an action that is answered with a list, and wait for the list's end.

        Args:
            on_item: hears each entry, behind `on_event`.

        Returns:
            The response; if it is an error, there was no list.

        Raises:
            CommandRefused: as for ``ask``.
            ConnectionLost: the list does not end in time, is too long, or the line is gone.
        """
        action_id = self._send(name, headers)
        answer = self._answers[action_id]
        listing = self._listings[action_id] = _Listing(asyncio.get_running_loop().create_future(), on_item)
        try:
            async with asyncio.timeout(self._request_seconds * LIST_PATIENCE):
                response = await answer
                if response.get("Response") == "Success":
                    await listing.done
                return response
        except TimeoutError:
            raise ConnectionLost(f"{self.where} did not answer in time.", code="timed_out") from None
        finally:
            self._answers.pop(action_id, None)
            self._listings.pop(action_id, None)
            listing.done.cancel()

    async def close(self) -> None:
        """Hang up. Never raises; may be called twice."""
        self._lost = self._lost or ConnectionLost("The line to the telephone system was closed.")
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        self._forget_all(self._lost)
        with contextlib.suppress(OSError):
            self._writer.close()
        self._writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- sending ------------------------------------------------------------------------------------------------

    def _send(self, name: str, headers: Iterable[tuple[str, str]]) -> str:
        if self._lost is not None:
            raise ConnectionLost(str(self._lost), code=self._lost.code)
        action_id = str(next(self._ids))
        try:
            frame = action(name, action_id, list(headers))
        except AMIError as error:
            raise CommandRefused(str(error), code=error.code) from None
        self._answers[action_id] = asyncio.get_running_loop().create_future()
        self._writer.write(frame)
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self._lose(ConnectionLost(f"{self.where} takes no commands any more."))
        return action_id

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._ping_seconds)
            asked_at = asyncio.get_running_loop().time()
            try:
                await self.ask("Ping", seconds=self._ping_seconds * 0.8)
            except ConnectionLost as lost:
                # A PBX that is telling much may be late with the answer: it is there all the same.
                if self._heard_at <= asked_at and not self._is_waiting_for_room:
                    self._lose(ConnectionLost(f"The line to {self.where} was lost.", code=lost.code))
                    return

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(CHUNK):
                self._heard_at = asyncio.get_running_loop().time()
                self._wire.receive_data(data)
                for message in self._wire.messages_received():
                    self._hear(message)
                self._note(self._wire.faults_received())
                if self._wire.banner and not self._greeted.done():
                    self._greeted.set_result(self._wire.banner)
                self._is_waiting_for_room = True
                await self._room()
                self._is_waiting_for_room = False
            self._lose(ConnectionLost(f"The line to {self.where} was lost."))
        except AMIError as error:
            self._lose(ConnectionLost(f"{self.where}: {error}", code="not_ami"))
        except OSError:
            self._lose(ConnectionLost(f"The line to {self.where} was lost."))
        except Exception:
            # A fault of ours in reading must end in a sentence and a new line, not in a silent one.
            logger.exception("Reading a manager line failed")
            self._lose(ConnectionLost("The telephone line failed unexpectedly.", code="internal_error"))

    def _note(self, faults: list[str]) -> None:
        """Log what could not be read, now and then: there may be no end of it."""
        if faults and self._heard_at >= self._silent_until:
            self._silent_until = self._heard_at + LOG_SECONDS
            logger.warning("%s: %s", self.where, faults[0])

    def _hear(self, message: Message) -> None:
        if "Event" not in message:
            answer = self._answers.get(message.get("ActionID", ""))
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        listing = self._listings.get(message.get("ActionID", ""))
        if listing is None:
            self._on_event(message)
            return
        if message.get("EventList", "").lower() == "complete":
            if not listing.done.done():
                listing.done.set_result(None)
            return
        listing.listed += 1
        if listing.listed > MAX_LISTED:
            self._lose(ConnectionLost(f"{self.where} lists more than can be."))
            return
        self._on_event(message)
        if listing.on_item is not None:
            listing.on_item(message)

    def _lose(self, lost: ConnectionLost) -> None:
        if self._lost is not None:
            return
        self._lost = lost
        self._writer.transport.abort()
        self._forget_all(lost)
        self._on_lost(lost)

    def _forget_all(self, lost: ConnectionLost) -> None:
        """Tell everybody who waits for an answer that there will be none."""
        waiting: list[asyncio.Future[Message]] | list[asyncio.Future[None]] | list[asyncio.Future[str]]
        for waiting in (
            list(self._answers.values()),
            [listing.done for listing in self._listings.values()],
            [self._greeted],
        ):
            for future in waiting:
                if not future.done():
                    future.set_exception(ConnectionLost(str(lost), code=lost.code))
                    future.exception()  # whoever waits hears it; nobody has to
