"""Processes that are held up, cut off, killed or told lies between any two awaits."""

import asyncio
import signal
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers, get_channel_layer
from django.db import OperationalError

from cti_django import calllog
from cti_django.calls.states import CallState
from cti_django.models import AgentLease, CallRecord, ConnectorAccount
from cti_django.sessions import bus, lease
from cti_django.sessions import host as host_module
from cti_django.sessions import tenure as tenure_module
from cti_django.sessions.tabs import Tab
from tests.faces.test_consumers import agent, fake_telephone_system, made
from tests.faces.test_hostile_tabs import until
from tests.sessions.test_keeper import held_up
from tests.sessions.test_many_processes import BEGAN, code_of, processes, two_tabs

__all__ = ["fake_telephone_system", "processes"]

pytestmark = pytest.mark.django_db(transaction=True)


def lines():
    """Those that are open."""
    return [pbx for pbx in made if pbx.openings and not pbx.closed]


async def row(user):
    return await AgentLease.objects.aget(agent=user)


# Between two awaits


async def test_a_session_that_ends_while_it_claims_its_lease_leaves_the_lease_to_others(processes, monkeypatch):
    user, key = await agent()
    first, second = processes
    async with first.tab(key, "tab-aaaaaaaa") as a:
        async with held_up(monkeypatch, "claim") as (begun, go):
            assert (await a.answer("1", type="login"))["ok"]
            await until(begun.is_set)
            handing_over = asyncio.ensure_future(first.office.hand_over(user.pk, wanted_seconds=60.0))
            await until(lambda: first.office.tenures[user.pk].is_stopped)
            go.set()
            await handing_over
        assert (await row(user)).holder == ""
        assert made == []
    async with second.tab(key, "tab-bbbbbbbb") as b:
        await b.hear_event("READY")


async def test_a_tab_that_is_gone_before_its_session_is_found_starts_none(processes, monkeypatch):
    user, _ = await agent()
    await sync_to_async(lease.claim)(user.pk, "crashed", 0.0)  # wanted: whoever has a tab takes it over
    host, office = processes[0].host, processes[0].office
    async with held_up(monkeypatch, "look") as (begun, go):
        tab = Tab("tab-aaaaaaaa", "channel-1")
        host.attach(user.pk, tab, focused=True)
        await until(begun.is_set)
        await host.detach(user.pk, tab)
        go.set()
        await until(lambda: not office._chores)
    assert (office.tenures, office.desks, office.keeper._watched) == ({}, {}, {})


async def test_a_look_that_is_older_than_a_claim_moves_nothing(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, b, _pbx):
        office = processes[1].office
        desk = office.desks[user.pk]
        while not await b.socket.receive_nothing(timeout=0.1):
            await b.socket.receive_output()
        stale = lease.Standing("", desk.fence - 1, is_wanted=False)
        await office._fill_vacancy(user.pk, stale)
        assert (desk.elsewhere, office.runs(user.pk)) == (processes[0].office.holder, False)
        assert user.pk in office.keeper._watched
        assert await b.socket.receive_nothing(timeout=0.1)  # above all no snapshot


async def test_a_log_in_that_comes_while_the_process_ends_claims_nothing(processes):
    user, key = await agent()
    first = processes[0]
    async with first.tab(key, "tab-aaaaaaaa") as a:
        await first.host.shut_down()
        await a.answer("1", type="login")
        assert (first.office.tenures, await AgentLease.objects.exclude(holder="").acount()) == ({}, 0)
        assert not await first.host.keep(user.pk)


async def test_a_command_that_is_in_flight_when_the_session_is_handed_over_is_answered(processes, settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "COMMAND_SECONDS": 0.3}
    user, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        begun = asyncio.Event()

        async def never(command, call=None):
            begun.set()
            await asyncio.Event().wait()

        pbx.execute = never
        await b.say(type="command", id="1", command="call", number="10032")
        await begun.wait()
        await processes[0].office.hand_over(user.pk, wanted_seconds=60.0)
        assert (await b.hear("answer"))["code"] == "timed_out"
        again = await b.answer("1", type="command", command="call", number="10032", fence=b.snapshot["fence"])
        assert again["code"] in ("outdated", "not_connected")


# A holder that is held up


async def test_a_holder_that_hears_of_its_successor_lets_go_of_the_line_at_once(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):
        first, second = processes
        first.office.keeper.stop()  # as if it were stopped: its lease runs out unnoticed
        first.office.keeper._clock = lambda: 0.0
        await b.hear_event("READY")
        await until(lambda: pbx.closed and not first.host.kept())
        assert second.host.kept() == {user.pk}


async def test_code_that_holds_up_everything_beyond_the_lease_costs_a_moment_and_no_call(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        pbx.leg(CallState.CONNECTED, started_at=BEGAN)
        call_id = (await a.hear_event("CONNECTED"))["call"]["id"]
        await calllog.aflush(5)
        pbx.leg(CallState.ON_HOLD, started_at=BEGAN)
        time.sleep(1.4)  # noqa: ASYNC251  as somebody's code may
        await until(lambda: len(lines()) == 1 and lines()[0] is not pbx)
        for tab in (a, b):
            await tab.say(type="resync")
            while [call["id"] for call in (await tab.hear("snapshot"))["calls"]] != [call_id]:
                await tab.say(type="resync")
        (again,) = lines()
        again.leg(CallState.ON_HOLD, started_at=BEGAN)
        for tab in (a, b):
            assert (await tab.hear_event("ON_HOLD"))["call"]["id"] == call_id
        assert len(processes[0].host.kept() | processes[1].host.kept()) == 1
        assert await CallRecord.objects.filter(agent=user).acount() == 1


async def test_a_database_that_hangs_keeps_nobody_waiting_for_the_agents_turn(processes, monkeypatch):
    monkeypatch.setattr(tenure_module, "RELEASE_SECONDS", 0.1)
    user, key = await agent()
    async with two_tabs(processes, key) as (_, _, pbx):
        async with held_up(monkeypatch, "release") as (begun, _go):
            async with asyncio.timeout(2):
                await processes[0].office.hand_over(user.pk, wanted_seconds=60.0)
            assert begun.is_set()
            assert pbx.closed
        await until(lambda: lines())


async def test_a_lost_lease_ends_the_line_whoever_has_the_agents_turn(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, _, pbx):
        office, closing, go, closed = processes[0].office, asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slowly():
            closing.set()
            await go.wait()
            closed.set()

        pbx.close = slowly
        async with office.turn(user.pk):
            office.keeper.lose([user.pk])
            await closing.wait()
        await until(lambda: office.tenures[user.pk].is_stopped)
        go.set()  # its end comes twice, and cuts nothing short
        await closed.wait()
        await until(lambda: made[-1] is not pbx)


async def test_after_it_comes_back_a_tab_is_told_that_it_is_elected_again(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, _, _pbx):
        desk = processes[0].office.desks[user.pk]
        await a.say(type="focus", focused=True)
        await until(lambda: desk.tabs.elected == a.tab)
        while not await a.socket.receive_nothing(timeout=0.1):
            await a.socket.receive_output()
        desk.end_tenure(desk.state)
        await desk.tabs.elect(desk.fence)
        while not (await a.hear("elected"))["elected"]:
            pass


async def test_nobody_is_told_of_an_event_behind_the_end_of_the_lease(processes, monkeypatch):
    user, key = await agent()
    announced = []
    monkeypatch.setattr(
        "cti_django.sessions.desk.announce", lambda signal, **facts: announced.append(type(facts.get("event")).__name__)
    )
    async with two_tabs(processes, key) as (_, _, pbx):
        desk = processes[0].office.desks[user.pk]
        publish = type(desk)._publish

        async def _too_late(this, message):
            if this is desk and message["type"] == "event":
                processes[0].office.keeper.lose([user.pk])
            return await publish(this, message)

        monkeypatch.setattr(type(desk), "_publish", _too_late)
        announced.clear()
        pbx.leg(CallState.RINGING, started_at=BEGAN)
        await until(lambda: pbx.closed)
        assert "CallEvent" not in announced


# Messages that are lost


async def test_a_claim_that_nobody_heard_of_is_seen_in_the_database(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, _b, _pbx):
        office, desk = processes[1].office, processes[1].office.desks[user.pk]
        for unheard in ("?", "another"):
            desk.elsewhere = unheard
            processes[0].office.desks[user.pk].tabs.forget(lambda tab: tab.say is None)
            await until(lambda: desk.elsewhere == processes[0].office.holder)
            await until(lambda: len(processes[0].office.desks[user.pk].tabs) == 2)
        assert not office.runs(user.pk)


async def test_a_tab_that_could_not_join_the_bus_does_so_later(processes, monkeypatch):
    monkeypatch.setattr("cti_django.consumers.JOIN_AGAIN_SECONDS", 0.02)
    user, key = await agent()
    join, works = bus.join, asyncio.Event()

    async def _not_yet(group, address):
        return (works.is_set() or group != bus.agent_group(user.pk)) and await join(group, address)

    monkeypatch.setattr(bus, "join", _not_yet)
    async with processes[0].tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("1", type="login"))["ok"]
        desk = processes[0].office.desks[user.pk]
        await until(lambda: desk.state.state.value == "ready")
        made[-1].leg(CallState.RINGING)
        await until(lambda: desk.session.board.calls())
        works.set()
        while not (snapshot := await a.hear("snapshot"))["calls"]:
            pass
        assert [call["status"] for call in snapshot["calls"]] == ["RINGING"]
        made[-1].leg(CallState.CONNECTED)
        await a.hear_event("CONNECTED")


async def test_the_newest_pops_are_those_that_a_successor_hears_of():
    tab = Tab("tab-aaaaaaaa", "channel-1")
    for number in range(25):
        tab.note_popped(str(number))
    assert tab.popped == [str(number) for number in range(5, 25)]


async def test_a_redis_that_hangs_delays_what_it_carries_and_nothing_else(processes, redis_server, monkeypatch):
    monkeypatch.setattr(bus, "SEND_SECONDS", 0.2)
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        redis_server._process.send_signal(signal.SIGSTOP)
        try:
            for state in (CallState.RINGING, CallState.CONNECTED):
                pbx.leg(state, started_at=BEGAN)
            async with asyncio.timeout(2):
                answer = await a.answer("1", type="command", command="call", number="10032")
                assert answer["ok"]
                assert (await b.answer("1", type="command", command="call", number="10032"))["code"] in (
                    "not_connected",
                    "timed_out",
                )
                await until(CallRecord.objects.filter(agent=user, state="CONNECTED").aexists)
            await until(lambda: not processes[0].office.mailbox.is_heard)
        finally:
            redis_server._process.send_signal(signal.SIGCONT)
        for tab in (a, b):
            while not (snapshot := await tab.hear("snapshot"))["calls"]:
                pass
            assert "CONNECTED" in [call["status"] for call in snapshot["calls"]]


# Lies


LIES = [
    {"verb": "sit"},
    {"verb": "sit", "tab": [], "focused": 1, "wants_snapshot": 1},
    {"verb": "sit", "tab": {"id": 1, "channel": "no such channel!", "popped": {}}, "focused": True},
    {"verb": "sit", "tab": {"id": "", "channel": "", "popped": [[]] * 1000}, "focused": 0, "wants_snapshot": True},
    {"verb": "leave", "tab_id": {}, "channel": []},
    {"verb": "act", "tab_id": 1, "kind": "command", "message": "call"},
    {"verb": "act", "tab_id": 1, "kind": "command", "message": {"command": [], "id": 7, "fence": "x"}},
    {"verb": "act", "tab_id": 1, "kind": "pop", "message": None, "ask": 1, "address": 5},
    {"verb": "login", "proof": "", "address": "nowhere"},
    {"verb": "note", "call_id": None, "text": "x" * 1_000_000},
    {"verb": ["sit"]},
    {},
]


async def test_lies_told_to_a_desk_leave_its_session_alive(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, _, pbx):
        for lie in LIES:
            told = {"type": "cti.desk", "agent": str(user.pk), "from": "liar", **lie}
            await get_channel_layer().group_send(bus.desk_group(user.pk), told)
        pbx.leg(CallState.RINGING)
        call_id = (await a.hear_event("RINGING"))["call"]["id"]
        assert (await a.answer("1", type="command", command="answer", call_id=call_id))["ok"]
        # Its tabs go when it is found out that nobody is there.
        await until(lambda: {tab.holder for tab in processes[0].office.desks[user.pk].tabs}.isdisjoint({"liar"}))


NONSENSE = [None, 7, [], {}, {"type": 5}, {"type": "cti.of.tomorrow"}, {"type": "cti.relay"}, {"type": "cti.who"}]
NONSENSE += [{"type": "cti.relay", "fence": "x", "text": 5}, {"type": "cti.who", "holder": "x", "fence": "x"}]


async def test_nonsense_told_to_tabs_costs_them_nothing(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        for nonsense in NONSENSE:
            await get_channel_layer().group_send(bus.agent_group(user.pk), nonsense)
        pbx.leg(CallState.RINGING)
        for tab in (a, b):
            await tab.hear_event("RINGING")


# Credentials that were typed


async def test_typed_credentials_outlast_a_lease_that_was_lost(processes):
    user, key = await agent(account=False)
    async with processes[0].tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("1", type="login", username="bob", password="y"))["ok"]
        await a.hear_event("READY")
        processes[0].office.keeper.lose([user.pk])
        await code_of(a, "taking_over")
        await a.hear_event("READY")
        assert made[-1].credentials.username == "bob"
        assert len(made) == 2


async def test_typed_credentials_outlast_a_holder_that_takes_too_long_to_let_go(processes, monkeypatch):
    monkeypatch.setattr(host_module, "LOGIN_SECONDS", 0.05)
    monkeypatch.setattr(tenure_module, "CLOSE_SECONDS", 0.3)
    _, key = await agent()
    async with two_tabs(processes, key) as (_, b, pbx):

        async def slowly():
            await asyncio.sleep(0.2)

        pbx.close = slowly
        assert (await b.answer("1", type="login", username="bob", password="y"))["ok"]
        await b.hear_event("READY")
        assert made[-1].credentials.username == "bob"


async def test_of_two_log_ins_at_once_in_two_processes_one_gets_the_session_and_the_other_joins_it(processes):
    user, key = await agent(account=False)
    first, second = processes
    async with first.tab(key, "tab-aaaaaaaa") as a, second.tab(key, "tab-bbbbbbbb") as b:
        for tab, name in ((a, "anna"), (b, "bob")):
            await tab.say(type="login", id="1", username=name, password="y")
        for tab in (a, b):
            assert (await tab.hear("answer"))["ok"]
        await until(lambda: len(lines()) == 1 and first.host.kept() != second.host.kept())
        await until(lambda: len(lines()) == 1)
        lines()[0].leg(CallState.RINGING)
        for tab in (a, b):
            await tab.hear_event("RINGING")
        holder = first if first.host.kept() else second
        await until(lambda: len(holder.office.desks[user.pk].tabs) == 2)


# The end


async def test_whoever_has_logged_out_is_not_logged_in_again_by_a_successor(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (a, b, pbx):
        await a.answer("1", type="command", command="logout")
        pbx.end()
        while (await b.hear("session"))["session"]["state"] != "logged_out":
            pass
        await processes[0].host.shut_down()
        await until(lambda: not processes[1].office.desks[user.pk].elsewhere)
        await until(lambda: not processes[1].office._chores)
        assert len(made) == 1
        assert not processes[1].host.kept()
        assert (await b.answer("2", type="login"))["ok"]  # unless she wants to
        await b.hear_event("READY")


async def test_a_row_that_was_deleted_by_hand_is_made_anew_though_nobody_asks(processes):
    user, key = await agent()
    async with processes[0].tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("1", type="login"))["ok"]
        await a.hear_event("READY")
        await AgentLease.objects.all().adelete()
        await code_of(a, "taking_over")
        await a.hear_event("READY")
        assert (await row(user)).fence == 2


async def test_a_user_who_is_deleted_has_no_session_any_more(processes):
    user, key = await agent()
    async with processes[0].tab(key, "tab-aaaaaaaa") as a:
        assert (await a.answer("1", type="login"))["ok"]
        await a.hear_event("READY")
        office = processes[0].office
        await user.adelete()
        await until(lambda: made[-1].closed and not office.tenures)
        await until(lambda: not office._chores)
        assert (len(made), office.tenures) == (1, {})
    await until(lambda: not office.desks)
    assert not await processes[1].host.keep(user.pk)
    await until(lambda: not (processes[1].office.desks or processes[1].office.tenures))


async def test_a_kept_session_whose_account_is_switched_off_takes_up_no_room(processes):
    user, _ = await agent()
    account = await ConnectorAccount.objects.aget(user=user)
    account.keep_open = True
    await account.asave()
    assert await processes[0].host.keep(user.pk)
    await until(lambda: made and processes[0].office.desks[user.pk].session)
    account.is_active = False
    await account.asave()
    await until(lambda: not processes[0].host.kept())
    assert (await row(user)).holder == ""


async def test_an_account_that_cannot_be_read_while_the_session_goes_on_is_nobodys_business(processes, monkeypatch):
    monkeypatch.setattr(tenure_module, "AGAIN_SECONDS", 0.02)
    user, key = await agent()
    async with two_tabs(processes, key) as (_, _, _pbx):
        failed, read = threading.Event(), tenure_module._account_of

        def _fails_once(agent_id):
            if failed.is_set():
                return read(agent_id)
            failed.set()
            raise OperationalError

        monkeypatch.setattr(tenure_module, "_account_of", _fails_once)
        await processes[0].office._obey(user.pk, "reload")
        assert processes[0].office.desks[user.pk].state.state.value == "ready"


async def test_a_hundred_hand_overs_leave_one_session_and_nothing_else(processes):
    user, key = await agent()
    async with two_tabs(processes, key) as (_, _, _pbx):
        for number in range(100):
            here, there = processes if not number % 2 else processes[::-1]
            for each in processes:  # nobody stands back
                each.office.keeper._watched.update(dict.fromkeys(each.office.keeper._watched, 0.0))
            await here.office.hand_over(user.pk, wanted_seconds=60.0)
            await until(lambda there=there: user.pk in there.host.kept())
            desk = there.office.desks[user.pk]
            await until(lambda desk=desk: len(desk.tabs) == 2 and desk.session and desk.state.state.value == "ready")
        await calllog.aflush(5)
        assert len(lines()) == 1
        assert (await row(user)).fence == 101
        for process in processes:
            await until(lambda process=process: not process.office._chores)
            assert len(process.office.desks) == 1
            assert len(process.office.mailbox._asked) == 0
    await until(lambda: not any(process.office._lingering for process in processes), seconds=10)
    for process in processes:
        await until(lambda process=process: not (process.office.desks or process.office.tenures))
        keeper = process.office.keeper
        assert (dict(keeper._watched), set(keeper.held), keeper._links) == ({}, set(), {})
    assert not channel_layers.backends["default"]._get_layer().groups.get("asgi__group__cti.desk.1")
