"""One tab of one agent: who may connect, what comes in, what goes out."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from cti_django import calllog
from cti_django.calls.notifications import PresenceNotification
from cti_django.calls.numbers import classify
from cti_django.calls.states import CallState
from cti_django.connectors.base import Credentials
from cti_django.consumers import MAX_FAULTS, MAX_FRAME
from cti_django.models import CallNote, CallRecord, ConnectorAccount
from cti_django.routing import with_cti
from cti_django.sessions import host as host_module
from cti_django.testing import FakeConnector
from tests.testapp.models import Person

pytestmark = pytest.mark.django_db(transaction=True)

TELEPHONE = "use_telephone"
made: list[FakeConnector] = []


class MadeConnector(FakeConnector):
    """A fake connector that a test can find again."""

    def __init__(self, credentials, options, **more):
        super().__init__(credentials, options, **more)
        made.append(self)


@pytest.fixture(autouse=True)
def fake_telephone_system(settings):
    settings.CTI_DJANGO = {
        "REGION": "GB",
        "CONNECTOR": "fake",
        "CONNECTORS": {"fake": f"{__name__}.MadeConnector"},
        "LINGER_SECONDS": 0.05,
    }
    settings.ALLOWED_HOSTS = ["crm.example"]
    made.clear()
    channel_layers.backends.clear()
    yield
    calllog.flush(5)
    host_module._hosts.clear()


def _agent(name="alice", *, telephone=True, account=True):
    user = get_user_model().objects.create_user(name)
    if telephone:
        user.user_permissions.add(Permission.objects.get(codename=TELEPHONE))
    if account:
        ConnectorAccount.objects.create(user=user, connector="fake", username=name, password="x", number="10031")
    request = HttpRequest()
    request.session = SessionStore()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return user, request.session.session_key


agent = sync_to_async(_agent)


class Tab:
    """A browser tab, as far as the server can see it."""

    def __init__(self, session_key, *, origin=b"http://crm.example", tab="tab-00000001"):
        headers = [(b"host", b"crm.example"), (b"cookie", f"sessionid={session_key}".encode())]
        if origin is not None:
            headers.append((b"origin", origin))
        self.tab = tab
        self.socket = WebsocketCommunicator(with_cti(None), "/ws/cti/", headers=headers)

    async def say(self, **message):
        await self.socket.send_json_to(message)

    async def hear(self, kind):
        """The next message of that kind; others are kept out of the way."""
        async with asyncio.timeout(5):
            while True:
                message = await self.socket.receive_json_from(timeout=5)
                if message["type"] == kind:
                    return message

    async def hear_event(self, name):
        while True:
            message = await self.hear("event")
            if message["event"]["name"] == name:
                return message["event"]

    async def answer(self, message_id, **message):
        await self.say(id=message_id, **message)
        while True:
            answer = await self.hear("answer")
            if answer["id"] == message_id:
                return answer

    async def closed_with(self):
        async with asyncio.timeout(5):
            while True:
                output = await self.socket.receive_output(timeout=5)
                if output["type"] == "websocket.close":
                    return output["code"]


@asynccontextmanager
async def connected(session_key, **more):
    tab = Tab(session_key, **more)
    accepted, _ = await tab.socket.connect()
    assert accepted
    await tab.say(type="hello", tab=tab.tab, focused=True)
    tab.snapshot = await tab.hear("snapshot")
    try:
        yield tab
    finally:
        await tab.socket.disconnect()


@asynccontextmanager
async def ready(session_key, **more):
    async with connected(session_key, **more) as tab:
        assert (await tab.answer("login", type="login"))["ok"]
        await tab.hear_event("READY")
        yield tab, made[-1]


async def test_a_call_of_the_agents_phone_reaches_her_tab_with_what_she_may_do():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.RINGING)
        call = (await tab.hear_event("RINGING"))["call"]
    assert (call["source"], call["sourceName"], call["display"]) == ("+442079460018", "Dana", "020 7946 0018")
    assert "answer" in call["actions"]
    assert call["match"] == "none"
    assert call["pop"]["action"] == "open"


async def test_a_tab_that_connects_later_gets_everything_in_its_snapshot():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.RINGING)
        await tab.hear_event("RINGING")
        async with connected(key, tab="tab-00000002") as late:
            assert late.snapshot["session"]["state"] == "ready"
            assert [call["status"] for call in late.snapshot["calls"]] == ["RINGING"]
            assert late.snapshot["elected"] is True


async def test_a_page_reload_keeps_the_session_and_the_call():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        await tab.hear_event("CONNECTED")
    async with connected(key, tab="tab-00000002") as again:
        assert [call["status"] for call in again.snapshot["calls"]] == ["CONNECTED"]
        assert (await again.answer("login", type="login"))["ok"]
    assert len(made) == 1


async def test_the_session_ends_when_nobody_has_come_back_in_time():
    _, key = await agent()
    async with ready(key) as (_, pbx):
        story = next(iter(host_module._hosts.values())).office.tenures.copy().popitem()[1].task
    await asyncio.wait_for(asyncio.wait({story}), 5)
    assert pbx.closed


async def test_an_envelope_is_numbered_without_gaps():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        await tab.say(type="resync")
        start = (await tab.hear("snapshot"))["seq"]
        for state in (CallState.RINGING, CallState.CONNECTED, CallState.HANGUP):
            pbx.leg(state)
        numbers = [(await tab.hear("event"))["seq"] for _ in range(3)]
    assert numbers == [start + 1, start + 2, start + 3]


async def test_a_command_reaches_the_connector_and_its_answer_the_tab():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        answer = await tab.answer("1", type="command", command="call", number="10032")
        assert answer["ok"]
        assert pbx.executed[0][0].number == "10032"


async def test_the_same_command_twice_dials_once_and_two_tabs_may_use_the_same_id():
    _, key = await agent()
    async with ready(key) as (tab, pbx), connected(key, tab="tab-00000002") as other:
        for each in (tab, tab, other):
            assert (await each.answer("1", type="command", command="call", number="10032"))["ok"]
        assert len(pbx.executed) == 2


async def test_an_agent_cannot_command_somebody_elses_call():
    _, alices_key = await agent()
    _, bobs_key = await agent("bob")
    async with ready(alices_key) as (alices, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await alices.hear_event("CONNECTED"))["call"]["id"]
        async with ready(bobs_key, tab="tab-00000002") as (bobs, bobs_pbx):
            answer = await bobs.answer("1", type="command", command="hangup", call_id=call_id)
            note = await bobs.answer("2", type="note", call_id=call_id, text="mine now")
    assert (answer["ok"], answer["code"]) == (False, "no_such_call")
    assert not note["ok"]
    assert pbx.executed == bobs_pbx.executed == []


async def test_nobody_hears_the_calls_of_others():
    _, alices_key = await agent()
    _, bobs_key = await agent("bob")
    async with ready(alices_key) as (alices, pbx), ready(bobs_key, tab="tab-00000002") as (bobs, _):
        pbx.leg(CallState.RINGING)
        await alices.hear_event("RINGING")
        await bobs.say(type="ping")
        assert (await bobs.hear("pong")) == {"type": "pong"}


async def test_an_anonymous_socket_is_closed_and_told_why():
    tab = Tab("no-such-session")
    await tab.socket.connect()
    assert await tab.closed_with() == 4401


async def test_a_user_without_the_permission_is_closed_and_told_why():
    _, key = await agent(telephone=False)
    tab = Tab(key)
    await tab.socket.connect()
    assert await tab.closed_with() == 4403


@pytest.mark.parametrize("origin", [b"https://evil.example", None])
async def test_a_foreign_origin_is_refused_before_anything_else(origin):
    _, key = await agent()
    tab = Tab(key, origin=origin)
    accepted, _ = await tab.socket.connect()
    assert not accepted


async def test_the_socket_closes_when_the_user_logs_out():
    user, key = await agent()
    async with ready(key) as (tab, _):

        def log_out():
            request = HttpRequest()
            request.session = SessionStore(key)
            request.user = user
            logout(request)

        await sync_to_async(log_out)()
        assert await tab.closed_with() == 4401


async def test_the_socket_closes_when_the_user_is_deactivated():
    user, key = await agent()
    async with ready(key) as (tab, _):
        user.is_active = False
        await user.asave()
        assert await tab.closed_with() in (4401, 4403)


async def test_the_socket_closes_when_the_permission_is_taken_away():
    user, key = await agent()
    async with ready(key) as (tab, _):
        await sync_to_async(user.user_permissions.clear)()
        assert await tab.closed_with() == 4403


async def test_the_socket_closes_when_a_group_loses_the_permission():
    user, key = await agent(telephone=False)
    permission = await Permission.objects.aget(codename=TELEPHONE)
    group = await Group.objects.acreate(name="agents")
    await sync_to_async(group.permissions.add)(permission)
    await sync_to_async(user.groups.add)(group)
    async with ready(key) as (tab, _):
        await sync_to_async(group.permissions.remove)(permission)
        assert await tab.closed_with() == 4403


async def test_a_command_after_the_permission_went_unnoticed_is_refused():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        await get_user_model().objects.filter(pk=user.pk).aupdate(is_active=False)  # no signal
        answer = await tab.answer("1", type="command", command="call", number="10032")
        assert not answer["ok"]
        assert await tab.closed_with() in (4401, 4403)
        assert pbx.executed == []


BAD_FRAMES = [
    "not json",
    "[]", "null", "{}", '{"type": "reboot"}', '{"type": ["hello"]}', "[" * 10_000,
    '{"type": "hello", "tab": "again-again"}', '{"type": "command"}', '{"type": "login", "id": 7}',
    "x" * (MAX_FRAME + 1),
]  # fmt: skip


@pytest.mark.parametrize("frame", BAD_FRAMES)
async def test_a_malformed_message_gets_a_sentence_and_the_session_lives(frame):
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        await tab.socket.send_to(text_data=frame)
        answer = await tab.hear("answer")
        assert (answer["ok"], answer["code"]) == (False, "malformed")
        pbx.leg(CallState.RINGING)
        await tab.hear_event("RINGING")


async def test_binary_rubbish_is_malformed_too():
    _, key = await agent()
    async with connected(key) as tab:
        await tab.socket.send_to(bytes_data=b"\x00\xff")
        assert (await tab.hear("answer"))["code"] == "malformed"


async def test_a_tab_that_sends_nothing_but_rubbish_is_closed():
    _, key = await agent()
    async with connected(key) as tab:
        for _ in range(MAX_FAULTS):
            await tab.socket.send_to(text_data="rubbish")
        assert await tab.closed_with() == 4400


@pytest.mark.parametrize("number", ["+44 20\r\nX: y", "abc", "", 12, None, "1" * 600])
async def test_a_hostile_number_is_refused_in_plain_words(number):
    _, key = await agent()
    async with ready(key) as (tab, _):
        answer = await tab.answer("1", type="command", command="call", number=number)
        assert not answer["ok"] or made[-1].executed[0][0].number == number
        assert answer["ok"] or answer["message"].endswith(".")


async def test_the_last_focused_tab_is_the_one_that_pops():
    _, key = await agent()
    async with ready(key) as (first, pbx), connected(key, tab="tab-00000002") as second:
        assert (await first.hear("elected"))["elected"] is False
        await first.say(type="focus", focused=True)
        assert (await first.hear("elected"))["elected"] is True
        pbx.leg(CallState.RINGING)
        call_id, same = [(await tab.hear_event("RINGING"))["call"]["id"] for tab in (first, second)]
        assert call_id == same
        assert (await second.answer("1", type="pop", call_id=call_id))["code"] == "not_elected"
        assert (await first.answer("2", type="pop", call_id=call_id))["ok"]
        assert (await second.answer("3", type="pop", call_id=call_id))["code"] == "popped"


async def test_when_the_elected_tab_goes_another_is_elected():
    _, key = await agent()
    async with ready(key) as (first, _):
        async with connected(key, tab="tab-00000002"):
            assert (await first.hear("elected"))["elected"] is False
        assert (await first.hear("elected"))["elected"] is True


async def test_without_an_account_the_agent_is_told_so():
    _, key = await agent(account=False)
    async with connected(key) as tab:
        assert (await tab.answer("1", type="login"))["ok"]
        while (session := (await tab.hear("session"))["session"])["state"] != "none":
            pass
        assert session["code"] == "no_account"


async def test_credentials_typed_by_the_agent_are_used_and_never_come_back():
    _, key = await agent(account=False)
    async with connected(key) as tab:
        await tab.say(type="login", id="1", username="alice@example.com", password="s3cret-s3cret")
        heard = [await tab.socket.receive_json_from(timeout=5)]
        while heard[-1].get("event", {}).get("name") != "READY":
            heard.append(await tab.socket.receive_json_from(timeout=5))
    assert made[-1].credentials == Credentials(username="alice@example.com", password="s3cret-s3cret")
    assert "s3cret" not in json.dumps(heard)


async def test_a_note_is_kept_and_comes_back_with_the_call():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
        for text in ("Wants", "Wants a quote <b>today</b>"):
            assert (await tab.answer(text, type="note", call_id=call_id, text=text))["ok"]
        await tab.say(type="resync")
        assert (await tab.hear("snapshot"))["calls"][0]["note"] == "Wants a quote <b>today</b>"
    note = await CallNote.objects.aget(author=user)
    assert note.text == "Wants a quote <b>today</b>"


async def test_the_call_is_in_the_log_when_it_is_over():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        for state in (CallState.RINGING, CallState.CONNECTED, CallState.HANGUP):
            pbx.leg(state)
        await tab.hear_event("HANGUP")
        await calllog.aflush(5)
        record = await CallRecord.objects.aget(agent=user)
        assert (record.state, record.end_reason, record.number) == ("HANGUP", "completed", "+442079460018")
        await tab.say(type="resync")
        assert [call["status"] for call in (await tab.hear("snapshot"))["recent"]] == ["HANGUP"]


async def test_two_agents_directories_do_not_fail_without_the_capability():
    _, key = await agent()
    async with ready(key) as (tab, _):
        assert (await tab.answer("1", type="directory"))["data"] == {"users": []}


async def test_below_a_path_all_addresses_begin_with_it(settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "SOCKET_PATH": "/live.ws/"}
    user, key = await agent()
    await sync_to_async(user.user_permissions.add)(await Permission.objects.aget(codename="view_person"))
    person = await Person.objects.acreate(name="Dana", phone="+442079460018")
    tab = Tab(key)
    tab.socket = WebsocketCommunicator(with_cti(None), "/crm/live.ws/", headers=tab.socket.scope["headers"])
    tab.socket.scope["root_path"] = "/crm"
    assert (await tab.socket.connect())[0]
    await tab.say(type="hello", tab=tab.tab, focused=True)
    await tab.answer("login", type="login")
    await tab.hear_event("READY")
    made[-1].leg(CallState.RINGING)
    call = (await tab.hear_event("RINGING"))["call"]
    assert call["pop"]["url"] == f"/crm/cti/pop/{call['id']}/"
    assert call["contacts"][0]["adminUrl"] == f"/crm/admin/testapp/person/{person.pk}/change/"
    await tab.socket.disconnect()


# -- what only some systems can do ------------------------------------------------------------------------------------

ASKED = {
    "consult": {"number": "10032"},
    "dtmf": {"digits": "1*#"},
    "queue_login": {"queue": "sales"},
    "queue_logout": {},
    "pause": {"reason": "Lunch"},
    "unpause": {},
    "dnd": {"state": "on"},
}


async def test_every_command_reaches_the_telephone_system_and_its_news_the_tab():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
        for command, fields in ASKED.items():
            answer = await tab.answer(command, type="command", command=command, call_id=call_id, **fields)
            assert answer["ok"], (command, answer)
        asked = replace(next(iter(pbx.legs.values())), consult=classify("10032", "Bob Agent"))
        pbx.say(asked)
        call = (await tab.hear_event("UPDATED"))["call"]
        assert (call["consult"], call["actions"]) == (
            {"number": "10032", "name": "Bob Agent"},
            ["complete", "back", "dtmf"],
        )
        assert (await tab.answer("back", type="command", command="back", call_id=call_id))["ok"]
        pbx.say(replace(asked, consult=None))
        assert (await tab.hear_event("UPDATED"))["call"]["consult"] is None
        pbx.say(asked)
        await tab.hear_event("UPDATED")
        assert (await tab.answer("complete", type="command", command="complete", call_id=call_id))["ok"]
        pbx.say(replace(asked, state=CallState.HANGUP))
        assert (await tab.hear_event("HANGUP"))["call"]["endReason"] == "transferred"
        names = [type(command).__name__ for command, _call in pbx.executed]
        assert names == [
            *("Consult", "SendDTMF", "QueueLogin", "QueueLogout", "Pause", "Unpause", "DoNotDisturb"),
            *("CancelTransfer", "CompleteTransfer"),
        ]
        pbx.say(PresenceNotification(queues={"sales": True}, is_paused=True, is_dnd=None))
        told = (await tab.hear("session"))["session"]["presence"]
        assert told == {"queues": {"sales": True}, "paused": True, "dnd": None}


async def test_whoever_lost_the_permission_commands_nothing():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        await sync_to_async(user.user_permissions.through.objects.filter(user=user).delete)()  # no signal tells
        for command, fields in ASKED.items():
            await tab.say(type="command", id=command, command=command, call_id="x", **fields)
        assert await tab.closed_with() == 4403
        assert pbx.executed == []


async def test_a_command_that_makes_no_sense_is_refused_before_the_telephone_system_hears_of_it():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
        for command, fields, code in (
            ("complete", {}, "not_now"),
            ("dtmf", {"digits": "1\r\nAction: Command"}, "invalid_command"),
            ("dnd", {"state": "yes"}, "invalid_command"),
            ("consult", {}, "invalid_command"),
        ):
            answer = await tab.answer(command, type="command", command=command, call_id=call_id, **fields)
            assert (answer["ok"], answer["code"]) == (False, code), command
        assert pbx.executed == []
