"""``cti_sandbox`` and ``cti_ring``."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from cti_django.management.commands import cti_ring
from cti_django.sandbox.server import Sandbox

RUN = "import django; from django.core.management import execute_from_command_line as run; run()"


def ring(*args: str) -> str:
    out = StringIO()
    call_command("cti_ring", *args, stdout=out)
    return out.getvalue()


async def test_ring_prints_the_call_id(sandbox: Sandbox) -> None:
    args = ("10031", "--from", "+442079460018", "--name", "Dana", "--url", sandbox.base_url)
    assert await asyncio.to_thread(ring, *args) == "7310025\n"
    call = sandbox.switch.call("7310025")
    assert (call.origin.party.number, call.origin.party.name) == ("442079460018", "Dana")


async def test_ring_without_a_number_withholds_it(sandbox: Sandbox) -> None:
    await asyncio.to_thread(ring, "10031", "--url", sandbox.base_url + "/")
    assert sandbox.switch.call("7310025").origin.party.number == "anonymous"


async def test_ring_passes_on_what_the_sandbox_says(sandbox: Sandbox) -> None:
    with pytest.raises(CommandError, match="There is no such extension"):
        await asyncio.to_thread(ring, "10999", "--url", sandbox.base_url)


async def test_ring_says_plainly_that_nothing_answers(sandbox: Sandbox) -> None:
    await sandbox.stop()
    with pytest.raises(CommandError, match=r"No sandbox answers at http://127\.0\.0\.1:\d+\. Start one"):
        await asyncio.to_thread(ring, "10031", "--url", sandbox.base_url)


async def test_ring_goes_where_the_project_has_its_sandbox(sandbox: Sandbox) -> None:
    options = {"CONNECTOR_OPTIONS": {"voipstudio": {"api_url": sandbox.api_url}}}
    with override_settings(CTI_DJANGO=options):
        assert await asyncio.to_thread(ring, "10031") == "7310025\n"


async def test_ring_takes_a_port(sandbox: Sandbox) -> None:
    assert await asyncio.to_thread(ring, "10031", "--port", str(sandbox.port)) == "7310025\n"


@pytest.mark.parametrize("url", ["https://l7api.com/v1.2/voipstudio", "", "http://[::1", "http://127.0.0.1.example/"])
def test_ring_never_goes_to_a_telephone_system_elsewhere(url: str) -> None:
    with override_settings(CTI_DJANGO={"CONNECTOR_OPTIONS": {"voipstudio": {"api_url": url}}}):
        assert cti_ring._projects_url() == cti_ring.DEFAULT_URL


@pytest.mark.parametrize("url", ["file:///etc/hostname", "127.0.0.1:9000", ""])
def test_ring_takes_web_addresses_only(url: str) -> None:
    with pytest.raises(CommandError, match="begins with http"):
        ring("10031", "--url", url)


async def start(*args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "cti_sandbox", "--users", "12", "--pick-up", "1", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )


async def greeting(process: asyncio.subprocess.Process) -> dict[str, str]:
    """What the sandbox prints: the first word of each line -> the rest."""
    assert process.stdout
    assert process.stderr
    lines: dict[str, str] = {}
    async with asyncio.timeout(30):
        while "..." not in lines:
            line = (await process.stdout.readline()).decode()
            assert line, (await process.stderr.read()).decode()
            name, _, rest = line.strip().partition(" ")
            lines[name] = rest.strip()
    return lines


@pytest.fixture
async def running() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start("--port", "0")
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_the_sandbox_prints_where_it_is_and_ends_on_ctrl_c(running: asyncio.subprocess.Process) -> None:
    lines = await greeting(running)
    async with asyncio.timeout(30):
        assert lines["password"].startswith("sandbox")
        assert "alice@example.com" in lines["10031"]
        assert lines["..."] == "2 more, up to 10042"
        url = lines["console"].removesuffix("/console/")
        assert (await asyncio.to_thread(ring, "10042", "--url", url)).strip().isdigit()
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 0


async def test_after_a_kill_it_starts_at_once_on_its_port_with_new_call_ids_and_the_same_people(
    running: asyncio.subprocess.Process, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    lines = await greeting(running)
    url = lines["console"].removesuffix("/console/")
    first = await asyncio.to_thread(ring, "10042", "--url", url)
    socket = await http.ws_connect(lines["SIP"], protocols=["sip"])  # a line that the kill breaks
    running.kill()
    await running.wait()
    await socket.receive()
    journal = tmp_path / "journal"
    again = await start("--port", url.rpartition(":")[2], "--journal", str(journal))
    try:
        assert await greeting(again) == lines
        second = await asyncio.to_thread(ring, "10042", "--url", url)
        assert int(second) > int(first)
        async with http.get(f"{lines['REST'].split()[-1]}/me", headers={"X-Auth-Token": "key-10042"}) as response:
            assert response.status == 200
        notes = [json.loads(line) for line in journal.read_text().splitlines()]
        assert (notes[0]["what"], notes[0]["pid"]) == ("start", again.pid)
        assert notes[-1]["call"] == second.strip()
    finally:
        again.kill()
        await again.wait()


async def test_a_port_that_is_taken_is_said_plainly(sandbox: Sandbox) -> None:
    with pytest.raises(CommandError, match="Cannot listen on"):
        await asyncio.to_thread(call_command, "cti_sandbox", port=sandbox.port)


@pytest.mark.parametrize(
    ("options", "said"), [({"port": 65_536}, "65535"), ({"port": 0, "tls_cert": "no-such.pem"}, "certificate")]
)
def test_a_port_or_a_certificate_that_cannot_be_used_is_said_plainly(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("cti_sandbox", **options)
