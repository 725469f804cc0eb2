"""What one agent's session tells the world: who calls, what pops where, and what the log and the signals hear."""

import asyncio
from dataclasses import replace
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
from cti_django.sessions.desk import Desk
from cti_django.sessions.herald import flush
from cti_django.sessions.pop import PopPolicy, pop_key
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
    assert call["pop"] == {"action": "open", "url": "/cti/pop/c1/", "key": pop_key(event().call)}


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


# -- another other side -----------------------------------------------------------------------------------------------


def updated(remote, state=CallState.CONNECTED, **more):
    return replace(event(state, remote=remote, **more), name=EventName.UPDATED)


async def test_a_caller_who_comes_by_a_transfer_is_matched_recorded_and_popped_once(desk, world):
    world.match = Match(kind="internal")
    await desk.tell(event(remote="10032"))
    await desk.tell(event(CallState.CONNECTED, remote="10032"))
    world.match = Match(kind="one", candidates=(ANNA,))
    await desk.tell(updated("442079460018"))
    await desk.tell(updated("442079460018"))
    await desk.tell(event(CallState.ON_HOLD))
    assert [call["match"] for call in world.calls] == ["internal", "internal", "one", "one", "one"]
    keys = [call["pop"]["key"] for call in world.calls]
    assert (keys[0], keys[1]) == (keys[1], pop_key(event(remote="10032").call))
    assert set(keys[2:]) == {pop_key(event().call)} != {keys[0]}
    assert world.calls[2]["pop"]["url"] == f"/cti/pop/c1/?side={keys[2].rpartition('-')[2]}"
    assert world.recorded[2].extra["match_object"] == (7, "1")
    assert [party.number or party.extension for party in world.asked] == ["10032", "+442079460018"]


async def test_each_other_side_is_popped_by_one_tab(desk, world):
    desk.tabs.sit_down(Tab("tab-2", "channel-2"), focused=False)
    keys = []
    for said in (event(remote="10032"), updated("442079460018")):
        desk.session.board.restore([said.call])
        await desk.tell(said)
        keys.append(world.calls[-1]["pop"]["key"])
        assert desk.claim_pop("tab-2", "c1", keys[-1]).code == "not_elected"
        granted = desk.claim_pop("tab-1", "c1", keys[-1])
        assert (granted.ok, granted.data) == (True, {"key": keys[-1]})
        assert desk.claim_pop("tab-2", "c1", keys[-1]).code == "popped"
    assert desk.claim_pop("tab-1", "c1", keys[0]).code == "over"


async def test_after_a_takeover_only_another_other_side_pops(desk, world):
    known = event(CallState.CONNECTED, remote="10032")
    desk.session.board.restore([known.call])
    desk.take_over([known.call], {})
    await desk.tell(event(CallState.ON_HOLD, remote="10032"))
    await desk.tell(updated("442079460018", CallState.ON_HOLD))
    assert [call["pop"] for call in world.calls[:-1]] == [None, None]  # ON_HOLD, MATCHED
    desk.tabs.sit_down(Tab("tab-2", "channel-2", popped=[pop_key(event().call)]), focused=True)
    assert desk.claim_pop("tab-1", "c1").code == "popped"


@pytest.mark.parametrize(
    ("state", "pops"), [(CallState.RINGING, True), (CallState.CONNECTED, False), (CallState.ON_HOLD, False)]
)
async def test_a_call_that_pops_when_answered_pops_after_a_takeover_while_it_rang(desk, world, state, pops):
    desk.pop_policy = PopPolicy(when="answer")
    known = event(state)
    desk.session.board.restore([known.call])
    desk.take_over([known.call], {})
    await desk.tell(event(CallState.CONNECTED))
    assert (world.calls[-1]["pop"] is not None) is pops


@pytest.mark.parametrize(
    ("policy", "state", "direction"),
    [
        (PopPolicy(action="none"), CallState.CONNECTED, Direction.INBOUND),
        (PopPolicy(), CallState.CONNECTED, Direction.OUTBOUND),
        (PopPolicy(), CallState.HANGUP, Direction.INBOUND),
    ],
)
async def test_what_does_not_pop_does_not_pop_by_a_transfer(desk, world, policy, state, direction):
    desk.pop_policy = policy
    await desk.tell(event(remote="10032", direction=direction))
    await desk.tell(updated("442079460018", state, direction=direction))
    before, after = world.calls
    assert before["pop"] == after["pop"]


async def test_the_match_of_the_side_before_is_never_shown_for_the_one_after(desk, world, settings):
    settings.CTI_DJANGO = {"MATCH_SECONDS": 0.01}
    await desk.tell(event(remote="442079460018"))
    world.answer_now.clear()
    later = updated("442079460021")
    desk.session.board.restore([later.call])
    await desk.tell(later)
    assert (world.calls[-1]["match"], world.calls[-1]["contacts"]) == ("pending", [])
    (slow,) = desk._late
    last = updated("442079460022")
    desk.session.board.restore([last.call])
    await desk.tell(last)
    world.match = Match(kind="none")
    world.answer_now.set()
    await asyncio.wait({slow, *desk._late})
    matched = [message["event"]["call"] for message in world.sent if message["event"]["name"] == "MATCHED"]
    assert {call["number"] for call in matched} <= {"+442079460022"}
