"""System checks: what is wrong with the project's set-up, said before the first call.

    E001  a key of CTI_DJANGO is unknown, misspelt or of the wrong type
    E002  a connector cannot be imported, or is none
    E003  a connector does not take its options
    E004  SALT_KEY is missing: no password could be stored
    E005  USE_TZ is False: no call could be stored
    W001  ASGI_APPLICATION is missing
    W002  CHANNEL_LAYERS is missing
    W003  REGION is missing
    W004  the in-memory channel layer in production
    W006  a contact source has never been indexed (only with ``check --database``)
    W007  a connector's URL leads to this machine in production

Numbers are never reused.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, router

from .conf import get_settings, problems, project_setting
from .connectors.base import Credentials
from .contacts import content_type_id, registered
from .models import ContactNumber
from .sessions.registry import build_connector, connector_class

__all__ = ["check_database", "check_settings", "check_surroundings"]


@register("cti_django")
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """E001, E002, E003, W003 and W007: what ``CTI_DJANGO`` says."""
    found: list[CheckMessage] = [
        Error(text, hint="All keys are listed in docs/settings.md.", id="cti_django.E001") for text in problems()
    ]
    if found:
        return found  # whatever comes next would only repeat it
    settings = get_settings()
    for name in settings.connectors:
        found.extend(_connector(name))
    if not settings.region:
        hint = 'Set CTI_DJANGO["REGION"], to "GB" say: numbers without a country code cannot be matched otherwise.'
        found.append(Warning("CTI_DJANGO has no REGION.", hint=hint, id="cti_django.W003"))
    if not project_setting("DEBUG"):
        found.extend(_loopback())
    return found


def _connector(name: str) -> Iterator[CheckMessage]:
    try:
        connector_class(name)
        build_connector(name, Credentials())
    except (ImproperlyConfigured, TypeError) as error:
        hint = f'CTI_DJANGO["CONNECTORS"][{name!r}] must be the dotted path of a complete Connector class.'
        yield Error(f"The connector {name!r} cannot be used: {error}", hint=hint, id="cti_django.E002")
    except ValueError as error:
        hint = f'Correct CTI_DJANGO["CONNECTOR_OPTIONS"][{name!r}]; the docstring of the connector lists its options.'
        yield Error(f"The connector {name!r} does not take its options: {error}", hint=hint, id="cti_django.E003")


def _loopback() -> Iterator[CheckMessage]:
    for name, options in get_settings().connector_options.items():
        for key, value in options.items():
            if isinstance(value, str) and _leads_here(value):
                yield Warning(
                    f"The connector {name!r} has its {key} on this machine: is that the sandbox?",
                    hint=f'Give CTI_DJANGO["CONNECTOR_OPTIONS"][{name!r}] the addresses of your telephone system.',
                    id="cti_django.W007",
                )


def _leads_here(value: str) -> bool:
    with suppress(ValueError):
        host = urlsplit(value).hostname or ""
        return host == "localhost" or (bool(host) and ip_address(host).is_loopback)
    return False


@register("cti_django")
def check_surroundings(**_kwargs: Any) -> list[CheckMessage]:
    """E004, E005, W001, W002 and W004: the project's other settings that telephony needs."""
    found: list[CheckMessage] = []
    if not project_setting("SALT_KEY"):
        hint = "Set SALT_KEY to a long random text and keep it: stored passwords cannot be read without it."
        found.append(Error("SALT_KEY is missing: no password can be stored.", hint=hint, id="cti_django.E004"))
    if not project_setting("USE_TZ"):
        hint = "Set USE_TZ = True. The times of calls are moments in UTC; TIME_ZONE is what they are shown in."
        found.append(Error("USE_TZ is False: no call can be stored.", hint=hint, id="cti_django.E005"))
    if not project_setting("ASGI_APPLICATION"):
        hint = "Set ASGI_APPLICATION, and serve the project with Daphne or uvicorn."
        found.append(Warning("ASGI_APPLICATION is missing: there are no WebSockets.", hint=hint, id="cti_django.W001"))
    layer = project_setting("CHANNEL_LAYERS", {}).get("default")
    if not layer:
        hint = 'Set CHANNEL_LAYERS["default"]: channels_redis in production, the in-memory layer for development.'
        found.append(Warning("There is no channel layer: no event reaches a page.", hint=hint, id="cti_django.W002"))
    elif "InMemory" in layer.get("BACKEND", "") and not project_setting("DEBUG"):
        hint = "It works for a single process only; with more, use channels_redis (pip install cti-django[redis])."
        found.append(Warning("CHANNEL_LAYERS is the in-memory layer.", hint=hint, id="cti_django.W004"))
    return found


@register(Tags.database)
def check_database(databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """W006: sources that have records, but none in the index."""
    alias = router.db_for_read(ContactNumber)
    if alias not in (databases or ()):
        return []
    found: list[CheckMessage] = []
    with suppress(DatabaseError):  # "migrate" checks a database before its tables are there
        for source in registered():
            rows = ContactNumber.objects.using(alias).filter(content_type_id=content_type_id(source.model, alias))
            if not rows.exists() and source.model._default_manager.exists():
                hint = f"Run: manage.py cti_reindex {source.model._meta.label}"
                text = f"The numbers of {source.model._meta.label} are not indexed: its records match no caller."
                found.append(Warning(text, hint=hint, id="cti_django.W006"))
    return found
