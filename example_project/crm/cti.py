"""CTI: where this CRM keeps telephone numbers. Found by itself, as admin.py is.

From here on callers are matched against these records, and everything that follows (the pop, click-to-call, the call
history) knows them. Numbers may be written in any way; they are read once, when a record is saved.
"""

from urllib.parse import urlencode

from django.urls import reverse

from cti_django.contacts import register

from .models import Company, Contact


def new_contact_url(number: str) -> str:
    """Where the pop of an unknown caller leads: our own form, filled in."""
    return f"{reverse('contact-new')}?{urlencode({'phone': number})}"


register(
    Contact,
    fields=["phone", "mobile"],
    related=["phones__number"],  # the rows of ContactPhone
    detail="company",  # shown below the name when several people share a number
    prefetch=["company"],
    url="contact",
    create_url=new_contact_url,
    priority=10,  # a person is a better answer than the company's switchboard
)
register(Company, fields=["phone"], detail="city", url="company")
