"""Recorded scenarios, told to the connector by a real service on a real socket; the whole event list is compared."""

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from cti_django.calls.events import Event
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.management.commands.cti_connect import parse_line
from cti_django.sessions.session import AgentSession, Backoff, SessionState

from .conftest import ALICE, PLAN
from .fake_service import FakeService, dialog, document

RECORDINGS = Path(__file__).parents[2] / "recordings" / "voipstudio"
SENTINEL = "900-1"  # the dialog of a last NOTIFY, which shows that nothing else was on its way
PING_SECONDS = 0.2


class Replay:
    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.events: asyncio.Queue[dict] = asyncio.Queue()
        self.waiting: dict[tuple[str, str], asyncio.Future] = {}
        self.command_ids = itertools.count(1)
        call_ids = itertools.count(1)
        options = {**service.options, "ping_seconds": PING_SECONDS}
        self.session = AgentSession(
            VoIPstudioConnector(ALICE, options, number_plan=PLAN),
            self.tell,
            backoff=Backoff(first_seconds=0.01),
            new_id=lambda _: f"call-{next(call_ids)}",
        )
        self.running: asyncio.Task | None = None

    async def tell(self, said: Event | SessionState) -> None:
        if not isinstance(said, SessionState):
            self.events.put_nowait(said.to_json())

    def start(self) -> None:
        if self.running is None:
            self.running = asyncio.create_task(self.session.run())

    async def play(self, story: str) -> None:
        lines = iter(story.splitlines())
        for line in lines:
            kind, _, text = line.partition(" ")
            match kind:
                case "<":
                    await self.service_says(text, lines)
                case "!":
                    await self.session.command(parse_line(text, f"line-{next(self.command_ids)}"))
                case ">":
                    await self.expect(text)
                case ".":
                    await self.expect_nothing_more()
                case _:
                    assert not line or kind.startswith("#"), f"what is {line!r}?"

    async def service_says(self, text: str, lines) -> None:
        words = text.split(maxsplit=3)
        match words:
            case ["DROP"]:
                await self.service.line.socket.close()
            case ["FIRST" | "NOTIFY" as kind, node]:
                body = "\n".join(itertools.takewhile(bool, lines))
                if kind == "FIRST":
                    self.service.first_documents[node] = body
                else:
                    await self.service.line.notify(node, body)
            case [method, path, "later"]:
                future = self.waiting[method, path] = asyncio.get_running_loop().create_future()
                self.service.answers[method, path] = lambda: asyncio.shield(future)
            case [method, path, status, body]:
                answer = (int(status), json.loads(body))
                future = self.waiting.pop((method, path), None)
                if future is None:
                    self.service.answers[method, path] = answer
                else:
                    await self.service.until(lambda: f"{method} {path}" in self.service.paths())
                    future.set_result(answer)
            case _:
                raise AssertionError(f"what is {text!r}?")

    async def expect(self, text: str) -> None:
        self.start()
        name, _, facts = text.partition(" ")
        async with asyncio.timeout(5):
            event = await self.events.get()
        assert event["name"] == name, event
        for key, value in json.loads(facts or "{}").items():
            if isinstance(value, dict):
                assert {inner: event[key].get(inner) for inner in value} == value
            else:
                assert event[key] == value
        if "call" in event:
            assert event["call"]["status"] == name

    async def expect_nothing_more(self) -> None:
        self.start()
        if self.running.done() or self.session.state.state in ("logged_out", "refused"):
            async with asyncio.timeout(5):
                await self.running
            assert self.events.empty()
        else:
            await self.service.line.notify("482910", document(dialog(SENTINEL), version=900))
            async with asyncio.timeout(5):
                event = await self.events.get()
            assert event.get("call", {}).get("cid") == SENTINEL, event


@pytest.mark.parametrize("story", sorted(path.parent.name for path in RECORDINGS.glob("*/story.txt")))
async def test_recorded_scenario(story, service, monkeypatch):
    if story == "click_to_call_declined":
        monkeypatch.setattr("cti_django.connectors.voipstudio.dialler.AT_ONCE_SECONDS", 0.0)
    replay = Replay(service)
    try:
        await replay.play((RECORDINGS / story / "story.txt").read_text())
    finally:
        if replay.running is not None:
            replay.running.cancel()
            await asyncio.gather(replay.running, return_exceptions=True)


def test_every_row_of_the_protocol_table_is_recorded():
    stories = {path.parent.name for path in RECORDINGS.glob("*/story.txt")}
    assert stories >= {
        "login_accepted",
        "login_with_two_factor",
        "login_refused",
        "session_expires",
        "logout",
        "click_to_call",
        "click_to_call_without_a_phone",
        "click_to_call_declined",
        "click_to_call_number_refused",
        "inbound_answered_and_held",
        "inbound_answered_on_the_crm",
    }
