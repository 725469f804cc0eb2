"""``manage.py cti_doctor``: why an agent's telephone does not work, step by step, with what helps."""

import asyncio
import contextlib
import json
import logging
import threading
from argparse import ArgumentParser
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import connections

from ...connectors.base import Connector, Credentials, Finding
from ...models import ConnectorAccount
from ...sessions.registry import build_connector, connector_class
from .. import surroundings
from .cti_connect import typed_credentials

__all__ = ["Command"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

WHOLE_SECONDS = 60.0
STEP_SECONDS = 25.0
CALL_SECONDS = 60.0  # longer for both if a call is placed
MARKS = {True: "ok", False: "failed", None: "-"}
DATABASE = "Ask the database"
EXAMINE = "Examine the telephone system"
CONNECTOR = "Set the connector up"


class Command(BaseCommand):
    """See ``help``."""

    help = (
        "Examine an agent's telephone: her rights and account, the site around it, and every step to her telephone "
        "system. Each step is ok, failed, or - (not tried, or neither), with advice below. Or, with --connector, a "
        "telephone system without an account: the password is asked for, or comes from CTI_PASSWORD or CTI_API_KEY. "
        "Exit code 0 if nothing failed, 1 if something did, 2 if the command line is wrong."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("agent", nargs="?", default="", help="user name or primary key")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument("--call", default="", metavar="NUMBER", help="place a call: her own phone rings first")
        parser.add_argument("--connector", default="", help="no account: as CTI_DJANGO['CONNECTORS'] names it")
        parser.add_argument(
            "--option", action="append", default=[], metavar="KEY=VALUE", help="with --connector; may be repeated"
        )
        parser.add_argument("--username", default="", help="with --connector: as the telephone system wants it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine and print."""
        if bool(options["agent"]) == bool(options["connector"]):
            raise CommandError("Name an agent, or give --connector.", returncode=2)
        if options["agent"] and (options["option"] or options["username"]):
            raise CommandError("--option and --username go with --connector.", returncode=2)
        examination = _Examination(options)
        if options["connector"]:
            examination.prepare_connector()
        if not asyncio.run(self._print(examination, as_json=options["json"])):
            raise SystemExit(1)

    async def _print(self, examination: "_Examination", *, as_json: bool) -> bool:
        """Print every finding as it comes; whether none has failed."""
        is_well = True
        async for finding in examination.findings():
            is_well = is_well and finding.ok is not False
            if as_json:
                fields = {"step": finding.step, "ok": finding.ok, "message": finding.message, "advice": finding.advice}
                self.stdout.write(json.dumps(fields, ensure_ascii=False))
            else:
                self.stdout.write(f"{MARKS[finding.ok]:<7} {finding.step}: {finding.message}")
                if finding.advice:
                    self.stdout.write(f"        {finding.advice}")
            self.stdout.flush()
        return is_well


class _Examination:
    """Everything that is looked at, for one command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._number: str = options["call"]
        self._connector: Connector | None = None
        self._account: ConnectorAccount | None = None
        self._agent: Any = None
        extra = CALL_SECONDS if self._number else 0.0
        self._step_seconds, self._whole_seconds = STEP_SECONDS + extra, WHOLE_SECONDS + extra

    def prepare_connector(self) -> None:
        """Build the connector that the command line describes. Raises CommandError."""
        given = dict(option.partition("=")[::2] for option in self._options["option"])
        name, username = self._options["connector"], self._options["username"]
        try:
            takes_typed = connector_class(name).takes_typed_credentials
            credentials = typed_credentials(username) if takes_typed else Credentials(username=username)
            self._connector = build_connector(name, credentials, given)
        except (ImproperlyConfigured, ValueError) as error:
            raise CommandError(str(error), returncode=2) from None

    async def findings(self) -> AsyncIterator[Finding]:
        """All of them, within the time that the whole may take."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._whole_seconds
        steps = self._steps()
        try:
            while True:
                limit = min(self._step_seconds, deadline - loop.time())
                try:
                    async with asyncio.timeout(max(0.0, limit)):
                        finding = await anext(steps)
                except StopAsyncIteration:
                    return
                yield finding
        except TimeoutError:
            message = f"The next step has taken too long, and was given up after {max(0.0, limit):.0f} seconds."
            yield Finding(step="Wait", ok=False, message=message, advice="Something on the way swallows what is sent.")
        except DatabaseError as error:
            message = f"The database does not answer ({type(error).__name__})."
            yield Finding(step=DATABASE, ok=False, message=message, advice="Check DATABASES, and that all is migrated.")
        except CommandError:
            raise
        except Exception as error:  # a connector of the project's own may raise all the same
            logger.exception("An examination failed")
            yield Finding(step=EXAMINE, ok=False, message=f"The examination itself failed ({type(error).__name__}).")
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(STEP_SECONDS):
                    await steps.aclose()

    async def _steps(self) -> AsyncGenerator[Finding, None]:
        found = surroundings.examine_settings()
        for finding in found:
            yield finding
        if not all(finding.ok for finding in found):
            return
        if self._options["agent"]:
            async for finding in self._account_steps():
                yield finding
        if self._connector is not None:
            for finding in await _on_thread(surroundings.examine_deliveries, self._connector):
                yield finding
            async for finding in self._connector.examine(number=self._number):
                yield finding

    async def _account_steps(self) -> AsyncIterator[Finding]:
        self._agent = await _on_thread(_agent_named, self._options["agent"])
        yield await _on_thread(surroundings.examine_clock, self._agent)
        yield await _on_thread(surroundings.examine_rights, self._agent)
        account = await _on_thread(ConnectorAccount.objects.filter(user_id=self._agent.pk).first)
        found = surroundings.examine_account(account)
        for finding in found:
            yield finding
        yield await surroundings.examine_channel_layer()
        yield await surroundings.examine_socket()
        yield await _on_thread(surroundings.examine_lease, self._agent)
        if account is not None and all(finding.ok for finding in found):
            yield self._build(account)

    def _build(self, account: ConnectorAccount) -> Finding:
        try:
            self._connector = build_connector(account.connector, account.credentials(), account.options, account.region)
        except (ImproperlyConfigured, ValueError, TypeError) as error:
            advice = "Correct the account's options in the admin, or CTI_DJANGO['CONNECTOR_OPTIONS']."
            return Finding(step=CONNECTOR, ok=False, message=str(error), advice=advice)
        return Finding(step=CONNECTOR, ok=True, message="It takes its options.")


def _agent_named(name: str) -> Any:
    users = get_user_model()._default_manager
    found = users.filter(**{str(get_user_model().USERNAME_FIELD): name}).first()
    if found is None:
        with contextlib.suppress(ValueError, ValidationError):
            found = users.filter(pk=name).first()
    if found is None:
        raise CommandError(f"There is no user named {name!r}.", returncode=2)
    return found


async def _on_thread(function: Callable[..., T], *args: Any) -> T:
    """Ask the database on a thread that the process's end does not wait for: it may hang for minutes."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(act: Callable[[Any], None], what: Any) -> None:
        if not answer.done():
            act(what)

    def ask() -> None:
        try:
            found = function(*args)
        except BaseException as error:
            outcome: tuple[Callable[[Any], None], Any] = (answer.set_exception, error)
        else:
            outcome = (answer.set_result, found)
        finally:
            connections.close_all()
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=ask, name="cti-doctor", daemon=True).start()
    return await answer
