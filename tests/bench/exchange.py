"""The telephone system under measurement: the sandbox in processes of its own, which can be killed and restarted."""

import asyncio
import multiprocessing
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

import psutil

from cti_django.sandbox.users import FIRST_EXTENSION

from .tabs import paced
from .world import lines

__all__ = ["Address", "Exchange", "certificate"]

LISTEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where one process of the telephone system is."""

    api_url: str
    sip_url: str
    port: int


@dataclass(slots=True)
class Exchange:
    """A telephone system with so many agents.

    Args:
        agents: extensions 10031 and up; agent n is served by process n % shards.
        shards: how many processes, each on a port of its own: one is as busy as its clients when thousands log in.
        tls: paths of certificate and key; None: no TLS.
    """

    agents: int
    shards: int = 1
    tls: tuple[Path, Path] | None = None
    addresses: list[Address] = field(default_factory=list)
    _processes: list[Any] = field(default_factory=list)
    _pipes: list[Any] = field(default_factory=list)

    def start(self, listen_at: float = 0.0) -> None:
        """Listen, not before the monotonic time `listen_at`; on the same ports as before, if it was killed."""
        context = multiprocessing.get_context("spawn")
        ports = [address.port for address in self.addresses] or [0] * self.shards
        for shard, port in enumerate(ports):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, self.agents, shard, self.shards, port, self.tls, listen_at), daemon=True
            )
            process.start()
            theirs.close()  # so that its end is heard as one
            self._processes.append(process)
            self._pipes.append(ours)
        self.addresses = [self._heard(pipe) for pipe in self._pipes]

    def kill(self) -> None:
        """End it as a crash would."""
        for process in self._processes:
            process.kill()
            process.join(20)
        for pipe in self._pipes:
            pipe.close()
        self._processes.clear()
        self._pipes.clear()

    def cpu_seconds(self) -> float:
        """Processor time of all its processes up to now."""
        times = [psutil.Process(process.pid).cpu_times() for process in self._processes]
        return float(sum(time.user + time.system for time in times))

    def address_of(self, index: int) -> Address:
        """Where agent number `index` logs in."""
        return self.addresses[index % self.shards]

    async def ring(self, marks: list[tuple[int, str]], rate: float) -> dict[str, float]:
        """Ring agents, `rate` a second in all: (agent, caller's number) each; when each NOTIFY began to be written."""
        return dict(await self._asked("ring", marks, rate))

    async def hang_up_all(self) -> None:
        """End all calls."""
        await self._asked("hang_up_all")

    async def _asked(self, *wish: Any) -> Any:
        """Let the (only) process do something; what it answers."""
        (pipe,) = self._pipes
        pipe.send(wish)
        return await asyncio.to_thread(pipe.recv)

    @staticmethod
    def _heard(pipe: Any) -> Address:
        if not pipe.poll(LISTEN_SECONDS):
            raise TimeoutError("the sandbox does not listen")
        return Address(*pipe.recv())

    def __enter__(self) -> "Exchange":
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()


def _serve(
    pipe: Any, agents: int, shard: int, shards: int, port: int, tls: tuple[Path, Path] | None, listen_at: float
) -> None:
    async def serve() -> None:
        from cti_django.sandbox.server import run_sandbox

        await asyncio.sleep(listen_at - time.monotonic())
        options = {"tls_cert": str(tls[0]), "tls_key": str(tls[1])} if tls else {}
        async with run_sandbox(users=lines(agents)[shard::shards], port=port, **options) as sandbox:
            pipe.send((sandbox.api_url, sandbox.sip_url, sandbox.port))
            await _obey(sandbox, pipe)

    asyncio.run(serve())


async def _obey(sandbox: Any, pipe: Any) -> None:
    async def ring(agent: int, number: str) -> None:
        sandbox.switch.ring(str(FIRST_EXTENSION + agent), number, "Dana")

    while True:
        match await asyncio.get_running_loop().run_in_executor(None, pipe.recv):
            case ("ring", marks, rate):
                pipe.send(await paced(marks, rate, ring))
            case ("hang_up_all",):
                sandbox.switch.hang_up_all()
                pipe.send(None)


def certificate(directory: Path) -> tuple[Path, Path] | None:
    """A self-signed certificate for 127.0.0.1 and its key, made with the openssl program; None without it."""
    program = which("openssl")
    if program is None:
        return None
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=sandbox", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key
