"""The journal tells what really happened."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cti_django.sandbox.faults import Fault
from cti_django.sandbox.journal import Journal
from cti_django.sandbox.pbx import Switch
from cti_django.sandbox.server import Sandbox, run_sandbox
from cti_django.sandbox.users import demo_users
from cti_django.wire.sip_message import SIPResponse

from .conftest import API, PATIENCE, Watcher


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def sandbox(path: Path) -> AsyncIterator[Sandbox]:
    async with run_sandbox(journal=str(path), first_call_id=7310025) as running:
        yield running


def read(path: Path, *whats: str) -> list[dict[str, Any]]:
    notes = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(note["at"] > 1_700_000_000 for note in notes)
    return [note for note in notes if not whats or note["what"] in whats]


async def until(sandbox: Sandbox, path: Path, what: str, **facts: Any) -> dict[str, Any]:
    """The first note like that, as soon as it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for note in read(path, what):
                if note.items() >= facts.items():
                    return note
            await asyncio.sleep(0.01)


async def test_a_start_and_a_stop_are_noted_and_a_second_run_goes_on_in_the_same_file(path: Path) -> None:
    for _ in range(2):
        async with run_sandbox(journal=str(path)) as sandbox:
            port = sandbox.port
    assert [note["what"] for note in read(path)] == ["start", "stop"] * 2
    assert read(path)[-1]["port"] == port
    assert _mode(path) == 0o600


async def test_a_call_is_noted_at_each_step_on_each_phone(sandbox: Sandbox, path: Path) -> None:
    switch = sandbox.switch
    call = switch.ring("10031,10032", "+442079460018", "Dana")
    switch.answer(call.call_id, "10031")
    switch.hold(call.call_id)
    switch.resume(call.call_id)
    switch.hang_up(call.call_id)
    assert [note["state"] for note in read(path, "call")] == ["RINGING", "CONNECTED", "ON_HOLD", "CONNECTED", "HANGUP"]
    last = read(path, "call")[-1]
    assert (last["from"], last["to"], last["agents"]) == ("442079460018", "10031", ["10031", "10032"])
    assert last["reason"] == "completed"
    steps = [(note["node"], note["state"], note["hold"], note["reason"]) for note in read(path, "leg")]
    assert steps == [
        ("10031", "early", False, ""),
        ("10032", "early", False, ""),
        ("10031", "confirmed", False, ""),
        ("10032", "terminated", False, "answered_elsewhere"),
        ("10031", "confirmed", True, ""),
        ("10031", "confirmed", False, ""),
        ("10031", "terminated", False, "completed"),
    ]
    first = read(path, "leg")[0]
    assert (first["call"], first["leg"], first["direction"]) == (call.call_id, f"{call.call_id}-1", "INBOUND")
    assert (first["local"], first["number"], first["start"]) == ("10031", "442079460018", int(call.started_at))


async def test_the_answer_to_a_notify_is_noted_with_what_it_told(sandbox: Sandbox, path: Path, watcher: Any) -> None:
    one = await watcher("10031")
    await one.subscribe()
    await one.notify()
    call = sandbox.switch.ring("10031", "1")
    await one.notify()
    note = await until(sandbox, path, "answered", full=False)
    begun = read(path, "subscribed")[0]
    assert note["legs"] == [[f"{call.call_id}-1", "early"]]
    assert {begun["connection"]} == {note["connection"]}
    assert (begun["id"], begun["user"], begun["peer"]) == (note["id"], "10031", note["peer"])
    await one.subscribe()
    assert (await until(sandbox, path, "answered", full=True))["legs"] == note["legs"]


async def test_a_notify_that_nobody_answered_is_not_noted(sandbox: Sandbox, path: Path, watcher: Any) -> None:
    one = await watcher("10031")
    await one.subscribe()
    await one.notify()
    sandbox.misbehave(Fault.LOSE)
    call = sandbox.switch.ring("10031", "1")
    sandbox.switch.answer(call.call_id)
    await one.notify()
    await until(sandbox, path, "answered", legs=[[f"{call.call_id}-1", "confirmed"]])
    assert len(read(path, "answered")) == 1


async def test_only_ones_own_node_is_noted(sandbox: Sandbox, path: Path, watcher: Any) -> None:
    one = await watcher("10031")
    await one.subscribe("10032")
    await one.notify()
    sandbox.switch.ring("10032", "1")
    await one.notify()
    await one.subscribe("10032", Expires="0")
    await one.notify()
    assert read(path, "subscribed", "unsubscribed", "answered") == []


async def close(sandbox: Sandbox, one: Watcher) -> None:
    await one.close()


async def unsubscribe(sandbox: Sandbox, one: Watcher) -> None:
    await one.subscribe(Expires="0")


async def drop(sandbox: Sandbox, one: Watcher) -> None:
    sandbox.misbehave(Fault.DROP_LINE)


async def deactivate(sandbox: Sandbox, one: Watcher) -> None:
    sandbox.misbehave(Fault.END_SUBSCRIPTION)


async def forget(sandbox: Sandbox, one: Watcher) -> None:
    one.reply_with = 481
    sandbox.switch.ring("10031", "1")


async def expire(sandbox: Sandbox, one: Watcher) -> None:
    response: SIPResponse = await one.subscribe(Expires="1")
    assert response.status == 200


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (close, "socket closed"),
        (drop, "socket closed"),
        (unsubscribe, "unsubscribed"),
        (deactivate, "deactivated"),
        (forget, "481"),
        (expire, "expired"),
    ],
)
async def test_the_end_of_a_subscription_says_why(
    sandbox: Sandbox, path: Path, watcher: Any, act: Any, why: str
) -> None:
    one = await watcher("10031")
    await one.subscribe()
    await one.notify()
    await act(sandbox, one)
    note = await until(sandbox, path, "unsubscribed")
    assert (note["why"], note["user"], note["id"]) == (why, "10031", one.call_id)


async def test_a_watcher_that_answers_no_ping_is_dropped(path: Path, http: aiohttp.ClientSession) -> None:
    async with run_sandbox(journal=str(path), heartbeat_seconds=0.2) as sandbox:
        alive = Watcher(await http.ws_connect(sandbox.sip_url, protocols=["sip"]), "10032")
        frozen = Watcher(await http.ws_connect(sandbox.sip_url, protocols=["sip"], autoping=False), "10031")
        for one in (alive, frozen):
            assert (await one.subscribe()).status == 200
        note = await until(sandbox, path, "unsubscribed")
        assert (note["user"], note["why"]) == ("10031", "heartbeat")
        await frozen.closed()
        assert [one.user_id for one in sandbox.sip.connections] == ["10032"]
        await alive.close()
        await frozen.close()


async def test_log_ins_and_commands_are_noted_with_who_gave_them(sandbox: Sandbox, path: Path, api: Any) -> None:
    alice: API = api("10031")
    await alice("POST", "/login", {"email": "alice@example.com", "password": "wrong"})
    _, told = await alice("POST", "/login", {"email": "alice@example.com", "password": "sandbox"})
    assert [(note["user"], note["ok"]) for note in read(path, "login")] == [("10031", False), ("10031", True)]
    call = sandbox.switch.ring("10031", "1")
    await alice("PATCH", f"/calls/{call.call_id}", {"state": "CONNECTED"})
    await alice("PATCH", f"/calls/{call.call_id}", {"state": "ON_HOLD"})
    alice.token = told["user_token"]
    await alice("DELETE", f"/calls/{call.call_id}")
    assert (await alice("PATCH", f"/calls/{call.call_id}", {"dst": "10032"}))[0] == 404
    assert (await alice("POST", "/calls", {"to": "10031"}))[0] == 400
    notes = read(path, "command")
    assert [note["command"] for note in notes] == ["answer or resume", "hold", "hang_up", "transfer", "dial"]
    assert [note["call"] for note in notes] == [call.call_id] * 4 + [""]
    assert {note["user"] for note in notes} == {"10031"}
    assert notes[0]["token"] == notes[1]["token"] != notes[2]["token"] == notes[3]["token"]
    assert all(note["peer"] for note in notes)
    text = json.dumps(read(path))
    assert not any(secret in text for secret in (alice.token, "key-10031", "sandbox", "sip-10031"))


async def test_a_dial_is_noted_with_its_call(sandbox: Sandbox, path: Path, api: Any) -> None:
    dialling = asyncio.create_task(api("10031")("POST", "/calls", {"to": "10032"}))
    call = await sandbox.wait_for(lambda: next(iter(sandbox.switch.calls.values()), None))
    sandbox.switch.answer(call.call_id)
    await dialling
    (note,) = read(path, "command")
    assert (note["command"], note["call"]) == ("dial", call.call_id)
    assert [one["click_to_call"] for one in read(path, "call")] == [True, True]


def test_without_a_file_nothing_is_written_and_what_is_remembered_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cti_django.sandbox.journal.MAX_REMEMBERED", 3)
    for journal in (Journal(), Journal(str(path))):
        switch = Switch(demo_users(), schedule=lambda delay, act: _NeverTimer(), now=lambda: 0.0)
        journal.follow(switch)
        journal.open()
        for _ in range(5):
            switch.ring("10031", "1")
        assert len(journal._states) == (3 if journal.is_kept else 0)
        journal.close()
    assert len(read(path, "call")) == 5


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class _NeverTimer:
    def cancel(self) -> None: ...
