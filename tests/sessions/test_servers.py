"""Daphne and uvicorn, each in a process of its own, ended in the middle of a call."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest

from cti_django.sandbox.server import run_sandbox
from tests.example.demo_site import Visitor, free_port
from tests.readme_project import REPOSITORY

SERVERS = {
    "daphne": ["daphne", "-b", "127.0.0.1", "-p"],
    "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port"],
}


class Site:
    """The example project behind a server."""

    def __init__(self, server, database, sandbox):
        self.server, self.database, self.port = server, database, free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "DATABASE_URL": f"sqlite:///{database}",
            "SANDBOX_PORT": sandbox.base_url.rsplit(":", 1)[1],
        }

    async def manage(self, *arguments):
        command = [sys.executable, "manage.py", *arguments]
        await asyncio.to_thread(
            subprocess.run, command, cwd=REPOSITORY, env=self.environment, check=True, capture_output=True, timeout=60
        )

    @asynccontextmanager
    async def running(self):
        """The process, which listens; killed at the end if it still lives."""
        command = [sys.executable, "-m", *SERVERS[self.server], str(self.port), "example_project.asgi:application"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=REPOSITORY, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            async for line in process.stdout:
                if b"Listening on TCP" in line or b"Uvicorn running" in line:
                    break
            process.said = asyncio.ensure_future(process.stdout.read())
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def log_in(self):
        visitor = Visitor(f"http://127.0.0.1:{self.port}/")
        visitor.login("alice")
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.cookies)

    @asynccontextmanager
    async def ready(self, cookie):
        """A socket whose session is ready, and what it heard of the session's state before."""
        origin = f"http://127.0.0.1:{self.port}"
        headers = {"Cookie": cookie, "Origin": origin}
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{origin}/ws/cti/", headers=headers) as socket:
            await socket.send_json({"type": "hello", "tab": "tab-00000001", "focused": True})
            await socket.send_json({"type": "login", "id": "1"})
            codes = []
            while (message := await socket.receive_json(timeout=20)).get("event", {}).get("name") != "READY":
                codes += [message["session"]["code"]] if message["type"] == "session" else []
            yield socket, codes

    def ask(self, query):
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


async def hear_event(socket, name):
    while (message := await socket.receive_json(timeout=10)).get("event", {}).get("name") != name:
        pass
    return message["event"]["call"]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_is_told_to_end_hands_the_session_back_and_its_successor_has_it_at_once(server, tmp_path):
    async with run_sandbox() as sandbox:
        site = Site(server, tmp_path / "site.sqlite3", sandbox)
        await site.manage("migrate", "-v0")
        await site.manage("demo_seed")
        async with site.running() as process:
            cookie = await asyncio.to_thread(site.log_in)
            async with site.ready(cookie) as (socket, _):
                there = sandbox.switch.ring("10031", "+442079460018", "Dana")
                call = await hear_event(socket, "RINGING")
                sandbox.switch.answer(there.call_id)
                await hear_event(socket, "CONNECTED")
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(8):
                    status = await process.wait()
        assert status in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was sent
        assert b"Traceback" not in await process.said
        assert site.ask("select holder, expires_at from cti_django_agentlease") == [("", None)]
        assert site.ask("select state, connected_at is not null from cti_django_callrecord") == [("CONNECTED", 1)]

        async with site.running(), site.ready(cookie) as (socket, codes):
            assert "taking_over" not in codes
            await socket.send_json({"type": "resync"})
            while (message := await socket.receive_json(timeout=10))["type"] != "snapshot":
                pass
            assert [(each["id"], each["status"]) for each in message["calls"]] == [(call["id"], "CONNECTED")]
            sandbox.switch.hang_up(there.call_id)
            assert (await hear_event(socket, "HANGUP"))["id"] == call["id"]
