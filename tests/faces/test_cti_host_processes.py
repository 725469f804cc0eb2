"""``manage.py cti_host`` and ``cti_sessions`` in processes of their own, beside a telephone system and a Redis."""

import asyncio
import json
import signal
import sqlite3
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, closing

from cti_django.sandbox.server import run_sandbox
from tests.readme_project import REPOSITORY
from tests.servers import free_port
from tests.sessions.test_servers import Site

AGENTS = "select id from auth_user where username in ('alice', 'bob', 'carol')"
SAVE = (
    "from cti_django.models import ConnectorAccount as A; "
    "a = A.objects.get(user__username=%r); a.keep_open = False; a.save()"
)


@asynccontextmanager
async def world(tmp_path, redis_server):
    """The demo's database, three of whose accounts stay open, and a telephone system."""
    async with run_sandbox() as sandbox:
        site = Site("daphne", tmp_path / "site.sqlite3", sandbox)
        site.environment["REDIS_URL"] = redis_server.url
        await site.manage("migrate", "-v0")
        await site.manage("demo_seed")
        with closing(sqlite3.connect(site.database)) as connection, connection:
            connection.execute(f"update cti_django_connectoraccount set keep_open = 1 where user_id in ({AGENTS})")
        yield site, sandbox


@asynccontextmanager
async def holding(site, *options):
    """A cti_host; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "manage.py", "cti_host", *options),
        cwd=REPOSITORY,
        env=site.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def hear(process, text):
    """Read what a cti_host says up to the line with `text`."""
    said = []
    async with asyncio.timeout(60):
        while not said or text not in said[-1]:
            said.append((await process.stdout.readline()).decode())
            assert said[-1], "".join(said)
    return said[-1]


async def sessions(site, *options):
    """What cti_sessions says, and its exit status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "manage.py", "cti_sessions", *options),
        cwd=REPOSITORY,
        env=site.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return said.decode(), process.returncode


async def until(site, query, is_good):
    """Ask the database until it answers well; the answer."""

    def ask():
        deadline = time.monotonic() + 60
        while not is_good(answer := site.ask(query)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        return answer

    return await asyncio.to_thread(ask)


async def end(process):
    """SIGTERM, which hands everything over."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(8):
        said = await process.stdout.read()
        assert await process.wait() == 0
    assert b"Traceback" not in said
    assert b"All sessions are handed over." in said


async def test_calls_are_logged_while_nobody_looks_and_sigterm_hands_over(tmp_path, redis_server):
    port = free_port()
    async with (
        world(tmp_path, redis_server) as (site, sandbox),
        holding(site, "--metrics-address", f"127.0.0.1:{port}") as process,
    ):
        holder = (await hear(process, "keeps up to 1000 sessions open")).split()[0]
        await hear(process, "(3 of 1000)")
        ready = "select count(*) from cti_django_agentlease where link = 'ready'"
        await until(site, ready, lambda answer: answer == [(3,)])
        there = sandbox.switch.ring("10031", "+442079460018", "Dana")
        state = "select state, end_reason from cti_django_callrecord"
        await until(site, state, lambda answer: answer == [("RINGING", "")])

        rows = [json.loads(line) for line in (await sessions(site, "--json"))[0].splitlines()]
        seen = [(row["agent"], row["holder"], row["link"], row["calls"]) for row in rows]
        assert seen == [("alice", holder, "ready", 1), ("bob", holder, "ready", 0), ("carol", holder, "ready", 0)]
        url = f"http://127.0.0.1:{port}/metrics"
        text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())).decode()
        assert 'cti_sessions{link="ready"} 3.0' in text

        sandbox.switch.hang_up(there.call_id)
        await until(site, state, lambda answer: answer[0][1] == "missed")

        said, status = await sessions(site, "--close", "bob", "--wait")
        assert (said.strip(), status) == ("Sessions that are to be closed: 1", 0)
        assert str(rows[1]["agent_id"]) in await hear(process, "not kept here any more (2 of 1000)")
        await site.manage("shell", "-v0", "-c", SAVE % "carol")
        assert str(rows[2]["agent_id"]) in await hear(process, "not kept here any more")

        await end(process)
        rows = {row["agent"]: row for row in map(json.loads, (await sessions(site, "--all", "--json"))[0].splitlines())}
        assert {row["holder"] for row in rows.values()} == {""}
        wanted = "select count(*) from cti_django_agentlease where agent_id = %d and wanted_until is not null"
        assert site.ask(wanted % rows["alice"]["agent_id"]) == [(1,)]
        assert site.ask(wanted % rows["carol"]["agent_id"]) == [(0,)]


async def test_several_share_the_sessions_up_to_their_caps_and_take_over_what_one_lets_go_of(tmp_path, redis_server):
    async with (
        world(tmp_path, redis_server) as (site, _),
        holding(site, "--cap", "2") as first,
        holding(site, "--cap", "2") as second,
    ):
        names = {(await hear(process, "keeps up to 2")).split()[0]: process for process in (first, second)}
        counts = "select holder, count(*) from cti_django_agentlease where holder <> '' group by 1 order by 2"
        found = await until(site, counts, lambda answer: sum(count for _, count in answer) == 3)
        assert [count for _, count in found] == [1, 2]
        (stays, _), (leaves, _) = found
        await end(names[leaves])
        await hear(names[stays], "(2 of 2)")
        assert site.ask(counts) == [(stays, 2)]
