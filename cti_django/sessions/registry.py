"""From an account to a connector: the classes that settings name, and how an agent's connector is built."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..calls.numbers import NumberPlan
from ..conf import get_settings
from ..connectors.base import Connector, Credentials

__all__ = ["build_connector", "connector_class"]


@cache
def _imported(path: str) -> type[Connector]:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"CTI_DJANGO['CONNECTORS']: {path} cannot be imported ({error}).") from error
    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise ImproperlyConfigured(f"CTI_DJANGO['CONNECTORS']: {path} is not a Connector.")
    return found


def connector_class(name: str) -> type[Connector]:
    """The connector that settings call `name`.

    Raises:
        ImproperlyConfigured: there is none, or it cannot be imported.
    """
    path = get_settings().connectors.get(name)
    if path is None:
        raise ImproperlyConfigured(f"CTI_DJANGO['CONNECTORS'] has no connector named {name!r}.")
    return _imported(path)


def build_connector(
    name: str, credentials: Credentials, options: Mapping[str, Any] | None = None, region: str = ""
) -> Connector:
    """A connector for one agent.

    Args:
        options: the account's own; they win over CTI_DJANGO['CONNECTOR_OPTIONS'][name].
        region: the account's own; empty means CTI_DJANGO['REGION'].

    Raises:
        ImproperlyConfigured: no such connector.
        ValueError: an option that the connector does not know, or a value that it cannot use.
    """
    settings = get_settings()
    merged = {**settings.connector_options.get(name, {}), **(options or {})}
    found = connector_class(name)
    plan: NumberPlan = replace(found.number_plan_defaults, region=region or settings.region)
    return found(credentials, merged, number_plan=plan)
