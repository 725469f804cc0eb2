"""From the journal to sessions in other processes: by hint, without one, and across a crash."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from cti_django import calllog, deliveries, webhooks
from cti_django.models import CallRecord, WebhookDelivery
from cti_django.sessions import bus
from cti_django.sessions import deliveries as session_deliveries
from tests.faces.test_consumers import agent, fake_telephone_system
from tests.faces.test_hostile_tabs import until
from tests.faces.test_webhooks import NEW_CALL, account, endpoints, push
from tests.sessions.test_many_processes import processes

__all__ = ["endpoints", "fake_telephone_system", "processes"]

pytestmark = pytest.mark.django_db(transaction=True)


@asynccontextmanager
async def session_on(process, key, name="tab-aaaaaaaa"):
    async with process.tab(key, name) as tab:
        assert (await tab.answer("login", type="login"))["ok"]
        await tab.hear_event("READY")
        yield tab


async def test_a_delivery_to_one_process_is_heard_by_the_one_that_runs_the_session(processes, monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 60.0)
    user, key = await agent()
    await account(user)
    async with session_on(processes[1], key) as tab:
        await push(**NEW_CALL, user_list=["Alice"])
        assert (await tab.hear_event("RINGING"))["call"]["cid"] == "c-1"


async def test_a_hint_that_the_bus_loses_is_made_good_by_a_look(processes, monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    user, key = await agent()
    await account(user)
    async with session_on(processes[1], key) as tab:
        monkeypatch.setattr(bus, "tell_of_delivery", _lost)
        await push(**NEW_CALL, user_list=["Alice"])
        await tab.hear_event("RINGING")


async def _lost():
    pass


async def test_a_bus_that_hangs_does_not_hold_up_the_answer(processes, monkeypatch):
    monkeypatch.setattr(bus, "tell_of_delivery", asyncio.Event().wait)
    async with asyncio.timeout(3):
        assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
    (hint,) = webhooks._hints
    hint.cancel()


async def test_a_crash_in_the_middle_of_a_call_loses_nothing_of_it(processes):
    user, key = await agent()
    await account(user)
    first, second = processes
    async with session_on(first, key) as tab:
        await push(**NEW_CALL, user_list=["Alice"])
        call_id = (await tab.hear_event("RINGING"))["call"]["id"]
        await calllog.aflush(5)
        async with second.tab(key, "tab-bbbbbbbb") as other:
            first.crash()
            await push(**{**NEW_CALL, "event": "answer"}, user="Alice")
            await push(**{**NEW_CALL, "callId": "missed"}, user_list=["Alice"])
            await push(**{**NEW_CALL, "callId": "missed", "event": "hangup"}, cause="busy")
            await until(lambda: second.host.held_agent(str(user.pk)) is not None, 10)
            call = (await other.hear_event("CONNECTED"))["call"]
            assert call["id"] == call_id
            await push(**{**NEW_CALL, "event": "hangup"}, cause="normalClearing")
            await other.hear_event("HANGUP")
    await calllog.aflush(5)
    rows = {row.provider_call_id: row async for row in CallRecord.objects.filter(agent=user)}
    assert {name: row.end_reason for name, row in rows.items()} == {"c-1": "completed", "missed": "busy"}


async def test_a_journal_that_cannot_be_read_delays_a_session_and_does_not_end_it(processes, monkeypatch):
    monkeypatch.setattr("cti_django.sessions.tenure.AGAIN_SECONDS", 0.02)
    user, key = await agent()
    await account(user)
    await push(**NEW_CALL, user_list=["Alice"])
    failures = iter(range(3))
    read = deliveries.history

    def fails(*args):
        if next(failures, None) is not None:
            raise OperationalError("no database today")
        return read(*args)

    monkeypatch.setattr(deliveries, "history", fails)
    async with session_on(processes[0], key) as tab:
        await tab.say(type="resync")
        assert [call["cid"] for call in (await tab.hear("snapshot"))["calls"]] == ["c-1"]


async def test_a_look_that_fails_is_followed_by_the_next(processes, monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    user, key = await agent()
    await account(user)
    async with session_on(processes[0], key) as tab:
        failures = []

        def fails(*args):
            failures.append(args)
            raise OperationalError("no database today")

        with monkeypatch.context() as outage:
            outage.setattr(deliveries, "after", fails)
            await push(**NEW_CALL, user_list=["Alice"])
            await until(lambda: len(failures) > 1)
        await tab.hear_event("RINGING")


async def test_nobody_reads_the_journal_when_no_session_is_left(processes):
    user, key = await agent()
    await account(user)
    process = processes[0]
    async with session_on(process, key):
        assert process.office.deliveries._task is not None
    await process.office.stop(user.pk)
    reader = process.office.deliveries
    assert (reader._members, reader._task, reader._seen) == (set(), None, {})


async def test_what_is_read_is_remembered_only_until_nothing_can_come_before_it(processes, monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(session_deliveries, "LATE_SECONDS", 0.0)
    user, key = await agent()
    await account(user)
    async with session_on(processes[0], key) as tab:
        for number in range(5):
            await push(**{**NEW_CALL, "callId": f"{number}"}, user_list=["Alice"])
            await tab.hear_event("RINGING")
        reader = processes[0].office.deliveries
        await until(lambda: not reader._seen)
        assert [reader._settled] == await sync_to_async(deliveries.newest)(1)


async def test_sessions_that_all_begin_at_once_hold_up_no_delivery_and_no_ring(processes, monkeypatch):
    monkeypatch.setattr(webhooks, "JOURNAL_SECONDS", 1.0)
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    user, key = await agent()
    await account(user)
    async with session_on(processes[0], key) as tab:
        gate = threading.Event()
        monkeypatch.setattr(deliveries, "history", lambda *args: gate.wait(30) and [])
        reader = processes[0].office.deliveries
        connectors = [Member() for _each in range(8)]
        joining = [asyncio.ensure_future(reader.join(connector)) for connector in connectors]
        try:
            assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
            await tab.hear_event("RINGING")
        finally:
            gate.set()
            await asyncio.gather(*joining)
            for connector in connectors:
                reader.leave(connector)


class Member:
    """A connector that only listens."""

    endpoint, names = "sip-gate", frozenset({"bob"})

    def __init__(self):
        self.heard = []

    def receive(self, delivery):
        self.heard.append(delivery.fields["callId"][0])


async def test_a_row_that_becomes_visible_behind_the_first_look_is_heard(processes, monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    for name in ("known", "late", "newest"):
        await push(**{**NEW_CALL, "callId": name}, user_list=["Alice"])
    late = await WebhookDelivery.objects.aget(provider_call_id="late")
    await WebhookDelivery.objects.filter(pk=late.pk).adelete()  # as if not committed yet
    reader, member = processes[0].office.deliveries, Member()
    await reader.join(member)
    await late.asave(force_insert=True)
    await until(lambda: member.heard)
    await push(**{**NEW_CALL, "callId": "next"}, user_list=["Alice"])
    await until(lambda: len(member.heard) > 1)
    assert member.heard == ["late", "next"]
    reader.leave(member)
