"""The demo as a user starts it, and a visitor who logs in to it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from threading import Thread, Timer
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, build_opener

from tests.readme_project import REPOSITORY

__all__ = ["PASSWORD", "Demo", "Page", "Visitor", "free_port", "running_demo"]

PASSWORD = "demo"  # of everybody in the demo, as it says when it starts
LAST_WORDS = ("console/api/ring", "your Asterisk")  # of what it says when it is ready
START_SECONDS = 60
STOP_SECONDS = 20


class Demo:
    """``manage.py demo`` in a process of its own, on free ports and its own database.

    Args:
        database: the path of the SQLite file.
        port: of the site; 0 for a free one.
        settings: a settings module; "" for the demo's own.
        environment: further variables.
    """

    def __init__(self, database: Path, port: int = 0, settings: str = "", **environment: str) -> None:
        port, sandbox_port = port or free_port(), free_port()
        self.site = f"http://127.0.0.1:{port}/"
        self.sandbox = f"http://127.0.0.1:{sandbox_port}/"
        self.output = ""
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
            "DATABASE_URL": f"sqlite:///{database}",
            "PORT": str(port),
            "SANDBOX_PORT": str(sandbox_port),
            **({"DJANGO_SETTINGS_MODULE": settings} if settings else {}),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Always read: a full pipe would stop the demo.
        self._reader = Thread(target=self._read, daemon=True)

    def wait_until_ready(self) -> None:
        """Return when the addresses have been printed."""
        assert self.process.stdout is not None
        guard = Timer(START_SECONDS, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            self.output += line
            if any(words in line for words in LAST_WORDS):
                break
        guard.cancel()
        assert self.process.poll() is None, f"The demo did not start:\n{self.output}"
        self._reader.start()

    def manage(self, *arguments: str) -> str:
        """The output of another management command on the same database."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=START_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line


class Page:
    """An answer of the site.

    Args:
        url: where it came from, after redirections.
    """

    def __init__(self, url: str, status: int, headers: dict[str, str], text: str) -> None:
        self.url, self.status, self.headers, self.text = url, status, headers, text


class Visitor:
    """A browser without scripts: cookies, forms, redirections."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> Page:
        return self._open(path, None)

    def post(self, path: str, fields: dict[str, str]) -> Page:
        """Send a form that stands on the page `path`, with its hidden fields as they are there."""
        page = self.get(path)
        hidden = dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', page.text))
        return self._open(path, urlencode(hidden | fields).encode())

    def login(self, username: str) -> Page:
        return self.post("accounts/login/", {"username": username, "password": PASSWORD})

    def _open(self, path: str, data: bytes | None) -> Page:
        try:
            answer = self._opener.open(urljoin(self.site, path), data, timeout=20)
        except HTTPError as error:
            answer = error
        with answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Page(answer.url, answer.status, headers, answer.read().decode())


@contextmanager
def running_demo(directory: Path, settings: str = "", **environment: str) -> Iterator[Demo]:
    """The demo, up and ready, with its database in `directory`."""
    demo = Demo(directory / "demo.sqlite3", settings=settings, **environment)
    try:
        demo.wait_until_ready()
        yield demo
    finally:
        demo.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
