"""One connector session on the terminal: events out as JSON lines, commands in as lines. No browser, no database."""

import asyncio
import contextlib
import getpass
import json
import os
import signal
import sys
import threading
from argparse import ArgumentParser
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...calls.commands import Command as CTICommand
from ...calls.commands import Logout, TwoFactorCode, parse_command
from ...calls.events import Event, EventName, SessionEvent
from ...calls.notifications import PresenceNotification
from ...conf import get_settings
from ...connectors.base import Connector, Credentials
from ...exceptions import InvalidCommand
from ...sessions.registry import build_connector, connector_class
from ...sessions.session import AgentSession, LinkState, SessionState
from ...testing.recordings import record, replay

__all__ = ["Command", "parse_line", "typed_credentials"]

MAX_LINE = 4_096  # bytes of one line on stdin
PATIENCE_SECONDS = 10.0  # a command waits this long for the line; a system that says nothing must not silence the agent

# command -> the fields that its words are, and whether the last one takes the rest of the line
_WORDS: dict[str, tuple[tuple[str, ...], bool]] = {
    "call": (("number",), True),
    "answer": (("call_id",), False),
    "hangup": (("call_id",), False),
    "hold": (("call_id",), False),
    "resume": (("call_id",), False),
    "transfer": (("call_id", "number"), True),
    "consult": (("call_id", "number"), True),
    "complete": (("call_id",), False),
    "back": (("call_id",), False),
    "dtmf": (("call_id", "digits"), False),
    "queue_login": (("queue",), True),
    "queue_logout": (("queue",), True),
    "pause": (("reason",), True),
    "unpause": ((), False),
    "dnd": (("state",), False),
    "subscribe": (("node",), False),
    "link": (("call_id", "url", "text"), True),
    "code": (("code",), False),
    "logout": ((), False),
}


def parse_line(line: str, command_id: str) -> CTICommand:
    """The command that `line` is: ``call +44...``, ``transfer <call id> <number>`` ...

    Raises:
        InvalidCommand: it is none.
    """
    name, _, rest = line.strip().partition(" ")
    if name not in _WORDS:
        raise InvalidCommand(f"There is no such command. Commands are: {', '.join(_WORDS)}.", code="unknown_command")
    fields, takes_rest = _WORDS[name]
    words = rest.split(maxsplit=len(fields) - 1) if takes_rest else rest.split()
    if len(words) > len(fields):
        raise InvalidCommand(f"“{name}” takes: {' '.join(fields) or 'nothing'}.")
    return parse_command({"command": name, "id": command_id, **dict(zip(fields, words, strict=False))})


class Command(BaseCommand):
    """See ``help``."""

    help = (
        "Run one connector session on the terminal. Events come out as JSON lines on stdout; lines on stdin are "
        "commands: "
        + "; ".join(" ".join((name, *fields)) for name, (fields, _) in _WORDS.items())
        + ". The password is asked for, or comes from CTI_PASSWORD; CTI_API_KEY is used instead if it is set. A "
        "connector whose accounts have no password takes --username and its options only. "
        "Exit code 0 after logout, Ctrl-C or the end of a recording, 1 if the log-in is refused or the session ends."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--connector", default="", help="its name; without it that of CTI_DJANGO['CONNECTOR']")
        parser.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="an option of the connector, e.g. api_url=http://127.0.0.1:9000/v1.2/voipstudio; may be repeated",
        )
        parser.add_argument("--username", default="", help="as the telephone system wants it")
        parser.add_argument("--region", default="", help="where national numbers belong, e.g. GB")
        parser.add_argument("--record", default="", metavar="FILE", help="write down what the telephone system says")
        parser.add_argument("--mask", action="store_true", help="with --record: other numbers and names than the real")
        parser.add_argument("--replay", default="", metavar="FILE", help="no telephone system: say a recording again")
        parser.add_argument(
            "--pace", type=float, default=1.0, help="with --replay: 2 is twice as fast, 0 all at once (default: 1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until logged out, refused or stopped."""
        if options["mask"] and not options["record"]:
            raise CommandError("--mask goes with --record.", returncode=2)
        try:
            connector = replay(options["replay"], pace=options["pace"]) if options["replay"] else _connector(options)
            if options["record"]:
                connector = record(connector, options["record"], mask=options["mask"])
        except FileExistsError:
            raise CommandError("There is a file of that name: no recording is written over it.", returncode=2) from None
        except OSError as error:
            raise CommandError(f"The recording cannot be opened: {error.strerror}.", returncode=2) from None
        except (ImproperlyConfigured, ValueError) as error:
            raise CommandError(str(error), returncode=2) from None
        if not asyncio.run(_Terminal(connector).run()) and not options["replay"]:
            sys.exit(1)


def _connector(options: dict[str, Any]) -> Connector:
    given = dict(option.partition("=")[::2] for option in options["option"])
    name = options["connector"] or get_settings().connector
    if connector_class(name).takes_typed_credentials:
        credentials = typed_credentials(options["username"])
    else:
        credentials = Credentials(username=options["username"])
    return build_connector(name, credentials, given, options["region"])


def typed_credentials(username: str) -> Credentials:
    """What whoever sits at the terminal logs in with: from the environment, else asked for. Raises CommandError."""
    api_key = os.environ.get("CTI_API_KEY", "")
    if api_key:
        return Credentials(api_key=api_key)
    password = os.environ.get("CTI_PASSWORD", "")
    if not username:
        raise CommandError("Give --username, or an API key in CTI_API_KEY.", returncode=2)
    if not password:
        if not sys.stdin.isatty():
            raise CommandError("Put the password into CTI_PASSWORD: there is nobody to ask.", returncode=2)
        password = getpass.getpass(stream=sys.stderr)
    return Credentials(username=username, password=password)


def _in_words(presence: PresenceNotification) -> str:
    """ "Queues: support, not sales. Paused. Do not disturb." """
    queues = ", ".join(name if is_in else f"not {name}" for name, is_in in sorted(presence.queues.items()))
    words = [f"Queues: {queues}." if queues else "", "Paused." if presence.is_paused else ""]
    words.append("Do not disturb." if presence.is_dnd else "")
    return " ".join(filter(None, words)) or "Takes calls."


class _Terminal:
    """One session between stdin and stdout."""

    def __init__(self, connector: Connector) -> None:
        self._session = AgentSession(connector, self._tell)
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._moved = asyncio.Event()
        self._stop = asyncio.Event()
        self._has_logged_out = False
        self._presence: PresenceNotification | None = None

    async def run(self) -> bool:
        """Run the session; whether it ended as the agent wanted."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, self._stop.set)
        threading.Thread(target=self._read_stdin, args=(loop,), daemon=True).start()
        session = asyncio.create_task(self._session.run())
        obeying = asyncio.create_task(self._obey())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({session, stop}, return_when=asyncio.FIRST_COMPLETED)
        is_good = stop.done() or self._has_logged_out
        for task in (session, obeying, stop):
            task.cancel()
        await asyncio.gather(session, obeying, stop, return_exceptions=True)
        return is_good

    # -- out ----------------------------------------------------------------------------------------------------

    async def _tell(self, said: Event | SessionState) -> None:
        if isinstance(said, SessionState):
            self._moved.set()
            if said.retry_at is not None:
                sys.stderr.write(f"{said.message} Next attempt at {said.retry_at:%H:%M:%S} UTC.\n")
            if said.presence is not None and said.presence != self._presence:
                sys.stderr.write(f"{_in_words(said.presence)}\n")
            self._presence = said.presence
            return
        self._print(said)

    def _print(self, event: Event) -> None:
        try:
            print(json.dumps(event.to_json()), flush=True)
        except OSError:  # nobody reads any more
            self._stop.set()

    # -- in -----------------------------------------------------------------------------------------------------

    def _read_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        # A thread, because stdin may be a file or /dev/null, which no event loop can wait for; and os.read, because a
        # thread inside sys.stdin would keep the interpreter from ending.
        rest = b""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            while data := os.read(sys.stdin.fileno(), MAX_LINE):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._lines.put_nowait, line)
                rest = rest[: 2 * MAX_LINE]
            loop.call_soon_threadsafe(self._lines.put_nowait, rest)

    async def _obey(self) -> None:
        for number in count(1):
            line = await self._lines.get()
            text = line[:MAX_LINE].decode(errors="replace").strip()
            if not text:
                continue
            try:
                command = parse_line(text, f"line-{number}")
            except InvalidCommand as error:
                event = SessionEvent(name=EventName.ERROR, at=datetime.now(UTC), message=str(error), code=error.code)
                self._print(event)
                continue
            await self._carry_out(command)

    async def _carry_out(self, command: CTICommand) -> None:
        # Commands from a pipe are all there before the line is: they wait for it.
        await self._leave(LinkState.NONE, LinkState.CONNECTING)
        if isinstance(command, Logout):
            self._has_logged_out = True
        answer = await self._session.command(command)
        if isinstance(command, TwoFactorCode) and answer.ok:
            await self._leave(LinkState.TWO_FACTOR)

    async def _leave(self, *states: LinkState) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self._session.state.state in states:
                    self._moved.clear()
                    await self._moved.wait()
