"""One Asterisk on free ports of 127.0.0.1, in a folder of its own, with as many agents as a test wants."""

import csv
import fcntl
import os
import random
import re
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.pbx.chroot import Home, home
from tests.programs import program

__all__ = ["Asterisk", "agent_did", "asterisk", "password_of", "port_pair", "the_home"]

TEMPLATES = Path(__file__).with_name("etc")
SECONDS = 30
"""Within this Asterisk must have started, or have stopped."""

# Below the ports that clients are given: while Asterisk is away, a client that tries to reach it again and again
# could otherwise be given its port, and reach itself.
_PORTS = range(10_000, 22_000)
SHARED_FROM = 1006
"""From this agent on several phones may be registered for one (max_contacts = 3)."""


def the_home() -> Home:
    """Where Asterisk can be run. Without it the test that asks is skipped; with CI=true it fails."""
    found = home()
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("asterisk is not installed (make system)", pytrace=False)
    pytest.skip("asterisk is not installed (make system)")


def password_of(agent: str) -> str:
    """What the agent's phone registers with."""
    return f"pw-{agent}"


def agent_did(agent: str) -> str:
    """The number by which the public network rings an agent ("1001") or a queue ("700", "701")."""
    return f"+4420794600{agent[2:]}" if agent.startswith("10") else f"+442079460{agent}"


def port_pair(neighbours: int = 0) -> int:
    """A port that is free for UDP and for TCP, and so are that many behind it; no other test run is given them.

    They stay this process's until it ends: what listens there may be killed and started again.
    """
    for port in random.sample(_PORTS, 200):
        wanted = range(port, port + 1 + neighbours)
        signs = [sign for each in wanted if (sign := _reserve(each)) is not None]
        if len(signs) == len(wanted) and all(map(_is_free, wanted)):
            _reserved.extend(signs)
            return port
        for sign in signs:
            sign.close()
    raise RuntimeError("no free port")


_reserved: list[IO[str]] = []
"""Open, and therefore locked."""


def _reserve(port: int) -> IO[str] | None:
    folder = Path(tempfile.gettempdir()) / f"cti_django-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    sign = (folder / str(port)).open("w")
    try:
        fcntl.flock(sign, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sign.close()
        return None
    return sign


def _is_free(port: int) -> bool:
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            stream.bind(("127.0.0.1", port))
            datagrams.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Asterisk:
    """Made, but not started. Addresses stay the same through kill() and start().

    Args:
        folder: its own, as seen from outside.
        agents: how many: 1001, 1002, ...

    Attributes:
        sip_port, sip_tls_port: SIP over UDP and TCP; over TLS.
        http_port, https_port: SIP over WebSocket ("/ws").
        ami_port, ami_tls_port: the manager interface.
        public_port: where the public network listens, for calls to the outside.
        secret: the password of all manager accounts: "cti" (least rights), "cti-notify", "cti-watch", "admin".
        certificate: of the TLS ports, self-signed for 127.0.0.1 and localhost.
    """

    def __init__(self, home: Home, folder: Path, agents: int = 10) -> None:
        self.home, self.folder = home, folder
        self.agents = tuple(str(1001 + place) for place in range(agents))
        self.sip_port, self.sip_tls_port, self.public_port = port_pair(), port_pair(), port_pair(1)
        self.http_port, self.https_port = port_pair(), port_pair()
        self.ami_port, self.ami_tls_port = port_pair(), port_pair()
        self.secret = secrets.token_hex(12)
        self.certificate = folder / "etc" / "certificate.pem"
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0
        self._write()

    # -- its life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, and wait until it has read everything and listens everywhere.

        A channel's Uniqueid begins with the second it was made in: never in the second of the kill, as no machine's
        Asterisk is started so soon after a crash.
        """
        time.sleep(max(0.0, self._not_before - time.time()))
        output = (self.folder / "log" / "output").open("ab")
        command = self.home.command("asterisk", "-f", "-C", self._configuration(), user="asterisk")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
        output.close()
        deadline = time.monotonic() + SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Asterisk did not start\n{self.log()[-3_000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as if it had crashed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None
            self._not_before = int(time.time()) + 1

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _is_ready(self) -> bool:
        if not (self.folder / "run" / "asterisk.ctl").exists():
            return False
        try:
            return "fully booted" in self.cli("core waitfullybooted") and "listening" in self._greeting()
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            return False

    def _greeting(self) -> str:
        with socket.create_connection(("127.0.0.1", self.ami_port), 1) as line:
            return "listening" if line.recv(64).startswith(b"Asterisk Call Manager") else ""

    # -- asking it --------------------------------------------------------------------------------------------------

    def cli(self, command: str) -> str:
        """What its console says to one command ("core show channels concise")."""
        words = self.home.command("asterisk", "-C", self._configuration(), "-rx", command, user="asterisk")
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def channels(self) -> list[str]:
        """The names of the channels that are up now."""
        return [line.split("!")[0] for line in self.cli("core show channels concise").splitlines() if "!" in line]

    def log(self) -> str:
        """What it has written, and said before it could write."""
        paths = (self.folder / "log" / name for name in ("output", "messages"))
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def bills(self) -> list[list[str]]:
        """The rows of its call records: 1 is the caller, 2 the called, 14 "ANSWERED", "NO ANSWER", "BUSY" ..."""
        path = self.folder / "log" / "cdr-csv" / "Master.csv"
        return list(csv.reader(path.read_text(errors="replace").splitlines())) if path.exists() else []

    # -- its files --------------------------------------------------------------------------------------------------

    def _configuration(self) -> str:
        return str(self.home.inside(self.folder) / "etc" / "asterisk.conf")

    def _write(self) -> None:
        for name in ("etc", "run", "log/cdr-csv", "lib/keys", "spool", "cache"):
            (self.folder / name).mkdir(parents=True)
        values = {
            **{name: str(value) for name, value in vars(self).items() if name.endswith("_port") or name == "secret"},
            "folder": str(self.home.inside(self.folder)),
            "modules": str(self.home.find("usr/lib/*/asterisk/modules")),
            "hints": "\n".join(f"exten => {agent},hint,PJSIP/{agent}" for agent in self.agents),
            "agents": "\n".join(map(self._endpoint, self.agents)),
        }
        for template in TEMPLATES.glob("*.conf"):
            text = re.sub(r"@(\w+)@", lambda found: values[found[1]], template.read_text())
            (self.folder / "etc" / template.name).write_text(text)
        for name in ("acl", "ccss", "pjproject", "queuerules", "udptl"):  # missing ones are complained about
            (self.folder / "etc" / f"{name}.conf").touch()
        self._certify()
        if self.home.is_chroot:
            self._know_this_machine()
            subprocess.run(self.home.command("chown", "-R", "asterisk:asterisk", values["folder"]), check=True)

    @staticmethod
    def _endpoint(agent: str) -> str:
        aor = "agent-aor-shared" if int(agent) >= SHARED_FROM else "agent-aor"
        return (
            f'[{agent}](agent)\nauth = {agent}\naors = {agent}\ncallerid = "Agent {agent}" <{agent}>\n'
            f"[{agent}](agent-auth)\nusername = {agent}\npassword = {password_of(agent)}\n[{agent}]({aor})\n"
        )

    def _certify(self) -> None:
        etc = self.folder / "etc"
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        files = ["-keyout", str(etc / "key.pem"), "-out", str(etc / "certificate.pem")]
        subprocess.run([program("openssl"), *words, *names, *files], check=True, capture_output=True)

    def _know_this_machine(self) -> None:
        """Asterisk looks its own name up for every call: no name server may be asked."""
        hosts = self.home.root / "etc" / "hosts"
        name = socket.gethostname()
        if name not in hosts.read_text().split():
            with hosts.open("a") as file:
                file.write(f"127.0.0.1 {name}\n")


@contextmanager
def asterisk(agents: int = 10) -> Iterator[Asterisk]:
    """An Asterisk that runs; about two seconds. Several may run at once.

    When the test within fails, the last of what it has logged is printed.
    """
    place = the_home()
    with ExitStack() as stack:
        folder = stack.enter_context(place.folder("asterisk"))
        server = Asterisk(place, folder, agents)
        stack.callback(server.kill)
        server.start()
        try:
            yield server
        except BaseException:
            print(f"--- Asterisk's log ---\n{server.log()[-20_000:]}")
            raise
