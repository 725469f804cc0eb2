"""One agent at a system that pushes: history, news, click-to-call, and what an examination finds."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from cti_django.calls.board import CallBoard
from cti_django.calls.commands import Capability, Dial, HangUp, Logout, Transfer
from cti_django.calls.events import Call, CallEvent
from cti_django.calls.notifications import DialNotification, DialStage, LegNotification, Snapshot
from cti_django.calls.numbers import NumberPlan, Party, PartyKind
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Credentials, Delivery
from cti_django.connectors.webhook.connector import WebhookConnector
from cti_django.exceptions import CommandRefused, LoginRefused, NotCapable
from tests.connectors.test_transports import server

__all__ = ["server"]

SECRET = "a-secret-of-32-characters-at-least"
ENDPOINTS = {"main": {"shape": "sipgate", "auth": "basic", "username": "crm", "secret": SECRET}}
NOW = datetime.now(UTC)


def connector(username="Alice", endpoints=ENDPOINTS, **options):
    given = {"endpoints": endpoints, **options}
    return WebhookConnector(Credentials(username=username), given, number_plan=NumberPlan(region="GB"))


def delivery(event="newCall", call_id="1", at=NOW, endpoint="main", user="Alice", **more):
    fields = {"event": event, "callId": call_id, "direction": "in", "from": "442079460018", "user": user, **more}
    return Delivery(endpoint=endpoint, received_at=at, fields={name: (value,) for name, value in fields.items()})


class Heard:
    """What a connector says."""

    def __init__(self, connector):
        self._said = aiter(connector.notifications())

    async def next(self):
        async with asyncio.timeout(5):
            return await anext(self._said)


async def opened(line):
    await line.open()
    heard = Heard(line)
    names = [await heard.next() for _ in range(4)]
    assert [getattr(each, "name", "Snapshot") for each in names] == ["LOGGED_IN", "SUBSCRIBED", "Snapshot", "READY"]
    return heard, names[2]


async def test_history_is_in_the_first_snapshot_and_news_come_as_they_are_pushed():
    line = connector()
    line.receive(delivery())
    line.receive(delivery(call_id="2", user="Bob"))
    heard, snapshot = await opened(line)
    (leg,) = snapshot.legs
    assert (leg.provider_call_id, leg.state, leg.started_at) == ("1", CallState.RINGING, NOW)
    assert leg.remote.number == "+442079460018"
    line.receive(delivery())  # once more
    line.receive(delivery("answer", at=NOW + timedelta(seconds=3)))
    said = await heard.next()
    assert (said.state, said.started_at) == (CallState.CONNECTED, NOW)
    await line.close()


async def test_the_connectors_of_an_endpoint_know_together_what_came_before_a_new_call():
    alice, bob = connector(), connector("Bob")
    alice.receive(delivery("hangup", cause="cancel", user=""))
    bob.receive(delivery(user="Bob"))
    _heard, snapshot = await opened(bob)
    assert [leg.state for leg in snapshot.legs] == [CallState.HANGUP]


async def test_a_forwarded_call_goes_on_in_one_leg_of_the_snapshot():
    line = connector()
    line.receive(delivery(call_id="A"))
    line.receive(delivery(call_id="B", origCallId="A"))
    line.receive(delivery("hangup", call_id="A", cause="forwarded"))
    _heard, snapshot = await opened(line)
    assert [(leg.provider_call_id, leg.leg_id, leg.state) for leg in snapshot.legs] == [("A", "B", CallState.RINGING)]


async def test_what_is_pushed_to_another_endpoint_or_makes_no_sense_is_nobodys():
    line = connector()
    line.receive(delivery(endpoint="other"))
    line.receive(Delivery(endpoint="main", received_at=NOW, fields={"event": ("newCall",)}))
    assert (await opened(line))[1] == Snapshot()


async def test_a_replay_tells_the_past_with_its_own_times_and_changes_nothing():
    line = connector()
    later = NOW + timedelta(seconds=20)
    past = [delivery(), delivery("answer"), delivery("hangup", at=later, cause="normalClearing"), delivery(user="Bob")]
    told = [(at, leg.state) for at, leg in line.replay(past[:3])]
    assert told == [(NOW, CallState.RINGING), (NOW, CallState.CONNECTED), (later, CallState.HANGUP)]
    assert (await opened(line))[1] == Snapshot()


async def test_a_refresh_no_longer_believes_what_was_not_heard_of_for_hours():
    line = connector()
    line.receive(delivery(at=NOW - timedelta(minutes=6)))
    line.receive(delivery("answer", call_id="2", at=NOW - timedelta(hours=3)))
    line.receive(delivery("answer", call_id="3", at=NOW - timedelta(hours=5)))
    heard, _snapshot = await opened(line)
    await line.refresh()
    assert [leg.provider_call_id for leg in (await heard.next()).legs] == ["2"]


@pytest.mark.parametrize(
    "made",
    [
        lambda: connector(""),
        lambda: connector(endpoints={}),
        lambda: connector(endpoints={"a": ENDPOINTS["main"], "b": ENDPOINTS["main"]}),
    ],
)
async def test_an_account_that_names_nobody_or_no_endpoint_is_refused(made):
    with pytest.raises(LoginRefused):
        await made().open()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"endpoint": "other"}, "other"),
        ({"endpoints": {"UPPER": {"shape": "generic"}}}, "name"),
        ({"endpoints": {"x": {}}}, "shape"),
        ({"endpoints": {"x": {"shape": "morse"}}}, "shape"),
        ({"endpoints": {"x": {"shape": "generic", "secrets": SECRET}}}, "secrets"),
        ({"endpoints": {"x": {"shape": "generic", "secret": 5}}}, "secret"),
        ({"endpoints": {"x": {"shape": "generic", "base_url": "https://crm.example/path"}}}, "base_url"),
        ({"endpoints": {"x": {"shape": "generic", "username": "a:b"}}}, "username"),
        ({"endpoints": ["x"]}, "endpoints"),
        ({"user_ids": {"a": 1}}, "user_ids"),
        ({"url": "https://x"}, "url"),
    ],
)
def test_options_that_cannot_be_used_are_named_and_no_secret_is(options, word):
    with pytest.raises(ValueError, match=word) as caught:
        connector(**options)
    assert SECRET not in str(caught.value)


def test_an_agent_goes_by_all_her_names():
    line = connector("Alice  Agent", user_ids=["w0", 17, "+44 20 7946 0100"])
    assert line.names == {"alice agent", "w0", "17", "442079460100"}
    assert SECRET not in repr(line._options)


# -- click-to-call ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def pbx(server):
    """A system that takes requests: what it was asked, and the status that it answers next."""
    asked, answers = [], [204]

    async def handle(request):
        asked.append((request.method, request.path_qs, await request.text(), dict(request.headers)))
        return web.Response(status=answers[-1])

    port = await server(handle)
    return f"http://127.0.0.1:{port}", asked, answers


async def test_a_click_is_a_request_and_the_call_is_the_next_one_to_that_number(pbx):
    url, asked, _answers = pbx
    line = connector(
        extension="31",
        dial_url=f"{url}/calls?from={{extension}}",
        dial_headers={"Authorization": "Bearer t"},
        dial_json={"callee": "{number}", "caller": "{user}", "id": "{command_id}", "digits": "{digits}"},
    )
    assert line.capabilities == {Capability.DIAL}
    heard, _snapshot = await opened(line)
    await line.execute(Dial(command_id="c1", number="020 7946 0018"))
    started = await heard.next()
    assert (started.stage, started.destination.number) == (DialStage.STARTED, "+442079460018")
    await asyncio.wait_for(asyncio.gather(*(task for task, _party in line._dialling.values())), 5)
    ((method, path, body, headers),) = asked
    assert (method, path, headers["Authorization"]) == ("POST", "/calls?from=31", "Bearer t")
    sent = {"callee": "+442079460018", "caller": "Alice", "id": "c1", "digits": "442079460018"}
    assert json.loads(body) == sent
    line.receive(delivery(direction="out", to="442079460018"))
    leg = await heard.next()
    assert (leg.direction, leg.remote.number) == (Direction.OUTBOUND, "+442079460018")
    await line.close()


@pytest.mark.parametrize(
    ("status", "sentence"), [(403, "does not let"), (404, "status 404"), (429, "too often"), (500, "could not")]
)
async def test_a_click_that_is_refused_fails_with_a_sentence(pbx, status, sentence):
    url, _asked, answers = pbx
    answers.append(status)
    line = connector(dial_url=f"{url}/{{number}}", dial_method="GET")
    heard, _snapshot = await opened(line)
    await line.execute(Dial(command_id="c1", number="10032"))
    await heard.next()
    failed = await heard.next()
    assert failed.stage is DialStage.FAILED
    assert sentence in failed.cause
    await line.close()


async def test_a_system_that_cannot_be_reached_fails_and_one_that_falls_silent_leaves_doubt(server):
    async def never(request):
        await asyncio.sleep(30)

    port = await server(never)
    for url, stage in (("http://127.0.0.1:1/", DialStage.FAILED), (f"http://127.0.0.1:{port}/", DialStage.DOUBTFUL)):
        line = connector(dial_url=url, request_seconds=0.2)
        heard, _snapshot = await opened(line)
        await line.execute(Dial(command_id="c1", number="10032"))
        await heard.next()
        assert (await heard.next()).stage is stage
        await line.close()


async def test_a_number_that_nobody_can_dial_is_not_asked_for(pbx):
    url, asked, _answers = pbx
    line = connector(dial_url=url)
    await opened(line)
    with pytest.raises(CommandRefused):
        await line.execute(Dial(command_id="c1", number="12\r\nX: y"))
    assert asked == []
    await line.close()


CALL = Call(
    call_id="x",
    provider_call_id="A",
    leg_id="B",
    state=CallState.CONNECTED,
    direction=Direction.INBOUND,
    source=Party(kind=PartyKind.UNAVAILABLE),
    destination=Party(kind=PartyKind.UNAVAILABLE),
)


async def test_hanging_up_is_offered_where_it_is_configured(pbx):
    url, asked, answers = pbx
    line = connector(hangup_url=f"{url}/calls/{{call_id}}", hangup_method="DELETE")
    assert line.capabilities == {Capability.HANG_UP, Capability.REFUSE, Capability.WITHDRAW}
    await opened(line)
    await line.execute(HangUp(command_id="1", call_id="x"), CALL)
    assert asked[0][:2] == ("DELETE", "/calls/B")
    answers.append(409)
    with pytest.raises(CommandRefused, match="409"):
        await line.execute(HangUp(command_id="2", call_id="x"), replace(CALL, leg_id=""))
    await line.close()


async def test_what_is_not_configured_cannot_be_done():
    line = connector()
    assert line.capabilities == frozenset()
    heard, _snapshot = await opened(line)
    for command in (Dial(command_id="1", number="1"), Transfer(command_id="2", call_id="x", number="1")):
        with pytest.raises(NotCapable):
            await line.execute(command, CALL)
    await line.execute(Logout(command_id="3"))
    assert (await heard.next()).name == "LOGGED_OUT"
    with pytest.raises(StopAsyncIteration):
        await heard.next()


async def test_closing_leaves_a_click_in_doubt_and_logging_out_ends_it(server):
    async def never(request):
        await asyncio.sleep(30)

    port = await server(never)
    for end, stage in ((lambda line: line.close(), DialStage.DOUBTFUL), (_log_out, DialStage.FAILED)):
        line = connector(dial_url=f"http://127.0.0.1:{port}/")
        heard, _snapshot = await opened(line)
        await line.execute(Dial(command_id="c1", number="10032"))
        await end(line)
        stages = [await heard.next() for _ in range(2)]
        assert [each.stage for each in stages if isinstance(each, DialNotification)] == [DialStage.STARTED, stage]
        await line.close()
        await line.close()


def _log_out(line):
    return line.execute(Logout(command_id="2"))


# -- cti_doctor -------------------------------------------------------------------------------------------------------


async def examined(line, **more):
    return {found.step: found for found in [each async for each in line.examine(**more)]}


async def test_an_examination_says_what_is_missing():
    found = await examined(connector("", endpoints={}))
    assert found["Find the endpoint"].ok is found["Know the agent"].ok is False
    found = await examined(connector(endpoints={"main": {"shape": "sipgate", "secret": "short"}}))
    assert found["Prove who calls"].ok is found["Be called back"].ok is False
    assert "short" not in found["Prove who calls"].message
    safe = {**ENDPOINTS["main"], "base_url": "https://crm.example"}
    found = await examined(connector(endpoints={"main": safe}))
    assert [each.ok for each in found.values()] == [True, True, True, True, None, None]
    assert all(each.advice for each in found.values() if each.ok is False)


async def test_an_examination_places_a_call_only_if_it_is_given_a_number(pbx):
    url, asked, answers = pbx
    line = connector(dial_url=f"{url}/{{number}}")
    assert (await examined(line))["Click to call"].ok is None
    assert asked == []
    assert (await examined(line, number="10032"))["Click to call"].ok is True
    assert asked[0][1] == "/10032"
    answers.append(401)
    assert (await examined(line, number="10032"))["Click to call"].ok is False
    assert (await examined(line, number="nobody"))["Click to call"].ok is False


def test_a_leg_says_nothing_that_was_not_pushed():
    line = connector()
    ((_at, leg),) = line.replay([delivery()])
    assert isinstance(leg, LegNotification)
    assert (leg.node, leg.cause, leg.end_reason, dict(leg.raw)) == ("", "", None, {})


async def test_an_end_that_comes_between_the_history_and_the_beginning_is_told():
    line, board = connector(), CallBoard(lambda seed: seed)
    history = [
        delivery(call_id="over"),
        delivery("hangup", call_id="over", at=NOW + timedelta(seconds=1)),
        delivery(call_id="rings"),
        delivery(call_id="first"),
    ]
    for each in history:
        line.receive(each)
    list(line.replay(history))
    line.receive(delivery("hangup", call_id="rings", at=NOW + timedelta(seconds=2), cause="busy"))
    line.receive(delivery(call_id="second", origCallId="first", at=NOW + timedelta(seconds=2)))
    line.receive(delivery("hangup", call_id="first", at=NOW + timedelta(seconds=2), cause="forwarded"))
    await line.open()
    said = []
    async with asyncio.timeout(5):
        async for notification in line.notifications():
            said += board.fold(notification, NOW + timedelta(seconds=3))
            if getattr(notification, "name", "") == "READY":
                break
    told = [(event.name.value, event.call.provider_call_id) for event in said if isinstance(event, CallEvent)]
    assert sorted(told) == [("HANGUP", "rings"), ("RINGING", "first")]
    await line.close()
