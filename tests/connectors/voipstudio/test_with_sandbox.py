"""The connector on the sandbox PBX: whole calls over the real wire, digest and all."""

import asyncio
from functools import partial
from uuid import uuid4

import pytest

from cti_django.calls.commands import parse_command
from cti_django.connectors.base import Credentials
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.sandbox.faults import Fault
from cti_django.sandbox.server import run_sandbox
from cti_django.sandbox.users import TWO_FACTOR_CODE
from cti_django.sessions.session import AgentSession, Backoff, LinkState, SessionState, call_id_for

from ..half_open import Relay
from .conftest import PLAN

ALICE, BOB = "10031", "10032"


class Agent:
    def __init__(self, sandbox, email="alice@example.com", new_id=lambda _: uuid4().hex, **options) -> None:
        self.events: asyncio.Queue = asyncio.Queue()
        self.heard: list[str] = []
        connector = VoIPstudioConnector(
            Credentials(username=email, password="sandbox"),
            {"api_url": sandbox.api_url, "sip_url": sandbox.sip_url, **options},
            number_plan=PLAN,
        )
        self.session = AgentSession(connector, self._tell, backoff=Backoff(first_seconds=0.01), new_id=new_id)
        self.running = asyncio.create_task(self.session.run())
        self._commands = 0

    async def _tell(self, said) -> None:
        if not isinstance(said, SessionState):
            self.events.put_nowait(said)

    async def until(self, name: str):
        async with asyncio.timeout(10):
            while True:
                event = await self.events.get()
                self.heard.append(event.name.value)
                if event.name == name:
                    return event

    async def do(self, name: str, **fields: str):
        self._commands += 1
        return await self.session.command(parse_command({"command": name, "id": str(self._commands), **fields}))

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@pytest.fixture
async def sandbox():
    async with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def alice(sandbox):
    alice = Agent(sandbox, ping_seconds=0.2)
    await alice.until("READY")
    alice.heard.clear()
    yield alice
    await alice.close()


async def test_an_inbound_call_is_answered_held_resumed_transferred(sandbox, alice):
    call = sandbox.switch.ring(ALICE, "+442079460018", "Dana")
    ringing = await alice.until("RINGING")
    assert (ringing.call.source.number, ringing.call.source.name) == ("+442079460018", "Dana")
    call_id = ringing.call.call_id
    assert (await alice.do("hangup", call_id=call_id)).code == "not_now"
    assert (await alice.do("answer")).ok
    assert (await alice.until("CONNECTED")).call.call_id == call_id
    assert (await alice.do("hold", call_id=call_id)).ok
    await alice.until("ON_HOLD")
    assert (await alice.do("resume", call_id=call_id)).ok
    await alice.until("CONNECTED")
    assert (await alice.do("link", call_id=call_id, url="https://crm.example/1", text="Dana")).ok
    assert (await alice.do("transfer", call_id=call_id, number=BOB)).ok
    assert (await alice.until("HANGUP")).call.call_id == call_id
    assert alice.heard == ["RINGING", "INFO", "CONNECTED", "ON_HOLD", "CONNECTED", "HANGUP"]
    assert call.live(BOB)


async def test_a_click_to_call_from_initial_to_hangup_is_one_call(sandbox, alice):
    assert (await alice.do("call", number="020 7946 0018")).ok
    initial = await alice.until("INITIAL")
    await sandbox.wait_for(lambda: sandbox.switch.calls_of(ALICE))
    (call,) = sandbox.switch.calls_of(ALICE)
    sandbox.switch.answer(call.call_id)
    await alice.until("ACCEPTED")
    await alice.until("RINGING")
    sandbox.switch.answer(call.call_id)
    connected = await alice.until("CONNECTED")
    assert connected.call.call_id == initial.call.call_id
    assert (await alice.do("hangup", call_id=connected.call.call_id)).ok
    await alice.until("HANGUP")
    assert alice.heard == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]


async def test_a_click_to_call_without_a_phone_is_cancelled(sandbox, alice):
    sandbox.switch.set_phone(ALICE, registered=False)
    await alice.do("call", number=BOB)
    cancel = await alice.until("CANCEL")
    assert cancel.call.cause == "No phone of yours is registered."
    assert alice.heard == ["INITIAL", "CANCEL"]


async def test_the_second_factor(sandbox):
    dave = Agent(sandbox, "dave@example.com")
    try:
        await dave.until("TWO_FACTOR_AUTH")
        assert not (await dave.do("code", code="000000")).ok
        assert (await dave.do("code", code=TWO_FACTOR_CODE)).ok
        await dave.until("READY")
        assert dave.heard == ["TWO_FACTOR_AUTH", "ERROR", "LOGGED_IN", "SUBSCRIBED", "READY"]
    finally:
        await dave.close()


async def test_further_nodes_and_a_private_one(sandbox, alice):
    assert (await alice.do("subscribe", node="user:10032")).ok
    assert (await alice.until("SUBSCRIBED")).uri == "user:10032"
    await alice.do("subscribe", node="conf:99")
    assert (await alice.until("ERROR")).code == "subscribe_refused"
    sandbox.switch.ring(BOB, "+442079460018")
    ringing = await alice.until("RINGING")
    assert ringing.call.node == "user:10032"


async def test_the_directory_has_extensions_and_names(alice):
    users = await alice.session.connector.directory()
    assert {"number": BOB, "name": "Bob Agent", "node": "user:10032"} in users
    assert ALICE not in {user["number"] for user in users}


async def test_a_dropped_line_comes_back_with_the_call_as_it_is_now(sandbox, alice):
    call = sandbox.switch.ring(ALICE, "+442079460018")
    ringing = await alice.until("RINGING")
    sandbox.misbehave(Fault.REFUSE_SOCKETS, count=2)
    sandbox.misbehave(Fault.DROP_LINE, ALICE)
    await alice.until("ERROR")
    sandbox.switch.answer(call.call_id)
    await alice.until("READY")
    connected = await alice.until("CONNECTED")
    assert connected.call.call_id == ringing.call.call_id
    assert "TWO_FACTOR_AUTH" not in alice.heard


async def test_a_session_that_takes_over_knowing_nothing_gives_a_call_the_id_that_it_had(sandbox):
    new_id = partial(call_id_for, "7")
    first = Agent(sandbox, new_id=new_id)
    await first.until("READY")
    call = sandbox.switch.ring(ALICE, "+442079460018", "Dana")
    ringing = await first.until("RINGING")
    await first.close()
    sandbox.switch.answer(call.call_id)
    second = Agent(sandbox, new_id=new_id)
    connected = await second.until("CONNECTED")
    assert connected.call.call_id == ringing.call.call_id
    await second.close()


async def test_a_half_open_line_is_left_for_a_new_one(sandbox, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.transports.HEARTBEAT_SECONDS", 0.4)
    async with Relay(sandbox.port) as relay:
        alice = Agent(sandbox, sip_url=f"ws://127.0.0.1:{relay.port}/")
        await alice.until("READY")
        relay.fall_silent()
        call = sandbox.switch.ring(ALICE, "+442079460018", "Dana")
        relay.come_back()
        assert (await alice.until("RINGING")).call.provider_call_id == call.call_id
        assert alice.heard.count("READY") == 2
        await alice.close()


async def test_a_call_that_ended_while_the_line_was_lost_is_over(sandbox, alice):
    call = sandbox.switch.ring(ALICE, "+442079460018")
    ringing = await alice.until("RINGING")
    sandbox.misbehave(Fault.REFUSE_SOCKETS, count=2)
    sandbox.misbehave(Fault.DROP_LINE, ALICE)
    await alice.until("ERROR")
    sandbox.switch.hang_up(call.call_id)
    hangup = await alice.until("HANGUP")
    assert hangup.call.call_id == ringing.call.call_id
    assert alice.heard.count("HANGUP") == 1


@pytest.mark.parametrize(
    "fault", [Fault.MALFORMED_SIP, Fault.MALFORMED_XML, Fault.ENTITY_BOMB, Fault.OVERSIZED, Fault.END_SUBSCRIPTION]
)
async def test_rubbish_on_the_line_does_not_end_the_session(sandbox, alice, fault):
    for _ in range(3):
        sandbox.misbehave(fault, ALICE)
    sandbox.switch.ring(ALICE, "+442079460018")
    await alice.until("RINGING")
    assert alice.session.state.state is LinkState.READY
    assert alice.heard.count("ERROR") <= 1
    assert "READY" not in alice.heard


@pytest.mark.parametrize("fault", [Fault.DUPLICATE, Fault.REORDER, Fault.GAP, Fault.LOSE, Fault.DELAY])
async def test_late_repeated_and_lost_notifications_end_in_the_same_call(sandbox, alice, fault):
    call = sandbox.switch.ring(ALICE, "+442079460018")
    await alice.until("RINGING")
    sandbox.misbehave(fault, ALICE, seconds=0.05)
    sandbox.switch.answer(call.call_id)
    sandbox.switch.hold(call.call_id)
    sandbox.switch.resume(call.call_id)
    sandbox.switch.hang_up(call.call_id)
    hangup = await alice.until("HANGUP")
    assert hangup.call.end_reason.value in ("completed", "inferred")
    assert alice.heard.count("HANGUP") == 1


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.HUGE, Fault.SERVER_ERROR])
async def test_a_command_answered_with_nonsense_is_an_error(sandbox, alice, fault):
    alice.session.connector._ping_timer.cancel()  # the fault is for the command, not for the next ping
    sandbox.switch.ring(ALICE, "+442079460018")
    await alice.until("RINGING")
    sandbox.misbehave(fault, ALICE)
    answer = await alice.do("answer")
    assert not answer.ok
    error = await alice.until("ERROR")
    assert error.message.startswith(("The telephone service", "127.0.0.1", "Internal server error."))
    assert alice.session.state.state is LinkState.READY


async def test_an_expired_token_is_one_logged_out(sandbox, alice):
    sandbox.misbehave(Fault.EXPIRE_TOKEN, ALICE)
    await alice.until("LOGGED_OUT")
    async with asyncio.timeout(5):
        await alice.running
    assert alice.events.empty()
    assert alice.heard == ["LOGGED_OUT"]


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY, Fault.NO_TOKEN, Fault.DISCONNECT, Fault.SERVER_ERROR])
async def test_a_log_in_answered_with_nonsense_is_an_error_and_is_tried_again(sandbox, fault):
    sandbox.misbehave(fault, ALICE)
    alice = Agent(sandbox)
    try:
        await alice.until("READY")
        assert alice.heard == ["ERROR", "LOGGED_IN", "SUBSCRIBED", "READY"]
    finally:
        await alice.close()


async def test_subscriptions_are_refreshed_before_they_expire(monkeypatch):
    monkeypatch.setattr("cti_django.wire.sip_subscription._MIN_REFRESH", 0.1)
    async with run_sandbox(max_expires=2) as sandbox:
        alice = Agent(sandbox)
        try:
            await alice.until("READY")
            (connection,) = sandbox.sip.connections_of(ALICE)
            (subscription,) = connection.subscriptions.values()
            before = subscription.version
            await sandbox.wait_for(lambda: subscription.version > before)
            assert connection.subscriptions
            assert alice.heard.count("SUBSCRIBED") == 1
        finally:
            await alice.close()
