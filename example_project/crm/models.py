"""Companies, their people, and what is being sold to them. Nothing here knows of cti_django."""

from django.conf import settings
from django.db import models
from django.urls import reverse


class Company(models.Model):
    name = models.CharField(max_length=120, unique=True)
    phone = models.CharField("switchboard", max_length=40, blank=True)
    website = models.URLField(blank=True)
    city = models.CharField(max_length=80, blank=True)
    country = models.CharField(max_length=80, blank=True)
    about = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "companies"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("company", args=[self.pk])


class Contact(models.Model):
    first_name = models.CharField(max_length=60, blank=True)
    last_name = models.CharField(max_length=80)
    company = models.ForeignKey(Company, on_delete=models.SET_NULL, related_name="contacts", null=True, blank=True)
    job_title = models.CharField(max_length=80, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=40, blank=True)
    mobile = models.CharField(max_length=40, blank=True)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["last_name", "first_name", "pk"]

    def __str__(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def get_absolute_url(self) -> str:
        return reverse("contact", args=[self.pk])

    @property
    def initials(self) -> str:
        return (self.first_name[:1] + self.last_name[:1]).upper()


class ContactPhone(models.Model):
    """One of the further numbers of a contact: home, assistant, second office ..."""

    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="phones")
    label = models.CharField(max_length=40)
    number = models.CharField(max_length=40)

    class Meta:
        ordering = ["pk"]
        verbose_name = "further number"

    def __str__(self) -> str:
        return f"{self.label}: {self.number}"


class Deal(models.Model):
    class Stage(models.TextChoices):
        LEAD = "lead", "Lead"
        OFFER = "offer", "Offer sent"
        NEGOTIATION = "negotiation", "Negotiation"
        WON = "won", "Won"
        LOST = "lost", "Lost"

    OPEN_STAGES = (Stage.LEAD, Stage.OFFER, Stage.NEGOTIATION)

    title = models.CharField(max_length=120)
    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="deals")
    contact = models.ForeignKey(Contact, on_delete=models.SET_NULL, related_name="deals", null=True, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, related_name="deals", null=True, blank=True
    )
    stage = models.CharField(max_length=20, choices=Stage, default=Stage.LEAD)
    value = models.DecimalField("value (£)", max_digits=12, decimal_places=2, default=0)
    close_on = models.DateField("expected close", null=True, blank=True)
    notes = models.TextField(blank=True)

    class Meta:
        ordering = ["close_on", "pk"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("deal", args=[self.pk])
