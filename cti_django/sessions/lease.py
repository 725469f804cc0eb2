"""Who runs an agent's session: one row for each agent, changed by one conditional UPDATE, on the database's clock.

``fence`` rises by one whenever the holder changes, so whatever an earlier holder still says can be told from the
present holder's words. All functions here are synchronous; the host runs them on its own database thread.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now

from ..models import AgentLease

__all__ = ["claim", "held_by", "release", "renew"]


def _in(seconds: float) -> ExpressionWrapper:
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


def claim(agent_id: int | str, holder: str, lease_seconds: float) -> int | None:
    """Become the holder of `agent_id`'s session if nobody is; return the fence, or None if somebody else is.

    A holder that claims again keeps its fence. The agent's row is made at the first claim.

    Args:
        holder: names this process among all others, at most 64 characters.
        lease_seconds: how long the claim stands without a renewal.
    """
    rows = AgentLease.objects.filter(agent_id=agent_id)
    free = Q(holder="") | Q(expires_at__isnull=True) | Q(expires_at__lt=Now())
    for _attempt in range(2):
        if rows.filter(holder=holder).update(expires_at=_in(lease_seconds)):
            break
        if rows.filter(free).update(holder=holder, fence=F("fence") + 1, expires_at=_in(lease_seconds)):
            break
        AgentLease.objects.bulk_create([AgentLease(agent_id=agent_id)], ignore_conflicts=True)
    return rows.filter(holder=holder).values_list("fence", flat=True).first()


def renew(holder: str, lease_seconds: float, agent_ids: Collection[Any]) -> int:
    """Renew `holder`'s leases of these agents in one statement; return how many of them it still holds.

    A lease whose session is over, but which could not be released, is not among them and runs out by itself.
    """
    rows = AgentLease.objects.filter(holder=holder, agent_id__in=agent_ids)
    return rows.update(expires_at=_in(lease_seconds))


def held_by(holder: str) -> set[int | str]:
    """The agents whose sessions `holder` runs."""
    return set(AgentLease.objects.filter(holder=holder).values_list("agent_id", flat=True))


def release(holder: str, agent_id: int | str | None = None) -> None:
    """Let go of one agent's lease, or of all that `holder` has; only its own."""
    rows = AgentLease.objects.filter(holder=holder)
    if agent_id is not None:
        rows = rows.filter(agent_id=agent_id)
    rows.update(holder="", expires_at=None)
