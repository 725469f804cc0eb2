"""The app's own admin: accounts, sessions, calls and notes, the number index.

Only accounts (in ``admin_accounts``) are made and changed; everything else is written by the app and can only be looked
at. Lists use the tables' indexes: exact search, and no count of a whole call log.
"""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from . import calllog
from .admin_accounts import ConnectorAccountAdmin, ConnectorAccountForm
from .admin_mixins import CTIAdminMixin
from .calls.numbers import read_number, shown_name
from .calls.states import Direction
from .conf import get_settings
from .contacts import rights_from
from .models import (
    AgentLease,
    CallNote,
    CallRecord,
    ContactNumber,
    Instruction,
    RememberedChoice,
    WebhookDelivery,
)
from .sessions import lease
from .sessions.overview import with_calls_and_time
from .sessions.session import LinkState

__all__ = [
    "AgentLeaseAdmin",
    "CallNoteAdmin",
    "CallRecordAdmin",
    "ConnectorAccountAdmin",
    "ConnectorAccountForm",
    "ContactNumberAdmin",
    "RememberedChoiceAdmin",
    "WebhookDeliveryAdmin",
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


_LINKS = {
    LinkState.NONE: _("no line yet"),
    LinkState.CONNECTING: _("connecting"),
    LinkState.TWO_FACTOR: _("waits for a code"),
    LinkState.READY: _("ready"),
    LinkState.LOST: _("line lost"),
    LinkState.REFUSED: _("refused"),
    LinkState.LOGGED_OUT: _("logged out"),
}


@admin.register(AgentLease)
class AgentLeaseAdmin(_LookOnly):
    """The agents' sessions: which process runs each, how its line stands, since when, with how many calls. Who may
    change sessions may ask their processes to hand them over or to close them. Sessions that have ended are not listed:
    their rows only keep the count of claims."""

    actions = ("hand_over", "close")
    list_display = ("agent", "is_running", "holder", "fence", "line", "since", "calls")
    list_select_related = ("agent",)
    search_fields = ("holder__exact",)
    search_help_text = _(
        "The name of a process. While a session runs, its process renews its time every few seconds; without a page of "
        "the agent's it ends soon."
    )
    sortable_by = ()
    fields = readonly_fields = (*list_display, "runs_until", "instruction")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """The sessions that some process has."""
        return with_calls_and_time(super().get_queryset(request).exclude(holder=""))

    def has_instruct_permission(self, request: HttpRequest) -> bool:
        """Whether this user may ask something of the processes: the project's permission to change sessions."""
        return admin.ModelAdmin.has_change_permission(self, request)

    @admin.action(description=_("Hand over to another process"), permissions=["instruct"])
    def hand_over(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Let another process that has a use for them run these sessions; calls go on."""
        count = lease.instruct(list(queryset.values_list("pk", flat=True)), Instruction.HAND_OVER)
        text = ngettext("%(count)s session is handed over.", "%(count)s sessions are handed over.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=_("Close"), permissions=["instruct"])
    def close(self, request: HttpRequest, queryset: QuerySet) -> None:
        """End these sessions."""
        count = lease.instruct(list(queryset.values_list("pk", flat=True)), Instruction.CLOSE)
        text = ngettext("%(count)s session is closed.", "%(count)s sessions are closed.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.display(description=_("link"), empty_value="-")
    def line(self, lease: AgentLease) -> Any:
        """How the session stands with the telephone system, as its process noted it a moment ago."""
        return _LINKS.get(lease.link, lease.link)

    @admin.display(description=_("calls"))
    def calls(self, lease: Any) -> int:
        """How many go on."""
        return lease.open_calls

    @admin.display(description=_("runs until, unless renewed"))
    def runs_until(self, lease: AgentLease) -> Any:
        """When another process may take the session over."""
        return lease.expires_at

    @admin.display(description=_("running"), boolean=True)
    def is_running(self, lease: Any) -> bool:
        """Whether a process holds the session now, by the database's clock."""
        return lease.time_left is not None and lease.time_left.total_seconds() > 0


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


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(_LookOnly):
    """What telephone systems have pushed lately, and how it was understood."""

    list_display = ("received_at", "endpoint", "stage", "provider_call_id")
    list_filter = ("endpoint", "stage")
    search_fields = ("provider_call_id__exact",)
    sortable_by = ()
    fields = readonly_fields = (*list_display, "names", "fields")
