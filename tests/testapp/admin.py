"""The test CRM's admin."""

from django.contrib import admin

from .models import Badge, Person

admin.site.register([Person, Badge])
