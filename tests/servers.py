"""A real PostgreSQL and a real Redis, each on a free port of 127.0.0.1 and in a folder that is removed afterwards.

``postgres()`` and ``redis()`` are plain context managers; the fixtures on top of them share one server of each kind
among all tests. A test that stops or restarts its server starts one of its own.
"""

import copy
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from tests.programs import program

__all__ = ["PostgreSQL", "Redis", "as_default", "free_port", "migrate", "postgres", "redis"]

_SECONDS = 30
"""Within this a server must start or stop."""

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # What is written survives the server, which is stopped without notice, but need not survive the machine.
    "fsync": "off",
    "full_page_writes": "off",
}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgreSQL:
    """A cluster in `folder`, trusting everybody on this machine. Made, but not started.

    Attributes:
        port: stays the same through restarts.
        user: who may do anything.
    """

    user = "postgres"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._program = program("pg_ctl")
        self._data, self._log = folder / "data", folder / "log"
        self._owner: list[str] = []
        if os.geteuid() == 0:
            # The server refuses to run as root. Debian's package makes this user.
            self._owner = [program("runuser"), "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
        self._run("initdb", "-o", f"--username={self.user} --auth=trust --encoding=UTF8 --no-locale --no-sync")

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        options = " ".join(f"-c {name}='{value}'" for name, value in _OPTIONS.items())
        self._run("start", "-w", "-t", str(_SECONDS), "-l", str(self._log), "-o", f"-p {self.port} {options}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop at once, as if it had crashed ("immediate"), or after the connections were closed ("fast")."""
        self._run("stop", "-w", "-t", str(_SECONDS), "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stop, and start on the same port with the same data."""
        self.stop(mode)
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether there is a server process."""
        return (self._data / "postmaster.pid").exists()

    def _run(self, verb: str, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        done = subprocess.run(
            [*self._owner, self._program, verb, "-s", "-D", str(self._data), *arguments],
            # Not a pipe: the server inherits it, and would hold it open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**environment, "LC_ALL": "C"},
            timeout=2 * _SECONDS,
        )
        if done.returncode:
            log = self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""
            raise RuntimeError(f"pg_ctl {verb} failed ({done.returncode})\n{log}")

    def database(self, name: str) -> dict[str, Any]:
        """What a project's DATABASES says of database `name`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": self.user,
            "HOST": "127.0.0.1",
            "PORT": self.port,
        }

    def url(self, name: str) -> str:
        """The address of database `name`."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"

    def create(self, name: str, template: str = "template1") -> dict[str, Any]:
        """Make a database, perhaps as a copy of another that nobody is connected to; what DATABASES says of it."""
        self._tell(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.database(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._tell(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _tell(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


class Redis:
    """A Redis that writes nothing to the disk. Made, but not started.

    Attributes:
        port: stays the same through restarts.
        url: the address of its database 0.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._program = program("redis-server")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [self._program, *options, "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start ({self._process.poll()})")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), _SECONDS) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop at once, as if it had crashed, or with SIGTERM in its own time; wait until it has."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_SECONDS)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop, and start on the same port; everything in it is forgotten."""
        self.stop(how)
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether there is a server process."""
        return self._process is not None and self._process.poll() is None


@contextmanager
def postgres() -> Iterator[PostgreSQL]:
    """A PostgreSQL that runs; it takes about two seconds to make."""
    with tempfile.TemporaryDirectory(prefix="cti-django-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder))
        try:
            server.start()
            yield server
        finally:
            if server.is_running:
                server.stop()


@contextmanager
def redis() -> Iterator[Redis]:
    """A Redis that runs."""
    with tempfile.TemporaryDirectory(prefix="cti-django-redis-", ignore_cleanup_errors=True) as folder:
        server = Redis(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def as_default(database: dict[str, Any]) -> Iterator[None]:
    """Let "default" be this database, for this thread and for those that begin to use it within.

    Args:
        database: as in DATABASES.
    """
    settings, before, mine = connections.settings, connections.settings["default"], connections["default"]
    settings["default"] = connections.configure_settings({"default": copy.deepcopy(database)})["default"]
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        settings["default"], connections["default"] = before, mine


def migrate(database: dict[str, Any]) -> None:
    """Make the tables of the project whose settings this process has."""
    with as_default(database):
        call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgreSQL]:
    """One PostgreSQL for all tests that neither stop nor restart it."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One Redis for all tests that neither stop nor restart it."""
    with redis() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgreSQL, django_db_blocker: Any) -> str:
    """The name of a database with all tables, to be copied."""
    with django_db_blocker.unblock():
        migrate(postgres_server.create("tables"))
    return "tables"


_numbers = count(1)


@pytest.fixture
def postgres_database(postgres_server: PostgreSQL, _postgres_template: str) -> Iterator[dict[str, Any]]:
    """This test's own database on PostgreSQL, with all tables, empty; as DATABASES has it."""
    name = f"test_{next(_numbers)}"
    yield postgres_server.create(name, _postgres_template)
    postgres_server.drop(name)
