"""What people are shown of the sessions, in one query."""

from datetime import timedelta

import pytest
from django.utils import timezone

from cti_django.models import AgentLease
from cti_django.sessions import lease
from cti_django.sessions.overview import with_calls_and_time
from tests.faces.pages import make_call, make_user

pytestmark = pytest.mark.django_db


def test_open_calls_are_counted_and_ended_ones_are_not(django_assert_num_queries):
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    for agent in (alice, bob, carol):
        lease.claim(agent.pk, "web:1:a", 10.0)
    for number, state in enumerate(("INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "ON_HOLD", "HANGUP", "CANCEL")):
        make_call(alice, f"a{number}", state=state)
    make_call(bob, "b1", state="CONNECTED")
    make_call(None, "n1", state="CONNECTED")
    with django_assert_num_queries(1):
        counts = {row.agent_id: row.open_calls for row in with_calls_and_time(AgentLease.objects.all())}
    assert counts == {alice.pk: 5, bob.pk: 1, carol.pk: 0}


def test_the_time_left_is_below_zero_once_the_lease_has_run_out_and_none_without_a_holder():
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    for agent in (alice, bob, carol):
        lease.claim(agent.pk, "web:1:a", 10.0)
    AgentLease.objects.filter(agent=bob).update(expires_at=timezone.now() - timedelta(seconds=60))
    lease.release("web:1:a", [carol.pk])
    left = {row.agent_id: row.time_left for row in with_calls_and_time(AgentLease.objects.all())}
    assert timedelta(seconds=5) < left[alice.pk] <= timedelta(seconds=10)
    assert timedelta(seconds=-65) < left[bob.pk] < timedelta(seconds=-55)
    assert left[carol.pk] is None
