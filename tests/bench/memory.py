"""Memory of one connector session, its upstream WebSocket included, beside a bare aiohttp WebSocket client."""

import asyncio
import gc
import multiprocessing
from typing import Any

import aiohttp
import psutil

from .report import line
from .world import lines

SESSIONS = 1_000


def _serve(pipe: Any, count: int) -> None:
    """The PBX, in a process of its own, so that its memory is not counted."""

    async def serve() -> None:
        from cti_django.sandbox.server import run_sandbox

        async with run_sandbox(users=lines(count), port=0) as sandbox:
            pipe.send((sandbox.api_url, sandbox.sip_url))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(serve())


def _used() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def _sessions(api_url: str, sip_url: str) -> float:
    from cti_django.calls.numbers import NumberPlan
    from cti_django.connectors.base import Credentials
    from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
    from cti_django.sandbox.users import PASSWORD
    from cti_django.sessions.session import AgentSession

    gate = asyncio.Semaphore(30)
    stories = []

    async def start(user: Any) -> None:
        ready = asyncio.Event()

        async def tell(said: Any) -> None:
            if getattr(said, "name", "") == "READY":
                ready.set()

        async with gate:
            credentials = Credentials(username=user.email, password=PASSWORD)
            options = {"api_url": api_url, "sip_url": sip_url}
            connector = VoIPstudioConnector(credentials, options, number_plan=NumberPlan(region="GB"))
            stories.append(asyncio.create_task(AgentSession(connector, tell).run()))
            await asyncio.wait_for(ready.wait(), 120)

    users = lines(SESSIONS + 20)
    await asyncio.gather(*(start(user) for user in users[:20]))  # imports and pools are not a session's memory
    before = _used()
    await asyncio.gather(*(start(user) for user in users[20:]))
    after = _used()
    for story in stories:
        story.cancel()
    await asyncio.wait(stories)
    return (after - before) / SESSIONS / 1000


async def _bare(sip_url: str) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        gate = asyncio.Semaphore(30)
        kept: list[Any] = []

        async def start() -> None:
            async with gate:
                socket = await session.ws_connect(sip_url, protocols=("sip",), compress=0)
                kept.append((socket, asyncio.create_task(socket.receive())))

        await asyncio.gather(*(start() for _ in range(20)))
        before = _used()
        await asyncio.gather(*(start() for _ in range(SESSIONS)))
        after = _used()
        for _socket, reading in kept:
            reading.cancel()
    return (after - before) / SESSIONS / 1000


def _in_fresh_process(function: str, *args: str) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (function, args))


def _run(function: str, args: tuple[str, ...]) -> float:
    return asyncio.run(globals()[function](*args))


def main() -> None:
    """Measure, and print one line."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, SESSIONS + 20))
    process.start()
    try:
        api_url, sip_url = ours.recv()
        floor = _in_fresh_process("_bare", sip_url)
        used = _in_fresh_process("_sessions", api_url, sip_url)
    finally:
        ours.send("end")
        process.join(20)
    line("session_memory", used, "kB", floor=floor, goal="<= 45 kB", sessions=SESSIONS)


if __name__ == "__main__":
    main()
