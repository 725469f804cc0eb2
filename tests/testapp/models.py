"""A small CRM with the shapes of number that CRMs have: plain fields, JSON lists, related rows, odd primary keys."""

import uuid

from django.db import models
from django.urls import reverse

__all__ = ["Badge", "Client", "Company", "Person", "PersonNumber", "Tag"]


class Company(models.Model):
    name = models.CharField(max_length=100)
    switchboard = models.CharField(max_length=40, blank=True)

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    hotline = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.hotline


class Person(models.Model):
    name = models.CharField(max_length=100)
    company = models.ForeignKey(Company, models.SET_NULL, null=True, blank=True)
    phone = models.CharField(max_length=80, blank=True)
    mobile = models.CharField(max_length=80, blank=True)
    others = models.JSONField(default=list, blank=True)
    tags = models.ManyToManyField(Tag, blank=True)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("person", args=[self.pk])


class PersonNumber(models.Model):
    person = models.ForeignKey(Person, models.CASCADE, related_name="numbers")
    value = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.value


class Client(Person):
    """A child by multi-table inheritance: saving it saves a Person."""

    account_number = models.CharField(max_length=20)


class Badge(models.Model):
    """A record whose primary key is no integer."""

    badge_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    holder = models.CharField(max_length=100)
    extension = models.CharField(max_length=10, blank=True)

    def __str__(self) -> str:
        return self.holder
