"""What Prometheus is told: counters and histograms that the house fills, and gauges that are read when asked for.

prometheus-client is optional (``pip install cti-django[metrics]``). Without it everything here can be called all the
same, does nothing and costs next to nothing. The registry is this package's own: a project may have one too.

No label ever holds an agent, a number or a name. Which values a label may have is written here; any other value is
counted as "other", so that nobody outside can make series.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from time import perf_counter
from typing import Any, Protocol

from .calls.events import EventName

try:
    import prometheus_client
    from prometheus_client.core import GaugeMetricFamily
except ImportError:
    prometheus_client = None  # type: ignore[assignment]

__all__ = [
    "bus_failures_total",
    "claim_seconds",
    "command_seconds",
    "commands_total",
    "count_command",
    "events_total",
    "gaps_total",
    "lease_claims_total",
    "lease_losses_total",
    "match_seconds",
    "matches_total",
    "outbox_lost_total",
    "pops_total",
    "reconnects_total",
    "render",
    "renewal_seconds",
    "ring_to_publish_seconds",
    "takeovers_total",
    "timed",
    "watch",
]

logger = logging.getLogger(__name__)

COMMANDS = ("call", "answer", "hangup", "hold", "resume", "transfer", "subscribe", "link", "code", "logout")
"""Commands, by the names that they have in messages."""
OUTCOMES = ("ok", "refused", "timed_out", "failed")
LINKS = ("none", "connecting", "two_factor", "ready", "lost", "refused", "logged_out")
"""How a session may stand with its telephone system."""
MATCHES = ("one", "several", "none", "withheld", "internal", "forbidden", "failed")
POPS = ("offered", "granted", "refused", "ignored")

_FAULTS = {"timed_out": "timed_out", "internal_error": "failed", "failed": "failed"}
_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0, 5.0)
_SLOW = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Counter(Protocol):
    """Something that is counted."""

    def inc(self, amount: float = 1.0) -> None:
        """Count one more."""


class Histogram(Protocol):
    """Durations, counted by how long they were."""

    def observe(self, amount: float) -> None:
        """Count one that took `amount` seconds."""


class _Nothing:
    """Stands in for everything when prometheus-client is missing."""

    def inc(self, amount: float = 1.0) -> None:
        pass

    def observe(self, amount: float) -> None:
        pass

    def labels(self, *_values: str) -> "_Nothing":
        return self


class _Counters:
    """A counter with labels whose values are known beforehand: every series is there from the start, at 0.

    Args:
        family: the counter with its labels.
        known: the values that each label may have.
    """

    def __init__(self, family: Any, *known: Iterable[str]) -> None:
        self._known = [frozenset(values) for values in known]
        self._series: dict[tuple[str, ...], Counter] = {
            values: family.labels(*values) for values in product(*((*values, "other") for values in known))
        }

    def labels(self, *values: str) -> Counter:
        """The counter for these values; what is not among the known ones is "other"."""
        series = self._series.get(values)
        if series is None:
            pairs = zip(values, self._known, strict=True)
            series = self._series[tuple(value if value in known else "other" for value, known in pairs)]
        return series


_registry = prometheus_client.CollectorRegistry() if prometheus_client else None


def _counter(name: str, meaning: str) -> Counter:
    return prometheus_client.Counter(f"cti_{name}", meaning, registry=_registry) if prometheus_client else _Nothing()


def _counters(name: str, meaning: str, known: Mapping[str, Iterable[str]]) -> Any:
    if not prometheus_client:
        return _Nothing()
    family = prometheus_client.Counter(f"cti_{name}", meaning, list(known), registry=_registry)
    return _Counters(family, *known.values())


def _histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
    if not prometheus_client:
        return _Nothing()
    return prometheus_client.Histogram(f"cti_{name}", meaning, buckets=buckets, registry=_registry)


events_total = _counters("events_total", "Events told, by name.", {"name": [name.value for name in EventName]})
commands_total = _counters(
    "commands_total", "Commands of agents, by name and by what became of them.", {"name": COMMANDS, "outcome": OUTCOMES}
)
matches_total = _counters("matches_total", "Callers looked up among the contacts, by result.", {"result": MATCHES})
pops_total = _counters("pops_total", "Pops, by how far they came.", {"outcome": POPS})
lease_claims_total = _counter("lease_claims_total", "Leases claimed by this process.")
lease_losses_total = _counter("lease_losses_total", "Leases that this process lost or had to give up.")
takeovers_total = _counter("takeovers_total", "Sessions taken over from another process.")
gaps_total = _counter("gaps_total", "Tabs that asked for a snapshot because an envelope was missing.")
reconnects_total = _counter("reconnects_total", "Attempts to get a lost line to a telephone system back.")
bus_failures_total = _counter("bus_failures_total", "Messages that the channel layer did not take.")
outbox_lost_total = _counter("outbox_lost_total", "Calls lost to the call log.")

ring_to_publish_seconds = _histogram(
    "ring_to_publish_seconds", "From a ring's notification to its publication to the browsers.", _FAST
)
command_seconds = _histogram("command_seconds", "From a command to its answer.", _SLOW)
match_seconds = _histogram("match_seconds", "Looking up a caller who has a number.", _FAST)
claim_seconds = _histogram("claim_seconds", "Claiming one lease.", _FAST)
renewal_seconds = _histogram("renewal_seconds", "Renewing all the leases of this process.", _FAST)


def count_command(name: str, *, is_ok: bool, code: str, seconds: float) -> None:
    """Count one command that was answered.

    Args:
        name: as in its message ("transfer").
        is_ok: whether it was carried out.
        code: of its answer, if it was not.
        seconds: from command to answer.
    """
    commands_total.labels(name, "ok" if is_ok else _FAULTS.get(code, "refused")).inc()
    command_seconds.observe(seconds)


class timed:  # noqa: N801  it is read as a verb; contextlib's way takes twice as long
    """``with timed(histogram): ...`` observes how long the block takes, if it does not fail."""

    __slots__ = ("_began", "_histogram")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, error: object, *_rest: object) -> None:
        if error is None:
            self._histogram.observe(perf_counter() - self._began)


# -- gauges -----------------------------------------------------------------------------------------------------------

_GAUGES = {
    "sessions": "Sessions that this process runs, by how they stand with their telephone system.",
    "tabs": "Pages that are connected to this process.",
    "leases_held": "Leases that this process holds.",
    "outbox_length": "Calls with news that is not in the database yet.",
    "outbox_fill": "How full the outbox is: 0 empty, 1 full.",
    "outbox_oldest_seconds": "How long the oldest news in the outbox has waited.",
}
_watched: dict[str, Callable[[], float | Mapping[str, int]]] = {}


def watch(name: str, function: Callable[[], float | Mapping[str, int]]) -> None:
    """Have a gauge read with `function` whenever somebody asks. A second function takes the first one's place.

    Args:
        name: of the gauge: "sessions", "tabs", "leases_held", "outbox_length", "outbox_fill", "outbox_oldest_seconds".
        function: returns its value; for "sessions" {link state: how many}. Called where ``render`` is.

    Raises:
        ValueError: there is no such gauge.
    """
    if name not in _GAUGES:
        raise ValueError(f"There is no gauge {name!r}.")
    _watched[name] = function


class _Watched:
    """The gauges, as prometheus-client collects them."""

    def collect(self) -> Iterator[Any]:
        for name, function in list(_watched.items()):
            try:
                value = function()
            except Exception as error:
                # A missing gauge is better than a false one, and better than none of the others.
                logger.warning("The gauge %s could not be read (%s)", name, type(error).__name__)
                continue
            yield _by_link(name, value) if isinstance(value, Mapping) else _plain(name, value)


def _plain(name: str, value: float) -> Any:
    return GaugeMetricFamily(f"cti_{name}", _GAUGES[name], value=value)


def _by_link(name: str, counts: Mapping[str, int]) -> Any:
    family = GaugeMetricFamily(f"cti_{name}", _GAUGES[name], labels=["link"])
    for link in LINKS:
        family.add_metric([link], counts.get(link, 0))
    family.add_metric(["other"], sum(count for link, count in counts.items() if link not in LINKS))
    return family


if _registry is not None:
    _registry.register(_Watched())


def render() -> tuple[bytes, str] | None:
    """Everything as Prometheus text with its content type; None without prometheus-client."""
    if _registry is None:
        return None
    return prometheus_client.generate_latest(_registry), prometheus_client.CONTENT_TYPE_LATEST
