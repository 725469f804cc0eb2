"""Walks through the Django floor in that project: ``python -m tests.testapp.staff.walk`` says "walked" at the end."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.testapp.staff.settings"
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    for database in ("default", "crm"):
        call_command("migrate", database=database, run_syncdb=True, verbosity=0)
    agent = get_user_model().objects.create_superuser("alice")
    _contacts(agent)
    _calls(agent)
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


if __name__ == "__main__":
    main()
