"""One connector, one board, and the way back after a lost line."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cti_django.calls.commands import Answer, Capability, Dial, HangUp, Logout, Transfer, TwoFactorCode
from cti_django.calls.events import Call, CallEvent, SessionEvent
from cti_django.calls.notifications import DialNotification, DialStage, SessionNotification, Snapshot
from cti_django.calls.numbers import dialable
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.connectors.base import Credentials
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused
from cti_django.sessions.session import AgentSession, Backoff, LinkState, SessionState, call_id_for
from cti_django.testing import FakeConnector

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Listener:
    """Hears what a session tells, and lets a test wait for it."""

    def __init__(self):
        self.said = []
        self._news = asyncio.Condition()

    async def __call__(self, said):
        async with self._news:
            self.said.append(said)
            self._news.notify_all()

    def events(self):
        return [said for said in self.said if isinstance(said, CallEvent | SessionEvent)]

    def names(self):
        return [event.name.value for event in self.events()]

    def links(self):
        return [said.state.value for said in self.said if isinstance(said, SessionState)]

    async def until(self, condition):
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(lambda: condition(self))


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
async def live(listener):
    """A running session and its fake connector."""
    connector = FakeConnector(Credentials(), {})
    session = AgentSession(
        connector, listener, now=lambda: NOW, command_seconds=0.2, backoff=Backoff(first_seconds=0.001)
    )
    task = asyncio.create_task(session.run())
    await listener.until(lambda heard: "READY" in heard.names())
    yield session, connector
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert connector.closed


async def test_a_session_connects_says_ready_and_passes_calls_on(live, listener):
    _, connector = live
    connector.leg(CallState.RINGING)
    await listener.until(lambda heard: "RINGING" in heard.names())
    assert listener.names() == ["LOGGED_IN", "SUBSCRIBED", "READY", "RINGING"]
    assert listener.links()[0] == "connecting"
    assert listener.links()[-1] == "ready"


async def test_the_state_is_ready_with_its_nodes_before_ready_is_said(live, listener):
    ready_at = next(i for i, said in enumerate(listener.said) if getattr(said, "name", "") == "READY")
    before = listener.said[ready_at - 1]
    assert (before.state, before.subscriptions) == (LinkState.READY, ("user:10031",))


async def test_a_lost_line_is_one_error_in_plain_words_and_is_opened_again(live, listener):
    _, connector = live
    connector.open_errors = [ConnectionLost("The line is down."), ConnectionLost("The line is down.")]
    connector.lose(ConnectionLost("The line is down."))
    await listener.until(lambda heard: heard.names().count("READY") == 2)
    errors = [event.message for event in listener.events() if event.name == "ERROR"]
    assert errors == ["The line is down."]
    assert connector.openings == 4
    assert "lost" in listener.links()


async def test_calls_keep_their_id_over_a_reconnect(live, listener):
    session, connector = live
    connector.leg(CallState.CONNECTED)
    await listener.until(lambda heard: "CONNECTED" in heard.names())
    connector.lose(ConnectionLost("gone"))
    await listener.until(lambda heard: heard.names().count("READY") == 2)
    connector.leg(CallState.HANGUP)
    await listener.until(lambda heard: "HANGUP" in heard.names())
    calls = [event.call.call_id for event in listener.events() if isinstance(event, CallEvent)]
    assert len(set(calls)) == 1
    assert session.board.calls() == []


async def test_refused_credentials_are_told_and_not_tried_again(listener):
    connector = FakeConnector(Credentials(), {})
    connector.open_errors = [LoginRefused("The password is wrong.")]
    session = AgentSession(connector, listener, backoff=Backoff(first_seconds=0.001))
    await asyncio.wait_for(session.run(), 5)
    assert listener.names() == ["ERROR"]
    assert session.state.state is LinkState.REFUSED
    assert connector.openings == 1


async def test_a_fault_inside_a_connector_is_a_sentence_and_a_retry_not_the_end(listener, caplog):
    connector = FakeConnector(Credentials(), {})
    connector.open_errors = [RuntimeError("boom")]
    session = AgentSession(connector, listener, backoff=Backoff(first_seconds=0.001))
    task = asyncio.create_task(session.run())
    await listener.until(lambda heard: "READY" in heard.names())
    task.cancel()
    (error,) = [event for event in listener.events() if event.name == "ERROR"]
    assert "boom" not in error.message


async def test_after_logged_out_nothing_goes_on(live, listener):
    session, connector = live
    connector.say(SessionNotification(name="LOGGED_OUT"))
    connector.end()
    await listener.until(lambda heard: heard.links()[-1] == "logged_out")
    assert listener.names().count("LOGGED_OUT") == 1
    answer = await session.command(Dial(command_id="1", number="10032"))
    assert (answer.ok, answer.code) == (False, "not_connected")
    assert connector.openings == 1


async def test_two_factor_waits_for_the_agents_code(listener):
    connector = FakeConnector(Credentials(), {"ready": False})
    session = AgentSession(connector, listener)
    task = asyncio.create_task(session.run())
    await listener.until(lambda heard: heard.links() == ["connecting"])
    connector.say(SessionNotification(name="TWO_FACTOR_AUTH", nonce="n1"))
    await listener.until(lambda heard: heard.links()[-1] == "two_factor")
    assert session.state.nonce == "n1"
    assert (await session.command(TwoFactorCode(command_id="1", code="123456", nonce=""))).ok
    assert connector.executed[0][0].code == "123456"
    task.cancel()


async def test_the_same_command_id_twice_is_one_command(live):
    session, connector = live
    command = Dial(command_id="1", number="10032")
    answers = await asyncio.gather(session.command(command), session.command(command))
    again = await session.command(command)
    assert [answer.ok for answer in (*answers, again)] == [True, True, True]
    assert len(connector.executed) == 1


async def test_a_second_dial_while_the_agents_phone_rings_is_info(live, listener):
    session, connector = live
    connector.say(DialNotification(command_id="1", destination=dialable("10032"), stage=DialStage.STARTED))
    await listener.until(lambda heard: "INITIAL" in heard.names())
    answer = await session.command(Dial(command_id="2", number="10033"))
    assert (answer.ok, answer.code) == (False, "dialling")
    assert listener.names()[-1] == "INFO"


async def test_a_click_to_call_of_a_former_holder_that_is_too_old_is_given_up_with_the_first_snapshot(live, listener):
    session, connector = live
    party = dialable("+442079460018")
    forgotten = Call(
        call_id="c1",
        provider_call_id="",
        leg_id="",
        state=CallState.INITIAL,
        direction=Direction.OUTBOUND,
        source=party,
        destination=party,
        command_id="1",
        started_at=NOW - timedelta(seconds=200),
    )
    session.board.restore([forgotten])
    connector.say(Snapshot())
    await listener.until(lambda heard: "CANCEL" in heard.names())
    assert listener.events()[-1].call.end_reason is EndReason.INFERRED


async def test_answer_without_a_call_takes_the_oldest_ringing(live, listener):
    session, connector = live
    for provider_call_id in ("1", "2"):
        connector.leg(CallState.RINGING, provider_call_id=provider_call_id)
    await listener.until(lambda heard: heard.names().count("RINGING") == 2)
    assert (await session.command(Answer(command_id="1", call_id=""))).ok
    assert connector.executed[0][1].provider_call_id == "1"


async def test_what_makes_no_sense_now_is_info_and_never_reaches_the_system(live, listener):
    session, connector = live
    answer = await session.command(HangUp(command_id="1", call_id="no such"))
    assert not answer.ok
    assert listener.names()[-1] == "INFO"
    assert connector.executed == []


async def test_a_call_that_was_transferred_ends_as_transferred_and_a_refused_transfer_does_not(live, listener):
    session, connector = live
    for provider_call_id in ("1", "2"):
        connector.leg(CallState.CONNECTED, provider_call_id=provider_call_id)
    await listener.until(lambda heard: heard.names().count("CONNECTED") == 2)
    first, second = session.board.calls()
    assert (await session.command(Transfer(command_id="1", call_id=first.call_id, number="10032"))).ok
    connector.execute_error = CommandRefused("No such extension.")
    assert not (await session.command(Transfer(command_id="2", call_id=second.call_id, number="1"))).ok
    for provider_call_id in ("1", "2"):
        connector.leg(CallState.HANGUP, provider_call_id=provider_call_id)
    await listener.until(lambda heard: heard.names().count("HANGUP") == 2)
    ends = [event.call.end_reason for event in listener.events() if event.name == "HANGUP"]
    assert ends == [EndReason.TRANSFERRED, EndReason.COMPLETED]


async def test_a_line_that_never_holds_is_tried_ever_more_slowly(listener):
    connector = FakeConnector(Credentials(), {})
    backoff = Backoff(first_seconds=0.0001)
    session = AgentSession(connector, listener, backoff=backoff)
    task = asyncio.create_task(session.run())
    for losses in range(1, 6):
        await listener.until(lambda heard, losses=losses: heard.names().count("READY") == losses)
        connector.lose(ConnectionLost("gone"))
    await listener.until(lambda heard: heard.names().count("READY") == 6)
    task.cancel()
    assert backoff.attempts == 5


async def test_a_refusal_of_the_system_is_told_in_its_own_words(live, listener):
    session, connector = live
    connector.execute_error = CommandRefused("Number not allowed.")
    answer = await session.command(Dial(command_id="1", number="10032"))
    assert (answer.ok, answer.message) == (False, "Number not allowed.")
    assert listener.events()[-1].message == "Number not allowed."


async def test_a_fault_in_a_command_is_an_error_event_and_the_session_lives(live, listener):
    session, connector = live
    connector.execute_error = KeyError("secret")
    answer = await session.command(Dial(command_id="1", number="10032"))
    assert answer.code == "internal_error"
    assert "secret" not in answer.message
    connector.leg(CallState.RINGING)
    await listener.until(lambda heard: "RINGING" in heard.names())


async def test_a_command_that_takes_too_long_is_info_within_its_limit(live, listener, monkeypatch):
    session, connector = live

    async def never(command, call=None):
        await asyncio.Event().wait()

    monkeypatch.setattr(connector, "execute", never)
    answer = await session.command(Logout(command_id="1"))
    assert answer.code == "timed_out"
    assert listener.names()[-1] == "INFO"


async def test_a_system_that_turns_out_to_refuse_hold_is_shown_without_it(live, listener):
    session, connector = live
    connector.capabilities = connector.capabilities - {Capability.HOLD}
    connector.execute_error = CommandRefused("Use the hold key of your phone.", event_name="INFO")
    await session.command(Dial(command_id="1", number="10032"))
    assert "hold" not in session.state.capabilities


async def test_a_listener_that_fails_stops_nothing(caplog):
    ready = asyncio.Event()

    async def fragile(said):
        if getattr(said, "name", "") == "READY":
            ready.set()
        raise RuntimeError("listener")

    session = AgentSession(FakeConnector(Credentials(), {}), fragile)
    task = asyncio.create_task(session.run())
    await asyncio.wait_for(ready.wait(), 5)
    task.cancel()


def test_a_named_call_has_the_same_id_everywhere_but_one_of_its_own_for_each_agent():
    assert call_id_for("7", "a call") == call_id_for("7", "a call")
    assert len({call_id_for("7", "a call"), call_id_for("8", "a call"), call_id_for("7", "another")}) == 3
    assert call_id_for("7", "") != call_id_for("7", "")
    assert all(len(call_id_for("7", seed)) == 32 for seed in ("", "a call"))
