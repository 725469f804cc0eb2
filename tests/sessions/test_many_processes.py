"""Two processes (two hosts, each with its own tabs) over a real Redis: one session, wherever its tabs are."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers, get_channel_layer
from django.utils import timezone

from cti_django import calllog, consumers
from cti_django.calls.states import CallState
from cti_django.models import AgentLease, CallRecord, ConnectorAccount
from cti_django.sessions import desk as desk_module
from cti_django.sessions import keeper as keeper_module
from cti_django.sessions import lease, mailbox
from cti_django.sessions.host import SessionHost
from tests.faces.test_consumers import agent, connected, fake_telephone_system, made
from tests.faces.test_hostile_tabs import until

__all__ = ["fake_telephone_system"]

pytestmark = pytest.mark.django_db(transaction=True)

BEGAN = timezone.now()


class Process:
    """A host of its own, and the tabs that are connected to it."""

    def __init__(self):
        self.host = SessionHost()
        self.office = self.host.office

    @asynccontextmanager
    async def tab(self, key, name):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(consumers, "get_host", lambda: self.host)
            manager = connected(key, tab=name)
            tab = await manager.__aenter__()
        try:
            yield tab
        finally:
            await manager.__aexit__(None, None, None)

    def crash(self):
        """Stop everything at once, and tell nobody."""
        self.office._is_ending = True
        self.office.keeper.stop()
        for work in (*self.office.mailbox._tasks, *self.office._chores):
            work.cancel()
        for tenure in self.office.tenures.values():
            tenure.is_stopped = True
            tenure._let_go = _nothing
            tenure.task.cancel()


async def _nothing():
    pass


@pytest.fixture
async def processes(redis_server, settings, fake_telephone_system, monkeypatch):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_server.url]},
        }
    }
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 1.5, "LINGER_SECONDS": 5, "COMMAND_SECONDS": 1.0}
    channel_layers.backends.clear()
    monkeypatch.setattr(mailbox, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(mailbox, "SILENT_SECONDS", 0.6)
    monkeypatch.setattr(keeper_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "WHOLE_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(keeper_module, "ERRAND_SECONDS", 0.05)
    both = Process(), Process()
    yield both
    for process in both:
        await process.host.shut_down()
    await get_channel_layer().flush()
    channel_layers.backends.clear()


@asynccontextmanager
async def two_tabs(processes, key):
    """Tab a on the process that runs the session, tab b on the other one; and the PBX."""
    first, second = processes
    async with first.tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("login", type="login"))["ok"]
        await a.hear_event("READY")
        async with second.tab(key, "tab-bbbbbbbb") as b:
            yield a, b, made[-1]


async def code_of(tab, code):
    while (session := (await tab.hear("session"))["session"])["code"] != code:
        pass
    return session


async def test_tabs_on_two_processes_see_the_same_calls_and_both_may_command(processes):
    _, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        assert b.snapshot["session"]["state"] == "ready"
        pbx.leg(CallState.RINGING)
        ids = [(await tab.hear_event("RINGING"))["call"]["id"] for tab in (a, b)]
        assert ids[0] == ids[1]
        answer = await b.answer("1", type="command", command="answer", call_id=ids[0], fence=b.snapshot["fence"])
        assert answer["ok"], answer
        assert type(pbx.executed[-1][0]).__name__ == "Answer"
        assert (await b.answer("2", type="login"))["ok"]
        assert (await b.answer("3", type="directory"))["data"] == {"users": []}
    assert len(made) == 1


async def test_the_same_command_sent_twice_over_the_bus_is_one_command(processes):
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        for _attempt in range(2):
            assert (await b.answer("1", type="command", command="call", number="10032"))["ok"]
        assert len(pbx.executed) == 1


async def test_a_command_that_the_holder_does_not_answer_times_out_as_an_info_event(processes):
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        processes[0].host.act = _never
        await b.say(type="command", id="1", command="call", number="10032")
        event = await b.hear_event("INFO")
        assert (event["code"], pbx.executed) == ("timed_out", [])
        assert (await b.hear("answer"))["code"] == "timed_out"


async def _never(*args):
    await asyncio.Event().wait()


async def test_a_crash_is_taken_over_with_the_same_call_under_the_same_id_and_nothing_pops_twice(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        pbx.leg(CallState.RINGING, started_at=BEGAN)
        call = (await b.hear_event("RINGING"))["call"]
        await a.hear_event("RINGING")
        elected = a if processes[0].office.desks[user.pk].tabs.elected == a.tab else b
        assert (await elected.answer("pop", type="pop", call_id=call["id"]))["ok"]
        await calllog.aflush(5)
        processes[0].crash()
        await b.hear_event("READY")
        again = made[-1]
        assert again is not pbx
        again.leg(CallState.RINGING, started_at=BEGAN)
        again.leg(CallState.CONNECTED, started_at=BEGAN)
        connected_call = (await b.hear_event("CONNECTED"))["call"]
        assert (connected_call["id"], connected_call["pop"]) == (call["id"], None)
        assert (await b.answer("p2", type="pop", call_id=call["id"]))["ok"] is False
        await calllog.aflush(5)
        assert await CallRecord.objects.filter(agent=user).acount() == 1
        row = await AgentLease.objects.aget(agent=user)
        assert row.holder == processes[1].office.holder


async def test_a_tab_is_told_that_the_process_with_its_session_has_fallen_silent(processes, settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 60}
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, _):
        await until(lambda: processes[1].office.mailbox.hears(processes[0].office.holder))
        processes[0].crash()
        assert (await code_of(b, "taking_over"))["state"] == "connecting"


async def test_a_call_that_only_the_crashed_process_knew_gets_the_same_id_and_its_pop_stays_granted(
    processes, monkeypatch
):
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        monkeypatch.setattr(calllog, "record", lambda *args, **more: None)  # the crash comes before the row
        pbx.leg(CallState.RINGING, started_at=BEGAN)
        call = (await b.hear_event("RINGING"))["call"]
        assert (await b.answer("pop", type="pop", call_id=call["id"]))["ok"]
        processes[0].crash()
        await b.hear_event("READY")
        made[-1].leg(CallState.RINGING, started_at=BEGAN)
        assert (await b.hear_event("RINGING"))["call"]["id"] == call["id"]
        async with processes[1].tab(key, "tab-cccccccc") as c:
            assert (await c.answer("pop", type="pop", call_id=call["id"]))["code"] == "popped"


async def test_a_process_that_is_told_to_end_hands_over_at_once(processes, settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 60}
    user, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        pbx.leg(CallState.CONNECTED, started_at=BEGAN)
        call = (await b.hear_event("CONNECTED"))["call"]
        async with asyncio.timeout(2):
            await processes[0].host.shut_down()
            assert pbx.closed
            await b.hear_event("READY")
        assert (await CallRecord.objects.aget(agent=user)).call_id == call["id"]
        await b.say(type="resync")
        assert [each["id"] for each in (await b.hear("snapshot"))["calls"]] == [call["id"]]


async def test_a_holder_that_cannot_renew_says_and_does_nothing_any_more(processes, monkeypatch):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        keeper = processes[0].office.keeper
        clock = keeper._clock
        keeper.stop()  # as if its threads were held up
        keeper._clock = lambda: clock() + 10
        pbx.leg(CallState.RINGING)
        answer = await a.answer("1", type="command", command="call", number="10032")
        assert (answer["code"], pbx.executed) == ("not_connected", [])
        assert await a.socket.receive_nothing(timeout=0.1)
        await calllog.aflush(5)
        assert not await CallRecord.objects.filter(agent=user).aexists()
        await b.hear_event("READY")
        assert made[-1] is not pbx


async def test_a_command_given_under_an_older_fence_is_refused(processes):
    _, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        for tab in (a, b):
            answer = await tab.answer("1", type="command", command="call", number="10032", fence=0)
            assert answer["code"] == "outdated"
        assert pbx.executed == []


async def test_a_lease_row_deleted_by_hand_is_claimed_anew_under_a_higher_fence(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        before = await AgentLease.objects.aget(agent=user)
        pbx.leg(CallState.CONNECTED, started_at=BEGAN)
        call = (await b.hear_event("CONNECTED"))["call"]
        await calllog.aflush(5)
        await AgentLease.objects.all().adelete()
        await code_of(a, "taking_over")
        assert (await a.answer("again", type="login"))["ok"]
        for tab in (a, b):
            await tab.hear_event("READY")
        row = await AgentLease.objects.aget(agent=user)
        assert row.fence > before.fence
        await a.say(type="resync")
        assert [each["id"] for each in (await a.hear("snapshot"))["calls"]] == [call["id"]]


async def test_the_tabs_of_a_process_that_falls_silent_are_not_elected(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, _):
        desk = processes[0].office.desks[user.pk]
        await b.say(type="focus", focused=True)
        await until(lambda: desk.tabs.elected == b.tab)
        async with asyncio.timeout(2):
            for task in processes[1].office.mailbox._tasks:
                task.cancel()
            while not (await a.hear("elected"))["elected"]:
                pass
        assert desk.tabs.elected == a.tab


async def test_a_tab_that_does_not_take_its_pop_is_passed_over_and_comes_too_late(processes, monkeypatch):
    monkeypatch.setattr(desk_module, "CLAIM_SECONDS", 0.1)
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        await b.say(type="focus", focused=True)
        await until(lambda: processes[0].office.desks[user.pk].tabs.elected == b.tab)
        pbx.leg(CallState.RINGING)
        call_id = (await a.hear_event("RINGING"))["call"]["id"]
        while not (await a.hear("elected"))["elected"]:
            pass
        assert (await a.answer("1", type="pop", call_id=call_id))["ok"]
        assert (await b.answer("1", type="pop", call_id=call_id))["code"] == "popped"


async def test_credentials_typed_in_another_process_move_the_session_there(processes):
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        assert (await b.answer("1", type="login", username="alice", password="x"))["ok"]
        assert len(made) == 1  # those that the session has anyway
        assert (await b.answer("2", type="login", username="bob", password="y"))["ok"]
        await b.hear_event("READY")
        assert pbx.closed
        assert made[-1].credentials.username == "bob"
        assert processes[1].host.kept()
        assert not processes[0].host.kept()


async def test_an_operator_hands_a_session_over_and_closes_it(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        await sync_to_async(lease.instruct)([user.pk], "hand_over")
        await until(lambda: processes[1].host.kept())
        await b.hear_event("READY")
        assert pbx.closed
        await sync_to_async(lease.instruct)([user.pk], "close")
        session = await code_of(b, "closed")
        assert session["state"] == "logged_out"
        await until(lambda: not processes[1].host.kept())
        assert (await AgentLease.objects.aget(agent=user)).holder == ""


async def test_an_account_switched_off_in_mid_call_ends_the_session_and_switched_on_goes_on_with_the_call(processes):
    user, key = await agent()
    account = await ConnectorAccount.objects.aget(user=user)
    async with two_tabs(processes, key) as (a, _, pbx):
        pbx.leg(CallState.CONNECTED, started_at=BEGAN)
        call = (await a.hear_event("CONNECTED"))["call"]
        account.is_active = False
        await account.asave()
        assert (await code_of(a, "account_inactive"))["state"] == "none"
        assert pbx.closed
        assert (await a.answer("1", type="command", command="hangup", call_id=call["id"]))["code"] == "not_connected"
        account.is_active = True
        await account.asave()
        await a.hear_event("READY")
        await a.say(type="resync")
        assert [each["id"] for each in (await a.hear("snapshot"))["calls"]] == [call["id"]]


async def test_a_redis_that_was_gone_leaves_every_tab_with_the_true_state(processes, redis_server):
    _, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        redis_server.stop()
        try:
            pbx.leg(CallState.RINGING)
            await until(lambda: not processes[0].office.mailbox.is_heard)
            assert processes[0].host.health()["bus"] is False
        finally:
            redis_server.start()
        for tab in (a, b):
            while not (snapshot := await tab.hear("snapshot"))["calls"]:
                pass
            assert [call["status"] for call in snapshot["calls"]] == ["RINGING"]


async def test_a_session_is_kept_without_a_tab_and_by_one_process_only(processes):
    user, key = await agent()
    await ConnectorAccount.objects.filter(user=user).aupdate(keep_open=True)
    assert await processes[0].host.keep(user.pk)
    assert not await processes[1].host.keep(user.pk)
    assert processes[0].host.kept() == {user.pk}
    async with processes[1].tab(key, "tab-bbbbbbbb") as b:
        assert (await b.answer("1", type="login"))["ok"]
        made[-1].leg(CallState.RINGING)
        await b.hear_event("RINGING")
    assert len(made) == 1


async def test_a_session_that_an_operator_closed_stays_closed_whatever_other_processes_see(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        await sync_to_async(lease.instruct)([user.pk], "close")
        for tab in (a, b):
            await code_of(tab, "closed")
        await until(lambda: pbx.closed)
        while (snapshot := await b.hear("snapshot"))["seq"] < desk_module.NEVER_NUMBERED:
            pass
        assert snapshot["session"]["state"] == "logged_out"  # a page logs in by itself where it reads "none"
        assert (await AgentLease.objects.aget(agent=user)).holder == ""
    assert len(made) == 1


async def test_a_command_to_a_process_that_has_fallen_silent_is_refused_at_once(processes, settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 60, "COMMAND_SECONDS": 30}
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, _):
        await until(lambda: processes[1].office.mailbox.hears(processes[0].office.holder))
        processes[0].crash()
        await code_of(b, "taking_over")
        assert (await b.answer("1", type="command", command="call", number="10032"))["code"] == "not_connected"


async def test_whoever_has_no_account_claims_no_lease(processes):
    user, key = await agent(account=False)
    async with processes[0].tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("1", type="login"))["ok"]
        assert (await a.hear("snapshot"))["session"]["code"] == "no_account"
    assert not await AgentLease.objects.filter(agent=user).aexists()
