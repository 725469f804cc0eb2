"""The fixture ``pbx``, as a project's own tests use it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.test import Client

from cti_django.models import CallRecord, ConnectorAccount
from cti_django.signals import call_event, contact_matched, pre_dial
from cti_django.testing.fixtures import pbx
from tests.testapp.models import Person

__all__ = ["pbx"]

DANA = "+442079460018"


@pytest.fixture
def dana(db):
    return Person.objects.create(name="Dana", phone="020 7946 0018")


def test_a_known_caller_pops(pbx, agent, dana):
    pbx.ring(DANA, to=agent)
    assert pbx.pops[0].record_url == dana.get_absolute_url()


def test_a_pop_tells_whose_and_why_and_its_page_leads_to_the_record(pbx, agent, dana):
    call = pbx.ring(DANA, to=agent, name="Dana Field")
    (pop,) = pbx.pops
    assert (pop.agent, pop.call_id, pop.number, pop.action, pop.match) == (agent, call.call_id, DANA, "open", "one")
    assert [contact["label"] for contact in pop.contacts] == ["Dana"]
    assert call.source.name == "Dana Field"
    client = Client()
    client.force_login(agent)
    assert client.get(pop.url).url == dana.get_absolute_url()


def test_a_call_from_beginning_to_end_is_in_the_call_log(pbx, agent, dana):
    pbx.ring(DANA, to=agent)
    pbx.answer()
    ended = pbx.hang_up()
    assert pbx.event_names == ["RINGING", "CONNECTED", "HANGUP"]
    assert ended.end_reason == "completed"
    assert pbx.calls == []
    row = CallRecord.objects.get(agent=agent)
    assert (row.call_id, row.state, row.object_id) == (ended.call_id, "HANGUP", str(dana.pk))
    assert len(pbx.pops) == 1


def test_an_unknown_caller_pops_without_a_record(pbx, agent):
    pbx.ring("+442079460099", to=agent)
    assert (pbx.pops[0].match, pbx.pops[0].record_url) == ("none", "")


def test_an_agent_without_the_right_to_see_people_is_shown_none(pbx, other_agent, dana):
    pbx.ring(DANA, to=other_agent)
    assert (pbx.pops[0].match, pbx.pops[0].contacts) == ("forbidden", ())


def test_an_agent_who_may_not_telephone_is_told_so_by_the_test(pbx, django_user_model):
    eve = django_user_model.objects.create_user("eve")
    with pytest.raises(AssertionError, match="use_telephone"):
        pbx.ring(DANA, to=eve)


def test_rights_are_those_of_this_moment(pbx, agent, dana):
    agent.user_permissions.clear()
    with pytest.raises(AssertionError):
        pbx.ring(DANA, to=agent)


def test_a_click_to_call_rings_her_phone_then_the_other_side(pbx, agent):
    assert pbx.dial("020 7946 0018", by=agent).ok
    assert pbx.dialled == [DANA]
    pbx.answer()
    pbx.answer()
    pbx.hang_up()
    assert pbx.event_names == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]
    assert not pbx.pops


def test_a_click_to_call_that_nobody_takes_is_cancelled(pbx, agent):
    pbx.dial("020 7946 0018", by=agent)
    assert pbx.hang_up().end_reason == "cancelled"


def test_a_receiver_of_pre_dial_stops_a_call(pbx, agent):
    def forbid(sender, party, **kwargs):
        raise PermissionDenied("Not on Sundays.")

    pre_dial.connect(forbid)
    try:
        answer = pbx.dial("020 7946 0018", by=agent)
    finally:
        pre_dial.disconnect(forbid)
    assert (answer.ok, answer.message, pbx.dialled, pbx.events) == (False, "Not on Sundays.", [], [])


def test_receivers_have_heard_of_a_call_when_its_verb_returns(pbx, agent, dana):
    heard = []

    def note(sender, signal, **kwargs):
        heard.append((signal is call_event, Person.objects.count()))

    call_event.connect(note)
    contact_matched.connect(note)
    try:
        pbx.ring(DANA, to=agent)
    finally:
        call_event.disconnect(note)
        contact_matched.disconnect(note)
    assert sorted(heard) == [(False, 1), (True, 1)]


def test_an_agent_holds_resumes_and_hands_over(pbx, agent):
    pbx.ring(DANA, to=agent)
    assert not pbx.command("hold", by=agent).ok
    assert pbx.command("answer", by=agent).ok
    assert pbx.command("hold", by=agent).ok
    assert pbx.command("resume", by=agent).ok
    assert pbx.command("transfer", by=agent, number="10032").ok
    assert pbx.event_names == ["RINGING", "CONNECTED", "ON_HOLD", "CONNECTED", "HANGUP"]
    assert pbx.events[-1].call.end_reason == "transferred"


def test_two_agents_have_their_own_calls(pbx, agent, other_agent):
    first, second = pbx.ring(DANA, to=agent), pbx.ring("+442079460019", to=other_agent)
    pbx.answer(first)
    assert [call.call_id for call in pbx.calls] == [first.call_id, second.call_id]
    assert [pop.agent for pop in pbx.pops] == [agent, other_agent]
    pbx.hang_up(second)
    with pytest.raises(AssertionError, match="no such call"):
        pbx.answer(second)


def test_an_account_says_how_its_calls_pop(pbx, agent, dana):
    ConnectorAccount.objects.create(user=agent, connector="fake", pop_action="card", pop_when="answer")
    pbx.ring(DANA, to=agent)
    assert pbx.pops == []
    pbx.answer()
    assert pbx.pops[0].action == "card"


def test_a_contact_of_the_tests_own_transaction_is_found(pbx, agent):
    pbx.ring(DANA, to=agent)
    pbx.hang_up()
    Person.objects.create(name="Dana", phone="020 7946 0018")
    pbx.ring(DANA, to=agent)
    assert [pop.match for pop in pbx.pops] == ["none", "one"]


@pytest.mark.django_db(transaction=True)
def test_it_works_with_committed_data_too(pbx, agent, dana):
    pbx.ring(DANA, to=agent)
    assert pbx.pops[0].record_url == dana.get_absolute_url()
    assert CallRecord.objects.get().state == "RINGING"


async def test_in_an_async_test_each_verb_has_its_twin(pbx, agent, dana):
    await pbx.aring(DANA, to=agent)
    await pbx.aanswer()
    await pbx.ahang_up()
    assert (await pbx.adial("020 7946 0018", by=agent)).ok
    assert (await pbx.acommand("hold", by=agent)).code == "not_now"
    assert pbx.pops[0].record_url == dana.get_absolute_url()
    assert pbx.event_names == ["RINGING", "CONNECTED", "HANGUP", "INITIAL"]
    assert pbx.dialled == [DANA]


@pytest.mark.django_db(transaction=True)
async def test_in_an_async_test_data_that_the_test_commits_is_seen(pbx, agent):
    await Person.objects.acreate(name="Dana", phone="020 7946 0018")
    await pbx.aring(DANA, to=agent)
    assert pbx.pops[0].match == "one"
    assert await sync_to_async(CallRecord.objects.count)() == 1


async def test_a_verb_that_is_not_awaited_says_what_to_write(pbx, agent):
    with pytest.raises(RuntimeError, match=r"await pbx\.aring"):
        pbx.ring(DANA, to=agent)


def test_a_fault_in_what_follows_a_call_fails_the_test(pbx, agent, monkeypatch):
    monkeypatch.setattr("cti_django.sessions.desk.actions", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pbx.ring(DANA, to=agent)


def test_nothing_of_a_test_is_left_for_the_next(pbx, agent, recwarn):
    pbx.ring(DANA, to=agent)
    assert CallRecord.objects.count() == 1
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# -- in somebody else's project ---------------------------------------------------------------------------------------

PROJECT = {
    "crm_settings.py": """
SECRET_KEY = SALT_KEY = "x"
USE_TZ = True
ROOT_URLCONF = "crm_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": <database>}
INSTALLED_APPS = ["cti_django", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "crm"]
""",
    "crm_urls.py": """
from django.urls import include, path
urlpatterns = [path("cti/", include("cti_django.urls"))]
""",
    "crm/__init__.py": "",
    "crm/models.py": """
from django.db import models

class Customer(models.Model):
    phone = models.CharField(max_length=40)

    def get_absolute_url(self):
        return f"/customers/{self.pk}/"
""",
    "crm/cti.py": """
from cti_django import contacts
from .models import Customer
contacts.register(Customer, ["phone"])
""",
    "conftest.py": """
import pytest
from django.contrib.auth import get_user_model
pytest_plugins = ["cti_django.testing.fixtures"]

@pytest.fixture
def alice(db):
    return get_user_model().objects.create_superuser("alice")

@pytest.fixture
def dana(db):
    from crm.models import Customer
    return Customer.objects.create(phone="+442079460018")
""",
    "test_pops.py": """
import pytest

def test_a_known_caller_pops(pbx, alice, dana):
    pbx.ring("+442079460018", to=alice)
    assert pbx.pops[0].record_url == dana.get_absolute_url()

def test_nothing_is_left_of_it(pbx, alice):
    pbx.ring("+442079460018", to=alice)
    assert pbx.pops[0].match == "none"

@pytest.mark.asyncio
async def test_it_is_the_same_in_an_async_test(pbx, alice, dana):
    await pbx.aring("+442079460018", to=alice)
    assert pbx.pops[0].record_url == dana.get_absolute_url()

@pytest.mark.django_db(transaction=True)
def test_and_with_committed_data(pbx, alice, dana):
    pbx.ring("+442079460018", to=alice)
    pbx.answer()
    pbx.hang_up()
    assert pbx.event_names == ["RINGING", "CONNECTED", "HANGUP"]
""",
}


MEMORY = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A database in memory, and one with real transactions and connections."""
    if request.param == "sqlite":
        return MEMORY
    return request.getfixturevalue("postgres_server").database("crm")


def test_a_project_uses_it_as_documented(tmp_path: Path, database: dict[str, Any]):
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("<database>", repr(database)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--ds=crm_settings", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
