"""System checks: what is wrong with the project's set-up, said before the first call.

    E001  a key of CTI_DJANGO is unknown, misspelt or of the wrong type
    E002  a connector cannot be imported, or is none
    E003  a connector does not take its options
    E004  SALT_KEY is missing: no password could be stored
    E005  USE_TZ is False: no call could be stored
    E006  an endpoint of the webhook connector lets nobody in, or its decide cannot be imported
    W001  ASGI_APPLICATION is missing
    W002  CHANNEL_LAYERS is missing
    W003  REGION is missing
    W004  the in-memory channel layer in production
    W006  a contact source has never been indexed (only with ``check --database``)
    W007  a connector's URL leads to this machine in production
    W008  the core Redis channel layer with a Redis client that closes quiet consumers
    W009  SQLite with a channel layer that several hosts can share
    W010  sessions of several processes, or hosts, that cannot work together (only with ``check --database``)
    W011  an endpoint of the webhook connector will not hear of answers and hang-ups, or tells an address without TLS

Numbers are never reused.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, router
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from .conf import get_settings, problems, project_setting
from .connectors.base import Credentials
from .connectors.webhook.options import Endpoint
from .contacts import content_type_id, registered
from .deliveries import endpoints
from .models import AgentLease, ContactNumber
from .sessions.registry import build_connector, connector_class

__all__ = ["check_database", "check_endpoints", "check_leases", "check_settings", "check_surroundings"]

_QUIET_CONSUMERS_SINCE = 8
"""The first version of redis-py that gives up a connection on which nothing has come for five seconds.

Source: https://github.com/django/channels_redis/issues/422
"""


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
        if name != get_settings().connector and name not in get_settings().connector_options:
            return  # nobody uses it, or its accounts say all that it needs
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


@register("cti_django")
def check_endpoints(**_kwargs: Any) -> list[CheckMessage]:
    """E006 and W011: where telephone systems push to."""
    found: list[CheckMessage] = []
    with suppress(ImproperlyConfigured, ValueError):  # E001 and E003 say so
        for endpoint in endpoints().values():
            found.extend(_endpoint(endpoint))
    return found


def _endpoint(endpoint: Endpoint) -> Iterator[CheckMessage]:
    where = f'CTI_DJANGO["CONNECTOR_OPTIONS"]["webhook"]["endpoints"][{endpoint.name!r}]'
    name = f"The webhook endpoint {endpoint.name!r}"
    if endpoint.weaknesses:
        hint = f"Correct {where}; docs/connectors/webhook.md says how."
        yield Error(f"{name} lets nobody in: {', and '.join(endpoint.weaknesses)}.", hint=hint, id="cti_django.E006")
    if endpoint.decide:
        try:
            import_string(endpoint.decide)
        except ImportError as error:
            hint = f'Correct "decide" of {where}.'
            yield Error(f"{name} cannot import its decide: {error}", hint=hint, id="cti_django.E006")
    if endpoint.shape == "sipgate" and not endpoint.base_url:
        hint = f'Set "base_url" of {where} to the address of the site, "https://crm.example.com" say.'
        text = f"{name} has no base_url: the system is not told where to push answers and hang-ups."
        yield Warning(text, hint=hint, id="cti_django.W011")
    if endpoint.base_url.startswith("http:") and not project_setting("DEBUG"):
        hint = f'Serve the site with https, and say so in "base_url" of {where}.'
        yield Warning(f"{name} is told to the system without TLS.", hint=hint, id="cti_django.W011")


def _leads_here(value: str) -> bool:
    with suppress(ValueError):
        host = urlsplit(value).hostname or ""
        return host == "localhost" or (bool(host) and ip_address(host).is_loopback)
    return False


@register("cti_django")
def check_surroundings(**_kwargs: Any) -> list[CheckMessage]:
    """E004, E005, W001, W002, W004, W008 and W009: the project's other settings that telephony needs."""
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
    layer = _layer()
    if not layer:
        hint = 'Set CHANNEL_LAYERS["default"]: channels_redis in production, the in-memory layer for development.'
        found.append(Warning("There is no channel layer: no event reaches a page.", hint=hint, id="cti_django.W002"))
    elif "InMemory" in layer.get("BACKEND", "") and not project_setting("DEBUG"):
        hint = "It works for a single process only; with more, use channels_redis (pip install cti-django[redis])."
        found.append(Warning("CHANNEL_LAYERS is the in-memory layer.", hint=hint, id="cti_django.W004"))
    found.extend(_redis(layer))
    return found


def _layer() -> dict[str, Any]:
    return (project_setting("CHANNEL_LAYERS") or {}).get("default") or {}


def _redis(layer: dict[str, Any]) -> Iterator[CheckMessage]:
    backend, hosts = layer.get("BACKEND", ""), layer.get("CONFIG", {}).get("hosts") or []
    if not backend.startswith("channels_redis.") or not isinstance(hosts, list | tuple):
        return
    waits = bool(hosts) and all(isinstance(host, dict) and host.get("socket_timeout", 0) is None for host in hosts)
    if backend == "channels_redis.core.RedisChannelLayer" and _redis_py() >= _QUIET_CONSUMERS_SINCE and not waits:
        yield Warning(
            "The core Redis channel layer loses pages on which nothing happens: redis-py 8 gives up after 5 seconds.",
            hint='Use channels_redis.pubsub.RedisPubSubChannelLayer, or give each of its hosts "socket_timeout": None.',
            id="cti_django.W008",
        )
    if not project_setting("DEBUG") and _is_sqlite() and not all(map(_is_here, hosts)):
        yield Warning(
            "The database is SQLite, and the channel layer is on another machine: several hosts cannot share SQLite.",
            hint="Use PostgreSQL if more than one host serves the site. If one does, silence this check.",
            id="cti_django.W009",
        )


def _redis_py() -> int:
    with suppress(PackageNotFoundError, ValueError):
        return int(version("redis").partition(".")[0])
    return 0


def _is_here(host: Any) -> bool:
    """Whether an entry of the layer's hosts is on this machine: an address, a (host, port), or a dict of either."""
    if isinstance(host, dict):
        if "sentinels" in host:
            return all(map(_is_here, host["sentinels"]))
        host = host.get("address") or host.get("path") or (host.get("host", "localhost"), 0)
    if isinstance(host, list | tuple) and host:
        name = str(host[0])
        host = f"redis://[{name}]" if ":" in name else f"redis://{name}"
    return isinstance(host, str) and (host.startswith(("unix:", "/")) or _leads_here(host))


def _is_sqlite() -> bool:
    return connections[router.db_for_write(AgentLease)].vendor == "sqlite"


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


@register(Tags.database)
def check_leases(databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """W010: the sessions that run now are run by processes that hear nothing of one another."""
    alias = router.db_for_write(AgentLease)
    if alias not in (databases or ()):
        return []
    holders: set[str] = set()
    with suppress(DatabaseError):
        live = AgentLease.objects.using(alias).filter(expires_at__gt=Now()).exclude(holder="")
        holders = set(live.values_list("holder", flat=True).distinct())
    hosts = {holder.rsplit(":", 2)[0] for holder in holders}  # a holder is "<host name>:<process id>:<token>"
    found: list[CheckMessage] = []
    if "InMemory" in _layer().get("BACKEND", "") and len(holders) > 1:
        hint = "Use channels_redis (docs/deployment.md): pages at one process hear nothing of the sessions of another."
        text = f"Sessions run in {len(holders)} processes, but CHANNEL_LAYERS is the in-memory layer."
        found.append(Warning(text, hint=hint, id="cti_django.W010"))
    if _is_sqlite() and len(hosts) > 1:
        hint = "Use PostgreSQL (docs/deployment.md): a file that several hosts write to does not survive it."
        text = f"Sessions run on {len(hosts)} hosts, but the database is SQLite."
        found.append(Warning(text, hint=hint, id="cti_django.W010"))
    return found
