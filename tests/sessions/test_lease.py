"""Exactly one holder for each agent, and a fence that rises with every claim: on SQLite and on PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.db.utils import IntegrityError
from django.test.utils import CaptureQueriesContext

from cti_django.models import AgentLease
from cti_django.sessions import lease
from cti_django.sessions.lease import Standing
from cti_django.sessions.session import LinkState
from tests.servers import as_default
from tests.sessions.rivals import contest, contestants, rival

NOBODY = Standing("", 0, False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, transactional_db):
    """The default database of this test, as DATABASES has it; what is written is seen by other processes."""
    if request.param == "sqlite":
        yield dict(connections["default"].settings_dict)
        return
    database = request.getfixturevalue("postgres_database")
    with as_default(database):
        yield database


@pytest.fixture
def alice(database):
    return people(1)[0]


@pytest.fixture
def bob(database):
    return people(1)[0]


def people(count):
    users = get_user_model()
    before = users.objects.count()
    made = users.objects.bulk_create(users(username=f"agent-{before + number}") for number in range(count))
    return [user.pk for user in made]


def held(agent_ids, holder="one"):
    """Leases of `holder` that stand for a minute."""
    AgentLease.objects.bulk_create(AgentLease(agent_id=agent_id, holder=holder, fence=1) for agent_id in agent_ids)
    AgentLease.objects.update(expires_at=Now() + timedelta(seconds=60))


def expire(agent_id, seconds=1.0):
    """Let the lease have run out so long ago."""
    AgentLease.objects.filter(agent_id=agent_id).update(expires_at=Now() - timedelta(seconds=seconds))


def row(agent_id):
    return AgentLease.objects.get(agent_id=agent_id)


def runs_for(agent_id, seconds):
    """Whether the lease runs out in so many seconds, by the database's clock; give or take a few."""
    near = Now() + timedelta(seconds=seconds - 10), Now() + timedelta(seconds=seconds + 10)
    return AgentLease.objects.filter(agent_id=agent_id, expires_at__range=near).exists()


# Claims


def test_the_first_claim_makes_the_row_and_the_holder(alice):
    assert lease.claim(alice, "one", 60.0) == 1
    assert row(alice).holder == "one"
    assert runs_for(alice, 60)
    assert AgentLease.objects.filter(since__lte=Now(), since__gt=Now() - timedelta(seconds=10)).exists()


def test_nobody_else_gets_a_lease_that_stands(alice):
    lease.claim(alice, "one", 10.0)
    assert lease.claim(alice, "two", 10.0, above=7) is None
    assert lease.held_by("one") == {alice}
    assert row(alice).fence == 1


def test_every_claim_raises_the_fence_the_same_holders_too(alice):
    assert [lease.claim(alice, "one", 10.0) for _ in range(3)] == [1, 2, 3]


def test_a_lease_that_has_run_out_goes_to_the_next_with_a_higher_fence(alice):
    lease.claim(alice, "one", 10.0)
    expire(alice)
    assert lease.claim(alice, "two", 10.0) == 2
    assert lease.claim(alice, "one", 10.0) is None


def test_a_fence_is_above_all_that_the_claimant_has_seen_even_after_the_row_was_deleted(alice):
    assert [lease.claim(alice, "one", 10.0) for _ in range(5)][-1] == 5
    AgentLease.objects.all().delete()
    assert lease.claim(alice, "two", 10.0, above=5) == 6
    assert lease.claim(alice, "two", 10.0, above=3) == 7


def test_a_claim_forgets_what_concerned_the_holder_before(alice):
    lease.claim(alice, "one", 10.0)
    AgentLease.objects.update(link="ready", instruction="close", wanted_until=Now() + timedelta(seconds=60))
    expire(alice)
    lease.claim(alice, "two", 10.0)
    after = row(alice)
    assert (after.link, after.instruction, after.wanted_until) == ("", "", None)


def test_a_claim_for_somebody_who_does_not_exist_is_an_error_and_leaves_nothing(alice):
    with pytest.raises(IntegrityError):
        lease.claim(alice + 1, "one", 10.0)
    assert not AgentLease.objects.exists()


def test_a_claim_takes_two_statements_once_the_row_is_there(alice):
    lease.claim(alice, "one", 10.0)
    with CaptureQueriesContext(connection) as queries:
        lease.claim(alice, "one", 10.0)
    assert len(queries) == 2


@pytest.mark.slow
def test_of_two_processes_that_claim_at_the_same_instant_exactly_one_gets_it(alice, database):
    rounds = 1_000 if connection.vendor == "postgresql" else 200
    with contestants(database) as processes:
        asked = [process.submit(contest, alice, f"p{n}", rounds) for n, process in enumerate(processes)]
        outcomes = list(zip(*(each.result(180) for each in asked), strict=True))
    assert [sum(fence is not None for fence in both) for both in outcomes] == [1] * rounds
    fences = [max(fence or 0 for fence in both) for both in outcomes]
    assert fences == sorted(set(fences))


# Renewals


def test_a_renewal_is_counted_from_now(alice):
    lease.claim(alice, "one", 10.0)
    assert lease.renew("one", 600.0, [alice]) == 1
    assert runs_for(alice, 600)


def test_a_thousand_leases_are_renewed_in_one_statement(database):
    agent_ids = people(1_000)
    held(agent_ids)
    with CaptureQueriesContext(connection) as queries:
        assert lease.renew("one", 600.0, agent_ids) == 1_000
    assert len(queries) == 1
    assert runs_for(agent_ids[-1], 600)


def test_only_the_named_leases_are_renewed(alice, bob):
    held([alice, bob])
    assert lease.renew("one", 600.0, [alice]) == 1
    assert not runs_for(bob, 600)


def test_a_lease_that_another_has_claimed_is_not_renewed(alice, bob):
    held([alice, bob])
    expire(alice)
    lease.claim(alice, "two", 60.0)
    assert lease.renew("one", 600.0, [alice, bob]) == 1
    assert runs_for(alice, 60)


def test_a_row_deleted_by_hand_is_noticed_at_the_next_renewal(alice):
    lease.claim(alice, "one", 10.0)
    AgentLease.objects.all().delete()
    assert lease.renew("one", 10.0, [alice]) == 0
    assert lease.held_by("one") == set()
    assert lease.look([alice], 45.0) == {alice: NOBODY}


# Letting go


def test_a_released_lease_is_free_at_once_and_only_its_holder_releases_it(alice):
    lease.claim(alice, "one", 10.0)
    lease.release("two", [alice])
    assert lease.claim(alice, "two", 10.0) is None
    lease.release("one", [alice])
    assert lease.claim(alice, "two", 10.0) == 2


def test_a_holder_that_lost_its_lease_releases_nothing_of_its_successor(alice):
    lease.claim(alice, "one", 10.0)
    expire(alice)
    lease.claim(alice, "two", 10.0)
    lease.release("one")
    assert lease.held_by("two") == {alice}


def test_all_of_a_process_or_only_some_are_released_in_one_statement(database):
    agent_ids = people(4)
    held(agent_ids[:3])
    held(agent_ids[3:], "two")
    with CaptureQueriesContext(connection) as queries:
        lease.release("one", agent_ids[:1])
    assert len(queries) == 1
    assert lease.held_by("one") == set(agent_ids[1:3])
    with CaptureQueriesContext(connection) as queries:
        lease.release("one", wanted_seconds=30.0)
    assert len(queries) == 1
    assert (lease.held_by("one"), lease.held_by("two")) == (set(), {agent_ids[3]})


def test_releasing_no_agent_releases_none(alice):
    lease.claim(alice, "one", 10.0)
    lease.release("one", [])
    assert lease.held_by("one") == {alice}


def test_a_released_row_says_nothing_of_the_session_any_more(alice):
    lease.claim(alice, "one", 10.0)
    AgentLease.objects.update(link="ready", instruction="close")
    lease.release("one", [alice])
    after = row(alice)
    assert (after.holder, after.expires_at, after.since, after.link, after.instruction) == ("", None, None, "", "")
    assert (after.wanted_until, after.fence) == (None, 1)


# Looking


def test_agents_stand_as_the_database_sees_them_in_one_question(database):
    running, released, handed_over, long_handed_over, crashed, long_crashed, never = agent_ids = people(7)
    held(agent_ids[:-1])
    lease.release("one", [released])
    lease.release("one", [handed_over], wanted_seconds=30.0)
    lease.release("one", [long_handed_over], wanted_seconds=30.0)
    AgentLease.objects.filter(agent_id=long_handed_over).update(wanted_until=F("wanted_until") - timedelta(seconds=31))
    expire(crashed, 20.0)
    expire(long_crashed, 50.0)
    with CaptureQueriesContext(connection) as queries:
        standings = lease.look(agent_ids, 45.0)
    assert len(queries) == 1
    assert standings == {
        running: Standing("one", 1, False),
        released: Standing("", 1, False),
        handed_over: Standing("", 1, True),
        long_handed_over: Standing("", 1, False),
        crashed: Standing("", 1, True),
        long_crashed: Standing("", 1, False),
        never: NOBODY,
    }
    with CaptureQueriesContext(connection) as queries:
        wanted = lease.wanted(45.0)
    assert len(queries) == 1
    assert wanted == {agent_id: standing for agent_id, standing in standings.items() if standing.is_wanted}


def test_what_somebody_looks_vacant_is_what_can_be_claimed(database):
    _running, released, handed_over, crashed, odd, never = agent_ids = people(6)
    held(agent_ids[:-1])
    lease.release("one", [released])
    lease.release("one", [handed_over], wanted_seconds=30.0)
    expire(crashed)
    AgentLease.objects.filter(agent_id=odd).update(expires_at=None)
    standings = lease.look(agent_ids, 45.0)
    claimed = {agent_id for agent_id in agent_ids if lease.claim(agent_id, "two", 10.0)}
    assert claimed == {agent_id for agent_id in agent_ids if not standings[agent_id].holder}
    assert claimed == {released, handed_over, crashed, odd, never}


def test_a_session_that_was_taken_over_is_not_wanted_any_more(alice):
    lease.claim(alice, "one", 10.0)
    lease.release("one", wanted_seconds=30.0)
    lease.claim(alice, "two", 10.0)
    lease.release("two")
    assert lease.look([alice], 45.0) == {alice: Standing("", 2, False)}


def test_looking_for_nobody_asks_nothing(database):
    with CaptureQueriesContext(connection) as queries:
        assert lease.look([], 45.0) == {}
    assert not queries


# Clocks


@pytest.mark.parametrize("error", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_a_process_whose_clock_is_an_hour_wrong_claims_by_the_databases_clock(database, error):
    standing, expired, new = people(3)
    held([standing, expired])
    expire(expired)
    with rival(database, error) as process:

        def there(verb, *arguments):
            return process.submit(verb, *arguments).result(60)

        assert there(lease.look, [standing, expired], 45.0) == {
            standing: Standing("one", 1, False),
            expired: Standing("", 1, True),
        }
        assert [there(lease.claim, agent_id, "two", 60.0) for agent_id in (standing, expired, new)] == [None, 2, 1]
        assert runs_for(expired, 60)
        assert runs_for(new, 60)
        assert there(lease.renew, "two", 600.0, [expired, new]) == 2
        assert runs_for(new, 600)
        there(lease.release, "two", [new], 30.0)
    assert lease.look([new, expired], 45.0) == {new: Standing("", 1, True), expired: Standing("two", 2, False)}


# What others see and ask


def test_links_are_written_one_statement_a_link_and_only_on_the_holders_own_rows(database):
    agent_ids = people(5)
    held(agent_ids[:4])
    held(agent_ids[4:], "two")
    with CaptureQueriesContext(connection) as queries:
        lease.note_links("one", {LinkState.READY: agent_ids[:2], "lost": agent_ids[2:3] + agent_ids[4:], "none": []})
    assert len(queries) == 2
    links = dict(AgentLease.objects.values_list("agent_id", "link"))
    assert [links[agent_id] for agent_id in agent_ids] == ["ready", "ready", "lost", "", ""]


def test_every_link_state_fits():
    assert max(map(len, LinkState)) <= AgentLease._meta.get_field("link").max_length


def test_an_instruction_reaches_the_holder_once(database):
    agent_ids = people(4)
    held(agent_ids[:2])
    held(agent_ids[2:3], "two")
    assert lease.instruct(agent_ids, "hand_over") == 3
    assert lease.instruct(agent_ids[1:2], "close") == 1
    assert lease.take_instructions("one") == {agent_ids[0]: "hand_over", agent_ids[1]: "close"}
    assert lease.take_instructions("one") == {}
    assert lease.take_instructions("two") == {agent_ids[2]: "hand_over"}


def test_nobody_is_told_what_was_asked_of_the_holder_before(alice):
    lease.claim(alice, "one", 10.0)
    lease.instruct([alice], "close")
    lease.release("one", [alice], wanted_seconds=30.0)
    assert lease.instruct([alice], "close") == 0
    lease.claim(alice, "two", 10.0)
    assert lease.take_instructions("two") == {}


def test_an_instruction_that_comes_while_others_are_taken_waits_for_the_next_time(alice, monkeypatch):
    lease.claim(alice, "one", 10.0)
    lease.instruct([alice], "reload")
    chunks = lease._chunks

    def meanwhile(agent_ids):
        lease.instruct([alice], "close")
        return chunks(agent_ids)

    monkeypatch.setattr(lease, "_chunks", meanwhile)
    assert lease.take_instructions("one") == {alice: "reload"}
    monkeypatch.undo()
    assert lease.take_instructions("one") == {alice: "close"}


def test_instructions_and_a_renewal_never_wait_for_each_other_for_ever(transactional_db, postgres_database):
    def ask():
        try:
            return lease.instruct([alice, bob], "close")
        finally:
            connection.close()

    with as_default(postgres_database), ThreadPoolExecutor(1) as thread:
        alice, bob = people(2)
        held([alice, bob])
        with transaction.atomic():  # a renewal that is half done, in the other order
            lease.renew("one", 600.0, [bob])
            asked = thread.submit(ask)
            until_somebody_waits()
            lease.renew("one", 600.0, [alice])
        assert asked.result(30) == 2


def until_somebody_waits():
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            if cursor.fetchone():
                return
            time.sleep(0.005)
    pytest.fail("nobody waits")


def test_there_are_three_instructions_and_no_others(alice):
    lease.claim(alice, "one", 10.0)
    for instruction in ("hand_over", "close", "reload"):
        lease.instruct([alice], instruction)
        assert lease.take_instructions("one") == {alice: instruction}
    with pytest.raises(ValueError, match="dance"):
        lease.instruct([alice], "dance")


# Many


def test_more_agents_than_one_statement_takes_are_no_matter(database):
    agent_ids = people(5_001)
    held(agent_ids)
    with CaptureQueriesContext(connection) as queries:
        assert lease.renew("one", 600.0, agent_ids) == 5_001
    assert len(queries) == 2
    lease.note_links("one", {"ready": agent_ids})
    assert AgentLease.objects.filter(link="ready").count() == 5_001
    AgentLease.objects.update(instruction="close")
    assert len(lease.take_instructions("one")) == 5_001
    assert lease.take_instructions("one") == {}
    lease.release("one", agent_ids, wanted_seconds=30.0)
    assert set(lease.look(agent_ids, 45.0).values()) == {Standing("", 1, True)}


# Which database


class ReplicaRouter:
    """Reads go to a replica, which these settings do not even have."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


def test_a_replica_which_may_lag_behind_is_never_asked(alice, settings):
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    assert lease.claim(alice, "one", 10.0) == 1
    assert lease.renew("one", 10.0, [alice]) == 1
    assert lease.held_by("one") == {alice}
    assert lease.look([alice], 45.0) == {alice: Standing("one", 1, False)}
    lease.note_links("one", {"ready": [alice]})
    assert lease.instruct([alice], "close") == 1
    assert lease.take_instructions("one") == {alice: "close"}
    lease.release("one")


# The migration


def test_the_migration_keeps_the_leases_there_and_back(alice):
    lease.claim(alice, "one", 600.0)
    try:
        call_command("migrate", "cti_django", "0001", verbosity=0)
        with connection.cursor() as cursor, transaction.atomic():
            columns = {column.name for column in connection.introspection.get_table_description(cursor, table())}
            cursor.execute(f"SELECT holder, fence FROM {table()}")
            assert cursor.fetchall() == [("one", 1)]
        assert not columns & {"since", "link", "instruction"}
    finally:
        call_command("migrate", "cti_django", verbosity=0)
    after = row(alice)
    assert (after.holder, after.since, after.link, after.instruction) == ("one", None, "", "")
    assert lease.claim(alice, "one", 600.0) == 2


def table():
    return AgentLease._meta.db_table
