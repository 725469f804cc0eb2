"""A desk phone: baresip without sound hardware, told by the test what its user would press."""

import asyncio
import contextlib
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.pbx.asterisk import Asterisk, password_of, port_pair

__all__ = ["Phone", "phone"]

SECONDS = 15.0
"""Within this a phone does what it is told, or what the test waits for has happened."""

ATTEMPTS = 3
"""Another phone that starts may have taken one of its ports."""

_APPLICATIONS = ("account", "menu", "ctrl_tcp")
_MODULES = (*_APPLICATIONS, "g711", "aubridge")

# What baresip's list of calls says -> what its user sees.
_SHOWS: dict[str, Callable[[str], bool]] = {
    "idle": lambda text: "[line" not in text,
    "ringing": lambda text: "INCOMING" in text,
    "dialling": lambda text: any(word in text for word in ("OUTGOING", "RINGING", "EARLY")),
    "hearing it ring": lambda text: any(word in text for word in ("RINGING", "EARLY")),
    "talking": lambda text: "ESTABLISHED" in text,
}

_CONFIG = """\
sip_listen 127.0.0.1:{sip}
net_interface 127.0.0.1
rtp_ports {rtp}-{rtp_end}
ctrl_tcp_listen 127.0.0.1:{control}
module_path {modules}
call_local_timeout 120
call_max_calls 4
call_hold_other_calls yes
audio_source aubridge,{folder}
audio_player aubridge,{folder}
audio_alert aubridge,{folder}-alert
sip_autoanswer_beep no
"""


class Phone:
    """One agent's phone, registered with one Asterisk.

    Args:
        folder: its own, as seen from outside.
        answers_by_itself: it answers every call at once.
        obeys: it answers calls that ask it to ("answer-after=0"), as most desk phones do.
        transport: "udp" or "tcp".
        is_outside: it is nobody's: it rings for every number of the public network, in whose place it is.
    """

    def __init__(
        self,
        pbx: Asterisk,
        agent: str,
        folder: Path,
        *,
        answers_by_itself: bool = False,
        obeys: bool = True,
        transport: str = "udp",
        is_outside: bool = False,
    ) -> None:
        self.pbx, self.agent = pbx, agent
        self._is_outside = is_outside
        registration = "regint=0;catchall=yes" if is_outside else "regint=300"
        self._folder = folder
        self._account = (
            f"<sip:{agent}@127.0.0.1:{pbx.sip_port};transport={transport}>;auth_user={agent}"
            f";auth_pass={password_of(agent)};{registration};audio_codecs=pcma/8000/1,pcmu/8000/1"
            f";sip_autoanswer={'yes' if obeys else 'no'}" + (";answermode=auto" if answers_by_itself else "")
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()

    # -- what its user does -----------------------------------------------------------------------------------------

    async def answer(self) -> None:
        """Take the call that rings."""
        await self.wait_for("ringing")
        await self._tell("accept")
        await self._wait(lambda calls: not _SHOWS["ringing"](calls), "answered", SECONDS)

    async def hang_up(self) -> None:
        """End the call, or refuse the one that rings (486)."""
        await self._tell("hangup")

    async def hold(self) -> None:
        await self._tell("hold")

    async def resume(self) -> None:
        await self._tell("resume")

    async def dial(self, number: str) -> None:
        await self._tell("dial", number)

    async def transfer(self, number: str) -> None:
        """Hand the call over without asking first (REFER)."""
        await self._tell("transfer", number)

    async def press(self, digits: str) -> None:
        """Keys, for the other side to hear."""
        for digit in digits:
            await self._tell("sndcode", digit)

    async def wait_for(self, state: str, seconds: float = SECONDS) -> None:
        """Wait until it is "idle", "ringing" (somebody calls), "dialling", "hearing it ring" there, or "talking".

        Raises:
            AssertionError: that did not happen in time.
        """
        await self._wait(_SHOWS[state], state, seconds)

    async def _wait(self, is_so: Callable[[str], bool], state: str, seconds: float) -> None:
        calls = ""
        try:
            async with asyncio.timeout(seconds):
                while not is_so(calls := await self.calls()):
                    await self._next_news(0.25)
        except TimeoutError:
            raise AssertionError(f"phone {self.agent} was not {state} within {seconds} s: {calls}") from None

    async def _next_news(self, seconds: float) -> None:
        """Wait for a while at most: baresip does not tell of everything."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def calls(self) -> str:
        """Its list of calls, as it shows it."""
        return await self._tell("listcalls")

    # -- its life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Switch it on and wait until it is registered."""
        for attempt in range(ATTEMPTS):
            try:
                async with asyncio.timeout(SECONDS):
                    await self._start()
                return
            except (TimeoutError, OSError) as problem:
                await self.stop()
                if attempt == ATTEMPTS - 1:
                    complaint = f"phone {self.agent} did not register: {problem!r}\n{self.log()[-2_000:]}"
                    raise AssertionError(complaint) from None

    async def _start(self) -> None:
        control = port_pair()
        self._configure(control)
        with (self._folder / "log").open("ab") as log:
            command = self.pbx.home.command("baresip", "-4", "-f", str(self.pbx.home.inside(self._folder)))
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and outlives no loop
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        await self._connect(control)
        while not self._is_outside and "OK" not in await self._tell("reginfo"):
            await self._next_news(0.05)

    async def stop(self) -> None:
        """Pull the plug: it does not say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _configure(self, control: int) -> None:
        rtp = random.randrange(28_000, 31_900, 20)
        config = _CONFIG.format(
            sip=self.pbx.public_port if self._is_outside else port_pair(1),  # it listens on the next one, for TLS
            control=control,
            rtp=rtp,
            rtp_end=rtp + 99,
            modules=self.pbx.home.find("usr/lib*/**/baresip/modules"),
            folder=self._folder.name,
        )
        lines = [f"module{'_app' if name in _APPLICATIONS else ''} {name}.so\n" for name in _MODULES]
        (self._folder / "config").write_text(config + "".join(lines))
        (self._folder / "accounts").write_text(self._account + "\n")
        (self._folder / "contacts").touch()

    async def _connect(self, control: int) -> None:
        while self._writer is None:
            if self._process is None or self._process.poll() is not None:
                raise OSError("baresip has ended")
            with contextlib.suppress(ConnectionRefusedError):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", control)
                break
            await asyncio.sleep(0.02)
        self._reading = asyncio.create_task(self._read())

    # -- baresip's control interface: JSON in netstrings, answers and news on one line --------------------------------

    async def _tell(self, command: str, parameters: str = "") -> str:
        assert self._writer is not None, f"phone {self.agent} is not on"
        async with self._turn:
            self._answer = asyncio.get_running_loop().create_future()
            text = json.dumps({"command": command, "params": parameters, "token": "t"}).encode()
            self._writer.write(b"%d:%s," % (len(text), text))
            async with asyncio.timeout(SECONDS):
                answer = await self._answer
        return str(answer.get("data") or "")

    async def _read(self) -> None:
        assert self._reader is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int((await self._reader.readuntil(b":"))[:-1])
                message = json.loads((await self._reader.readexactly(size + 1))[:-1].decode(errors="replace"))
                if not message.get("response"):
                    self._news.set()
                elif self._answer is not None and not self._answer.done():
                    self._answer.set_result(message)


@asynccontextmanager
async def phone(pbx: Asterisk, agent: str, **traits: Any) -> AsyncIterator[Phone]:
    """A phone that is registered for the agent; `traits` are Phone's."""
    with pbx.home.folder(f"phone-{agent}") as folder:
        device = Phone(pbx, agent, folder, **traits)
        await device.start()
        try:
            yield device
        finally:
            await device.stop()
