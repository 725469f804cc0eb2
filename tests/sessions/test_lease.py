"""Exactly one holder for each agent, and a fence that rises whenever the holder changes."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cti_django.models import AgentLease
from cti_django.sessions import lease

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice").pk


def expire(agent_id):
    AgentLease.objects.filter(agent_id=agent_id).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_the_first_claim_makes_the_row_and_the_holder(alice):
    assert lease.claim(alice, "one", 10.0) == 1
    row = AgentLease.objects.get(agent_id=alice)
    assert row.holder == "one"
    assert timedelta(seconds=8) < row.expires_at - timezone.now() < timedelta(seconds=12)


def test_nobody_else_gets_a_lease_that_stands(alice):
    lease.claim(alice, "one", 10.0)
    assert lease.claim(alice, "two", 10.0) is None
    assert lease.held_by("one") == {alice}


def test_every_claim_raises_the_fence_the_same_holders_too(alice):
    assert [lease.claim(alice, "one", 10.0) for _ in range(3)] == [1, 2, 3]


def test_a_lease_that_has_run_out_goes_to_the_next_with_a_higher_fence(alice):
    lease.claim(alice, "one", 10.0)
    expire(alice)
    assert lease.claim(alice, "two", 10.0) == 2
    assert lease.claim(alice, "one", 10.0) is None


def test_a_released_lease_is_free_at_once_and_only_its_holder_releases_it(alice):
    lease.claim(alice, "one", 10.0)
    lease.release("two", [alice])
    assert lease.claim(alice, "two", 10.0) is None
    lease.release("one", [alice])
    assert lease.claim(alice, "two", 10.0) == 2


def test_all_leases_of_a_process_are_renewed_in_one_statement(alice):
    bob = get_user_model().objects.create_user("bob").pk
    for agent_id in (alice, bob):
        lease.claim(agent_id, "one", 10.0)
        expire(agent_id)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert lease.renew("one", 10.0, [alice, bob]) == 2
    assert len(queries) == 1
    assert lease.claim(alice, "two", 10.0) is None


def test_a_row_deleted_by_hand_is_noticed_at_the_next_renewal(alice):
    lease.claim(alice, "one", 10.0)
    AgentLease.objects.all().delete()
    assert lease.renew("one", 10.0, [alice]) == 0
    assert lease.held_by("one") == set()


def test_a_holder_that_lost_its_lease_releases_nothing_of_its_successor(alice):
    lease.claim(alice, "one", 10.0)
    expire(alice)
    lease.claim(alice, "two", 10.0)
    lease.release("one")
    assert lease.held_by("two") == {alice}
