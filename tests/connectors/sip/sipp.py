"""SIPp as the server of a test: one scenario of ``scenarios/``, and whether it was played to its end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.programs import program

__all__ = ["playing"]

SCENARIOS = Path(__file__).with_name("scenarios")
SECONDS = 15.0


@asynccontextmanager
async def playing(scenario: str, folder: Path, *, calls: int, to_its_end: bool = True) -> AsyncIterator[int]:
    """SIPp plays `scenario` on a UDP port of 127.0.0.1, which is given; it has to see `calls` Call-IDs, and to end them
    all as the scenario wants: unless `to_its_end` is False, because the last word of a call may be lost on its way."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-p", str(port), "-m", str(calls)]
    arguments += ["-nd", "-nostdin", "-recv_timeout", "60000", "-trace_err", "-error_file", "errors.log"]
    process = await asyncio.create_subprocess_exec(
        program("sipp"), *arguments, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listens(port, process)
        yield port
        if not to_its_end:
            return
        async with asyncio.timeout(SECONDS):
            ended = await process.wait()
        errors = folder / "errors.log"
        assert ended == 0, errors.read_text(errors="replace") if errors.exists() else f"SIPp ended with {ended}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until SIPp has its port: nobody else can have it any more."""
    async with asyncio.timeout(SECONDS):
        while process.returncode is None:
            with socket.socket(type=socket.SOCK_DGRAM) as taken:
                try:
                    taken.bind(("127.0.0.1", port))
                except OSError:
                    return
            await asyncio.sleep(0.02)
    raise AssertionError("SIPp did not start")
