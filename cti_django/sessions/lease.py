"""Who runs an agent's session: one row for each agent, changed by conditional UPDATEs, on the database's clock.

``fence`` rises with every claim, so whatever an earlier holder still says can be told from the present holder's words.
A process's own clock is never asked: one that is an hour wrong neither takes nor keeps a lease because of it.

All functions here are synchronous and go to the database that is written to, never to a replica. Those that take
several agents need one statement for up to 5,000 of them. A process calls them one after the other, so that no two
statements that change many rows wait for each other.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import BooleanField, Case, DateTimeField, ExpressionWrapper, F, Q, QuerySet, Value, When
from django.db.models.functions import Greatest, Now

from ..models import AgentLease, Instruction

__all__ = [
    "Standing",
    "claim",
    "held_by",
    "instruct",
    "look",
    "note_links",
    "release",
    "renew",
    "take_instructions",
    "wanted",
]

LOGGED_OUT = "logged_out"
"""The link of a session that the agent has ended: it stays in the row, and nobody takes that session over."""
_LOGGED_OUT = "logged_out"  # a LinkState's value
_IDS_PER_STATEMENT = 5_000  # SQLite takes 32,766 parameters, PostgreSQL 65,535


@dataclass(frozen=True, slots=True)
class Standing:
    """How an agent's lease stands.

    Attributes:
        holder: the process that runs the session; "" if none does.
        fence: of the newest claim; 0 if there never was one.
        is_wanted: no process runs the session, and one should: it was handed over, or its process has crashed.
        is_over: the agent had logged out when the row was last written; nobody should log her in again.
    """

    holder: str
    fence: int
    is_wanted: bool
    is_over: bool = False


def _rows() -> QuerySet[AgentLease]:
    return AgentLease.objects.using(router.db_for_write(AgentLease))


def _chunks(agent_ids: Collection[Any]) -> Iterator[list[Any]]:
    every = list(agent_ids)
    return (every[start : start + _IDS_PER_STATEMENT] for start in range(0, len(every), _IDS_PER_STATEMENT))


def _in(seconds: float) -> ExpressionWrapper:
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


def _vacant() -> Q:
    return Q(holder="") | Q(expires_at__isnull=True) | Q(expires_at__lt=Now())


def claim(agent_id: Any, holder: str, lease_seconds: float, above: int = 0) -> int | None:
    """Become the holder of `agent_id`'s session if nobody else is; return the new fence, or None if somebody else is.

    Every claim raises the fence, the same holder's too. The agent's row is made at the first claim.

    Args:
        holder: names this process among all others, 1 to 64 characters.
        lease_seconds: how long the claim stands without a renewal.
        above: the highest fence that the caller has seen. The new one is higher, even if the row was deleted by hand.

    Raises:
        IntegrityError: there is no such agent.
    """
    rows = _rows().filter(agent_id=agent_id)
    changes: dict[str, Any] = {
        "holder": holder,
        "fence": Greatest(F("fence") + 1, Value(above + 1)),
        "since": Now(),
        "expires_at": _in(lease_seconds),
        "wanted_until": None,
        "link": "",
        "instruction": "",
    }
    free = rows.filter(Q(holder=holder) | _vacant())
    if not free.update(**changes):
        _rows().bulk_create([AgentLease(agent_id=agent_id)], ignore_conflicts=True)
        if not free.update(**changes):
            return None
    return rows.filter(holder=holder).values_list("fence", flat=True).first()


def renew(holder: str, lease_seconds: float, agent_ids: Collection[Any]) -> int:
    """Renew `holder`'s leases of these agents; return how many of them it still holds.

    A lease whose session is over, but which could not be released, is not among them and runs out by itself.
    """
    rows = _rows().filter(holder=holder)
    return sum(rows.filter(agent_id__in=ids).update(expires_at=_in(lease_seconds)) for ids in _chunks(agent_ids))


def held_by(holder: str) -> set[Any]:
    """The agents whose rows name `holder`."""
    return set(_rows().filter(holder=holder).values_list("agent_id", flat=True))


def release(holder: str, agent_ids: Collection[Any] | None = None, wanted_seconds: float = 0.0) -> None:
    """Let go of these agents' leases, or of all that `holder` has; only its own.

    Args:
        wanted_seconds: for how long the sessions are wanted by whichever process has a use for them (a hand-over);
            0: they are over.
    """
    rows = _rows().filter(holder=holder)
    for mine in [rows] if agent_ids is None else [rows.filter(agent_id__in=ids) for ids in _chunks(agent_ids)]:
        mine.update(
            holder="",
            expires_at=None,
            wanted_until=_in(wanted_seconds) if wanted_seconds > 0 else None,
            since=None,
            link=Case(When(link=LOGGED_OUT, then=F("link")), default=Value("")),
            instruction="",
        )


def look(agent_ids: Collection[Any], linger_seconds: float) -> dict[Any, Standing]:
    """How these agents' leases stand by the database's clock; agents without a row included.

    Args:
        linger_seconds: how long after a crash a session is still wanted, counted from the end of its lease.
    """
    standings = dict.fromkeys(agent_ids, Standing("", 0, False))
    for ids in _chunks(standings):
        standings |= _standings(_seen(linger_seconds).filter(agent_id__in=ids))
    return standings


def wanted(linger_seconds: float) -> dict[Any, Standing]:
    """The leases that nobody holds though somebody should, by the database's clock: few, whatever the number of agents.

    Args:
        linger_seconds: as for ``look``.
    """
    return _standings(_seen(linger_seconds).filter(is_vacant=True, is_missed=True).exclude(link=_LOGGED_OUT))


def _seen(linger_seconds: float) -> QuerySet[AgentLease]:
    crashed = ~Q(holder="") & Q(expires_at__gt=_in(-linger_seconds))
    return _rows().annotate(
        is_vacant=ExpressionWrapper(_vacant(), output_field=BooleanField()),
        # Of a row that holds NULL there, SQL says neither yes nor no.
        is_missed=ExpressionWrapper(Q(wanted_until__gt=Now()) | crashed, output_field=BooleanField()),
    )


def _standings(rows: QuerySet[AgentLease]) -> dict[Any, Standing]:
    columns = ("agent_id", "holder", "fence", "link", "is_vacant", "is_missed")
    standings = {}
    for agent_id, holder, fence, link, is_vacant, is_missed in rows.values_list(*columns):
        is_over = link == _LOGGED_OUT
        is_wanted = bool(is_vacant and is_missed and not is_over)
        standings[agent_id] = Standing("" if is_vacant else holder, fence, is_wanted, is_over)
    return standings


def note_links(holder: str, links: Mapping[str, Collection[Any]]) -> None:
    """Write down how `holder`'s sessions stand with the telephone system, for those who list them.

    Args:
        links: a ``LinkState`` value -> the agents whose sessions stand so.
    """
    rows = _rows().filter(holder=holder)
    for link, agent_ids in links.items():
        for ids in _chunks(agent_ids):
            rows.filter(agent_id__in=ids).update(link=link)


def instruct(agent_ids: Collection[Any], instruction: str) -> int:
    """Ask something of whichever processes run these agents' sessions; return how many have a holder to ask.

    A newer instruction replaces one that has not been taken yet.

    Raises:
        ValueError: not a value of ``Instruction``.
    """
    asked = Instruction(instruction).value
    rows = _rows().exclude(holder="")
    # One by one: a statement over the rows of several holders could lock itself up with their renewals.
    return sum(rows.filter(agent_id=agent_id).update(instruction=asked) for agent_id in agent_ids)


def take_instructions(holder: str) -> dict[Any, str]:
    """What is asked of `holder`, by agent; each instruction is given out once."""
    rows = _rows().filter(holder=holder)
    taken = dict(rows.exclude(instruction="").values_list("agent_id", "instruction"))
    if not taken:
        return taken
    with transaction.atomic(using=rows.db):  # all or none: what was cleared and not returned would be lost
        for instruction in set(taken.values()):
            # Cleared only where it still stands: one that replaced it meanwhile waits for the next time.
            for ids in _chunks([agent_id for agent_id, given in taken.items() if given == instruction]):
                rows.filter(agent_id__in=ids, instruction=instruction).update(instruction="")
    return taken
