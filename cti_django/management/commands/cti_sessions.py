"""``manage.py cti_sessions``: which process runs whose session; hands sessions over and closes them."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q, QuerySet
from django.utils import timezone

from ...models import AgentLease, Instruction
from ...sessions import lease
from ...sessions.overview import with_calls_and_time

__all__ = ["Command"]

LOOK_SECONDS = 0.2  # between two looks at whether an instruction was carried out
MAX_WAIT_SECONDS = 3_600
_DONE = {Instruction.HAND_OVER: "handed over", Instruction.CLOSE: "closed"}
HEADINGS = ("agent", "holder", "fence", "link", "since", "calls", "expires in")


class Command(BaseCommand):
    """Lists the sessions of all processes, and asks their processes to hand some over or to close them."""

    help = (
        "List the agents' sessions: on which process each runs, under which fence, how its line stands, since when, "
        "with how many calls, and how long its lease still lasts. Or ask those processes to hand sessions over to "
        "another process (calls go on), or to close them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What is to be done, with whose sessions, and the form of the answer."""
        what = parser.add_mutually_exclusive_group()
        name = {"nargs": "*", "metavar": "AGENT"}
        what.add_argument(
            "--hand-over", **name, help="let another process that has a use for them run these agents' sessions"
        )
        what.add_argument("--close", **name, help="end these agents' sessions")
        parser.add_argument(
            "--holder",
            help="only sessions of this process, as the list names it; its beginning, up to a colon, will do: a host",
        )
        parser.add_argument(
            "--all", action="store_true", help="list those that have ended, too; with --hand-over or --close: every one"
        )
        parser.add_argument(
            "--wait",
            nargs="?",
            type=float,
            const=10.0,
            metavar="SECONDS",
            help="wait until it is done (default: 10 seconds at most); exit with 1 if it is not",
        )
        parser.add_argument("--json", action="store_true", help="list as one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        """List, or instruct. An agent is named by user name or primary key; an unknown one means exit status 2."""
        for instruction in (Instruction.HAND_OVER, Instruction.CLOSE):
            if options[instruction.value] is not None:
                self._instruct(instruction, options[instruction.value], options)
                return
        if options["wait"] is not None:
            raise CommandError("--wait goes with --hand-over or --close.", returncode=2)
        leases = _of_holder(AgentLease.objects.all(), options["holder"])
        self._list(leases if options["all"] else leases.exclude(holder=""), as_json=options["json"])

    # -- the list -----------------------------------------------------------------------------------------------

    def _list(self, leases: QuerySet[AgentLease], *, as_json: bool) -> None:
        rows = with_calls_and_time(leases).select_related("agent").order_by("holder", "agent_id")
        if as_json:
            for row in rows:
                self.stdout.write(json.dumps(_facts(row), default=str))
            return
        table = [HEADINGS, *(_line(row) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            self.stdout.write("  ".join(map(str.ljust, line, widths)).rstrip())

    # -- instructions -------------------------------------------------------------------------------------------

    def _instruct(self, instruction: Instruction, names: list[str], options: dict[str, Any]) -> None:
        seconds = options["wait"]
        if seconds is not None and not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise CommandError(f"--wait takes 0 to {MAX_WAIT_SECONDS} seconds.", returncode=2)
        leases = _of_holder(AgentLease.objects.exclude(holder=""), options["holder"])
        if names:
            leases = leases.filter(agent_id__in=[_agent_id(name) for name in names])
        elif not (options["all"] or options["holder"]):
            raise CommandError("Name the agents, or say --holder or --all.", returncode=2)
        before = dict(leases.values_list("agent_id", "fence"))
        asked = lease.instruct(before, instruction)
        self.stdout.write(f"Sessions that are to be {_DONE[instruction]}: {asked}")
        if seconds is not None and (left := _wait(before, seconds)):
            raise CommandError(f"Not {_DONE[instruction]} after {seconds:g} s: {_shown(_names(left))}.")


def _agent_id(name: str) -> Any:
    users = get_user_model()._default_manager
    found = users.filter(**{get_user_model().USERNAME_FIELD: name}).first()
    if found is None:
        try:
            found = users.filter(pk=name).first()
        except (ValueError, TypeError, OverflowError, ValidationError):  # such a primary key there cannot be
            found = None
    if found is None:
        raise CommandError(f"There is no agent {_shown([name])}.", returncode=2)
    return found.pk


def _of_holder(leases: QuerySet[AgentLease], holder: str | None) -> QuerySet[AgentLease]:
    if holder is None:
        return leases
    return leases.filter(Q(holder=holder) | Q(holder__startswith=f"{holder.removesuffix(':')}:"))


def _wait(before: dict[Any, int], seconds: float) -> list[Any]:
    """The agents whose session is still run under the fence that it had before, after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while True:
        now = AgentLease.objects.filter(agent_id__in=before).exclude(holder="").values_list("agent_id", "fence")
        left = [agent_id for agent_id, fence in now if fence == before[agent_id]]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(LOOK_SECONDS)


def _names(agent_ids: list[Any]) -> list[str]:
    return [user.get_username() for user in get_user_model()._default_manager.filter(pk__in=agent_ids)]


def _facts(row: Any) -> dict[str, Any]:
    return {
        "agent": row.agent.get_username(),
        "agent_id": row.agent_id,
        "holder": row.holder,
        "fence": row.fence,
        "link": row.link,
        "since": row.since and row.since.isoformat(timespec="seconds"),
        "calls": row.open_calls,
        "expires_in": None if row.time_left is None else round(row.time_left.total_seconds(), 1),
    }


def _line(row: Any) -> tuple[str, ...]:
    facts = _facts(row)
    since = f"{timezone.localtime(row.since):%Y-%m-%d %H:%M:%S}" if row.since else "-"
    left = facts["expires_in"]
    expires = "-" if left is None else f"{left:.1f} s" if left >= 0 else f"ran out {-left:.0f} s ago"
    texts = (facts["agent"], facts["holder"] or "-", facts["fence"], facts["link"] or "-", since, facts["calls"])
    return (*(_printable(str(text)) for text in texts), expires)


def _shown(names: Iterable[str]) -> str:
    return ", ".join(map(_printable, names))


def _printable(text: str) -> str:
    """What a terminal may be sent: a name could bring control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
