"""Settings of a project with a user model of its own and two databases."""

from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, _sqlite

AUTH_USER_MODEL = "staff.Member"
INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp.staff"]
DATABASES = {"default": _sqlite("default"), "crm": _sqlite("crm")}
DATABASE_ROUTERS = ["tests.testapp.staff.settings.CRMRouter"]


class CRMRouter:
    """The test CRM lives in the database "crm", everything else in "default"."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "crm" if model._meta.app_label == "testapp" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "crm") is (app_label == "testapp")
