"""The sessions of one process: taken over, kept open, and gone without a trace."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission

from cti_django import calllog
from cti_django.calls.states import CallState
from cti_django.models import CallRecord, ConnectorAccount
from cti_django.sessions.tabs import Tab as DeskTab
from cti_django.testing import FakeConnector
from tests.faces.test_consumers import agent, connected, fake_telephone_system, ready
from tests.faces.test_hostile_tabs import the_host, until
from tests.testapp.models import Person

__all__ = ["fake_telephone_system"]

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_call_that_is_taken_over_keeps_its_note_and_finds_its_contact_again(monkeypatch):
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        pbx.leg(CallState.CONNECTED)
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
        assert (await tab.answer("1", type="note", call_id=call_id, text="wants a quote"))["ok"]
        await calllog.aflush(5)
    await until(lambda: user.pk not in the_host().office.desks)

    monkeypatch.setattr(FakeConnector, "open", _open_quietly)
    async with connected(key) as tab:
        assert (await tab.answer("1", type="login"))["ok"]
        await tab.hear_event("MATCHED")
        await tab.say(type="resync")
        (call,) = (await tab.hear("snapshot"))["calls"]
    assert (call["id"], call["note"], call["match"]) == (call_id, "wants a quote", "none")


async def _open_quietly(self):
    self._said = asyncio.Queue()


async def test_a_permission_that_is_withdrawn_takes_the_records_from_calls_and_recent_calls_too():
    user, key = await agent()
    view_people = await Permission.objects.aget(codename="view_person")
    await sync_to_async(user.user_permissions.add)(view_people)
    await Person.objects.acreate(name="Dana", phone="+442079460018")
    async with ready(key) as (tab, pbx):
        for state in (CallState.RINGING, CallState.HANGUP):
            pbx.leg(state, provider_call_id="1")
        pbx.leg(CallState.CONNECTED, provider_call_id="2")
        assert (await tab.hear_event("CONNECTED"))["call"]["contacts"][0]["label"] == "Dana"
        await tab.say(type="resync")
        assert (await tab.hear("snapshot"))["recent"][0]["contacts"][0]["label"] == "Dana"
        await calllog.aflush(5)

        await sync_to_async(user.user_permissions.remove)(view_people)
        seen = await tab.hear("snapshot")
        assert [call["contacts"] for call in seen["calls"] + seen["recent"]] == [[], []]
        assert (await tab.hear_event("MATCHED"))["call"]["match"] == "forbidden"


async def test_an_account_that_keeps_its_session_open_has_it_without_a_page_until_its_right_is_gone(settings):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "LEASE_SECONDS": 0.06}
    user, key = await agent()
    await ConnectorAccount.objects.filter(user=user).aupdate(keep_open=True)
    async with ready(key) as (_, pbx):
        pass
    await until(lambda: not the_host().office._lingering)
    pbx.leg(CallState.RINGING)
    await until(CallRecord.objects.filter(agent=user, state="RINGING").aexists)
    assert not pbx.closed

    await sync_to_async(user.user_permissions.clear)()
    await until(lambda: pbx.closed and not the_host().office.desks)


async def test_an_account_whose_session_is_not_kept_open_leaves_nothing():
    _, key = await agent()
    async with ready(key) as (_, pbx):
        pass
    await until(lambda: pbx.closed and not the_host().office.tenures and not the_host().office.desks)
    assert not the_host().office._turns


async def test_two_thousand_tabs_and_calls_leave_nothing_behind(settings, monkeypatch):
    monkeypatch.setattr("cti_django.calls.board.MAX_CALLS", 50)
    user, key = await agent()
    async with ready(key) as (tab, pbx):
        host, desk = the_host(), the_host().office.desks[user.pk]
        await tab.answer("1", type="directory")
        await until(lambda: tasks() <= 12)
        base = tasks()
        for number in range(2000):
            other = DeskTab(f"other-{number:06}", f"channel-{number}")
            host.attach(user.pk, other, focused=bool(number % 2))
            for state in (CallState.RINGING, CallState.CONNECTED, CallState.HANGUP):
                pbx.leg(state, provider_call_id=str(number))
            await host.detach(user.pk, other)
        await until(lambda: not pbx._said.qsize() and not desk._dossiers, seconds=60)
        assert [each.tab_id for each in desk.tabs] == [tab.tab]
        assert (len(desk.recent), len(desk._late), len(desk._dossiers)) == (50, 0, 0)
        board = desk.session.board
        assert max(len(board._entries), len(board._by_call_id), len(board._ended)) <= 50
        assert len(desk.session._timers) == len(desk.session._chores) == 0
        assert (host.office._lingering, len(host.office._chores)) == ({}, 0)
        assert tasks() <= base
        await calllog.aflush(30)
        assert calllog.outbox.length == 0
        assert await CallRecord.objects.filter(agent=user, state="HANGUP").acount() == 2000


def tasks():
    """How many tasks there are now."""
    return len(asyncio.all_tasks())
