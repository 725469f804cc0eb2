"""``manage.py demo``: one process, people in the database, a call that arrives, and a clean end."""

import asyncio
import signal
import socket as sockets
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from .demo_site import Demo, Visitor

WAIT_SECONDS = 15


def test_the_addresses_and_the_logins_are_printed(demo: Demo) -> None:
    for text in (demo.site, f"{demo.sandbox}console/", f"{demo.site}platform/", "alice", "sam", '"demo"', "123456"):
        assert text in demo.output


def test_seeding_again_changes_nothing(demo: Demo) -> None:
    assert demo.manage("demo_seed") == demo.manage("demo_seed")
    assert "200 contacts" in demo.output
    assert "3 agents with a line" in demo.output


def test_one_variable_puts_the_agents_on_an_asterisk_and_back(demo: Demo) -> None:
    listing = (
        "from cti_django.models import ConnectorAccount as A; print(*A.objects.values_list('connector', 'number'))"
    )
    before = demo.manage("shell", "-c", listing)
    assert "('voipstudio', '10031')" in before
    demo.environment["ASTERISK_URL"] = "ami://cti:s%40cret@127.0.0.1:5038"
    try:
        demo.manage("demo_seed")
        there = demo.manage("shell", "-c", listing)
        code = "from django.conf import settings; print(settings.CTI_DJANGO['CONNECTOR_OPTIONS']['asterisk'])"
        assert "'secret': 's@cret'" in demo.manage("shell", "-c", code)
    finally:
        del demo.environment["ASTERISK_URL"]
    demo.manage("demo_seed")
    assert there.splitlines()[-1] == "('asterisk', '1001') ('asterisk', '1002') ('asterisk', '1003')"
    assert demo.manage("shell", "-c", listing) == before


async def test_a_call_from_the_console_reaches_the_agent_with_the_callers_record(demo: Demo, alice: Visitor) -> None:
    cookie = "; ".join(f"{each.name}={each.value}" for each in alice.cookies)
    headers = {"Cookie": cookie, "Origin": demo.site.rstrip("/")}
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{demo.site}ws/cti/", headers=headers) as socket:
        await socket.send_json({"type": "hello", "tab": "tab-of-a-test", "focused": True})
        await socket.send_json({"type": "login", "id": "1"})
        await _heard(socket, lambda said: said.get("session", {}).get("state") == "ready")
        ring = {"to": "10031", "from": "+442079460018", "name": "Dana"}
        async with client.post(f"{demo.sandbox}console/api/ring", json=ring) as answer:
            assert answer.status < 300
            call_id = str((await answer.json())["id"])
        said = await _heard(socket, lambda said: said.get("event", {}).get("name") == "RINGING")
        if said["event"]["call"]["match"] == "pending":  # on a busy machine the match comes behind the ring
            said = await _heard(socket, lambda said: said.get("event", {}).get("name") == "MATCHED")
        call = said["event"]["call"]
        assert call["match"] == "one"
        assert [contact["label"] for contact in call["contacts"]] == ["Dana Whitfield"]
        record = f"{demo.site}contacts/{call['contacts'][0]['url'].split('/')[2]}/"
        async with asyncio.timeout(WAIT_SECONDS):  # the page asks again by itself until the call is in the log
            while (await asyncio.to_thread(alice.get, call["pop"]["url"])).url != record:
                pass
        async with client.post(f"{demo.sandbox}console/api/calls/{call_id}/hangup", json={}) as answer:
            assert answer.status < 300
        await _heard(socket, lambda said: said.get("event", {}).get("name") == "HANGUP")


async def _heard(socket: aiohttp.ClientWebSocketResponse, wanted) -> dict:
    while True:
        said = await socket.receive_json(timeout=WAIT_SECONDS)
        if wanted(said):
            return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_everything(number: int, tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo.sqlite3")
    demo.wait_until_ready()
    assert demo.stop(number) == 0
    for address in (demo.site, demo.sandbox):
        taken = urlsplit(address).port
        assert taken is not None
        assert _is_free(taken)


def _is_free(port: int) -> bool:
    with sockets.socket() as probe:
        probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_said_in_a_sentence(demo: Demo, tmp_path: Path) -> None:
    port = urlsplit(demo.site).port
    assert port is not None
    second = Demo(tmp_path / "demo.sqlite3", port=port)
    output, _ = second.process.communicate(timeout=60)
    assert second.process.returncode == 1
    assert f"Port {port} cannot be used" in output
    assert "make demo PORT=" in output
    assert "Traceback" not in output
