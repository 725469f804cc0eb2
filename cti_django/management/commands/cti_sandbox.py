"""``manage.py cti_sandbox``: the sandbox PBX in the foreground."""

import asyncio
import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cti_django.sandbox.server import Sandbox
from cti_django.sandbox.users import PASSWORD, TWO_FACTOR_CODE, Behaviour, Conduct, make_users

__all__ = ["Command"]

LISTED_USERS = 10
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Command(BaseCommand):
    help = "Run a small PBX that speaks the VoIPstudio wire protocol, with a console to play the rest of the world."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
        parser.add_argument("--port", type=int, default=9000, help="0 takes a free one (default: %(default)s)")
        parser.add_argument("--sip-domain", default="127.0.0.1", help="told to every user (default: %(default)s)")
        parser.add_argument("--tls-cert", default="", metavar="PEM", help="serve https and wss with this certificate")
        parser.add_argument("--tls-key", default="", metavar="PEM", help="its key, if that is another file")
        parser.add_argument("--users", type=int, default=4, metavar="N", help="how many users (default: %(default)s)")
        parser.add_argument(
            "--pick-up",
            type=float,
            metavar="SECONDS",
            help="agents' phones pick click-to-calls up by themselves after that time (default: at the console)",
        )

        parser.add_argument("--journal", default="", metavar="FILE", help="append all that happens to that file")

    def handle(self, *args: Any, **options: Any) -> None:
        users = make_users(max(1, min(options["users"], 50_000)))
        if options["pick_up"] is not None:
            for user in users:
                user.phone.pick_up = Conduct(Behaviour.ANSWERS, max(0.0, options["pick_up"]))
        names = ("host", "port", "sip_domain", "tls_cert", "tls_key", "journal")
        sandbox = Sandbox(users, **{name: options[name] for name in names})
        try:
            asyncio.run(self._serve(sandbox))
        except (OSError, OverflowError) as error:  # the latter: a port beyond 65535
            raise CommandError(f"Cannot listen on {options['host']}:{options['port']}: {error}") from error
        except KeyboardInterrupt:
            pass

    async def _serve(self, sandbox: Sandbox) -> None:
        await sandbox.start()
        self._greet(sandbox)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        try:
            await ended.wait()
        finally:
            await sandbox.stop()

    def _greet(self, sandbox: Sandbox) -> None:
        lines = [
            "The sandbox PBX is running. Ctrl-C ends it.",
            f"  console     {sandbox.base_url}/console/",
            f"  REST API    {sandbox.api_url}",
            f"  SIP         {sandbox.sip_url}",
            f"  password    {PASSWORD}   (two-factor code {TWO_FACTOR_CODE})",
        ]
        users = list(sandbox.switch.users.values())
        for user in users[:LISTED_USERS]:
            note = "   two-factor" if user.two_factor else ""
            lines.append(f"  {user.user_id}       {user.email:<24} API key {user.api_key}{note}")
        if len(users) > LISTED_USERS:
            lines.append(f"  ...         {len(users) - LISTED_USERS} more, up to {users[-1].user_id}")
        if sandbox.host not in LOOPBACK:
            lines.append("Everybody who can reach this address can use the console: it has no password.")
        self.stdout.write("\n".join(lines))
        self.stdout.flush()
