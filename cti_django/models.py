"""What the database keeps: accounts, leases, the number index, remembered choices, calls and notes.

Nothing here touches a project's own tables. Records of the CRM are named by content type and primary key (as text),
so any model with any primary key will do.
"""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from encrypted_fields.fields import EncryptedCharField

from .calls.numbers import PartyKind
from .calls.states import CallState, Direction, EndReason
from .conf import get_settings
from .connectors.base import Credentials
from .exceptions import LoginRefused

__all__ = [
    "AgentLease",
    "CallNote",
    "CallRecord",
    "ConnectorAccount",
    "ContactNumber",
    "Instruction",
    "PopAction",
    "PopWhen",
    "RememberedChoice",
    "WebhookDelivery",
]

NOTE_MAX = 10_000
"""The longest note on a call (characters)."""

_FERNET_TOKEN = "gAAAAA"  # noqa: S105  how every Fernet token begins: version 0x80 and the high bytes of the time


def default_connector() -> str:
    """The project's connector, for accounts that name none."""
    return get_settings().connector


class PopAction(models.TextChoices):
    """What happens in the browser when a caller is matched."""

    OPEN = "open", _("open the record")
    CARD = "card", _("show a card")
    NONE = "none", _("do nothing")


class PopWhen(models.TextChoices):
    """When it happens."""

    RING = "ring", _("when it rings")
    ANSWER = "answer", _("when the call is answered")


class ConnectorAccount(models.Model):
    """An agent's account with a telephone system. Its secrets are encrypted in the database and stay on the server."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="cti_account", verbose_name=_("agent")
    )
    connector = models.CharField(_("connector"), max_length=40, default=default_connector)
    username = models.CharField(_("user name"), max_length=254, blank=True)
    password = EncryptedCharField(_("password"), max_length=255, null=True, blank=True)
    api_key = EncryptedCharField(_("API key"), max_length=255, null=True, blank=True)
    number = models.CharField(_("own extension or number"), max_length=40, blank=True)
    options = models.JSONField(_("connector options"), default=dict, blank=True)
    region = models.CharField(
        _("region"), max_length=2, blank=True, help_text=_("ISO 3166, such as GB; empty: the project's.")
    )
    pop_action = models.CharField(
        _("when a caller is known"),
        max_length=8,
        choices=PopAction,
        blank=True,
        help_text=_("Empty: as the project does."),
    )
    pop_when = models.CharField(
        _("and do so"), max_length=8, choices=PopWhen, blank=True, help_text=_("Empty: as the project does.")
    )
    is_active = models.BooleanField(_("active"), default=True)
    keep_open = models.BooleanField(
        _("keep the session open"), default=False, help_text=_("Even while the agent has no page open.")
    )

    class Meta:
        verbose_name = _("telephone account")
        verbose_name_plural = _("telephone accounts")
        permissions = [
            ("use_telephone", _("Can use the telephone")),
            ("supervise_calls", _("Can see the calls of others and write notes on them")),
        ]

    def __str__(self) -> str:
        return str(self.user)

    def credentials(self) -> Credentials:
        """The plain values that a connector logs in with.

        Raises:
            LoginRefused: the stored secrets cannot be read with the project's present keys.
        """
        password, api_key = self.password or "", self.api_key or ""
        if password.startswith(_FERNET_TOKEN) or api_key.startswith(_FERNET_TOKEN):
            # The field hands out the ciphertext if no key fits; it must not be sent anywhere as a password.
            raise LoginRefused("The stored password cannot be read any more. Enter it again.", code="unreadable_secret")
        return Credentials(username=self.username, password=password, api_key=api_key)


class Instruction(models.TextChoices):
    """What somebody asks of the process that runs a session."""

    HAND_OVER = "hand_over", _("hand over to another process")
    CLOSE = "close", _("close")
    RELOAD = "reload", _("log in again, the account has changed")


class AgentLease(models.Model):
    """Which process runs an agent's session, and until when anybody looks at it: one row, two clocks."""

    agent = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="cti_lease", verbose_name=_("agent")
    )
    holder = models.CharField(_("holder"), max_length=64, blank=True)
    fence = models.BigIntegerField(_("fence"), default=0)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    wanted_until = models.DateTimeField(_("wanted until"), null=True, blank=True)
    since = models.DateTimeField(_("since"), null=True, blank=True)
    link = models.CharField(_("link"), max_length=12, blank=True)
    instruction = models.CharField(_("instruction"), max_length=12, choices=Instruction, blank=True)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")

    def __str__(self) -> str:
        return str(self.agent)


class ContactNumber(models.Model):
    """One number of one CRM record, in the form that callers are compared with. Kept by ``contacts``, not by hand."""

    content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
    object_id = models.CharField(max_length=255)
    contact = GenericForeignKey("content_type", "object_id")
    field = models.CharField(max_length=100)
    number = models.CharField(max_length=20, blank=True)
    national_reversed = models.CharField(max_length=20, blank=True)
    extension = models.CharField(max_length=20, blank=True)
    kind = models.CharField(max_length=12)
    label = models.CharField(max_length=200)
    detail = models.CharField(max_length=200, blank=True)
    url = models.CharField(max_length=500, blank=True)
    is_primary = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("contact number")
        verbose_name_plural = _("contact numbers")
        indexes = [
            models.Index(fields=["number", "extension"], name="cti_number_by_number"),
            models.Index(fields=["national_reversed"], name="cti_number_by_end"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["content_type", "object_id", "number", "extension"], name="cti_number_once_per_record"
            ),
        ]

    def __str__(self) -> str:
        return self.number or self.extension


class RememberedChoice(models.Model):
    """Which of several records an agent chose for a number."""

    agent = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    number = models.CharField(max_length=20)
    content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
    object_id = models.CharField(max_length=255)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("remembered choice")
        verbose_name_plural = _("remembered choices")
        constraints = [models.UniqueConstraint(fields=["agent", "number"], name="cti_choice_once_per_number")]

    def __str__(self) -> str:
        return self.number


_STATES = {
    CallState.INITIAL: _("own phone rings"),
    CallState.ACCEPTED: _("dialling"),
    CallState.RINGING: _("ringing"),
    CallState.CONNECTED: _("connected"),
    CallState.ON_HOLD: _("on hold"),
    CallState.HANGUP: _("ended"),
    CallState.CANCEL: _("cancelled"),
}
_DIRECTIONS = {Direction.INBOUND: _("inbound"), Direction.OUTBOUND: _("outbound")}
_KINDS = {
    PartyKind.NUMBER: _("number"),
    PartyKind.EXTENSION: _("extension"),
    PartyKind.WITHHELD: _("withheld"),
    PartyKind.UNAVAILABLE: _("unavailable"),
    PartyKind.ALPHANUMERIC: _("name"),
    PartyKind.SIP_URI: _("SIP address"),
    PartyKind.EMERGENCY: _("emergency"),
}
_END_REASONS = {
    EndReason.COMPLETED: _("completed"),
    EndReason.MISSED: _("missed"),
    EndReason.NO_ANSWER: _("no answer"),
    EndReason.BUSY: _("busy"),
    EndReason.REJECTED: _("rejected"),
    EndReason.CANCELLED: _("cancelled"),
    EndReason.INFERRED: _("end not seen"),
    EndReason.TRANSFERRED: _("transferred"),
    EndReason.ELSEWHERE: _("answered elsewhere"),
}


class CallRecord(models.Model):
    """One call of one agent, as far as it has come. Written by ``calllog`` only."""

    call_id = models.CharField(_("call id"), max_length=64, unique=True)
    agent = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="cti_calls", verbose_name=_("agent")
    )
    connector = models.CharField(_("connector"), max_length=40)
    provider_call_id = models.CharField(_("provider's call id"), max_length=128, blank=True)
    leg_id = models.CharField(_("leg"), max_length=128, blank=True)
    command_id = models.CharField(_("command"), max_length=128, blank=True)
    direction = models.CharField(
        _("direction"), max_length=8, choices=[(key.value, label) for key, label in _DIRECTIONS.items()]
    )
    state = models.CharField(_("state"), max_length=12, choices=[(key.value, label) for key, label in _STATES.items()])
    source_raw = models.CharField(_("caller"), max_length=128, blank=True)
    source_name = models.CharField(_("caller's name"), max_length=128, blank=True)
    destination_raw = models.CharField(_("called"), max_length=128, blank=True)
    destination_name = models.CharField(_("called name"), max_length=128, blank=True)
    number = models.CharField(
        _("other side"), max_length=128, blank=True, help_text=_("E.164, or an extension; empty if withheld.")
    )
    kind = models.CharField(_("kind"), max_length=12, choices=[(key.value, label) for key, label in _KINDS.items()])
    started_at = models.DateTimeField(_("started at"))
    connected_at = models.DateTimeField(_("connected at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    end_reason = models.CharField(
        _("end"), max_length=12, blank=True, choices=[(key.value, label) for key, label in _END_REASONS.items()]
    )
    cause = models.CharField(_("cause"), max_length=200, blank=True)
    heard_at = models.DateTimeField(
        _("last heard of at"),
        null=True,
        blank=True,
        help_text=_("An end that was not seen lies between this and the end's time."),
    )
    fence = models.BigIntegerField(_("fence"), default=0, help_text=_("The highest under which it was written."))
    content_type = models.ForeignKey(ContentType, models.SET_NULL, null=True, blank=True, related_name="+")
    object_id = models.CharField(max_length=255, blank=True)
    contact = GenericForeignKey("content_type", "object_id")

    class Meta:
        verbose_name = _("call")
        verbose_name_plural = _("calls")
        ordering = ["-started_at", "-pk"]
        indexes = [
            models.Index(fields=["agent", "started_at"], name="cti_call_by_agent"),
            models.Index(fields=["number", "started_at"], name="cti_call_by_number"),
            models.Index(fields=["content_type", "object_id", "started_at"], name="cti_call_by_contact"),
            models.Index(fields=["agent", "state"], name="cti_call_open"),
            models.Index(fields=["state", "started_at"], name="cti_call_by_state"),
        ]

    def __str__(self) -> str:
        return self.call_id


class CallNote(models.Model):
    """What one agent wrote about one call."""

    call = models.ForeignKey(CallRecord, models.CASCADE, related_name="notes", verbose_name=_("call"))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("author")
    )
    text = models.TextField(_("note"), max_length=NOTE_MAX)
    created_at = models.DateTimeField(_("written at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed at"), auto_now=True)

    class Meta:
        verbose_name = _("note")
        verbose_name_plural = _("notes")
        constraints = [models.UniqueConstraint(fields=["call", "author"], name="cti_note_once_per_author")]

    def __str__(self) -> str:
        return self.text[:50]


class WebhookDelivery(models.Model):
    """What a telephone system has pushed, once: the journal. Written by ``deliveries`` only, and kept for a while."""

    endpoint = models.CharField(_("endpoint"), max_length=40)
    received_at = models.DateTimeField(_("received at"))
    stage = models.CharField(_("event"), max_length=12)
    provider_call_id = models.CharField(_("provider's call id"), max_length=128)
    names = models.TextField(_("about"), help_text=_("One on each line, and a line end before the first."))
    fields = models.JSONField(_("fields"))
    digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  NULL: may come again, and is unique all the same

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["endpoint", "provider_call_id"], name="cti_delivery_by_call"),
            models.Index(fields=["endpoint", "received_at"], name="cti_delivery_by_time"),
        ]
        constraints = [models.UniqueConstraint(fields=["endpoint", "digest"], name="cti_delivery_once")]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.pk}"
