"""When a telephone system is asked about calls that nobody has said anything about for too long."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cti_django.calls.events import Call
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.connectors.base import Credentials
from cti_django.exceptions import ConnectionLost
from cti_django.sessions import session as session_module
from cti_django.sessions.reaper import PAUSE, RINGING_BELIEVED, Reaper
from cti_django.sessions.session import AgentSession, LinkState
from cti_django.testing import FakeConnector

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
HOURS = timedelta(hours=1)
NOBODY = Party(kind=PartyKind.UNAVAILABLE)


def call(state=CallState.CONNECTED, started_at=NOW, node="") -> Call:
    return Call(
        call_id="1", provider_call_id="731", leg_id="731-1", state=state, direction=Direction.INBOUND, source=NOBODY,
        destination=NOBODY, node=node, started_at=started_at,
    )  # fmt: skip


@pytest.mark.parametrize("state", [CallState.CONNECTED, CallState.ON_HOLD])
def test_an_answered_call_is_believed_for_four_hours(state):
    reaper = Reaper()
    assert not reaper.should_ask([call(state)], NOW + 4 * HOURS)
    assert reaper.should_ask([call(state)], NOW + 4 * HOURS + timedelta(seconds=1))


@pytest.mark.parametrize("state", [CallState.INITIAL, CallState.ACCEPTED, CallState.RINGING])
def test_a_call_that_is_not_answered_is_believed_for_ten_minutes(state):
    reaper = Reaper()
    assert not reaper.should_ask([call(state)], NOW + RINGING_BELIEVED)
    assert reaper.should_ask([call(state)], NOW + RINGING_BELIEVED * 1.01)


def test_a_snapshot_proves_that_the_calls_it_left_on_the_board_live():
    reaper = Reaper(believed_seconds=3600)
    reaper.note_snapshot(NOW + 2 * HOURS)
    assert not reaper.should_ask([call()], NOW + 3 * HOURS)
    assert reaper.should_ask([call()], NOW + 3.1 * HOURS)


def test_a_system_is_asked_no_oftener_than_every_ten_minutes():
    reaper = Reaper()
    later = NOW + 5 * HOURS
    assert reaper.should_ask([call()], later)
    assert not reaper.should_ask([call()], later + PAUSE * 0.99)
    assert reaper.should_ask([call()], later + PAUSE)


def test_nothing_is_asked_without_calls_or_for_those_of_watched_nodes():
    reaper = Reaper()
    assert not reaper.should_ask([], NOW + 5 * HOURS)
    assert not reaper.should_ask([call(node="user:10032")], NOW + 5 * HOURS)
    assert reaper.should_ask([call(started_at=None)], NOW)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
async def stage(monkeypatch):
    """A session that looks at its calls all the time, its connector, its clock, and the events to wait for."""
    monkeypatch.setattr(session_module, "REAP_SECONDS", 0.001)
    connector, clock, told = FakeConnector(Credentials(), {}), Clock(), asyncio.Queue()

    async def tell(said):
        if hasattr(said, "name"):
            told.put_nowait(said)

    async def until(name):
        async with asyncio.timeout(5):
            while (said := await told.get()).name != name:
                pass
        return said

    session = AgentSession(connector, tell, now=clock)
    task = asyncio.create_task(session.run())
    await until("READY")
    yield session, connector, clock, until
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_call_whose_end_nobody_told_ends_as_inferred_and_one_that_lives_goes_on(stage):
    session, connector, clock, until = stage
    for provider_call_id in ("1", "2"):
        connector.leg(CallState.CONNECTED, provider_call_id=provider_call_id)
        await until("CONNECTED")
    del connector.legs["1-1"]
    clock.now += 4.1 * HOURS
    ended = await until("HANGUP")
    assert (ended.call.provider_call_id, ended.call.end_reason) == ("1", EndReason.INFERRED)
    assert [one.provider_call_id for one in session.board.calls()] == ["2"]
    assert connector.refreshes == 1


async def test_a_click_to_call_of_a_former_process_is_given_up(stage):
    session, _connector, clock, until = stage
    session.board.restore([Call(
        call_id="old", provider_call_id="", leg_id="", state=CallState.INITIAL, direction=Direction.OUTBOUND,
        source=NOBODY, destination=NOBODY, started_at=NOW,
    )])  # fmt: skip
    clock.now += HOURS
    assert (await until("CANCEL")).call.call_id == "old"


async def test_while_the_line_is_lost_nothing_is_asked(stage, monkeypatch):
    session, connector, clock, until = stage
    connector.leg(CallState.RINGING)
    await until("RINGING")
    connector.lose(ConnectionLost("gone"))
    connector.open_errors = [ConnectionLost("gone")] * 100
    await until("ERROR")
    looks = asyncio.Queue()
    monkeypatch.setattr(session.board, "give_up", lambda now: looks.put_nowait(now) or [])
    clock.now += HOURS
    for _ in range(2):
        while await asyncio.wait_for(looks.get(), 5) != clock.now:
            pass
    assert session.state.state is not LinkState.READY
    connector.open_errors = []
    session.retry_now()
    await until("READY")
    assert connector.refreshes == 0
    connector.end()


async def test_a_system_that_fails_to_be_asked_stops_nothing(stage, monkeypatch):
    _session, connector, clock, until = stage
    asked = asyncio.Event()

    async def fail():
        asked.set()
        raise ConnectionLost("gone")

    monkeypatch.setattr(connector, "refresh", fail)
    connector.leg(CallState.RINGING)
    await until("RINGING")
    clock.now += HOURS
    await asyncio.wait_for(asked.wait(), 5)
    connector.leg(CallState.CONNECTED)
    await until("CONNECTED")
