"""The admin of the telephone accounts: their secrets go in, but never come out."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from phonenumbers import SUPPORTED_REGIONS

from .conf import get_settings
from .connectors.base import Credentials
from .models import ConnectorAccount
from .sessions.registry import build_connector

__all__ = ["ConnectorAccountAdmin", "ConnectorAccountForm"]


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
