"""``manage.py cti_host``: holds the sessions of the accounts that stay open while nobody looks."""

import asyncio
import contextlib
import logging
import random
import signal
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from django import db
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q
from django.db.models.functions import Now

from ... import contacts, metrics
from ...models import ConnectorAccount
from ...sessions import bus
from ...sessions.access import PERMISSION
from ...sessions.host import get_host, shut_down
from ...threads import WORK_THREADS

__all__ = ["Caretaker", "Command"]

logger = logging.getLogger(__name__)

ROUND_SECONDS = 0.8  # between looks for sessions that nobody holds
AT_ONCE = 30  # sessions that are being started
AGAIN_SECONDS = 30.0  # between two starts of one agent's session, which might end as soon as it begins
STAND_BACK_SECONDS = 5.0  # after a session has gone from here, so that it goes to others if they want it
METRICS_SECONDS = 5.0  # how long somebody who asks for metrics may take to say so
MAX_REQUEST = 8_192  # bytes


class Host(Protocol):
    """What a caretaker needs of a ``SessionHost``."""

    async def keep(self, agent_id: Any) -> bool:
        """Run this agent's session here from now on; whether it does, which it does not if somebody else holds it."""

    def kept(self) -> set[Any]:
        """The agents whose sessions are kept here."""


class Caretaker:
    """Starts the sessions of accounts with ``keep_open`` that nobody holds. Any number of processes may have one.

    Args:
        cap: how many sessions this process keeps at most.
        say: is told of each change, in one line.
    """

    def __init__(self, host: Host, cap: int, say: Callable[[str], None]) -> None:
        self._host, self._cap, self._say = host, cap, say
        self._kept: set[Any] = set()
        self._not_before: dict[Any, float] = {}
        self._trouble = ""

    async def run(self) -> None:
        """Look after the sessions until cancelled. An outage of the database only delays the next look."""
        while True:
            try:
                await self.look()
                self._note("")
            except db.Error as error:
                self._note(f"The database cannot be reached ({type(error).__name__}); it is tried again.")
            except Exception:
                logger.exception("A look for sessions to keep failed")
            await asyncio.sleep(ROUND_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311  so that no two look in step

    async def look(self) -> None:
        """Start what is vacant, as far as there is room for it. Raises django.db.Error."""
        self._tell_changes()
        room = self._cap - len(self._host.kept())
        if room <= 0:
            self._note(f"All {self._cap} places are taken; what else is to stay open is for other processes.")
            return
        now = asyncio.get_running_loop().time()
        self._not_before = {agent_id: at for agent_id, at in self._not_before.items() if at > now}
        vacant = [agent_id for agent_id in await WORK_THREADS.run(_vacant) if agent_id not in self._not_before]
        random.shuffle(vacant)  # so that processes seldom want the same one
        gate = asyncio.Semaphore(AT_ONCE)
        starts = (self._start(agent_id, gate) for agent_id in vacant[:room])
        failures = [each for each in await asyncio.gather(*starts, return_exceptions=True) if each is not None]
        self._tell_changes()
        if failures:
            raise failures[0]

    async def _start(self, agent_id: Any, gate: asyncio.Semaphore) -> None:
        async with gate:
            self._not_before[agent_id] = asyncio.get_running_loop().time() + AGAIN_SECONDS
            try:
                if (await contacts.arefresh_rights(agent_id)).has_perm(PERMISSION):
                    await self._host.keep(agent_id)
            except db.Error:
                del self._not_before[agent_id]
                raise
            except Exception:
                logger.exception("The session of agent %s could not be started", agent_id)

    def _tell_changes(self) -> None:
        kept = self._host.kept()
        for agent_id in sorted(kept - self._kept, key=str):
            self._say(f"agent {agent_id}: kept here ({len(kept)} of {self._cap})")
        stand_back_until = asyncio.get_running_loop().time() + STAND_BACK_SECONDS
        for agent_id in sorted(self._kept - kept, key=str):
            self._not_before[agent_id] = max(self._not_before.get(agent_id, 0.0), stand_back_until)
            self._say(f"agent {agent_id}: not kept here any more ({len(kept)} of {self._cap})")
        self._kept = set(kept)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._say(trouble)
        self._trouble = trouble


def _vacant() -> list[Any]:
    """The agents whose accounts are to stay open and whose sessions nobody holds, by the database's clock."""
    lease = "user__cti_lease__"
    nobody = Q(**{f"{lease}isnull": True}) | Q(**{f"{lease}holder": ""})
    over = Q(**{f"{lease}expires_at__isnull": True}) | Q(**{f"{lease}expires_at__lt": Now()})
    accounts = ConnectorAccount.objects.filter(nobody | over, keep_open=True, is_active=True)
    return list(accounts.values_list("user_id", flat=True))


class Command(BaseCommand):
    """Keeps sessions open without a browser, so that calls are logged when nobody looks."""

    help = (
        "Hold the sessions of the telephone accounts that are to be kept open while their agents have no page open. "
        "Any number of such processes share them. Needs a channel layer that spans processes. Ends on SIGTERM, handing "
        "its sessions over."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How many sessions, and where Prometheus may ask."""
        parser.add_argument("--cap", type=int, default=1_000, help="sessions at most (default: %(default)s)")
        parser.add_argument(
            "--metrics-address", metavar="HOST:PORT", help="serve metrics there (needs cti-django[metrics])"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        if options["cap"] < 1:
            raise CommandError("--cap must be at least 1.")
        if not bus.spans_processes():
            raise CommandError(
                "CHANNEL_LAYERS does not span processes, so no page could be told of the calls of a session that is "
                "held here. Use channels_redis; with a single process, that process keeps the sessions open."
            )
        address = _address(options["metrics_address"]) if options["metrics_address"] else None
        try:
            asyncio.run(self._serve(options["cap"], address))
        except OSError as error:
            raise CommandError(f"Cannot serve metrics at {options['metrics_address']}: {error}") from error

    async def _serve(self, cap: int, address: tuple[str, int] | None) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = await asyncio.start_server(_answer, *address, limit=MAX_REQUEST) if address else None
        host = get_host()
        self._say(f"{host.office.holder} keeps up to {cap} sessions open. SIGTERM or Ctrl-C hands them over.")
        keeping = asyncio.create_task(Caretaker(host, cap, self._say).run())
        try:
            await stop.wait()
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            await shut_down()
            if server is not None:
                server.close()
        self._say("All sessions are handed over.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    if metrics.render() is None:
        raise CommandError("Metrics need prometheus-client: pip install cti-django[metrics].")
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise CommandError("--metrics-address is a host and a port, such as 127.0.0.1:9100.")
    return host, port


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One question over HTTP/1.1. Here and not on a thread, because the gauges look at what the event loop changes."""
    with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(METRICS_SECONDS):
            request = await reader.readuntil(b"\r\n\r\n")
            is_known = request.startswith((b"GET /metrics ", b"GET /metrics?"))
            found = metrics.render() if is_known else None
            body, kind = found or (b"There is only GET /metrics.\n", "text/plain; charset=utf-8")
            status = "200 OK" if found else "404 Not Found"
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
    writer.close()
