"""Walks through the Django floor in that project: ``python -m tests.testapp.staff.walk`` says "walked" at the end."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import django

from cti_django.calls.states import CallState
from cti_django.testing import FakeConnector


class RingingConnector(FakeConnector):
    """Somebody calls as soon as the agent has logged in."""

    async def open(self) -> None:
        await super().open()
        self.leg(CallState.RINGING)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.testapp.staff.settings"
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from cti_django import calllog
    from cti_django.threads import DatabaseThreads

    for database in ("default", "crm"):
        call_command("migrate", database=database, run_syncdb=True, verbosity=0)
    agent = get_user_model().objects.create_superuser("alice")
    _contacts(agent)
    _calls(agent)
    asyncio.run(_socket(agent))
    DatabaseThreads.close_all()
    calllog.outbox.close()
    call_command("migrate", "cti_django", "zero", verbosity=0)
    print("walked")


def _contacts(agent: Any) -> None:
    from cti_django import contacts
    from cti_django.calls.numbers import classify
    from cti_django.models import ContactNumber
    from cti_django.threads import DatabaseThreads
    from tests.testapp.models import Person, PersonNumber

    dana, eve = (Person.objects.create(name=name, phone="020 7946 0018") for name in ("Dana", "Eve"))
    PersonNumber.objects.create(person=dana, value="+49 30 1234567")
    assert ContactNumber.objects.using("default").count() == 3
    caller = classify("+442079460018")
    assert contacts.match(caller, agent.pk).kind == "several"
    contacts.remember(agent.pk, caller.number, eve)
    found = asyncio.run(contacts.amatch(caller, agent.pk))
    assert (found.kind, found.candidates[0].label) == ("one", "Eve")
    eve.delete()
    assert contacts.match(caller, agent.pk).candidates[0].label == "Dana"
    DatabaseThreads.close_all()


def _calls(agent: Any) -> None:
    from cti_django import calllog
    from cti_django.calls.events import Call, CallEvent, EventName
    from cti_django.calls.numbers import classify
    from cti_django.calls.states import CallState, Direction

    call = Call(
        call_id="c1",
        provider_call_id="p1",
        leg_id="p1-1",
        state=CallState.RINGING,
        direction=Direction.INBOUND,
        source=classify("+442079460018"),
        destination=classify("10031"),
    )
    calllog.record(agent.pk, CallEvent(name=EventName.RINGING, call=call, at=datetime.now(UTC)))
    calllog.save_note("c1", agent.pk, "rang")
    assert calllog.flush(5.0)
    assert [each.call_id for each in calllog.open_calls(agent.pk)] == ["c1"]
    assert calllog.notes_for(["c1"], agent.pk) == {"c1": "rang"}
    calllog.outbox.close()


async def _socket(agent: Any) -> None:
    """A whole call through the socket: log-in, lease, ring, note, hang-up, log-out of the site."""
    from asgiref.sync import sync_to_async
    from channels.testing import WebsocketCommunicator
    from django.test import Client, override_settings

    from cti_django import calllog
    from cti_django.models import AgentLease, CallNote, CallRecord, ConnectorAccount
    from cti_django.routing import with_cti

    with override_settings(
        CTI_DJANGO={"REGION": "GB", "CONNECTOR": "fake", "CONNECTORS": {"fake": f"{__name__}.RingingConnector"}}
    ):
        await ConnectorAccount.objects.acreate(user=agent, connector="fake")
        client = Client()
        await sync_to_async(client.force_login)(agent)
        cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
        headers = [(b"host", b"crm.example"), (b"origin", b"http://crm.example"), (b"cookie", cookie)]
        socket = WebsocketCommunicator(with_cti(None), "/ws/cti/", headers=headers)
        assert (await socket.connect())[0]

        async def hear(kind: str, name: str = "") -> Any:
            while True:
                message = await socket.receive_json_from(timeout=5)
                if message["type"] == kind and message.get("event", {}).get("name", "") == name:
                    return message

        await socket.send_json_to({"type": "hello", "tab": "tab-00000001", "focused": True})
        await socket.send_json_to({"type": "login", "id": "1"})
        call = (await hear("event", "RINGING"))["event"]["call"]
        assert call["contacts"][0]["label"] == "Dana"
        assert (await AgentLease.objects.aget(agent=agent)).holder
        await socket.send_json_to({"type": "note", "id": "2", "call_id": call["id"], "text": "rang"})
        assert (await hear("answer"))["ok"]
        await socket.send_json_to({"type": "resync"})
        while (snapshot := await hear("snapshot"))["calls"][0]["note"] != "rang":
            pass
        await calllog.aflush()
        assert (await CallRecord.objects.aget(call_id=call["id"])).agent_id == agent.pk
        assert (await CallNote.objects.aget(call__call_id=call["id"])).author_id == agent.pk
        assert snapshot["fence"] == 1
        page = await sync_to_async(client.get)(f"/cti/pop/{call['id']}/")
        assert (page.status_code, page.url) == (302, "/people/1/"), page
        await sync_to_async(client.logout)()
        while (output := await socket.receive_output(timeout=5))["type"] != "websocket.close":
            pass
        assert output["code"] == 4401
        await socket.disconnect()


if __name__ == "__main__":
    main()
