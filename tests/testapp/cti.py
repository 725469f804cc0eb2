"""The contact sources of the test CRM."""

from cti_django import contacts

from .models import Badge, Company, Person

contacts.register(
    Person,
    ["phone", "mobile", "others"],
    related=["numbers__value", "tags__hotline"],
    detail="company",
    prefetch=["company"],
    create_url=lambda number: f"/people/new/?phone={number}",
    priority=10,
)
contacts.register(Company, ["switchboard"])
contacts.register(Badge, ["extension"], label="holder")
