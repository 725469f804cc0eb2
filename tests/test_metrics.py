"""What Prometheus is told; and that nothing is lost without it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from cti_django import metrics
from cti_django.calls.commands import _FORMS
from cti_django.calls.events import EventName
from cti_django.contacts import MatchKind
from cti_django.sessions.session import LinkState

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_watched() -> Iterator[None]:
    before = dict(metrics._watched)
    metrics._watched.clear()
    yield
    metrics._watched.clear()
    metrics._watched.update(before)


def told() -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value, as Prometheus would read it."""
    rendered = metrics.render()
    assert rendered is not None
    families = text_string_to_metric_families(rendered[0].decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def rise(*series: str, during: Any) -> float:
    before = told()[series]
    during()
    return told()[series] - before


def test_what_is_counted_is_told() -> None:
    assert rise("cti_gaps_total", during=metrics.gaps_total.inc) == 1
    assert rise("cti_events_total", "RINGING", during=metrics.events_total.labels(name="RINGING").inc) == 1
    assert rise("cti_claim_seconds_count", during=lambda: metrics.claim_seconds.observe(0.003)) == 1


def test_every_counter_is_there_from_the_start_at_nought() -> None:
    assert {series for series in told() if series[0] == "cti_events_total"} == {
        ("cti_events_total", name) for name in [*EventName, "other"]
    }


@pytest.mark.parametrize("name", ["+442079460018", "Dana", "", "events\n# HELP", "RINGING "])
def test_no_value_from_outside_makes_a_series(name: str) -> None:
    before = set(told())
    assert rise("cti_events_total", "other", during=metrics.events_total.labels(name=name).inc) == 1
    assert (
        rise("cti_commands_total", "other", "ok", during=metrics.commands_total.labels(name=name, outcome="ok").inc)
        == 1
    )
    assert set(told()) == before


def test_the_known_values_are_those_of_the_house() -> None:
    assert set(metrics.LINKS) == set(LinkState)
    assert set(metrics.COMMANDS) == set(_FORMS)
    assert set(metrics.MATCHES) == {*get_args(MatchKind), "failed"}


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("ok", "ok"), ("timed_out", "timed_out"), ("not_now", "refused"), ("no_such_call", "refused")],
)
def test_a_command_is_counted_by_what_became_of_it(code: str, outcome: str) -> None:
    count = metrics.commands_total.labels(name="transfer", outcome=code).inc
    assert rise("cti_commands_total", "transfer", outcome, during=count) == 1


def test_a_block_is_timed() -> None:
    def work() -> None:
        with metrics.renewal_seconds.time():
            pass

    assert rise("cti_renewal_seconds_count", during=work) == 1


def test_a_gauge_is_read_when_somebody_asks() -> None:
    tabs = [1]
    metrics.watch("tabs", lambda: tabs[0])
    assert told()[("cti_tabs",)] == 1
    tabs[0] = 2
    assert told()[("cti_tabs",)] == 2
    metrics.watch("tabs", lambda: 7)
    assert told()[("cti_tabs",)] == 7


def test_sessions_are_told_by_link_also_those_that_there_are_none_of() -> None:
    metrics.watch("sessions", lambda: {"ready": 3, "asleep": 2})
    found = {series[1]: value for series, value in told().items() if series[0] == "cti_sessions"}
    assert found == {**dict.fromkeys(LinkState, 0), "ready": 3, "other": 2}


def test_a_gauge_that_cannot_be_read_is_missing_and_the_others_are_there() -> None:
    def fail() -> float:
        raise RuntimeError("no")

    metrics.watch("tabs", fail)
    metrics.watch("outbox_length", lambda: 4)
    found = told()
    assert ("cti_tabs",) not in found
    assert found[("cti_outbox_length",)] == 4


def test_there_is_no_gauge_of_another_name() -> None:
    with pytest.raises(ValueError, match="'tubs'"):
        metrics.watch("tubs", lambda: 0)


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    for name in metrics._GAUGES:
        metrics.watch(name, lambda: 0)
    metrics.watch("sessions", dict)
    page = (ROOT / "docs" / "observing.md").read_text()
    documented = set(re.findall(r"`(cti_\w+)`", page)) - {"cti_django"}
    known = {re.sub("_(bucket|count|sum|created)$", "", series[0]) for series in told()}
    exist = {name for name in known if name + "_total" not in known}  # the series of when a counter was made
    assert documented == exist
    alerts = page[page.index("### What to alert on") : page.index("## Log lines")]
    assert {re.sub("_bucket$", "", name) for name in re.findall(r"cti_\w+", alerts)} <= exist


def test_a_projects_own_registry_is_left_alone() -> None:
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("cti_")]
    assert all(series[0].startswith("cti_") for series in told())


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
from cti_django import metrics

for name in metrics.__all__:
    thing = getattr(metrics, name)
    if name.endswith("_total"):
        thing.labels(name="RINGING").inc()
        thing.inc(2)
    elif name.endswith("_seconds"):
        thing.observe(0.1)
        with thing.time():
            pass
metrics.watch("tabs", lambda: 1)
print(metrics.render())
"""


def test_without_prometheus_client_everything_can_be_called_and_does_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "None", done.stderr
