"""1,000 agents on one manager connection, each with her session: what each weighs, and how long all take to be ready.

The PBX is a small one in a process of its own. The floor, in a fresh process too: as many idle asyncio tasks, each
waiting for a queue of its own.
"""

import asyncio
import gc
import multiprocessing
import os
import time
from typing import Any

import psutil

from cti_django.connectors.asterisk.connector import AsteriskConnector
from cti_django.connectors.base import Credentials
from cti_django.sessions.session import AgentSession, LinkState
from tests.connectors.asterisk.fake_calls import FakeCall
from tests.connectors.asterisk.fake_pbx import SECRET, USER, FakePBX

from .report import line

AGENTS = 1_000
TALKING = 100  # of them are in a call already
WARM = 20  # set up before: imports and the connection itself are not an agent's
PATIENCE_SECONDS = 120.0


def _serve(pipe: Any) -> None:
    async def serve() -> None:
        async with FakePBX() as pbx:
            for number in range(AGENTS + WARM):
                exten = str(2001 + number)
                status = {"Exten": exten, "Context": "hints", "Hint": f"PJSIP/{exten}", "Status": "0"}
                pbx.extensions.append(status)
            for number in range(TALKING):
                call = FakeCall(pbx, agent=str(2001 + WARM + number))
                call.ring()
                call.answer()
            pipe.send(pbx.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


async def _told_nothing(_said: object) -> None:
    return


async def _become_ready(port: int, numbers: range) -> list[Any]:
    sessions = []
    for number in numbers:
        options = {"port": port, "username": USER, "secret": SECRET, "queues": ["sales"], "hold_context": "park"}
        connector = AsteriskConnector(Credentials(username=str(2001 + number)), options)
        sessions.append(AgentSession(connector, _told_nothing))
    stories = [asyncio.create_task(session.run()) for session in sessions]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(session.state.state is not LinkState.READY for session in sessions):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return [sessions, stories]


async def _wait_idly(_port: int, numbers: range) -> list[Any]:
    queues: list[asyncio.Queue[None]] = [asyncio.Queue() for _ in numbers]
    tasks = [asyncio.create_task(queue.get()) for queue in queues]
    await asyncio.sleep(0)
    return [queues, tasks]


CROWDS = {"ours": _become_ready, "idle": _wait_idly}


def _measure(pipe: Any, kind: str, port: int) -> None:
    """In a process of its own: bring a crowd up, tell what it took, and be gone."""

    async def measure() -> None:
        kept = [await CROWDS[kind](port, range(WARM))]
        gc.collect()
        me = psutil.Process()
        memory, began = me.memory_info().rss, time.perf_counter()
        kept.append(await CROWDS[kind](port, range(WARM, WARM + AGENTS)))
        seconds = time.perf_counter() - began
        gc.collect()
        pipe.send((seconds, (me.memory_info().rss - memory) / AGENTS / 1000))
        os._exit(0)

    asyncio.run(measure())


def _in_a_process(target: Any, *args: Any) -> tuple[Any, Any]:
    """Start `target` with a pipe and `args`; the process, and the first thing that it says."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(PATIENCE_SECONDS):
        process.kill()
        raise TimeoutError(f"{target.__name__}{args} said nothing")
    return process, ours.recv()


def main() -> None:
    """Measure, and print two lines."""
    pbx, port = _in_a_process(_serve)
    try:
        floor, (_, idle_kilobytes) = _in_a_process(_measure, "idle", port)
        floor.join(20)
        crowd, (seconds, kilobytes) = _in_a_process(_measure, "ours", port)
        crowd.join(20)
    finally:
        pbx.kill()
        pbx.join(20)
    facts = {"agents": AGENTS, "talking": TALKING, "connections": 1}
    floor_is = "an idle task that waits for its queue"
    line("asterisk_agent_memory", kilobytes, "kB", floor=idle_kilobytes, floor_is=floor_is, **facts)
    line("asterisk_agents_ready", seconds, "s", **facts)


if __name__ == "__main__":
    main()
