"""Recordings: what a connector said is said again; masked ones tell of nobody."""

import asyncio
import contextlib
import json
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cti_django.calls.board import CallBoard
from cti_django.calls.commands import Dial, Logout
from cti_django.calls.events import CallEvent
from cti_django.calls.notifications import (
    DialNotification,
    DialStage,
    PresenceNotification,
    SessionNotification,
    Snapshot,
)
from cti_django.calls.numbers import NumberPlan, classify, dialable, same_party
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Credentials, Delivery
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused
from cti_django.testing import FakeConnector
from cti_django.testing.listener import Listener
from cti_django.testing.masking import Mask
from cti_django.testing.recordings import RecordingError, read, record, replay

GB = NumberPlan(region="GB")
SECRET = "correct horse battery"


async def played(path, *, mask=False):
    """A recording of a day with everything in it, and what was said and made of it."""
    connector = FakeConnector(Credentials(username="alice", password=SECRET, api_key=SECRET), {}, number_plan=GB)
    recorder = record(connector, path, mask=mask)
    await recorder.open()
    heard = Listener(recorder)
    began_at = datetime.now(UTC)
    connector.say(SessionNotification(name="TWO_FACTOR_AUTH", message="Code?", nonce=SECRET))
    connector.say(PresenceNotification(queues={"support": True}, is_paused=True, is_dnd=False))
    connector.leg(CallState.RINGING, "442079460018", "Dana Field", started_at=began_at)
    connector.leg(CallState.CONNECTED, "+442079460018", "Dana Field")
    connector.leg(CallState.RINGING, "10032", "Bob", provider_call_id="732")
    connector.leg(CallState.RINGING, "anonymous", provider_call_id="733")
    connector.leg(CallState.RINGING, "sip:bob.smith7@example.com", provider_call_id="734")
    ringing = connector.legs["732-1"]
    connector.say(replace(ringing, state=CallState.CONNECTED, consult=classify("+4930123456", "Eve", GB)))
    connector.say(Snapshot(legs=tuple(connector.legs.values())))
    to = dialable("020 7946 0019", GB)
    for stage in DialStage:
        connector.say(DialNotification(command_id="c1", destination=to, stage=stage, cause="No phone 10031."))
    connector.leg(CallState.RINGING, "442079460019", direction=Direction.OUTBOUND, provider_call_id="735")
    connector.leg(CallState.HANGUP, "442079460018", provider_call_id="731")
    connector.say(SessionNotification(name="LOGGED_OUT", message="Good bye."))
    connector.end()
    await heard.until_over()
    await recorder.close()
    return heard


def story(events):
    """The events without their times and ids, which differ each time."""
    told = []
    for event in events:
        told.append((event.name, event.message))
        if isinstance(event, CallEvent):
            call = event.call
            told[-1] += (call.source, call.destination, call.direction, call.end_reason, call.consult, call.cause)
    return told


async def test_what_is_recorded_comes_to_the_same_events_when_it_is_said_again(tmp_path):
    heard = await played(tmp_path / "day.jsonl")
    again = replay(tmp_path / "day.jsonl")
    await again.open()
    told = Listener(again)
    await told.until_over()
    assert story(told.events) == story(heard.events)
    assert len([event for event in told.events if isinstance(event, CallEvent)]) > 8
    assert told.error is None


async def test_a_call_that_was_told_a_start_has_it_as_long_ago(tmp_path):
    await played(tmp_path / "day.jsonl")
    recording = read(tmp_path / "day.jsonl")
    began_at = datetime(2030, 1, 1, tzinfo=UTC)
    starts = [leg.started_at for leg in recording.notifications(began_at) if getattr(leg, "started_at", None)]
    assert starts
    assert all(abs(start - began_at) < timedelta(seconds=30) for start in starts)


async def test_a_recording_says_what_it_is_and_only_its_owner_may_read_it(tmp_path):
    await played(tmp_path / "day.jsonl")
    recording = read(tmp_path / "day.jsonl")
    assert (recording.connector, recording.is_masked) == ("fake", False)
    assert recording.capabilities == FakeConnector.capabilities
    assert stat.S_IMODE((tmp_path / "day.jsonl").stat().st_mode) == 0o600


async def test_no_recording_is_written_over(tmp_path):
    await played(tmp_path / "day.jsonl")
    with pytest.raises(FileExistsError):
        record(FakeConnector(Credentials(), {}), tmp_path / "day.jsonl")


@pytest.mark.parametrize("mask", [True, False])
async def test_no_secret_is_in_a_recording(tmp_path, mask):
    await played(tmp_path / "day.jsonl", mask=mask)
    assert SECRET not in (tmp_path / "day.jsonl").read_text()


async def test_a_masked_recording_holds_no_number_and_no_name_of_the_original(tmp_path):
    heard = await played(tmp_path / "day.jsonl", mask=True)
    header, *lines = (tmp_path / "day.jsonl").read_text().splitlines()
    text = "\n".join(lines)
    assert json.loads(header)["masked"] is True
    for original in ("2079460018", "2079460019", "10032", "10031", "30123456", "731", "735", "Dana", "Eve", "Bob"):
        assert original not in text
    assert "smith" not in text
    told = read(tmp_path / "day.jsonl").notifications(datetime.now(UTC))
    board = CallBoard(lambda seed: seed or "x")
    events = [event for each in told for event in board.fold(each, datetime.now(UTC))]
    assert [event.name for event in events] == [event.name for event in heard.events]


async def test_a_masked_recording_still_says_the_same_sort_of_thing(tmp_path):
    heard = await played(tmp_path / "day.jsonl", mask=True)
    before = heard.legs()
    after = []
    for said in read(tmp_path / "day.jsonl").notifications(datetime.now(UTC)):
        after += [said] if hasattr(said, "remote") else getattr(said, "legs", ())
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one.remote.kind is other.remote.kind
        assert len(one.remote.number) == len(other.remote.number)
        assert one.remote.number[:3] == other.remote.number[:3]
        assert [same_party(one.remote, leg.remote) for leg in before] == [
            same_party(other.remote, leg.remote) for leg in after
        ]


def test_what_is_equal_is_masked_equally_and_what_is_different_is_not():
    mask = Mask()
    numbers = [f"+4420794600{number}" for number in range(10, 60)]
    masked = [mask.party(classify(number)) for number in numbers]
    assert len({party.number for party in masked}) == 50
    assert [mask.party(classify(number)) for number in numbers] == masked
    assert all(party.number != number for party, number in zip(masked, numbers, strict=True))
    national, international = mask.party(classify("020 7946 0018", "", GB)), mask.party(classify("+442079460018"))
    assert national.number == international.number
    assert national.number_raw[0] == "0"
    assert len(re.sub(r"\D", "", national.number_raw)) == 11


async def test_a_lost_line_is_lost_again_and_a_refused_log_in_refused(tmp_path):
    connector = FakeConnector(Credentials(), {})
    recorder = record(connector, tmp_path / "lost.jsonl")
    connector.open_errors = [ConnectionLost("It is down.")]
    with pytest.raises(ConnectionLost):
        await recorder.open()
    await recorder.open()
    connector.lose(ConnectionLost("It broke."))
    await Listener(recorder).until_over()
    connector.open_errors = [LoginRefused("Gone.")]
    with pytest.raises(LoginRefused):
        await recorder.open()
    await recorder.close()

    again = replay(tmp_path / "lost.jsonl")
    with pytest.raises(ConnectionLost, match="It is down"):
        await again.open()
    await again.open()
    heard = Listener(again)
    await heard.until_over()
    assert isinstance(heard.error, ConnectionLost)
    assert str(heard.error) == "It broke."
    with pytest.raises(LoginRefused):
        await again.open()
    await again.open()
    heard = Listener(again)
    await heard.until_over()
    assert heard.names() == ["LOGGED_OUT"]


async def test_a_recording_takes_no_command_but_logout(tmp_path):
    await played(tmp_path / "day.jsonl")
    again = replay(tmp_path / "day.jsonl", pace=0.0001)
    await again.open()
    heard = Listener(again)
    with pytest.raises(CommandRefused):
        await again.execute(Dial(command_id="1", number="10032"))
    await again.execute(Logout(command_id="2"))
    await heard.until_over()


async def test_a_pace_lets_the_time_between_go_by(tmp_path, monkeypatch):
    header = {"format": "cti_django recording", "version": 1, "recorded_at": "2026-01-05T09:00:00+00:00"}
    lines = [header, {"t": 0, "open": ""}, {"t": 100, "session": {"name": "READY"}}]
    path = tmp_path / "slow.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    again = replay(path, pace=1000.0)
    await again.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await Listener(again).until_over()
    assert loop.time() - began >= 0.09


async def test_a_file_that_cannot_be_written_any_more_stops_nothing(tmp_path):
    connector = FakeConnector(Credentials(), {})
    recorder = record(connector, tmp_path / "full.jsonl")

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    recorder._file = Full()
    await recorder.open()
    heard = Listener(recorder)
    await heard.until_said("READY")
    await recorder.close()


# -- hostile files ----------------------------------------------------------------------------------------------------

HEADER = (
    '{"format": "cti_django recording", "version": 1, "connector": "x", "recorded_at": "2026-01-05T09:00:00+00:00"}'
)
PARTY = '{"kind": "number", "number": "+442079460018"}'
LEG = f'"provider_call_id": "1", "leg_id": "1", "direction": "INBOUND", "local": {PARTY}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        HEADER.replace('"version": 1', '"version": 2'),
        HEADER.replace("2026-01-05T09", "yesterday"),
        HEADER.replace('"x"', "7"),
        HEADER.replace('"x"', '"x", "capabilities": ["fly"]'),
        f"{HEADER}\nnonsense",
        f"{HEADER}\n[1]",
        f"{HEADER}\n{'[' * 100_000}",
        f"{HEADER}\n{' ' * 300_000}",
        f'{HEADER}\n{{"t": 0}}',
        f'{HEADER}\n{{"t": NaN, "open": ""}}',
        f'{HEADER}\n{{"t": true, "open": ""}}',
        f'{HEADER}\n{{"t": 0, "open": "KeyboardInterrupt"}}',
        f'{HEADER}\n{{"t": 0, "session": 7}}',
        f'{HEADER}\n{{"t": 0, "session": {{"name": "RINGING"}}}}',
        f'{HEADER}\n{{"t": 0, "session": {{"name": "READY", "message": "{"x" * 3000}"}}}}',
        f'{HEADER}\n{{"t": 0, "presence": {{"queues": {{"a": 1}}}}}}',
        f'{HEADER}\n{{"t": 0, "presence": {{"is_dnd": "no"}}}}',
        f'{HEADER}\n{{"t": 0, "snapshot": {{"legs": {{}}}}}}',
        f'{HEADER}\n{{"t": 0, "leg": {{{LEG}}}}}',
        f'{HEADER}\n{{"t": 0, "leg": {{{LEG}, "remote": {PARTY}, "state": "INITIAL"}}}}',
        f'{HEADER}\n{{"t": 0, "leg": {{{LEG}, "remote": {PARTY}, "started": 1e300}}}}',
        f'{HEADER}\n{{"t": 0, "leg": {{{LEG}, "remote": {PARTY}, "reuses_ids": 1}}}}',
        f'{HEADER}\n{{"t": 0, "leg": {{{LEG}, "remote": {{"kind": "number", "number": "javascript:"}}}}}}',
        f'{HEADER}\n{{"t": 0, "dial": {{"destination": {PARTY}, "stage": "thinking"}}}}',
    ],
)
def test_what_is_no_recording_is_a_recording_error(tmp_path, text):
    path = tmp_path / "hostile.jsonl"
    path.write_text(text)
    with pytest.raises(RecordingError):
        read(path)


def test_a_name_in_a_file_is_as_hostile_as_one_on_the_wire(tmp_path):
    path = tmp_path / "hostile.jsonl"
    remote = json.dumps({"kind": "number", "number": "+442079460018", "name": "\x1b[31m\r\nDana" + "x" * 1000})
    path.write_text(f'{HEADER}\n{{"t": 0, "leg": {{{LEG}, "remote": {remote}}}}}')
    (leg,) = read(path).notifications(datetime.now(UTC))
    assert leg.remote.name.startswith("[31mDana")
    assert len(leg.remote.name) == 128


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "name",
    "message",
    "uri",
    "legs",
    "local",
    "remote",
    "kind",
    "state",
    "direction",
    "queues",
    "stage",
    "started",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["leg", "dial", "session", "presence", "snapshot", "open", "lost"]),
    what=st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON,
    seconds=JSON,
)
def test_any_json_is_read_or_is_a_recording_error(tmp_path, kind, what, seconds):
    path = tmp_path / "any.jsonl"
    path.write_text(f"{HEADER}\n{json.dumps({'t': seconds, kind: what})}\n")
    with contextlib.suppress(RecordingError):
        read(path)


async def test_what_a_system_pushes_reaches_the_connector_that_is_recorded(tmp_path):
    class Pushed(FakeConnector):
        endpoint, names = "pbx", frozenset({"alice"})

        def receive(self, delivery):
            self.leg(CallState.RINGING, delivery.fields["from"][0])

        def replay(self, deliveries):
            return iter([(each.received_at, Snapshot()) for each in deliveries])

    delivery = Delivery(endpoint="pbx", received_at=datetime.now(UTC), fields={"from": ("442079460018",)})
    path = tmp_path / "pushed"
    recorder = record(Pushed(Credentials(), {}), path)
    assert (recorder.endpoint, recorder.names) == ("pbx", frozenset({"alice"}))
    assert [said for _, said in recorder.replay([delivery])] == [Snapshot()]
    await recorder.open()
    heard = Listener(recorder)
    recorder.receive(delivery)
    await heard.until(lambda heard: heard.legs(CallState.RINGING))
    await recorder.close()
    assert "442079460018" in path.read_text()
