"""The index: complete, economical, and harmless to build again."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cti_django import contacts
from cti_django.models import ContactNumber
from tests.testapp.models import Badge, Company, Person, PersonNumber, Tag

pytestmark = pytest.mark.django_db


def people(count: int) -> list[Person]:
    """Saved without any signal."""
    company = Company.objects.create(name="Acme")
    return Person.objects.bulk_create(
        Person(name=f"P{number}", phone=f"020 7946 {number:04}", company=company) for number in range(count)
    )


def numbers() -> set[tuple[str, str]]:
    return {(row.label, row.number or row.extension) for row in ContactNumber.objects.all()}


def test_a_record_is_indexed_with_all_its_numbers_in_normal_form() -> None:
    company = Company.objects.create(name="Acme")
    (dana,) = Person.objects.bulk_create(
        [Person(name="Dana", company=company, phone="020 7946 0018 / 020 7946 0019", others=["+49 30 1234567", "201"])]
    )
    PersonNumber.objects.bulk_create([PersonNumber(person=dana, value="+33 1 42 68 53 00")])
    dana.tags.through.objects.bulk_create(
        [dana.tags.through(person=dana, tag=Tag.objects.create(hotline="+1 212 555 2368"))]
    )
    assert contacts.index(Person.objects.all()) == 1
    rows = {row.number or row.extension: row for row in ContactNumber.objects.all()}
    assert set(rows) == {"+442079460018", "+442079460019", "+49301234567", "201", "+33142685300", "+12125552368"}
    first = rows["+442079460018"]
    assert (first.field, first.label, first.detail, first.url) == ("phone", "Dana", "Acme", f"/people/{dana.pk}/")
    assert (first.object_id, first.kind, first.is_primary) == (str(dana.pk), "number", True)
    assert first.national_reversed == "8100649702"
    assert (rows["201"].field, rows["201"].kind, rows["201"].is_primary) == ("others", "extension", False)
    assert rows["+33142685300"].field == "numbers__value"
    assert rows["+12125552368"].field == "tags__hotline"


def test_indexing_again_writes_nothing() -> None:
    people(20)
    contacts.index(Person.objects.all())
    before = list(ContactNumber.objects.values())
    with CaptureQueriesContext(connection) as captured:
        contacts.index(Person.objects.all())
    assert not [query for query in captured if not query["sql"].startswith("SELECT")]
    assert list(ContactNumber.objects.values()) == before


def test_indexing_costs_the_same_few_statements_however_many_records_there_are() -> None:
    people(300)
    with CaptureQueriesContext(connection) as captured:
        assert contacts.index(Person.objects.all(), batch=300) == 300
    reads = [query for query in captured if query["sql"].startswith("SELECT")]
    assert len(reads) <= 8
    assert len(captured) <= 8 + 6  # SQLite's limit on variables splits the insert


def test_every_batch_is_indexed_and_told() -> None:
    people(10)
    told: list[int] = []
    assert contacts.index(Person.objects.all(), batch=4, progress=told.append) == 10
    assert told == [4, 8, 10]
    assert ContactNumber.objects.count() == 10


def test_a_filtered_or_sliced_queryset_indexes_just_its_records() -> None:
    people(10)
    assert contacts.index(Person.objects.filter(name="P3")) == 1
    assert numbers() == {("P3", "+442079460003")}
    assert contacts.index(Person.objects.order_by("-pk")[:3]) == 3
    assert ContactNumber.objects.count() == 4


def test_changes_that_no_signal_told_are_made_good() -> None:
    people(3)
    contacts.index(Person.objects.all())
    Person.objects.filter(name="P1").update(phone="020 7946 9999", name="Peter")
    contacts.index(Person.objects.all())
    assert ("Peter", "+442079469999") in numbers()
    assert ContactNumber.objects.count() == 3


def test_what_is_in_the_index_already_is_replaced_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes index one record at the same time: neither sees the other's rows, both write."""
    people(1)
    contacts.index(Person.objects.all())
    monkeypatch.setattr("django.db.models.query.QuerySet.__iter__", _blind_to(ContactNumber))
    contacts.index(Person.objects.all())
    monkeypatch.undo()
    assert ContactNumber.objects.count() == 1


def _blind_to(model: Any) -> Any:
    from django.db.models.query import QuerySet

    seeing = QuerySet.__iter__
    return lambda queryset: iter(()) if queryset.model is model else seeing(queryset)


def test_records_with_other_keys_than_integers_are_indexed() -> None:
    badge = Badge.objects.bulk_create([Badge(holder="Dana", extension="201")])[0]
    contacts.index(Badge.objects.all())
    row = ContactNumber.objects.get()
    assert (row.object_id, row.extension, row.label, row.contact) == (str(badge.pk), "201", "Dana", badge)


@pytest.mark.usefixtures("no_sources")
def test_numbers_may_come_from_a_function_and_belong_to_a_region_of_their_own() -> None:
    contacts.register(
        Company, numbers=lambda company: [company.name], region=lambda company: "DE", label=lambda company: "Firma"
    )
    Company.objects.bulk_create([Company(name="030 1234567")])
    contacts.index(Company.objects.all())
    assert numbers() == {("Firma", "+49301234567")}


@pytest.mark.usefixtures("no_sources")
def test_long_labels_are_cut_and_cleaned() -> None:
    contacts.register(Company, ["switchboard"], label=lambda company: "x\x00" * 300)
    Company.objects.bulk_create([Company(name="Acme", switchboard="020 7946 0018")])
    contacts.index(Company.objects.all())
    row = ContactNumber.objects.get()
    assert set(row.label) == {"x"}


@pytest.mark.usefixtures("no_sources")
def test_a_model_that_is_not_registered_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"testapp\.Company is not registered"):
        contacts.index(Company.objects.all())


def test_orphans_are_removed_and_nothing_else() -> None:
    gone, *_others = people(10)
    contacts.index(Person.objects.all())
    Person.objects.filter(pk=gone.pk)._raw_delete("default")
    (source,) = [source for source in contacts.registered() if source.model is Person]
    assert contacts.remove_orphans(source, batch=3) == 1
    assert contacts.remove_orphans(source, batch=3) == 0
    assert ContactNumber.objects.count() == 9
