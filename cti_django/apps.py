"""The app itself, as Django starts it."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

__all__ = ["CTIDjangoConfig"]


class CTIDjangoConfig(AppConfig):
    """Registers the system checks and imports every installed app's ``cti.py``, which registers contact sources."""

    name = "cti_django"
    verbose_name = _("Telephony")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the checks; may not be imported before the models
        from .sessions import access, account_watch

        access.connect_signals()
        account_watch.connect_signals()
        autodiscover_modules("cti")
