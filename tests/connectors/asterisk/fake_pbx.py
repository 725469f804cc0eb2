"""A small manager interface on a real socket of the loopback: says what it is told to, notes what it is asked."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from itertools import count

__all__ = ["ALL", "MINIMAL", "SECRET", "USER", "Asked", "FakePBX", "Line"]

USER, SECRET = "cti", "a manager's secret"

_CALL = "Atxfer BlindTransfer Bridge CancelAtxfer Hangup PlayDTMF Redirect"
_REPORTING = "CoreShowChannels CoreStatus ExtensionState ExtensionStateList DBGet QueueStatus ShowDialPlan"
MINIMAL = frozenset(f"Challenge Events ListCommands Login Logoff Originate Ping {_CALL} {_REPORTING}".split())
"""What a manager with `write = call,originate,reporting` may ask."""
ALL = MINIMAL | frozenset(["DBDel", "DBPut", "PJSIPNotify", "QueueAdd", "QueuePause", "QueueRemove"])

Asked = list[tuple[str, str]]


def get(asked: Asked, name: str, default: str = "") -> str:
    return next((value for each, value in asked if each == name), default)


class Line:
    """One connection of one client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.is_logged_in = False
        self.challenge = ""

    def send(self, headers: Iterable[tuple[str, str]]) -> None:
        self.send_raw("".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n")

    def send_raw(self, data: bytes) -> None:
        self.writer.write(data)


class FakePBX:
    """Listens on a free port of the loopback.

    ``asked`` has every action but Ping as it came, header by header; ``replies`` overrides the answer to an action,
    and gives the headers of the response, None for none at all.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, commands: frozenset[str] = ALL) -> None:
        self.tls = tls
        self.commands = commands
        self.secret = SECRET
        self.banner = b"Asterisk Call Manager/11.0.0\r\n"
        self.offers_challenge = True
        self.answers_pings = True
        self.ends_lists = True
        self.asked: list[Asked] = []
        self.pings = 0
        self.logins = 0
        self.replies: dict[str, Callable[[Asked], Iterable[tuple[str, str]] | None]] = {}
        self.hooks: dict[str, Callable[[Asked], Awaitable[None]]] = {}
        self.channels: list[dict[str, str]] = []
        self.extensions: list[dict[str, str]] = []
        self.members: list[dict[str, str]] = []
        self.database: dict[tuple[str, str], str] = {}
        self.lines: list[Line] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()
        self._numbers = count(1)

    async def __aenter__(self) -> "FakePBX":
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; the same port again after ``stop``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away: every connection is cut."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.lines.clear()

    def say(self, *events: Iterable[tuple[str, str]] | dict[str, str]) -> None:
        """Say `events` to everybody who is logged in."""
        for event in events:
            pairs = list(event.items()) if isinstance(event, dict) else list(event)
            for line in self.lines:
                if line.is_logged_in:
                    line.send(pairs)

    def named(self, name: str) -> list[dict[str, str]]:
        """The actions of that name so far; of a header that came twice, the first value."""
        return [dict(reversed(asked)) for asked in self.asked if get(asked, "Action") == name]

    async def until(self, is_so: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until what was asked makes `is_so` true."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(is_so)

    async def next(self, name: str, *, after: int = 0) -> dict[str, str]:
        """Action number `after` of that name, as soon as it has come."""
        await self.until(lambda: len(self.named(name)) > after)
        return self.named(name)[after]

    # -- serving ------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        line = Line(writer)
        self.lines.append(line)
        try:
            line.send_raw(self.banner)
            asked: Asked = []
            while raw := await reader.readline():
                text = raw.decode().removesuffix("\r\n")
                if text:
                    name, _, value = text.partition(": ")
                    asked.append((name, value))
                elif asked:
                    await self._take(line, asked)
                    asked = []
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if line in self.lines:
                self.lines.remove(line)
            self._tasks.discard(asyncio.current_task())
            with contextlib.suppress(OSError):
                writer.transport.abort()
            async with self._news:
                self._news.notify_all()

    async def _take(self, line: Line, asked: Asked) -> None:
        name, action_id = get(asked, "Action"), get(asked, "ActionID")
        if name == "Ping":
            self.pings += 1
        else:
            self.asked.append(asked)
        answer = self._answer(line, name, asked)
        if answer is not None:
            first, *rest = answer
            line.send([first, ("ActionID", action_id), *rest])
            if name in _LISTS and first == ("Response", "Success"):
                self._list(line, name, action_id)
        if name in self.hooks:
            await self.hooks[name](asked)
        async with self._news:
            self._news.notify_all()

    def _answer(self, line: Line, name: str, asked: Asked) -> list[tuple[str, str]] | None:
        if name in self.replies:
            answer = self.replies[name](asked)
            return None if answer is None else list(answer)
        if name == "Ping":
            return [("Response", "Success"), ("Ping", "Pong")] if self.answers_pings else None
        if name == "Challenge":
            line.challenge = str(next(self._numbers) * 7_919)
            return [("Response", "Success"), ("Challenge", line.challenge)] if self.offers_challenge else error("No")
        if name == "Login":
            return self._log_in(line, asked)
        if not line.is_logged_in or name not in self.commands:
            return error("Permission denied")
        if name == "ListCommands":
            return [("Response", "Success"), *((command, "What it does.  (Priv: all)") for command in self.commands)]
        if name == "DBPut":
            self.database[get(asked, "Family"), get(asked, "Key")] = get(asked, "Val")
        if name == "DBDel" and self.database.pop((get(asked, "Family"), get(asked, "Key")), None) is None:
            return error("Database entry not found")
        if name == "DBGet":
            if (get(asked, "Family"), get(asked, "Key")) not in self.database:
                return error("Database entry not found")
            return [("Response", "Success"), ("EventList", "start"), ("Message", "Result will follow")]
        return [("Response", "Success"), ("Message", "Done")]

    def _log_in(self, line: Line, asked: Asked) -> list[tuple[str, str]]:
        expected = hashlib.md5(f"{line.challenge}{self.secret}".encode()).hexdigest()
        is_proof = get(asked, "AuthType") == "MD5"
        knows = get(asked, "Key") == expected if is_proof else get(asked, "Secret") == self.secret
        if get(asked, "Username") != USER or not knows:
            return error("Authentication failed")
        line.is_logged_in = True
        self.logins += 1
        return [("Response", "Success"), ("Message", "Authentication accepted")]

    def _list(self, line: Line, name: str, action_id: str) -> None:
        asked = next(asked for asked in reversed(self.asked) if get(asked, "ActionID") == action_id)
        for entry in self._entries(name, asked):
            event, *rest = entry.items()
            line.send([event, ("ActionID", action_id), *rest])
        if self.ends_lists:
            line.send(
                [("Event", f"{name}Complete"), ("ActionID", action_id), ("EventList", "Complete"), ("ListItems", "0")]
            )

    def _entries(self, name: str, asked: Asked) -> list[dict[str, str]]:
        match name:
            case "CoreShowChannels":
                return [{"Event": "CoreShowChannel", **channel} for channel in self.channels]
            case "ExtensionStateList":
                return [{"Event": "ExtensionStatus", **extension} for extension in self.extensions]
            case "QueueStatus":
                return [{"Event": "QueueMember", **member} for member in self.members]
            case "DBGet":
                family, key = get(asked, "Family"), get(asked, "Key")
                value = self.database[family, key]
                return [{"Event": "DBGetResponse", "Family": family, "Key": key, "Val": value}]
        return []


_LISTS = frozenset({"CoreShowChannels", "ExtensionStateList", "QueueStatus", "ShowDialPlan", "DBGet"})


def error(message: str) -> list[tuple[str, str]]:
    return [("Response", "Error"), ("Message", message)]
