"""The sessions as people see them: what the lease says of each, its open calls, and the time that it has left."""

from django.db.models import Count, DurationField, ExpressionWrapper, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from ..calls.states import CallState
from ..models import AgentLease, CallRecord

__all__ = ["with_calls_and_time"]

_OPEN = [state.value for state in CallState if not state.is_final]


def with_calls_and_time(leases: QuerySet[AgentLease]) -> QuerySet[AgentLease]:
    """`leases`, in the same one query, with what their rows do not say.

    Returns:
        Leases that also have ``open_calls``, the number of calls that the call log has as going on, and ``time_left``,
        a timedelta by the database's clock until the lease runs out: below zero if it has, None if nobody holds it.
    """
    calls = CallRecord.objects.filter(agent_id=OuterRef("agent_id"), state__in=_OPEN).order_by().values("agent_id")
    return leases.annotate(
        open_calls=Coalesce(Subquery(calls.annotate(count=Count("pk")).values("count")), 0),
        time_left=ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField()),
    )
