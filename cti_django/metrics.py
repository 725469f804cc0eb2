"""What Prometheus is told: counters and histograms that the house fills, and gauges that are read when asked for.

prometheus-client is optional (``pip install cti-django[metrics]``). Without it everything here can be called all the
same, does nothing and costs next to nothing. The registry is this package's own: a project may have one too.

No label ever holds an agent, a number or a name. Which values a label may have is written here; any other value is
counted as "other", so that nobody outside can make series.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
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
    "deliveries_total",
    "events_total",
    "fenced_total",
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
    "watch",
]

logger = logging.getLogger(__name__)

COMMANDS = (
    *("call", "answer", "hangup", "hold", "resume", "transfer", "consult", "complete", "back", "dtmf"),
    *("queue_login", "queue_logout", "pause", "unpause", "dnd", "subscribe", "link", "code", "logout"),
)
"""Commands, by the names that they have in messages."""
LINKS = ("none", "connecting", "two_factor", "ready", "lost", "refused", "logged_out")
"""How a session may stand with its telephone system."""
MATCHES = ("one", "several", "none", "withheld", "internal", "forbidden", "failed")
OUTCOMES = ("ok", "refused", "timed_out", "failed", "internal_error")
DELIVERIES = ("accepted", "repeated", "ignored", "refused", "malformed", "failed")
"""What became of something that a telephone system has pushed."""
POPS = ("offered", "granted", "missed", "popped", "not_elected", "over")

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

    def time(self) -> AbstractContextManager[Any]:
        """``with histogram.time(): ...`` counts how long the block takes."""


class _Nothing:
    """Stands in for everything when prometheus-client is missing."""

    def inc(self, amount: float = 1.0) -> None:
        pass

    def observe(self, amount: float) -> None:
        pass

    def time(self) -> AbstractContextManager[None]:
        return nullcontext()

    def labels(self, **_values: str) -> "_Nothing":
        return self


@dataclass(frozen=True, slots=True)
class _Label:
    """The values that a label may have, and what any other value is counted as."""

    name: str
    known: Sequence[str]
    otherwise: str = "other"

    def value(self, value: str) -> str:
        return value if value in self.known else self.otherwise


class _Counters:
    """A counter with labels. Every series is there from the start, at 0, and none comes later."""

    def __init__(self, family: Any, labels: Sequence[_Label]) -> None:
        self._labels = labels
        self._series: dict[tuple[str, ...], Counter] = {
            values: family.labels(*values)
            for values in product(*(dict.fromkeys([*each.known, each.otherwise]) for each in labels))
        }

    def labels(self, **values: str) -> Counter:
        """The counter for these values; found soonest if they come in the order of the labels."""
        series = self._series.get(tuple(values.values()))
        return series or self._series[tuple(label.value(values[label.name]) for label in self._labels)]


_registry = prometheus_client.CollectorRegistry() if prometheus_client else None


def _counter(name: str, meaning: str) -> Counter:
    return prometheus_client.Counter(f"cti_{name}", meaning, registry=_registry) if prometheus_client else _Nothing()


def _counters(name: str, meaning: str, *labels: _Label) -> Any:
    if not prometheus_client:
        return _Nothing()
    names = [label.name for label in labels]
    return _Counters(prometheus_client.Counter(f"cti_{name}", meaning, names, registry=_registry), labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
    if not prometheus_client:
        return _Nothing()
    return prometheus_client.Histogram(f"cti_{name}", meaning, buckets=buckets, registry=_registry)


events_total = _counters("events_total", "Events told, by name.", _Label("name", tuple(EventName)))
commands_total = _counters(
    "commands_total",
    "Commands of agents, by name and by what became of them.",
    _Label("name", COMMANDS),
    _Label("outcome", OUTCOMES, otherwise="refused"),
)
matches_total = _counters("matches_total", "Callers looked up, by result.", _Label("result", MATCHES))
pops_total = _counters(
    "pops_total", "Pops offered to tabs, and what tabs that asked were told.", _Label("outcome", POPS)
)
deliveries_total = _counters(
    "deliveries_total", "What telephone systems pushed, by what became of it.", _Label("outcome", DELIVERIES)
)
lease_claims_total = _counter("lease_claims_total", "Leases claimed by this process.")
lease_losses_total = _counter("lease_losses_total", "Leases that this process lost or had to give up.")
takeovers_total = _counter("takeovers_total", "Sessions taken over from another process.")
fenced_total = _counter("fenced_total", "Things not told because the lease did not count any more.")
gaps_total = _counter("gaps_total", "Tabs that asked for a snapshot because an envelope was missing.")
reconnects_total = _counter("reconnects_total", "Attempts to get a lost line to a telephone system back.")
bus_failures_total = _counter("bus_failures_total", "Messages that the channel layer did not take.")
outbox_lost_total = _counter("outbox_lost_total", "News of calls that a full outbox gave up.")

ring_to_publish_seconds = _histogram(
    "ring_to_publish_seconds", "From reading a ring's notification to its publication.", _FAST
)
command_seconds = _histogram("command_seconds", "From a command to its answer.", _SLOW)
match_seconds = _histogram("match_seconds", "Looking up a caller who has a number.", _FAST)
claim_seconds = _histogram("claim_seconds", "Claiming one lease.", _FAST)
renewal_seconds = _histogram("renewal_seconds", "Renewing all the leases of this process.", _FAST)


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
