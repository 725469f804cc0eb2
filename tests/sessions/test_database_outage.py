"""The database fails in the middle of a call: the call goes on, and afterwards nothing is missing."""

import json
import threading
from contextlib import asynccontextmanager

import pytest
from channels.layers import channel_layers
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from cti_django import calllog
from cti_django.models import AgentLease, CallNote, CallRecord, ConnectorAccount
from cti_django.sandbox.server import run_sandbox
from cti_django.sessions import desk as desk_module
from cti_django.sessions import host as host_module
from cti_django.sessions import tenure as tenure_module
from tests.faces.test_consumers import agent, connected
from tests.faces.test_hostile_tabs import the_host, until
from tests.testapp.models import Person

pytestmark = pytest.mark.django_db(transaction=True)


class Outage:
    """While it lasts, every thread's every query fails."""

    def __init__(self, error):
        self._error = error
        self._lasts = threading.Event()
        self.refused = threading.Event()

    def install(self, monkeypatch):
        cursor = BaseDatabaseWrapper._cursor

        def _cursor(connection, name=None):
            if self._lasts.is_set():
                self.refused.set()
                raise self._error("server closed the connection unexpectedly: password=secret")
            return cursor(connection, name)

        monkeypatch.setattr(BaseDatabaseWrapper, "_cursor", _cursor)

    def begin(self):
        self._lasts.set()

    def end(self):
        self._lasts.clear()


@pytest.fixture(params=[OperationalError, InterfaceError])
def outage(request, monkeypatch):
    outage = Outage(request.param)
    outage.install(monkeypatch)
    monkeypatch.setattr(tenure_module, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(desk_module, "LOOK_UP_PAUSES", (0.0, *[0.05] * 100))
    yield outage
    outage.end()


@asynccontextmanager
async def at_work(settings, lease_seconds=10.0):
    """Alice with her tab, and the PBX that she works on."""
    channel_layers.backends.clear()
    host_module._hosts.clear()
    async with run_sandbox() as sandbox:
        settings.CTI_DJANGO = {
            "REGION": "GB",
            "LEASE_SECONDS": lease_seconds,
            "LINGER_SECONDS": 0.05,
            "CONNECTOR_OPTIONS": {"voipstudio": {"api_url": sandbox.api_url, "sip_url": sandbox.sip_url}},
        }
        settings.ALLOWED_HOSTS = ["crm.example"]
        user, key = await agent(account=False)
        await ConnectorAccount.objects.acreate(user=user, username="alice@example.com", password="sandbox")
        async with connected(key) as tab:
            yield sandbox, user, tab
        await until(lambda: not the_host().office.tenures)
    calllog.flush(5)
    host_module._hosts.clear()


async def test_a_call_goes_on_through_an_outage_and_its_record_is_complete(settings, outage):
    async with at_work(settings) as (sandbox, user, tab):
        user.is_superuser = True
        await user.asave()
        dana = await Person.objects.acreate(name="Dana", phone="+442079460018")
        await tab.answer("in", type="login")
        await tab.hear_event("READY")

        outage.begin()
        sandbox.switch.ring("10031", "+442079460018", "Dana")
        ringing = (await tab.hear_event("RINGING"))["call"]
        answer = await tab.answer("1", type="command", command="answer", call_id=ringing["id"])
        assert answer["ok"], answer
        assert (await tab.hear_event("CONNECTED"))["call"]["id"] == ringing["id"]
        note = await tab.answer("2", type="note", call_id=ringing["id"], text="wants a quote")
        assert (note["ok"], note["code"], note["message"]) == (False, "not_saved", "The note could not be saved yet.")
        assert (await tab.answer("3", type="command", command="hangup", call_id=ringing["id"]))["ok"]
        await tab.hear_event("HANGUP")
        assert outage.refused.is_set()
        assert not sandbox.switch.calls_of("10031")

        outage.end()
        assert (await tab.answer("4", type="note", call_id=ringing["id"], text="wants a quote"))["ok"]
        await until(lambda: calllog.flush(0.01))
        record = await CallRecord.objects.aget(agent=user)
        assert (record.call_id, record.state, record.end_reason) == (ringing["id"], "HANGUP", "completed")
        assert record.started_at <= record.connected_at <= record.ended_at
        assert (await CallNote.objects.aget(call=record)).text == "wants a quote"
        linked = CallRecord.objects.filter(agent=user, content_type__model="person", object_id=str(dana.pk))
        await until(linked.aexists)


async def test_an_outage_longer_than_the_lease_stops_the_session_which_then_goes_on_with_the_same_call(
    settings, outage
):
    async with at_work(settings, lease_seconds=0.6) as (sandbox, user, tab):
        await tab.answer("in", type="login")
        await tab.hear_event("READY")
        sandbox.switch.ring("10031", "+442079460018", "Dana")
        ringing = (await tab.hear_event("RINGING"))["call"]
        await until(CallRecord.objects.filter(agent=user).aexists)
        before = await AgentLease.objects.aget(agent=user)

        outage.begin()
        await until(lambda: not sandbox.sip.connections_of("10031"))
        while (session := (await tab.hear("session"))["session"])["code"] != "no_database":
            assert session["state"] in ("connecting", "lost", "ready")
        answer = await tab.answer("1", type="command", command="answer", call_id=ringing["id"])
        assert (answer["ok"], answer["code"]) == (False, "not_connected")

        outage.end()
        await tab.hear_event("READY")
        assert (await AgentLease.objects.aget(agent=user)).fence > before.fence
        await tab.say(type="resync")
        assert [call["id"] for call in (await tab.hear("snapshot"))["calls"]] == [ringing["id"]]


async def test_a_log_in_during_an_outage_waits_and_then_comes_through(settings, outage):
    async with at_work(settings) as (_, _, tab):
        outage.begin()
        assert (await tab.answer("in", type="login"))["ok"]
        while (session := (await tab.hear("session"))["session"])["code"] != "no_database":
            assert session["state"] == "connecting"
        outage.end()
        await tab.hear_event("READY")


async def test_nothing_of_the_failure_reaches_the_browser(settings, outage):
    async with at_work(settings) as (sandbox, _, tab):
        await tab.answer("in", type="login")
        await tab.hear_event("READY")
        outage.begin()
        sandbox.switch.ring("10031", "+442079460018", "Dana")
        call_id = (await tab.hear_event("RINGING"))["call"]["id"]
        await tab.say(type="note", id="1", call_id=call_id, text="x")
        await tab.say(type="command", id="2", command="answer", call_id=call_id)
        await tab.say(type="directory", id="3")
        await tab.say(type="login", id="4")
        await tab.say(type="resync")
        heard = ""
        while not await tab.socket.receive_nothing(timeout=0.3):
            heard += json.dumps(await tab.socket.receive_json_from())
        outage.end()
        for word in ("Traceback", "OperationalError", "InterfaceError", "secret", "unexpectedly"):
            assert word not in heard
