"""The project's ``CTI_DJANGO = {...}`` as one frozen ``Settings``. The only module that reads ``django.conf``.

Built when first asked for, and anew under ``override_settings``. A key that is unknown, misspelt or of the wrong type
is never ignored: ``get_settings`` raises, and ``manage.py check`` says the same as cti_django.E001.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ["Settings", "get_settings", "problems", "project_setting"]

_BUILT_IN = {
    "voipstudio": "cti_django.connectors.voipstudio.connector.VoIPstudioConnector",
    "asterisk": "cti_django.connectors.asterisk.connector.AsteriskConnector",
    "sip": "cti_django.connectors.sip.connector.SIPConnector",
    "webhook": "cti_django.connectors.webhook.connector.WebhookConnector",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of this app. The keys of ``CTI_DJANGO`` are these names in capitals.

    Args:
        connector: the name of the connector that new accounts use.
        connectors: {name: dotted path of a Connector class}; added to the built-in ones.
        connector_options: {name: {option: value}}; an account's own options come on top.
        region: ISO 3166 region that numbers without a country code belong to ("GB"); "" if there is none.
        linger_seconds: how long a session outlives the agent's last page.
        lease_seconds: how long a process owns a session without renewing the lease.
        command_seconds: how long a browser waits for the answer to a command.
        pop_action: what happens when a caller is known: "open" the record, show a "card", or "none".
        pop_when: and when: at the "ring" or at the "answer".
        match_seconds: how long a call waits for the match before the browser hears of it unmatched.
        max_candidates: how many records a match gives at most.
        recent_seconds: how far back the list of recent calls goes.
        outbox_size: calls that wait for the database at most; beyond that some are lost to the call log.
        believed_seconds: calls older than this are doubted: the connector is asked, and a call that no session follows
            is closed as inferred.
        deliveries_seconds: how long what systems pushed is kept; as long as calls are believed at least.
        socket_path: the path of the WebSocket.
        metrics_token: what whoever reads the metrics must present; "" for nobody.
        log_personal_data: whether log lines show whole numbers and the texts of exceptions.
    """

    connector: str = "voipstudio"
    connectors: Mapping[str, str] = field(default_factory=dict)
    connector_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    region: str = ""
    linger_seconds: float = 45.0
    lease_seconds: float = 10.0
    command_seconds: float = 10.0
    pop_action: str = "open"
    pop_when: str = "ring"
    match_seconds: float = 0.15
    max_candidates: int = 20
    recent_seconds: float = 3600.0
    outbox_size: int = 10_000
    believed_seconds: float = 4 * 3600.0
    deliveries_seconds: float = 24 * 3600.0
    socket_path: str = "/ws/cti/"
    metrics_token: str = field(default="", repr=False)
    log_personal_data: bool = False


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be a text"


def _one_of(*words: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in words else "must be one of " + ", ".join(map(repr, words))


def _region(value: Any) -> str | None:
    good = isinstance(value, str) and (not value or (len(value) == 2 and value.isascii() and value.isupper()))
    return None if good else 'must be an ISO 3166 region in capitals, such as "GB"'


def _seconds(value: Any) -> str | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    return None if good else "must be a number of seconds above 0"


def _count(value: Any) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return None if good else "must be a whole number above 0"


def _path(value: Any) -> str | None:
    return None if isinstance(value, str) and value.startswith("/") else 'must be a path that begins with "/"'


def _token(value: Any) -> str | None:
    good = isinstance(value, str) and (not value or (len(value) >= 16 and value.isascii() and value.isprintable()))
    return None if good else "must be at least 16 printable ASCII characters, or empty"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be True or False"


def _texts(value: Any) -> str | None:
    good = isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)
    return None if good else "must be a dict of texts, {name: dotted path}"


def _options(value: Any) -> str | None:
    good = isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(options, Mapping) for name, options in value.items()
    )
    return None if good else "must be a dict of dicts, {connector name: {option: value}}"


_RULES: dict[str, Callable[[Any], str | None]] = {
    "connector": _text,
    "connectors": _texts,
    "connector_options": _options,
    "region": _region,
    "linger_seconds": _seconds,
    "lease_seconds": _seconds,
    "command_seconds": _seconds,
    "pop_action": _one_of("open", "card", "none"),
    "pop_when": _one_of("ring", "answer"),
    "match_seconds": _seconds,
    "max_candidates": _count,
    "recent_seconds": _seconds,
    "outbox_size": _count,
    "believed_seconds": _seconds,
    "deliveries_seconds": _seconds,
    "socket_path": _path,
    "metrics_token": _token,
    "log_personal_data": _flag,
}

_SECRET = ("CONNECTOR_OPTIONS", "METRICS_TOKEN")  # options may hold secrets, too

_KEYS = {each.name.upper(): each.name for each in fields(Settings)}
_NOTHING: dict[str, Any] = {}
_built: tuple[object, Settings] | None = None
"""The dict that the settings were built from, and the settings."""


def problems() -> list[str]:
    """What is wrong with the project's ``CTI_DJANGO``, one sentence each; empty if nothing is."""
    raw = project_setting("CTI_DJANGO", _NOTHING)
    if not isinstance(raw, Mapping):
        return ["CTI_DJANGO must be a dict."]
    found = []
    for key, value in raw.items():
        name = _KEYS.get(key)
        if name is None:
            near = get_close_matches(str(key).upper(), _KEYS, n=1)
            found.append(f"CTI_DJANGO has no key {key!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        elif complaint := _RULES[name](value):
            shown = "" if key in _SECRET else f", not {value!r}"
            found.append(f"CTI_DJANGO[{key!r}] {complaint}{shown}.")
    if not found:
        connectors = {**_BUILT_IN, **raw.get("CONNECTORS", {})}
        named = {"CONNECTOR": [raw.get("CONNECTOR", Settings().connector)]}
        named["CONNECTOR_OPTIONS"] = list(raw.get("CONNECTOR_OPTIONS", {}))
        for key, names in named.items():
            for name in names:
                if name not in connectors:
                    near = get_close_matches(name, connectors, n=1)
                    hint = f" Did you mean {near[0]!r}?" if near else ""
                    found.append(f"CTI_DJANGO[{key!r}] names the unknown connector {name!r}.{hint}")
    return found


def get_settings() -> Settings:
    """The settings, built when first asked for, and anew when ``CTI_DJANGO`` is another dict (``override_settings``).

    Raises:
        ImproperlyConfigured: a key is unknown, misspelt or of the wrong type; the text names it and the right one.
    """
    global _built
    raw = project_setting("CTI_DJANGO", _NOTHING)
    if _built is None or _built[0] is not raw:
        if found := problems():
            raise ImproperlyConfigured(" ".join(found))
        values = {_KEYS[key]: value for key, value in raw.items()}
        values["connectors"] = {**_BUILT_IN, **values.get("connectors", {})}
        _built = raw, Settings(**values)
    return _built[1]


def project_setting(name: str, default: Any = None) -> Any:
    """One of the project's other settings ("DEBUG"), for those that must look at the project around them."""
    return getattr(settings, name, default)
