"""Asterisk crashes, or the line to it is cut, while calls go on: nothing is lost, and no call is left over."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from cti_django.calls.states import CallState
from cti_django.sessions.session import LinkState
from tests.chaos.proxy import Proxy
from tests.pbx.asterisk import asterisk
from tests.pbx.desk import desk
from tests.pbx.phone import phone
from tests.pbx.public_network import public_network

from .connecting import connector

MARIE = "+33123456789 Marie Curie"
QUICK = {"ping_seconds": 0.5, "request_seconds": 2}


@pytest.fixture
def own_pbx():
    """An Asterisk that this test may kill."""
    with asterisk(agents=8) as server:
        yield server


class Cable:
    """What runs between the connectors and the manager interface; it can be pulled out."""

    def __init__(self, port: int) -> None:
        self._proxy, self._there = Proxy(port), port

    async def __aenter__(self) -> "Cable":
        await self._proxy.start()
        self.port = self._proxy.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._proxy.stop()

    def pull(self) -> None:
        self._proxy.target_port = 1  # nobody listens there
        for pipe in list(self._proxy.pipes):
            pipe.cut()

    def go_dead(self) -> None:
        """Both ends believe in it, and nothing passes."""
        self._proxy.target_port = 1
        for pipe in self._proxy.pipes:
            pipe.is_dead = True

    def put_back(self) -> None:
        for pipe in list(self._proxy.pipes):
            pipe.cut()
        self._proxy.target_port = self._there


def calls_and_errors(place):
    """Her story without the names of the errors, of which there is one at least."""
    lines = [line for line in place.story if not line.startswith(("ERROR", "INFO"))]
    assert len(lines) < len(place.story)
    return lines


async def test_asterisk_is_killed_in_the_middle_of_calls_and_started_again(own_pbx):
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(public_network(own_pbx))
        places = [
            await stack.enter_async_context(desk(connector(own_pbx, agent, **QUICK), agent))
            for agent in ("1001", "1002", "1003", "1004")
        ]
        talking, ringing, dialling, idle = places
        phones = [
            await stack.enter_async_context(phone(own_pbx, place.agent, answers_by_itself=place is talking))
            for place in places
        ]
        await outside.ring(talking.agent)
        await outside.ring(ringing.agent)
        await talking.hears("CONNECTED")
        await ringing.hears("RINGING")
        await dialling.does("call", number="+33612345678")
        await dialling.hears("INITIAL")

        abilities = idle.session.state.capabilities
        own_pbx.kill()
        for place in places:
            await place.is_linked(LinkState.LOST)
        for device in phones:
            await device.stop()
        await asyncio.to_thread(own_pbx.start)
        for place in places:
            await place.is_linked()
        await talking.hears("HANGUP")
        await ringing.hears("HANGUP")
        # While it starts, Asterisk lets managers in and does not know half of its actions.
        await idle.until(lambda: idle.session.state.capabilities == abilities, "that she can do all that she could")

        # It is the same to them as before: a phone comes back, and is called.
        back = await stack.enter_async_context(phone(own_pbx, idle.agent))
        caller = await outside.ring(idle.agent)
        await back.answer()
        await idle.hears("CONNECTED")
        await caller.hang_up()
        await idle.hears("HANGUP")

        assert calls_and_errors(talking) == [
            f"RINGING in {MARIE}",
            f"CONNECTED in {MARIE}",
            f"HANGUP in {MARIE}: inferred",
        ]
        assert calls_and_errors(ringing) == [f"RINGING in {MARIE}", f"HANGUP in {MARIE}: inferred"]
        assert calls_and_errors(idle) == [
            f"RINGING in {MARIE}",
            f"CONNECTED in {MARIE}",
            f"HANGUP in {MARIE}: completed",
        ]
        await dialling.hears("CANCEL")
        assert calls_and_errors(dialling) == ["INITIAL out +33612345678", "CANCEL out +33612345678: cancelled"]
        assert [place.calls() for place in places] == [[], [], [], []]


@pytest.mark.parametrize("how", ["pull", "go_dead"])
async def test_the_line_is_cut_while_calls_go_on_change_and_end(own_pbx, how):
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(public_network(own_pbx))
        cable = await stack.enter_async_context(Cable(own_pbx.ami_port))
        places = [
            await stack.enter_async_context(desk(connector(own_pbx, agent, port=cable.port, **QUICK), agent))
            for agent in ("1001", "1002", "1003", "1004", "1005", "1006", "1007")
        ]
        goes_on, held, ends, is_answered, is_given_up, begins, hands_over = places
        desks = {place: await stack.enter_async_context(phone(own_pbx, place.agent)) for place in places}
        callers = {place: await outside.ring(place.agent) for place in places if place is not begins}
        for place in (goes_on, held, ends, hands_over):
            await desks[place].answer()
            await place.hears("CONNECTED")
        for place in (is_answered, is_given_up):
            await place.hears("RINGING")
        await desks[held].hold()
        await held.hears("ON_HOLD")
        before = {place: place.call.call_id for place in callers}

        getattr(cable, how)()
        for place in places:
            await place.is_linked(LinkState.LOST)
        await callers[ends].hang_up()
        await desks[is_answered].answer()
        await callers[is_given_up].hang_up()
        await outside.ring(begins.agent)
        await desks[begins].wait_for("ringing")
        await desks[hands_over].transfer(ends.agent)
        await desks[ends].wait_for("ringing")
        await asyncio.to_thread(own_pbx.cli, "core show uptime")
        cable.put_back()

        for place in places:
            await place.is_linked()
        await begins.hears("RINGING")
        await is_answered.hears("CONNECTED")
        await ends.hears("RINGING", 2)
        for place in (is_given_up, ends, hands_over):
            await place.hears("HANGUP")
        assert [place.call.call_id == before[place] for place in (goes_on, held, is_answered)] == [True] * 3
        assert [place.call.state for place in (goes_on, held, is_answered, begins, ends)] == [
            CallState.CONNECTED,
            CallState.ON_HOLD,
            CallState.CONNECTED,
            CallState.RINGING,
            CallState.RINGING,
        ]
        await desks[held].resume()
        await held.hears("CONNECTED", 2)
        for place in (goes_on, held, is_answered, begins, ends):
            await desks[place].hang_up()
            await place.hears("HANGUP", 2 if place is ends else 1)

        completed, inferred = f"HANGUP in {MARIE}: completed", f"HANGUP in {MARIE}: inferred"
        rings, talks, waits = f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"ON_HOLD in {MARIE}"
        assert {place.agent: calls_and_errors(place) for place in places} == {
            goes_on.agent: [rings, talks, completed],
            held.agent: [rings, talks, waits, talks, completed],
            ends.agent: [rings, talks, rings, inferred, f"HANGUP in {MARIE}: rejected"],
            is_answered.agent: [rings, talks, completed],
            is_given_up.agent: [rings, inferred],
            begins.agent: [rings, f"HANGUP in {MARIE}: rejected"],
            hands_over.agent: [rings, talks, inferred],
        }
        assert [place.calls() for place in places] == [[]] * len(places)
