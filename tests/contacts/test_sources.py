"""Registering: what a CRM says of its models, and the mistakes it is told of."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from cti_django import contacts
from cti_django.contacts.sources import source_for
from tests.testapp.models import Badge, Client, Company, Person


def test_the_cti_module_of_an_installed_app_is_found() -> None:
    assert {source.model_label for source in contacts.registered()} == {
        "testapp.person",
        "testapp.company",
        "testapp.badge",
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"fields": ["fone"]}, ["testapp.Person", "'fone'", "'phone'"]),
        ({"fields": ["company"]}, ["testapp.Person", "'company'", "relation"]),
        ({"fields": ["numbers"]}, ["testapp.Person", "'numbers'", "relation"]),
        ({"fields": "phone"}, ["testapp.Person", "lists"]),
        ({"related": ["phone"]}, ["testapp.Person", "'phone'", "fields"]),
        ({"related": ["phone__value"]}, ["testapp.Person", "'phone'", "no relation"]),
        ({"related": ["numbers__valu"]}, ["testapp.Person", "testapp.PersonNumber", "'valu'", "'value'"]),
        ({"related": ["company__person"]}, ["testapp.Person", "'person'", "relation"]),
        ({}, ["testapp.Person", "without any number"]),
    ],
)
@pytest.mark.usefixtures("no_sources")
def test_a_mistake_names_the_model_and_the_field(arguments: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        contacts.register(Person, **arguments)
    assert all(word in str(caught.value) for word in named)
    assert contacts.registered() == []


@pytest.mark.usefixtures("no_sources")
def test_a_model_is_registered_once() -> None:
    contacts.register(Person, ["phone"])
    with pytest.raises(ImproperlyConfigured, match=r"testapp\.Person is registered"):
        contacts.register(Person, ["mobile"])
    contacts.unregister(Person)
    with pytest.raises(ImproperlyConfigured, match=r"testapp\.Person is not registered"):
        contacts.unregister(Person)


@pytest.mark.usefixtures("no_sources")
def test_a_child_by_inheritance_belongs_to_the_source_of_its_parent() -> None:
    contacts.register(Person, ["phone"])
    source = source_for(Client)
    assert source is not None
    assert source.model is Person
    assert source_for(Company) is None


@pytest.mark.usefixtures("no_sources")
def test_sources_come_in_the_order_of_their_priority() -> None:
    contacts.register(Badge, ["extension"])
    contacts.register(Company, ["switchboard"], priority=5)
    contacts.register(Person, ["phone"], priority=10)
    assert [source.model for source in contacts.registered()] == [Person, Company, Badge]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "people/1", "", None, "/" + "x" * 500])
@pytest.mark.usefixtures("no_sources")
def test_an_url_that_no_browser_should_follow_is_none(url: Any) -> None:
    contacts.register(Person, ["phone"], url=lambda person: url)
    assert contacts.registered()[0].stored_url(Person(pk=1)) == ""
