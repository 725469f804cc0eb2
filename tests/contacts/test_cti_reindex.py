"""``manage.py cti_reindex``."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cti_django import contacts
from cti_django.models import ContactNumber
from tests.testapp.models import Badge, Company, Person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _records() -> None:
    Person.objects.bulk_create(Person(name=f"P{number}", phone=f"020 7946 {number:04}") for number in range(30))
    Badge.objects.bulk_create([Badge(holder="Bob", extension="201")])


def reindex(*arguments: str, **options: Any) -> list[str]:
    out = StringIO()
    call_command("cti_reindex", *arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue().splitlines()


def test_all_registered_models_are_indexed() -> None:
    told = reindex()
    assert ContactNumber.objects.count() == 31
    assert [line.split(":")[0] for line in told] == ["testapp.person", "testapp.company", "testapp.badge"]
    assert "30 records" in told[0]


def test_one_model_can_be_named() -> None:
    reindex("testapp.Badge")
    assert ContactNumber.objects.count() == 1


def test_json_is_one_object_a_line() -> None:
    told = [json.loads(line) for line in reindex("--json", "--batch", "7")]
    assert [(each["model"], each["records"], each["removed"]) for each in told] == [
        ("testapp.person", 30, 0),
        ("testapp.company", 0, 0),
        ("testapp.badge", 1, 0),
    ]
    assert all(each["seconds"] >= 0 for each in told)


def test_running_it_again_changes_nothing() -> None:
    reindex()
    before = list(ContactNumber.objects.order_by("pk").values())
    reindex()
    assert list(ContactNumber.objects.order_by("pk").values()) == before


def test_rows_of_records_that_are_gone_are_removed() -> None:
    reindex()
    Person.objects.filter(name__in=["P1", "P2"])._raw_delete("default")
    assert json.loads(reindex("testapp.person", "--json")[0])["removed"] == 2
    assert ContactNumber.objects.count() == 29


@pytest.mark.usefixtures("no_sources")
def test_rows_of_models_that_are_no_sources_any_more_are_removed() -> None:
    contacts.register(Person, ["phone"])
    contacts.register(Badge, ["extension"])
    reindex()
    contacts.unregister(Badge)
    assert json.loads(reindex("--json")[-1]) == {"model": None, "records": 0, "removed": 1, "seconds": 0.0}
    assert ContactNumber.objects.count() == 30


def test_it_never_asks_once_for_each_record() -> None:
    company = Company.objects.create(name="Acme")
    Person.objects.update(company=company)
    with CaptureQueriesContext(connection) as captured:
        reindex("testapp.person")
    assert len(captured) < 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["testapp.tag"], "testapp.person"),
        (["testapp.nothing"], "testapp.nothing"),
        (["nonsense"], "nonsense"),
        (["--batch", "0"], "--batch"),
    ],
)
def test_mistakes_are_named(arguments: list[str], named: str) -> None:
    with pytest.raises(CommandError, match=named):
        reindex(*arguments)


def test_a_terminal_sees_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    err = StringIO()
    call_command("cti_reindex", "testapp.person", "--batch", "10", stdout=StringIO(), stderr=err)
    assert "testapp.person [" in err.getvalue()
    assert "30/30" in err.getvalue()
