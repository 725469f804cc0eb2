"""``manage.py demo``: a database with people in it, the sandbox telephone system and the site, in one process.

With ASTERISK_URL there is no sandbox: the agents telephone on that Asterisk.
"""

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

from channels.routing import get_default_application
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from cti_django.sandbox.server import run_sandbox
from cti_django.sandbox.users import Behaviour, Conduct, User, demo_users
from example_project.crm.demo_data import AGENTS

from .demo_seed import LINE_PASSWORD, PASSWORD

HOST = "127.0.0.1"
PICK_UP_SECONDS = 1.5

BANNER = """
  Harbour CRM is running. Ctrl-C ends everything.

    The CRM                {site}
    The telephone console  {sandbox}console/     ring, answer and hang up as the rest of the world
    The platform page      {site}platform/     for people who write their own user interface

    Log in as              {agents} (agents), sam (supervisor) or admin; the password is "{password}"
    On the platform page   alice@example.com, password "{line_password}"; dave@example.com has two-factor (code 123456)

  Log in as alice, then let Dana call her, from the console or from a second terminal:

    curl -X POST {sandbox}console/api/ring -H 'Content-Type: application/json' \\
         -d '{{"to": "10031", "from": "+442079460018", "name": "Dana"}}'
"""

ON_ASTERISK = """
  Harbour CRM is running. Ctrl-C ends everything.

    The CRM                {site}
    Log in as              {agents}; the password is "{password}"
    The telephone system   your Asterisk: Alice is extension 1001, Bob 1002, Carol 1003
"""


class Command(BaseCommand):
    help = "Run the demo: migrate, seed, and serve the site and the sandbox telephone system until Ctrl-C."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")), help="of the site")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        _require_free(port, "PORT")
        if not settings.ASTERISK_URL:
            _require_free(settings.SANDBOX_PORT, "SANDBOX_PORT")
        call_command("migrate", verbosity=0)
        call_command("demo_seed", stdout=self.stdout)
        _serve(port, ready=lambda: self._say_where(port))

    def _say_where(self, port: int) -> None:
        self.stdout.write(
            (ON_ASTERISK if settings.ASTERISK_URL else BANNER).format(
                site=f"http://{HOST}:{port}/",
                sandbox=f"http://{HOST}:{settings.SANDBOX_PORT}/",
                agents=", ".join(username for username, *_rest in AGENTS),
                password=PASSWORD,
                line_password=LINE_PASSWORD,
            )
        )
        self.stdout.flush()


def _require_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}). Choose another one: make demo {name}={port + 10}"
            ) from None


def _lines() -> list[User]:
    """The agents' telephones: each picks up by itself when its owner clicks a number, as a softphone would."""
    users = demo_users()
    for user in users:
        user.phone.pick_up = Conduct(Behaviour.ANSWERS, PICK_UP_SECONDS)
    return users


def _serve(port: int, ready: Any) -> None:
    # Daphne brings the event loop (Twisted's reactor runs on it), and the sandbox lives on the same one.
    from daphne.server import Server, twisted_loop
    from twisted.internet import reactor

    asyncio.set_event_loop(twisted_loop)
    sandbox = AsyncExitStack()
    if not settings.ASTERISK_URL:
        started = sandbox.enter_async_context(run_sandbox(host=HOST, port=settings.SANDBOX_PORT))
        twisted_loop.run_until_complete(started)
    # Once the reactor runs, and not before: from then on Ctrl-C is an orderly end.
    reactor.callWhenRunning(ready)
    try:
        Server(
            application=ASGIStaticFilesHandler(get_default_application()),
            endpoints=[f"tcp:port={port}:interface={HOST}"],
        ).run()
    finally:
        twisted_loop.run_until_complete(sandbox.aclose())
