"""200 calls at 5 a second with 20 agents: each is told to its agent from its first ring to its end, and to nobody else.

What happens to a call is decided by its number, so that what the agents, and the telephone bill, must say is known.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.pbx.asterisk import asterisk
from tests.pbx.desk import desk
from tests.pbx.phone import phone
from tests.pbx.public_network import public_network

from .connecting import connector

AGENTS, CALLS, SECONDS_BETWEEN = 20, 200, 0.2
TALK_SECONDS = 0.8
KINDS = ("the caller hangs up", "the agent hangs up", "nobody answers", "she refuses", "she dials")
BILLED = {
    "the caller hangs up": "ANSWERED",
    "the agent hangs up": "ANSWERED",
    "nobody answers": "NO ANSWER",
    "she refuses": "BUSY",
    "she dials": "ANSWERED",
}


def kind_of(number: int) -> str:
    # Each agent gets every kind twice.
    return KINDS[(number + number // AGENTS) % len(KINDS)]


def shown(number: int) -> str:
    """The number of whoever is outside."""
    return f"+447700900{number:03}"


def story_of(number: int) -> list[str]:
    """What the agent must be told of one call."""
    kind = kind_of(number)
    if kind == "she dials":
        steps = [f"{name} out {shown(number)}" for name in ("INITIAL", "ACCEPTED", "RINGING", "CONNECTED")]
        return [*steps, f"HANGUP out {shown(number)}: completed"]
    caller = f"in {shown(number)} Caller {number}"
    if kind == "nobody answers":
        return [f"RINGING {caller}", f"HANGUP {caller}: missed"]
    if kind == "she refuses":
        return [f"RINGING {caller}", f"HANGUP {caller}: rejected"]
    return [f"RINGING {caller}", f"CONNECTED {caller}", f"HANGUP {caller}: completed"]


async def one_call(number, place, desk_phone, outside):
    await asyncio.sleep(number * SECONDS_BETWEEN)
    kind = kind_of(number)
    ended = sum(line.startswith("HANGUP") for line in place.story) + 1
    if kind == "she dials":
        await place.does("call", number=shown(number))
        await desk_phone.answer()
        far = await outside.called(shown(number))
        await place.hears(f"RINGING out {shown(number)}")
        await far.answer()
        await asyncio.sleep(TALK_SECONDS)
        await far.hang_up()
    else:
        caller = await outside.ring(place.agent, shown(number), f"Caller {number}")
        await desk_phone.wait_for("ringing")
        await _goes_on(kind, caller, desk_phone)
    await place.hears("HANGUP", ended)


async def _goes_on(kind, caller, desk_phone):
    if kind == "nobody answers":
        await caller.hang_up()
    elif kind == "she refuses":
        await desk_phone.hang_up()
        await caller.over()
    else:
        await desk_phone.answer()
        await asyncio.sleep(TALK_SECONDS)
        await (caller if kind == "the caller hangs up" else desk_phone).hang_up()
        await caller.over()


@pytest.mark.slow
async def test_two_hundred_calls_at_five_a_second_are_all_accounted_for():
    with asterisk(agents=AGENTS) as pbx:
        async with AsyncExitStack() as stack:
            outside = await stack.enter_async_context(public_network(pbx))
            places = [await stack.enter_async_context(desk(connector(pbx, agent), agent)) for agent in pbx.agents]
            phones = [await stack.enter_async_context(phone(pbx, agent)) for agent in pbx.agents]
            async with asyncio.TaskGroup() as calls:
                for number in range(CALLS):
                    seat = number % AGENTS
                    calls.create_task(one_call(number, places[seat], phones[seat], outside))
        expected = {
            agent: [line for number in range(seat, CALLS, AGENTS) for line in story_of(number)]
            for seat, agent in enumerate(pbx.agents)
        }
        assert {place.agent: place.story for place in places} == expected
        assert [place.calls() for place in places] == [[]] * AGENTS
        ids = Counter(event.call.call_id for place in places for event in place.events)
        assert len(ids) == CALLS
        assert bill_of(pbx) == {shown(number): BILLED[kind_of(number)] for number in range(CALLS)}


def bill_of(pbx) -> dict[str, str]:
    """What Asterisk's own records say became of each call: the first line of each, the rest is the dialplan's."""
    billed: dict[str, str] = {}
    for row in pbx.bills():
        outsider = row[1] if row[1].startswith("+4477") else row[2]
        if outsider.startswith("+4477"):
            billed.setdefault(outsider, row[14])
    return billed
