"""Tabs that behave badly, lines that break at the wrong moment, and what happens between two awaits."""

import asyncio
import threading
from datetime import timedelta
from inspect import isawaitable
from itertools import repeat

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db.models.functions import Now

from cti_django import calllog, consumers
from cti_django.calls.states import CallState
from cti_django.exceptions import LoginRefused
from cti_django.models import AgentLease, CallNote
from cti_django.sessions import access, bus
from cti_django.sessions import host as host_module
from cti_django.sessions import tenure as tenure_module
from cti_django.sessions.tabs import Tab as DeskTab
from tests.faces.test_consumers import Tab, agent, connected, fake_telephone_system, made, ready

__all__ = ["fake_telephone_system"]

pytestmark = pytest.mark.django_db(transaction=True)


def the_host():
    (host,) = host_module._hosts.values()
    return host


async def until(condition, seconds=5):
    """Wait for what nobody tells: the condition may be a function or a coroutine function."""
    async with asyncio.timeout(seconds):
        for pause in repeat(0.002):
            holds = condition()
            if await holds if isawaitable(holds) else holds:
                return
            await asyncio.sleep(pause)


async def test_a_page_that_came_back_outlives_its_old_socket():
    user, key = await agent()
    async with ready(key) as (old, pbx), connected(key, tab=old.tab) as again:
        await old.socket.disconnect()
        assert [each.tab_id for each in the_host().office.desks[user.pk].tabs] == [again.tab]
        assert not the_host().office._lingering
        pbx.leg(CallState.RINGING)
        call = (await again.hear_event("RINGING"))["call"]
        assert (await again.answer("pop", type="pop", call_id=call["id"]))["ok"]


async def test_a_channel_layer_that_fails_takes_its_tab_with_it(monkeypatch):
    user, key = await agent()
    tab = Tab(key)
    await tab.socket.connect()
    await tab.say(type="hello", tab=tab.tab)
    await tab.hear("snapshot")

    async def fails(consumer, event):
        raise ConnectionError("no layer today")

    monkeypatch.setattr(consumers.TelephoneConsumer, "cti_relay", fails)
    await bus.publish(user.pk, {"type": "session"})
    with pytest.raises(ConnectionError):
        await tab.socket.wait(timeout=5)
    await until(lambda: user.pk not in the_host().office.desks)


async def test_a_channel_layer_that_cannot_send_stops_no_session(monkeypatch):
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        layer = get_channel_layer()
        good = layer.group_send

        async def fails(*args):
            raise ConnectionError("no layer today")

        monkeypatch.setattr(layer, "group_send", fails)
        pbx.leg(CallState.RINGING)
        await until(lambda: the_host().office.desks[user.pk].session.board.calls())
        await until(lambda: calllog.outbox.calls(user.pk) or calllog.flush(0))
        monkeypatch.setattr(layer, "group_send", good)
        pbx.leg(CallState.CONNECTED)
        assert (await tab.hear_event("CONNECTED"))["call"]["status"] == "CONNECTED"


async def test_no_event_waits_for_djangos_shared_database_thread():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        release = threading.Event()
        slow_query = asyncio.ensure_future(sync_to_async(release.wait, thread_sensitive=True)(10))
        try:
            pbx.leg(CallState.RINGING)
            async with asyncio.timeout(2):
                call = (await tab.hear_event("RINGING"))["call"]
                assert (await tab.answer("1", type="command", command="answer", call_id=call["id"]))["ok"]
        finally:
            release.set()
            await slow_query


async def test_two_tabs_that_log_in_at_the_same_moment_share_one_session():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.lose(LoginRefused("Refused."))
        while (await tab.hear("session"))["session"]["state"] != "refused":
            pass
        answers = await asyncio.gather(*(the_host().login(user.pk) for _tab in range(2)))
        assert [answer.ok for answer in answers] == [True, True]
        await tab.hear_event("READY")
        await until(lambda: the_host().office.desks[user.pk].session is not None)
        assert len(made) == 2  # the first session's and the second's
        assert the_host().office.desks[user.pk].session.connector is made[-1]


async def test_credentials_typed_while_a_session_still_starts_are_not_lost(monkeypatch):
    _, key = await agent(account=False)
    held = threading.Event()
    load = tenure_module._load
    monkeypatch.setattr(tenure_module, "_load", lambda agent_id: (held.wait(5), load(agent_id))[1])
    async with connected(key) as tab:
        assert (await tab.answer("1", type="login"))["ok"]
        assert (await tab.answer("2", type="login", username="a@example.com", password="x"))["ok"]
        held.set()
        await tab.hear_event("READY")
        assert made[-1].credentials.username == "a@example.com"
        assert (await tab.answer("3", type="login", username="b@example.com", password="x"))["ok"]
        await tab.hear_event("READY")
        assert made[-1].credentials.username == "b@example.com"
        assert (made[-2].closed, len(the_host().office.tenures)) == (True, 1)


async def test_a_log_in_behind_a_log_out_starts_anew():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        await tab.answer("1", type="command", command="logout")
        pbx.end()
        while (await tab.hear("session"))["session"]["state"] != "logged_out":
            pass
        assert (await tab.answer("2", type="login"))["ok"]
        await tab.hear_event("READY")
        assert len(made) == 2


async def test_the_last_note_of_a_page_that_is_left_is_kept(monkeypatch):
    user, key = await agent()
    held = threading.Event()
    save = calllog.save_note
    monkeypatch.setattr(calllog, "save_note", lambda *args: (held.wait(5), save(*args))[1])
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
        for number in range(3):  # more than there are threads
            await tab.say(type="note", id=str(number), call_id=call_id, text=f"note {number}")
        await tab.say(type="ping")
        await tab.hear("pong")
    held.set()
    await until(CallNote.objects.filter(author=user, text="note 2").aexists)


async def test_messages_of_a_tab_are_carried_out_in_the_order_in_which_they_came(monkeypatch):
    _, key = await agent()
    check = access._check_access
    async with ready(key) as (tab, pbx):
        pauses = iter([0.05])  # the first check takes a while, the others none
        slow = threading.Event()
        monkeypatch.setattr(access, "_check_access", lambda *args: (slow.wait(next(pauses, 0)), check(*args))[1])
        for number in range(5):
            await tab.say(type="command", id=str(number), command="call", number=f"1003{number}")
        for _ in range(5):
            await tab.hear("answer")
        assert [command.number for command, _ in pbx.executed] == [f"1003{number}" for number in range(5)]


async def test_a_database_that_hangs_holds_up_no_command(monkeypatch):
    _, key = await agent()
    monkeypatch.setattr(consumers, "CHECK_SECONDS", 0.05)
    async with ready(key) as (tab, _):
        held = threading.Event()
        monkeypatch.setattr(access, "_check_access", lambda *args: held.wait(5))
        try:
            for number in range(5):
                answer = await tab.answer(str(number), type="command", command="call", number="10032")
                assert answer["ok"], answer
        finally:
            held.set()


async def test_when_nobody_can_check_for_too_long_commands_are_refused_in_plain_words(monkeypatch):
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        monkeypatch.setattr(consumers, "TRUST_SECONDS", 0.0)

        def fails(*args):
            raise ConnectionError("the cache that keeps the sessions")

        monkeypatch.setattr(access, "_check_access", fails)
        answer = await tab.answer("1", type="command", command="call", number="10032")
        assert (answer["ok"], answer["code"]) == (False, "unchecked")
        assert pbx.executed == []
        await tab.say(type="ping")
        assert await tab.hear("pong")  # still connected


async def test_a_socket_that_is_closed_says_and_does_nothing_more():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        await sync_to_async(user.user_permissions.clear)()
        assert await tab.closed_with() == 4403
        await tab.say(type="resync")
        await tab.say(type="command", id="1", command="call", number="10032")
        pbx.leg(CallState.RINGING)
        assert await tab.socket.receive_nothing(timeout=0.1)
        assert pbx.executed == []


@pytest.mark.parametrize("kind", ["hello", "login", "command", "note", "directory", "resync", "focus", "ping"])
@pytest.mark.parametrize("value", [None, True, 7, 1e308, [], {}, "", "\x00", "\ud800", "x" * 9000, [[[[]]]]])
async def test_any_value_in_any_field_of_any_message_leaves_the_session_alive(kind, value, monkeypatch):
    monkeypatch.setattr(consumers, "MAX_FAULTS", 1000)
    _, key = await agent()
    fields = ("id", "tab", "focused", "command", "number", "call_id", "text", "username", "password", "api_key")
    async with ready(key) as (tab, _):
        for field in fields:
            await tab.say(**{"type": kind, "id": "x", "command": "call", "number": "10032", field: value})
        await tab.say(type="login", id="well")
        await tab.hear("answer")
        await until(lambda: all(not tenure.task.done() for tenure in the_host().office.tenures.values()))
        await tab.say(type="ping")
        assert await tab.hear("pong")


async def test_a_thousand_messages_at_once_get_their_answers_and_few_snapshots():
    _, key = await agent()
    async with ready(key) as (tab, pbx):
        for number in range(500):
            await tab.say(type="command", id=f"c{number}", command="call", number="10032")
            await tab.say(type="resync")
        answers = [await tab.hear("answer") for _ in range(500)]
        assert {answer["code"] for answer in answers} <= {"", "busy", "dialling"}
        assert len({answer["id"] for answer in answers}) == 500
        heard = []
        while not await tab.socket.receive_nothing(timeout=0.3):
            heard.append((await tab.socket.receive_json_from())["type"])
        assert heard.count("snapshot") <= 3
        assert len(pbx.executed) <= consumers.MAX_PENDING * 5


async def test_two_thousand_tabs_of_one_agent_come_and_go_and_leave_nothing():
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        host, desk = the_host(), the_host().office.desks[user.pk]
        others = [DeskTab(f"other-{number:06}", f"channel-{number}") for number in range(2000)]
        for other in others:
            host.attach(user.pk, other, focused=True)
        pbx.leg(CallState.RINGING)
        await tab.hear_event("RINGING")
        await until(lambda: desk.tabs.elected == "other-001999")
        for other in others:
            await host.detach(user.pk, other)
        assert ([each.tab_id for each in desk.tabs], host.office._lingering) == ([tab.tab], {})


async def test_a_lost_lease_stops_the_session_and_its_tabs_are_told(settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 0.1}
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        later = Now() + timedelta(hours=1)
        await AgentLease.objects.filter(agent=user).aupdate(holder="another", fence=7, expires_at=later)
        while (session := (await tab.hear("session"))["session"])["code"] != "taking_over":
            pass
        assert (session["state"], pbx.closed) == ("connecting", True)
        row = await AgentLease.objects.aget(agent=user)
        assert (row.holder, row.fence) == ("another", 7)  # it was not released by the one that lost it


async def test_a_lease_that_could_not_be_released_runs_out(settings, monkeypatch):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 0.1}
    alice, alices_key = await agent()
    bob, bobs_key = await agent("bob")
    async with ready(bobs_key):
        with monkeypatch.context() as broken:
            broken.setattr(host_module.lease, "release", lambda *args: None)
            async with ready(alices_key, tab="tab-00000002"):
                pass
            await until(lambda: alice.pk not in the_host().office.tenures)
        await until(AgentLease.objects.filter(agent=alice, expires_at__lt=Now()).aexists)
        await until(AgentLease.objects.filter(agent=bob, expires_at__gt=Now()).aexists)
        assert await AgentLease.objects.filter(agent=alice, expires_at__lt=Now()).aexists()
