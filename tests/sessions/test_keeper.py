"""One process's leases, with a clock that the test sets and a database that takes its time."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model

from cti_django.models import AgentLease
from cti_django.sessions import keeper as keeper_module
from cti_django.sessions import lease
from cti_django.sessions.keeper import Keeper
from cti_django.sessions.lease import Standing
from tests.faces.test_hostile_tabs import until

pytestmark = pytest.mark.django_db(transaction=True)


class World:
    """What a keeper tells."""

    def __init__(self):
        self.lost, self.seen, self.told = [], [], []
        self.skew = 0.0
        clock = keeper_module._boot_clock
        self.keeper = Keeper(
            "one",
            on_lost=self._lose,
            on_look=lambda agent_id, standing: self.seen.append((agent_id, standing)),
            on_instruction=self._hear,
            clock=lambda: clock() + self.skew,
        )

    async def _lose(self, agent_id):
        self.lost.append(agent_id)

    async def _hear(self, agent_id, instruction):
        self.told.append((agent_id, instruction))


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(keeper_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(keeper_module, "WHOLE_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "ERRAND_SECONDS", 0.02)
    world = World()
    yield world
    world.keeper.stop()


@sync_to_async
def people(count):
    users = [get_user_model()(username=f"agent{number}") for number in range(count)]
    return [user.pk for user in get_user_model().objects.bulk_create(users)]


@asynccontextmanager
async def held_up(monkeypatch, name):
    """While it lasts, that function of the leases does its work only when it is let go."""
    function, begun, go = getattr(lease, name), threading.Event(), threading.Event()

    def _slowly(*args, **more):
        begun.set()
        go.wait(5)
        return function(*args, **more)

    monkeypatch.setattr(lease, name, _slowly)
    try:
        yield begun, go
    finally:
        go.set()
        monkeypatch.setattr(lease, name, function)


async def row(agent_id):
    return await AgentLease.objects.aget(agent_id=agent_id)


async def test_a_claim_whose_answer_nobody_waited_for_can_be_let_go_of(world, monkeypatch):
    (alice,) = await people(1)
    async with held_up(monkeypatch, "claim") as (begun, go):
        claim = asyncio.ensure_future(world.keeper.claim(alice))
        await until(begun.is_set)
        claim.cancel()
        await asyncio.wait({claim})
        assert world.keeper.may_hold(alice)
        assert not world.keeper.holds(alice)
        go.set()
        await world.keeper.release([alice], wanted_seconds=60)
    assert (await row(alice)).holder == ""
    assert not world.keeper.may_hold(alice)


async def test_a_lease_that_has_run_out_is_not_brought_back_by_a_renewal(world, monkeypatch):
    (alice,) = await people(1)
    assert await world.keeper.claim(alice) == 1
    monkeypatch.setattr(keeper_module, "LOOK_SECONDS", 60)  # nobody notices
    await asyncio.sleep(0.03)
    world.skew = 7.5
    async with held_up(monkeypatch, "renew") as (begun, go):
        renewal = asyncio.ensure_future(world.keeper._renew_these([alice], 10.0))
        await until(begun.is_set)
        world.skew = 8.5
        go.set()
        await renewal
    assert not world.keeper.holds(alice)


async def test_many_sessions_that_begin_at_once_keep_no_renewal_waiting(world, monkeypatch, settings):
    settings.CTI_DJANGO = {**getattr(settings, "CTI_DJANGO", {}), "LEASE_SECONDS": 0.6}
    fences = iter(range(1, 1000))
    monkeypatch.setattr(lease, "claim", lambda *args: (time.sleep(0.01), next(fences))[1])
    monkeypatch.setattr(lease, "renew", lambda holder, seconds, agent_ids: len(agent_ids))
    monkeypatch.setattr(lease, "take_instructions", lambda holder: {})
    await asyncio.gather(*(world.keeper.claim(agent_id) for agent_id in range(150)))
    assert world.lost == []
    assert all(world.keeper.holds(agent_id) for agent_id in range(150))


async def test_what_the_agent_has_ended_is_taken_over_by_nobody_even_if_it_is_handed_over_at_once(world):
    alice, bob = await people(2)
    for agent_id in (alice, bob):
        await world.keeper.claim(agent_id)
    world.keeper.note_link(alice, "logged_out")
    world.keeper.note_link(bob, "ready")
    await world.keeper.release([alice, bob], wanted_seconds=60)
    found = await sync_to_async(lease.look)([alice, bob], 45.0)
    assert found == {alice: Standing("", 1, False, is_over=True), bob: Standing("", 1, True)}


@pytest.mark.parametrize("name", ["look", "take_instructions"])
async def test_a_round_that_fails_in_whatever_way_goes_on(world, monkeypatch, name):
    alice, bob = await people(2)
    with monkeypatch.context() as broken:
        failed = threading.Event()
        broken.setattr(lease, name, lambda *args: (failed.set(), {}["?"]))
        await world.keeper.claim(alice)
        world.keeper.watch(bob)
        await until(failed.is_set)
        await asyncio.sleep(0)
    await sync_to_async(lease.instruct)([alice], "close")
    await until(lambda: world.seen and world.told)
    assert world.told == [(alice, "close")]
    assert world.seen[0] == (bob, Standing("", 0, False))


async def test_instructions_are_given_out_all_or_none(world, monkeypatch):
    alice, bob = await people(2)
    for agent_id in (alice, bob):
        await sync_to_async(lease.claim)(agent_id, "one", 60.0)
    await sync_to_async(lease.instruct)([alice], "close")
    await sync_to_async(lease.instruct)([bob], "hand_over")

    def _fail_at_the_second(agent_ids):
        yield list(agent_ids)
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(lease, "_chunks", _fail_at_the_second)
        with pytest.raises(ConnectionError):
            await sync_to_async(lease.take_instructions)("one")
    assert await sync_to_async(lease.take_instructions)("one") == {alice: "close", bob: "hand_over"}
