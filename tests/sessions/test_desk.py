"""What one agent's session tells the world: who calls, what pops where, and what the log and the signals hear."""

import asyncio
from datetime import UTC, datetime

import pytest

from cti_django import calllog, contacts
from cti_django.calls.events import Call, CallEvent, EventName
from cti_django.calls.numbers import classify
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Credentials
from cti_django.contacts import Candidate, Match
from cti_django.sessions import bus
from cti_django.sessions import desk as desk_module
from cti_django.sessions.desk import Desk, PopPolicy
from cti_django.sessions.herald import flush
from cti_django.sessions.session import AgentSession
from cti_django.sessions.tabs import Tab
from cti_django.signals import call_event
from cti_django.testing import FakeConnector

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANNA = Candidate(
    label="Anna <b>Ash</b>", detail="Ash & Co", url="/people/1/", admin_url="", model="crm.person",
    content_type_id=7, object_id="1",
)  # fmt: skip


def event(state=CallState.RINGING, *, direction=Direction.INBOUND, remote="442079460018", node="", call_id="c1"):
    inbound = direction is Direction.INBOUND
    me, other = classify("10031"), classify(remote)
    call = Call(
        call_id=call_id, provider_call_id="1", leg_id="1-1", state=state, direction=direction, node=node,
        source=other if inbound else me, destination=me if inbound else other, started_at=NOW,
    )  # fmt: skip
    return CallEvent(name=EventName(state.value), call=call, at=NOW)


class World:
    """The bus, the contacts and the log, as a desk sees them."""

    def __init__(self, monkeypatch):
        self.sent, self.recorded, self.asked = [], [], []
        self.match = Match(kind="one", candidates=(ANNA,))
        self.answer_now = asyncio.Event()
        self.answer_now.set()
        monkeypatch.setattr(bus, "publish", self._publish)
        monkeypatch.setattr(bus, "send_to", self._publish)
        monkeypatch.setattr(contacts, "amatch", self._amatch)
        monkeypatch.setattr(calllog, "record", lambda agent_id, event, **more: self.recorded.append(event))

    async def _publish(self, to, message):
        self.sent.append(message)

    async def _amatch(self, party, agent_id):
        self.asked.append(party)
        await self.answer_now.wait()
        if isinstance(self.match, Exception):
            raise self.match
        return self.match

    @property
    def calls(self):
        return [message["event"]["call"] for message in self.sent if message["type"] == "event"]


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@pytest.fixture
async def desk(world):
    desk = Desk(agent_id=1, fence=3, region="GB")
    desk.session = AgentSession(FakeConnector(Credentials(), {}), desk.tell)
    desk.tabs.sit_down(Tab("tab-1", "channel-1"), focused=True)
    await desk.tabs.elect(desk.fence)
    world.sent.clear()
    return desk


async def test_a_ringing_caller_is_matched_shown_and_popped_in_the_elected_tab(desk, world):
    await desk.tell(event())
    (call,) = world.calls
    assert (call["match"], call["contacts"][0]["label"], call["display"]) == ("one", "Anna <b>Ash</b>", "020 7946 0018")
    assert call["pop"] == {"action": "open", "url": "/cti/pop/c1/"}


async def test_the_contacts_are_asked_once_for_each_call(desk, world):
    for state in (CallState.RINGING, CallState.CONNECTED, CallState.HANGUP):
        await desk.tell(event(state))
    assert len(world.asked) == 1
    assert [call["match"] for call in world.calls] == ["one", "one", "one"]


async def test_the_log_gets_the_certain_contact_and_the_browser_no_internal_key(desk, world):
    await desk.tell(event())
    assert world.recorded[0].extra["match_object"] == (7, "1")
    assert "match_object" not in world.calls[0]


async def test_an_uncertain_contact_is_not_logged(desk, world):
    world.match = Match(kind="several", candidates=(ANNA, ANNA))
    await desk.tell(event())
    assert world.recorded[0].extra["match_object"] is None


async def test_a_slow_match_does_not_hold_up_the_ring_and_is_told_later(desk, world, settings):
    settings.CTI_DJANGO = {"MATCH_SECONDS": 0.01}
    world.answer_now.clear()
    ringing = event()
    desk.session.board.restore([ringing.call])
    await desk.tell(ringing)
    assert world.calls[0]["match"] == "pending"
    world.answer_now.set()
    await asyncio.wait(set(desk._late))
    assert world.sent[-1]["event"]["name"] == "MATCHED"
    assert world.calls[-1]["contacts"][0]["label"] == "Anna <b>Ash</b>"


async def test_a_match_that_could_not_ask_the_database_asks_again(desk, world, settings, monkeypatch):
    monkeypatch.setattr(desk_module, "LOOK_UP_PAUSES", (0.0, 0.001, 0.001))
    world.match = Match(kind="none", failed=True)
    await desk.tell(event())
    assert (world.calls[0]["match"], len(world.asked)) == ("pending", 3)


async def test_a_failing_match_still_lets_the_call_through(desk, world):
    world.match = RuntimeError("no contacts today")
    await desk.tell(event())
    assert world.calls[0]["match"] == "pending"


@pytest.mark.parametrize(
    ("policy", "popped"),
    [
        (PopPolicy(), ["RINGING"]),
        (PopPolicy(when="answer"), ["CONNECTED"]),
        (PopPolicy(action="card"), ["RINGING"]),
        (PopPolicy(action="none"), []),
    ],
)
async def test_the_pop_comes_when_and_as_the_policy_says(desk, world, policy, popped):
    desk.pop_policy = policy
    first_pops = []
    for state in (CallState.RINGING, CallState.CONNECTED):
        await desk.tell(event(state))
        if world.calls[-1]["pop"] and not first_pops:
            first_pops = [world.calls[-1]["status"]]
            assert world.calls[-1]["pop"]["action"] == policy.action
    assert first_pops == popped


async def test_an_outbound_call_shows_the_contact_and_pops_nothing(desk, world):
    await desk.tell(event(CallState.RINGING, direction=Direction.OUTBOUND))
    assert (world.calls[0]["match"], world.calls[0]["pop"]) == ("one", None)


async def test_a_watched_call_is_shown_without_a_match_a_record_or_a_pop(desk, world):
    await desk.tell(event(node="queue:17"))
    (call,) = world.calls
    assert (call["node"], call["match"], call["pop"], call["actions"]) == ("queue:17", "", None, [])
    assert world.asked == world.recorded == []


async def test_envelopes_carry_the_fence_and_a_rising_number(desk, world):
    for state in (CallState.RINGING, CallState.CONNECTED):
        await desk.tell(event(state))
    assert [(message["fence"], message["seq"]) for message in world.sent] == [(3, 1), (3, 2)]


async def test_a_tab_without_focus_does_not_take_the_election(desk, world):
    desk.tabs.sit_down(Tab("tab-2", "channel-2"), focused=False)
    await desk.tabs.elect(desk.fence)
    assert (desk.snapshot("tab-1")["elected"], desk.snapshot("tab-2")["elected"]) == (True, False)
    desk.tabs.stand_up("tab-1", "channel-1")
    await desk.tabs.elect(desk.fence)
    assert desk.snapshot("tab-2")["elected"] is True


async def test_receivers_of_the_signal_hear_the_call_and_a_failing_one_stops_nothing(desk, world):
    heard = []

    def fails(**arguments):
        raise RuntimeError("receiver")

    def hears(agent_id, event, **arguments):
        heard.append((agent_id, event.name.value))

    call_event.connect(fails)
    call_event.connect(hears)
    try:
        await desk.tell(event())
        await desk.tell(event(CallState.HANGUP))
        await asyncio.to_thread(flush, 5)
    finally:
        call_event.disconnect(fails)
        call_event.disconnect(hears)
    assert heard == [(1, "RINGING"), (1, "HANGUP")]
    assert len(world.calls) == 2


async def test_an_ended_call_is_among_the_recent_ones_with_its_note(desk, world):
    await desk.tell(event(CallState.CONNECTED))
    desk.note_changed("c1", "call back")
    await desk.tell(event(CallState.HANGUP))
    assert desk.recent[0]["status"] == "HANGUP"
    assert desk.recent[0]["note"] == "call back"


async def test_a_note_that_is_saved_while_the_end_is_told_stands_among_the_recent_calls(desk, world, monkeypatch):
    async def room() -> bool:
        desk.note_changed("c1", "just in time")
        return True

    await desk.tell(event(CallState.CONNECTED))
    monkeypatch.setattr("cti_django.sessions.desk.calllog.room", room)
    await desk.tell(event(CallState.HANGUP))
    assert desk.recent[0]["note"] == "just in time"
