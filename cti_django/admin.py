"""The app's own admin: accounts, sessions, calls and notes, the number index.

Only accounts are made and changed here, and their secrets go in but never come out; everything else is written by the
app and can only be looked at. Lists use the tables' indexes: exact search, and no count of a whole call log.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from phonenumbers import SUPPORTED_REGIONS

from . import calllog
from .admin_mixins import CTIAdminMixin
from .calls.numbers import read_number, shown_name
from .calls.states import Direction
from .conf import get_settings
from .connectors.base import Credentials
from .contacts import rights_from
from .models import AgentLease, CallNote, CallRecord, ConnectorAccount, ContactNumber, RememberedChoice
from .sessions.registry import build_connector

__all__ = [
    "AgentLeaseAdmin",
    "CallNoteAdmin",
    "CallRecordAdmin",
    "ConnectorAccountAdmin",
    "ConnectorAccountForm",
    "ContactNumberAdmin",
    "RememberedChoiceAdmin",
]


def _secret_field(label: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=255,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Leave empty to keep what is stored. It is never shown again."),
    )


_ACCOUNT_HELP = {
    "username": _("As your telephone system knows the agent; VoIPstudio: the e-mail address."),
    "number": _("What colleagues dial to reach the agent. Empty: as the telephone system tells."),
}


class ConnectorAccountForm(forms.ModelForm):
    """An account, with its secrets write-only: empty keeps the stored one, a tick box forgets it."""

    new_password = _secret_field(_("Password"))
    clear_password = forms.BooleanField(label=_("Forget the stored password"), required=False)
    new_api_key = _secret_field(_("API key"))
    clear_api_key = forms.BooleanField(label=_("Forget the stored API key"), required=False)

    class Meta:
        model = ConnectorAccount
        exclude = ("password", "api_key")  # noqa: DJ006  whatever else an account has may be edited

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, text in _ACCOUNT_HELP.items():
            if name in self.fields:
                self.fields[name].help_text = text
        if self.instance.pk is None:  # nothing is stored that could be kept
            for name in ("new_password", "new_api_key"):
                self.fields[name].help_text = _("It is never shown again.")
        if "connector" in self.fields:
            names = sorted({*get_settings().connectors, *filter(None, [self.instance.connector])})
            initial = self.fields["connector"].initial
            self.fields["connector"] = forms.ChoiceField(
                label=self.fields["connector"].label, choices=[(name, name) for name in names], initial=initial
            )

    def clean_region(self) -> str:
        """Capitals, as ISO 3166 writes it."""
        region = self.cleaned_data["region"].strip().upper()
        if region and region not in SUPPORTED_REGIONS:
            raise forms.ValidationError(_("Write the region as two letters, such as GB."))
        return region

    def clean_options(self) -> dict[str, Any]:
        """A JSON object, or nothing."""
        options = self.cleaned_data["options"] or {}
        if not isinstance(options, dict):
            raise forms.ValidationError(_('Write the options as an object: {"name": "value"}.'))
        return options

    def clean(self) -> dict[str, Any]:
        """No contradiction about a secret, and options that the connector understands."""
        cleaned = super().clean()
        for name in ("password", "api_key"):
            if cleaned.get(f"new_{name}") and cleaned.get(f"clear_{name}"):
                self.add_error(f"clear_{name}", _("Either enter a new one or forget the stored one."))
        if {"connector", "options", "region"} <= cleaned.keys():
            self._try_connector(cleaned["connector"], cleaned["options"], cleaned["region"])
        return cleaned

    def _try_connector(self, name: str, options: dict[str, Any], region: str) -> None:
        try:
            build_connector(name, Credentials(), options, region)
        except ImproperlyConfigured:
            self.add_error("connector", _("This connector is not set up in this project."))
        except (TypeError, ValueError) as error:
            message = gettext("The connector does not accept these options: %(reason)s")
            self.add_error("options", message % {"reason": error})

    def save(self, commit: bool = True) -> ConnectorAccount:
        """Store the account, and of its secrets only what was entered or forgotten."""
        for name in self.changed_secrets():
            setattr(self.instance, name, self.cleaned_data.get(f"new_{name}") or None)
        return super().save(commit)

    def changed_secrets(self) -> list[str]:
        """The names of the model's fields that get a new value."""
        return [
            name
            for name in ("password", "api_key")
            if self.cleaned_data.get(f"new_{name}") or self.cleaned_data.get(f"clear_{name}")
        ]


@admin.register(ConnectorAccount)
class ConnectorAccountAdmin(admin.ModelAdmin):
    """The agents' accounts with their telephone systems."""

    form = ConnectorAccountForm
    list_display = ("user", "connector", "username", "number", "has_secret", "is_active", "keep_open")
    list_filter = ("connector", "is_active", "keep_open")
    list_select_related = ("user",)
    search_fields = ("username", "number")
    raw_id_fields = ("user",)
    readonly_fields = ("has_secret",)

    def get_autocomplete_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """The agent is looked up by name where this admin site can do that and this user may; else by number."""
        users = self.admin_site._registry.get(get_user_model())
        can_search = users is not None and users.get_search_fields(request) and users.has_view_permission(request)
        return ("user",) if can_search else ()

    @admin.display(description=_("password or API key stored"), boolean=True)
    def has_secret(self, account: ConnectorAccount) -> bool:
        """All that is ever told of a secret: whether there is one."""
        return bool(account.password or account.api_key)

    def save_model(self, request: HttpRequest, obj: ConnectorAccount, form: ConnectorAccountForm, change: bool) -> None:
        """Write only the secrets that were entered anew: one that cannot be read now must not be encrypted twice."""
        kept = {"id", "password", "api_key"}.difference(form.changed_secrets())
        names = [field.name for field in obj._meta.concrete_fields if field.name not in kept]
        obj.save(update_fields=names if change else None)

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> list[tuple[Any, dict[str, Any]]]:
        """Who may only look is shown no field for a secret."""
        may_change = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        stored = ("has_secret",) if obj else ()
        if obj and may_change:
            secrets = ("new_password", "clear_password", "new_api_key", "clear_api_key")
        else:
            secrets = ("new_password", "new_api_key") if may_change else ()
        return [
            # not the agent first: the admin would put the cursor into its hidden half, where no screen reader follows
            (None, {"fields": ("connector", "user", "is_active", "username", "number", *stored, *secrets)}),
            (_("When a call comes in"), {"fields": ("pop_action", "pop_when", "keep_open")}),
            (_("Telephone system"), {"fields": ("region", "options")}),
        ]


class _LookOnly(admin.ModelAdmin):
    """Nothing is made, changed or removed by hand."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


class _Removable(_LookOnly):
    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As the project's permissions say."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


class _NumberSearch:
    """Finds a number however it is written."""

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Search for the E.164 form of what was typed, or for the text itself."""
        number = read_number(search_term, get_settings().region)
        return super().get_search_results(request, queryset, number or search_term)


class _NoteInline(admin.TabularInline):
    model = CallNote
    fields = readonly_fields = ("author", "text", "updated_at")
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("author")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(CallRecord)
class CallRecordAdmin(CTIAdminMixin, _NumberSearch, _LookOnly):
    """The call log."""

    # by primary key, which is the order of the log, because no index of the whole table is on the time
    ordering = ("-pk",)
    list_display = ("started_at", "direction", "number", "other_side", "agent", "outcome")
    list_filter = ("direction", "state", "end_reason", "kind", "started_at")
    list_select_related = ("agent",)
    list_per_page = 50
    search_fields = ("number__exact", "call_id__exact", "provider_call_id__exact")
    search_help_text = _("A number, or the id of a call.")
    sortable_by = ()
    cti_number_fields = ("number",)
    cti_panel = False
    readonly_fields = ("other_side", "outcome")
    inlines = (_NoteInline,)
    fieldsets = (
        (None, {"fields": ("number", "other_side", "direction", "agent", "outcome")}),
        (None, {"fields": ("started_at", "connected_at", "ended_at", "cause")}),
        (
            _("As the telephone system told it"),
            {
                "fields": (
                    *("kind", "source_raw", "source_name", "destination_raw", "destination_name"),
                    *("connector", "call_id", "provider_call_id", "leg_id", "command_id"),
                )
            },
        ),
    )

    class Media:
        css = {"all": ("cti_django/pages.css",)}

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The page of calls, with the contacts of all of them from one query."""
        page = super().get_changelist_instance(request)
        page.result_list = list(page.result_list)
        self._load_contacts(request, page.result_list)
        return page

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> CallRecord | None:
        """A call, with its contact."""
        call = super().get_object(request, *args, **kwargs)
        if call is not None:
            self._load_contacts(request, [call])
        return call

    def _load_contacts(self, request: HttpRequest, calls: list[CallRecord]) -> None:
        found = calllog.contacts_of(calls, rights_from(request.user))
        for call in calls:
            call.shown_contact = found.get(call.pk)

    @admin.display(description=_("contact or name"), empty_value="")
    def other_side(self, call: CallRecord) -> str:
        """The contact that the call is linked to, if this user may see it; else what the other side calls itself."""
        if contact := getattr(call, "shown_contact", None):
            url = contact.admin_url or contact.url
            return format_html('<a href="{}">{}</a>', url, contact.label) if url else contact.label
        if call.direction == Direction.INBOUND:
            return shown_name(call.source_name, call.source_raw)
        return shown_name(call.destination_name, call.destination_raw)

    @admin.display(description=_("outcome"))
    def outcome(self, call: CallRecord) -> str:
        """How the call ended, or how far it has come."""
        return call.get_end_reason_display() or call.get_state_display()


@admin.register(CallNote)
class CallNoteAdmin(_LookOnly):
    """The agents' notes on calls."""

    ordering = ("-pk",)
    list_display = ("updated_at", "author", "call", "beginning")
    list_filter = ("updated_at",)
    list_select_related = ("author", "call")
    list_per_page = 50
    raw_id_fields = ("author", "call")
    search_fields = ("call__number__exact", "call__call_id__exact")
    sortable_by = ()

    @admin.display(description=_("note"))
    def beginning(self, note: CallNote) -> str:
        """Enough of the note to know it again."""
        return Truncator(note.text).chars(80)


@admin.register(AgentLease)
class AgentLeaseAdmin(_LookOnly):
    """The agents' sessions: which process runs each, and until when somebody looks. Sessions that have ended are not
    listed: their rows only keep the count of processes."""

    list_display = ("agent", "is_running", "runs_on", "runs_until", "page_open_until")
    list_select_related = ("agent",)
    search_fields = ("holder__exact",)
    search_help_text = _(
        "The name of a process. While a session runs, its process renews its time every few seconds; without a page of "
        "the agent's it ends soon."
    )
    sortable_by = ()
    fields = readonly_fields = ("agent", "is_running", "runs_on", "runs_until", "page_open_until", "takeovers")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """The sessions that some process has."""
        return super().get_queryset(request).exclude(holder="")

    @admin.display(description=_("runs on"))
    def runs_on(self, lease: AgentLease) -> str:
        """The process that has the session."""
        return lease.holder

    @admin.display(description=_("runs until, unless renewed"))
    def runs_until(self, lease: AgentLease) -> Any:
        """When another process may take the session over."""
        return lease.expires_at

    @admin.display(description=_("wanted until"))
    def page_open_until(self, lease: AgentLease) -> Any:
        """When the session ends, unless the agent has a page open."""
        return lease.wanted_until

    @admin.display(description=_("times that a process took it over"))
    def takeovers(self, lease: AgentLease) -> int:
        """The fence, in words."""
        return lease.fence

    @admin.display(description=_("running"), boolean=True)
    def is_running(self, lease: AgentLease) -> bool:
        """Whether a process holds the session now."""
        return bool(lease.holder and lease.expires_at and lease.expires_at > timezone.now())


@admin.register(ContactNumber)
class ContactNumberAdmin(CTIAdminMixin, _NumberSearch, _Removable):
    """The index of the records' numbers. A row that was removed comes back when its record is saved."""

    ordering = ("-pk",)
    list_display = ("label", "number", "extension", "kind", "field", "content_type", "object_id")
    list_filter = ("kind",)
    list_select_related = ("content_type",)
    search_fields = ("number__exact", "extension__exact", "object_id__exact")
    sortable_by = ()
    cti_number_fields = ("number", "extension")
    cti_panel = False


@admin.register(RememberedChoice)
class RememberedChoiceAdmin(_NumberSearch, _Removable):
    """Which record an agent chose for a number that several have. Removing one makes the chooser ask again."""

    ordering = ("-pk",)
    list_display = ("agent", "number", "content_type", "object_id", "at")
    list_select_related = ("agent", "content_type")
    search_fields = ("number__exact", "object_id__exact")
    sortable_by = ()
