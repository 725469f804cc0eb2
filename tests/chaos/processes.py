"""The processes of the site: started, killed, frozen and thawed, each with its own log and process group."""

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from tests.readme_project import REPOSITORY

__all__ = ["Program", "Standing", "until"]

START_SECONDS = 60.0
END_SECONDS = 15.0
LOOK_SECONDS = 0.05
_GROUPS: set[int] = set()


@atexit.register
def _end_all() -> None:
    for group in list(_GROUPS):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for something that is told to nobody; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (is_so := condition()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    return is_so


class Standing(StrEnum):
    """What a program is doing."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    FROZEN = "frozen"
    ENDING = "ending"  # it was told to end


class Program:
    """One Python program of the site, as often as it is started.

    Args:
        name: "daphne-1"; its log is `name`.log.
        arguments: of ``python``.
        port: where it listens when it is up; None: it counts as up after `settle_seconds`.

    Attributes:
        history: (unix time, standing) at every change.
        pids: of every process that this program has been.
    """

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str], logs: Path, port: int | None
    ) -> None:
        self.name, self.port = name, port
        self._arguments, self._environment, self._log = arguments, environment, logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.history: list[tuple[float, Standing]] = [(time.time(), Standing.DOWN)]
        self.pids: list[int] = []

    @property
    def standing(self) -> Standing:
        """What it is doing now."""
        return self.history[-1][1]

    @property
    def is_up(self) -> bool:
        return self.standing is Standing.UP

    def standing_at(self, moment: float) -> Standing:
        """What it was doing then."""
        return next((standing for at, standing in reversed(self.history) if at <= moment), Standing.DOWN)

    def _become(self, standing: Standing) -> None:
        self.history.append((time.time(), standing))

    async def start(self) -> None:
        """Start it, and return when it listens. Raises RuntimeError if that does not happen."""
        self._become(Standing.STARTING)
        with self._log.open("ab") as output:
            process = subprocess.Popen(  # noqa: ASYNC220  it takes no time, and its end must be seen without a loop
                [sys.executable, *self._arguments],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._process = process
        self.pids.append(process.pid)
        _GROUPS.add(process.pid)
        await self._until_it_listens(process)
        if self._process is process and self.standing is Standing.STARTING:
            self._become(Standing.UP)

    async def _until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                if self._process is process:
                    raise RuntimeError(f"{self.name} ended with {process.returncode}; see {self._log}")
                return
            if self.port is None or await _answers(self.port):
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError(f"{self.name} does not listen; see {self._log}")

    async def kill(self) -> None:
        """SIGKILL."""
        self._become(Standing.DOWN)
        await self._finish(signal.SIGKILL)

    async def terminate(self) -> float:
        """SIGTERM, as a deploy does; return how many seconds it took to end. One that does not end is killed."""
        began = time.monotonic()
        self._become(Standing.ENDING)
        process = self._process
        await self._finish(signal.SIGTERM)
        if process is not None and self.standing is Standing.ENDING:
            self._become(Standing.DOWN)
        return time.monotonic() - began

    async def _finish(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        await until(lambda: process.poll() is not None, END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _GROUPS.discard(process.pid)

    def freeze(self) -> None:
        """SIGSTOP."""
        if self._process is not None:
            self._become(Standing.FROZEN)
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._become(Standing.UP)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
