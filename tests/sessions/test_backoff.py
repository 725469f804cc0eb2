"""Waiting times that spread a thousand sessions out and bring the last one back in time."""

import itertools

import pytest

from cti_django.sessions import backoff as backoff_module
from cti_django.sessions.backoff import Backoff


@pytest.fixture
def longest(monkeypatch):
    """Draws come out as the top of their range."""
    monkeypatch.setattr(backoff_module.random, "uniform", lambda low, high: high)


def test_the_longest_wait_doubles_to_its_ceiling(longest):
    backoff = Backoff(first_seconds=1.0, ceiling_seconds=8.0)
    assert [backoff.next_seconds() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    backoff.reset()
    assert backoff.next_seconds() == 1


def test_after_an_outage_of_any_length_no_session_waits_longer_than_20_seconds(longest):
    backoff = Backoff()
    assert max(itertools.islice(iter(backoff.next_seconds, None), 10_000)) == 20


def test_waits_are_drawn_from_the_whole_range():
    waits = []
    for _ in range(2_000):
        waits.append(Backoff(attempts=10).next_seconds())
    tenths = {int(wait / 2) for wait in waits}
    assert tenths >= set(range(10))
