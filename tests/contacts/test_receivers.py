"""The index follows saves, deletes, related rows and links, after the commit and not before."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext

from cti_django import contacts
from cti_django.contacts import receivers
from cti_django.models import ContactNumber
from tests.testapp.models import Client, Company, Person, PersonNumber, Tag

pytestmark = pytest.mark.django_db(transaction=True)


def index_of(person: Person) -> list[str]:
    rows = ContactNumber.objects.filter(object_id=str(person.pk), content_type__model="person")
    return sorted(rows.values_list("number", flat=True))


def test_saving_changing_and_deleting_a_record_is_followed() -> None:
    dana = Person.objects.create(name="Dana", phone="020 7946 0018")
    assert index_of(dana) == ["+442079460018"]
    dana.phone, dana.mobile = "020 7946 0019", "+49 30 1234567"
    dana.save()
    assert index_of(dana) == ["+442079460019", "+49301234567"]
    dana.name = "Dana B."
    dana.save()
    assert set(ContactNumber.objects.values_list("label", flat=True)) == {"Dana B."}
    dana.delete()
    assert not ContactNumber.objects.exists()


def test_related_rows_are_followed_also_from_one_record_to_another() -> None:
    dana, eve = Person.objects.create(name="Dana"), Person.objects.create(name="Eve")
    row = PersonNumber.objects.create(person=dana, value="020 7946 0018")
    assert index_of(dana) == ["+442079460018"]
    row.value = "020 7946 0019"
    row.save()
    assert index_of(dana) == ["+442079460019"]
    row.person = eve
    row.save()
    assert (index_of(dana), index_of(eve)) == ([], ["+442079460019"])
    row.delete()
    assert index_of(eve) == []


def test_links_are_followed_from_both_ends() -> None:
    dana = Person.objects.create(name="Dana")
    tag = Tag.objects.create(hotline="020 7946 0018")
    other = Tag.objects.create(hotline="020 7946 0019")
    dana.tags.add(tag)
    assert index_of(dana) == ["+442079460018"]
    tag.hotline = "020 7946 0020"
    tag.save()
    assert index_of(dana) == ["+442079460020"]
    dana.tags.set([other])
    assert index_of(dana) == ["+442079460019"]
    tag.person_set.add(dana)
    assert index_of(dana) == ["+442079460019", "+442079460020"]
    tag.person_set.clear()
    assert index_of(dana) == ["+442079460019"]
    other.delete()
    assert index_of(dana) == []
    dana.tags.add(tag)
    dana.tags.clear()
    assert index_of(dana) == []


@pytest.mark.usefixtures("no_sources")
def test_a_row_that_many_records_share_is_followed_for_all_of_them() -> None:
    contacts.register(Person, related=["company__switchboard"])
    acme = Company.objects.create(name="Acme", switchboard="020 7946 0018")
    dana, eve = (Person.objects.create(name=name, company=acme) for name in ("Dana", "Eve"))
    assert index_of(dana) == index_of(eve) == ["+442079460018"]
    acme.switchboard = "020 7946 0019"
    acme.save()
    assert index_of(dana) == index_of(eve) == ["+442079460019"]
    acme.delete()
    assert index_of(dana) == index_of(eve) == []


@pytest.mark.usefixtures("no_sources")
def test_a_path_may_lead_over_several_relations() -> None:
    contacts.register(Company, related=["person__numbers__value", "person__tags__hotline"])
    acme = Company.objects.create(name="Acme")
    dana = Person.objects.create(name="Dana", company=acme)
    row = PersonNumber.objects.create(person=dana, value="020 7946 0018")
    dana.tags.add(Tag.objects.create(hotline="020 7946 0019"))
    assert ContactNumber.objects.count() == 2
    row.delete()
    dana.tags.clear()
    assert not ContactNumber.objects.exists()


def test_a_child_by_inheritance_is_followed_as_its_parent() -> None:
    client = Client.objects.create(name="Dana", phone="020 7946 0018", account_number="7")
    assert index_of(client) == ["+442079460018"]
    client.delete()
    assert not ContactNumber.objects.exists()


@pytest.mark.usefixtures("no_sources")
def test_a_registered_child_is_followed_when_only_its_parent_is_saved() -> None:
    contacts.register(Client, ["phone"])
    client = Client.objects.create(name="Dana", phone="020 7946 0018", account_number="7")
    person = Person.objects.get(pk=client.pk)
    person.phone = "020 7946 0019"
    person.save()
    assert list(ContactNumber.objects.values_list("number", flat=True)) == ["+442079460019"]


def test_nothing_is_indexed_before_the_commit_and_nothing_after_a_rollback() -> None:
    with transaction.atomic():
        Person.objects.create(name="Dana", phone="020 7946 0018")
        assert not ContactNumber.objects.exists()
        transaction.set_rollback(True)
    assert not ContactNumber.objects.exists()


def test_a_rolled_back_savepoint_costs_no_other_record_its_place() -> None:
    with transaction.atomic():
        with transaction.atomic():
            Person.objects.create(name="Gone", phone="020 7946 0018")
            transaction.set_rollback(True)
        eve = Person.objects.create(name="Eve", phone="020 7946 0019")
    assert index_of(eve) == ["+442079460019"]
    assert ContactNumber.objects.count() == 1


def test_a_thousand_saves_in_one_transaction_are_indexed_together() -> None:
    with transaction.atomic():
        for number in range(1000):
            Person.objects.create(name=f"P{number}", phone=f"020 7946 {number:04}")
    assert ContactNumber.objects.count() == 1000
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        for person in Person.objects.all()[:50]:
            person.save()
    assert len(captured) < 50 + 12


def test_a_label_that_fails_stops_neither_the_crm_nor_the_other_records(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dana = Person.objects.create(name="Dana", phone="020 7946 0018")
    eve = Person.objects.create(name="Eve")

    def broken(person: Person) -> str:
        if person.name == "Dana":
            raise RuntimeError("broken label")
        return person.name

    monkeypatch.setattr(Person, "__str__", broken)
    dana.phone = eve.phone = "020 7946 0019"
    with transaction.atomic():
        dana.save()
        eve.save()
    assert (index_of(dana), index_of(eve)) == (["+442079460018"], ["+442079460019"])
    assert "broken label" in caplog.text


def test_an_index_that_fails_never_stops_the_crm_from_saving(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("broken index")

    monkeypatch.setattr(receivers, "index_records", broken)
    assert Person.objects.create(name="Dana", phone="020 7946 0018").pk
    with transaction.atomic():
        assert Person.objects.create(name="Eve", phone="020 7946 0018").pk
    assert caplog.text.count("broken index") >= 2


def test_raw_fixtures_are_indexed_too() -> None:
    person = Person(pk=77, name="Dana", phone="020 7946 0018")
    person.save_base(raw=True)
    assert index_of(person) == ["+442079460018"]


@pytest.mark.usefixtures("no_sources")
def test_models_that_are_no_source_keep_djangos_fast_deletion() -> None:
    assert not post_delete.has_listeners(Company)
    contacts.register(Company, ["switchboard"])
    assert post_delete.has_listeners(Company)
    assert not post_delete.has_listeners(Tag)
    contacts.unregister(Company)
    assert not post_delete.has_listeners(Company)
