"""Quiet sessions are set aside from the garbage collector as they become many, and come back when they have gone."""

import gc

import pytest

from cti_django.sessions.collector import WORTHWHILE, Collector


@pytest.fixture
def collector():
    yield Collector()
    gc.unfreeze()


def test_few_sessions_are_left_to_the_collector(collector):
    before = gc.get_freeze_count()
    collector.follow(WORTHWHILE - 1)
    assert gc.get_freeze_count() == before


def test_many_sessions_are_set_aside_and_again_only_when_there_are_markedly_more(collector):
    collector.follow(WORTHWHILE)
    first = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]
    collector.follow(WORTHWHILE + 5)
    assert gc.get_freeze_count() <= first
    collector.follow(WORTHWHILE * 2)
    assert gc.get_freeze_count() >= first + len(kept) - 100


def test_what_was_set_aside_comes_back_when_most_sessions_have_gone(collector):
    collector.follow(WORTHWHILE * 3)
    collector.follow(WORTHWHILE * 2)
    assert gc.get_freeze_count() > 0
    collector.follow(WORTHWHILE)
    assert gc.get_freeze_count() == 0
