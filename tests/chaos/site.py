"""The site: PostgreSQL, Redis, the PBX, ASGI processes and relays between them, and where each of them stands."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.readme_project import REPOSITORY
from tests.servers import PostgreSQL, Redis, free_port, postgres, redis

from .journal import Journal
from .playbook import KNOWN_NUMBERS
from .processes import Program, Standing
from .proxy import Proxy

__all__ = ["Agent", "Outage", "Site", "running_site"]

SERVERS = {
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "--verbosity", "0"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"],
}
APPLICATION = "tests.chaos.asgi:application"
DATABASE = "chaos"

# Who wrote which row when: the writer is the name of the process (settings.py).
WITNESS = """
CREATE TABLE chaos_write (at timestamptz, writer text, call_id text, agent_id bigint, state text);
CREATE FUNCTION chaos_witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO chaos_write VALUES
    (clock_timestamp(), current_setting('application_name'), NEW.call_id, NEW.agent_id, NEW.state);
  RETURN NEW;
END $$;
CREATE TRIGGER chaos_witness AFTER INSERT OR UPDATE ON cti_django_callrecord
  FOR EACH ROW EXECUTE FUNCTION chaos_witness();
"""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent: extension, primary key, the cookie of a Django session of hers, and whether hers is kept open."""

    extension: str
    agent_id: int
    cookie: str
    keep_open: bool


@dataclass(slots=True)
class Outage:
    """A server that was away; `ended_at` is None while it is."""

    what: str
    began_at: float
    ended_at: float | None = None

    def covers(self, begin: float, end: float) -> bool:
        """Whether any of it lies between these moments."""
        return self.began_at <= end and (self.ended_at is None or self.ended_at >= begin)


class Site:
    """Everything that runs, by name. Made by ``running_site``."""

    def __init__(self, folder: Path, processes: int, lease_seconds: float, agents: int) -> None:
        self.folder, self.lease_seconds = folder, lease_seconds
        self.postgres: PostgreSQL
        self.redis: Redis
        self.agents: list[Agent] = []
        self.outages: list[Outage] = []
        self.fronts: dict[str, Proxy] = {}  # between the browsers and each process
        self.backs: dict[str, Proxy] = {}  # between each process and the PBX
        self.programs: dict[str, Program] = {}
        self._peers: dict[int, str] = {}  # what the PBX sees as a peer port -> the process behind it
        self._count, self._agents = processes, agents
        self.pbx_port = free_port()
        self.journal = Journal(folder / "pbx.journal", self.process_of)
        self.pbx: Program

    # -- where things are ---------------------------------------------------------------------------------------

    def process_of(self, peer: int) -> str:
        """The process behind a peer port of the PBX, "" if it is none of ours."""
        return self._peers.get(peer, "")

    def process_of_holder(self, holder: str) -> str:
        """The process that a lease names as its holder ("host:pid:...")."""
        parts = holder.split(":")
        pid = int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else -1
        return next((name for name, program in self.programs.items() if pid in program.pids), "")

    @property
    def kept(self) -> set[str]:
        """The agents whose sessions are to be kept open."""
        return {agent.extension for agent in self.agents if agent.keep_open}

    @property
    def web(self) -> list[Program]:
        """The programs that browsers connect to."""
        return [program for name, program in self.programs.items() if name in self.fronts]

    def choose(self) -> int | None:
        """The load balancer: the relay of a random process that is up."""
        up = [self.fronts[program.name].port for program in self.web if program.is_up]
        return random.choice(up) if up else None

    def is_away(self, begin: float, end: float | None = None, *whats: str) -> bool:
        """Whether one of the servers was away at some time from `begin` to `end`."""
        end = begin if end is None else end
        return any(outage.covers(begin, end) for outage in self.outages if not whats or outage.what in whats)

    @asynccontextmanager
    async def away(self, what: str) -> AsyncIterator[None]:
        """Note that a server is away."""
        outage = Outage(what, time.time())
        self.outages.append(outage)
        try:
            yield
        finally:
            outage.ended_at = time.time()

    # -- beginning and end --------------------------------------------------------------------------------------

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything; `stack` ends it."""
        self.postgres = await asyncio.to_thread(stack.enter_context, postgres())
        self.redis = await asyncio.to_thread(stack.enter_context, redis())
        stack.push_async_callback(self._stop)
        await asyncio.to_thread(self.postgres.create, DATABASE)
        arguments = ["-m", "tests.chaos.pbx", str(self.pbx_port), str(self._agents), str(self.journal.path)]
        self.pbx = Program("pbx", arguments, self._environment("pbx", self.pbx_port), self.folder, self.pbx_port)
        await self.pbx.start()
        for number in range(self._count):
            await self._add_server(f"{('daphne', 'uvicorn')[number % 2]}-{number // 2 + 1}")
        if (REPOSITORY / "cti_django/management/commands/cti_host.py").exists():
            await self._add("host-1", ["manage.py", "cti_host"], None)
        os.environ.update(self._environment("director", self.pbx_port))
        self.agents = await asyncio.to_thread(_fill, self._agents)
        await asyncio.gather(*(program.start() for program in self.programs.values()))

    async def _add_server(self, name: str) -> None:
        port = free_port()
        command = [part.format(port=port) for part in SERVERS[name.partition("-")[0]]]
        await self._add(name, [*command, APPLICATION], port)
        self.fronts[name] = Proxy(port)
        await self.fronts[name].start()

    async def _add(self, name: str, arguments: list[str], port: int | None) -> None:
        self.backs[name] = back = Proxy(self.pbx_port, on_open=lambda peer: self._peers.update({peer: name}))
        await back.start()
        self.programs[name] = Program(name, arguments, self._environment(name, back.port), self.folder, port)

    def _environment(self, name: str, pbx_port: int) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PG"))} | {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "TMPDIR": str(self.folder),  # whoever is killed does not tidy up
            "CHAOS_NAME": name,
            "CHAOS_POSTGRES": f"{self.postgres.port} {self.postgres.user} {DATABASE}",
            "CHAOS_REDIS_URL": self.redis.url,
            "CHAOS_PBX": f"127.0.0.1:{pbx_port}",
            "CHAOS_LEASE_SECONDS": str(self.lease_seconds),
        }

    async def _stop(self) -> None:
        every = [program for program in self.programs.values() if program.standing is not Standing.DOWN]
        for program in every:
            if program.standing is Standing.FROZEN:
                program.thaw()
        await asyncio.gather(*(program.terminate() for program in every), self.pbx.kill())
        for proxy in (*self.fronts.values(), *self.backs.values()):
            await proxy.stop()


@asynccontextmanager
async def running_site(folder: Path, *, processes: int, lease_seconds: float, agents: int) -> AsyncIterator[Site]:
    """A site that runs, and has ended afterwards."""
    site = Site(folder, processes, lease_seconds, agents)
    async with AsyncExitStack() as stack:
        await site.start(stack)
        yield site


def _fill(agents: int) -> list[Agent]:
    import django

    django.setup()
    from django.db import connection

    from cti_django.models import ConnectorAccount
    from tests.bench.world import fill_database

    keys = fill_database(agents, KNOWN_NUMBERS)
    with connection.cursor() as cursor:
        cursor.execute(WITNESS)
    accounts = list(ConnectorAccount.objects.order_by("pk"))
    for number, account in enumerate(accounts):
        # A key, because the sandbox forgets the tokens of those who log in with a password when it is started again.
        account.password, account.api_key = "", f"key-{account.number}"
        account.keep_open = number % 3 == 0
        account.save()
    connection.close()
    return [
        Agent(account.number, account.user_id, f"sessionid={key}", account.keep_open)
        for account, key in zip(accounts, keys, strict=True)
    ]
