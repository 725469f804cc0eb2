"""The journal of what telephone systems push: written before anything else is done, read by whoever runs sessions.

A system that gets a 2xx never says it again, so nothing may be lost behind the answer: one INSERT, then the answer.
What comes twice is one row. Rows are numbered as they come; a number may become visible later than the next one.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, router
from django.db.models import Q, QuerySet
from django.utils import timezone

from .calllog_rows import OPEN
from .calls.states import EndReason
from .conf import Settings, get_settings
from .connectors.base import Delivery
from .connectors.webhook.bodies import Fields
from .connectors.webhook.options import Endpoint, Options
from .connectors.webhook.shapes import FIELDS, Report
from .models import CallRecord, WebhookDelivery
from .threads import DatabaseThreads

__all__ = [
    "HISTORY_THREADS",
    "JOURNAL_THREADS",
    "after",
    "endpoints",
    "history",
    "logged",
    "newest",
    "purge",
    "write",
]

JOURNAL_THREADS = DatabaseThreads(2, "cti-journal")
"""Deliveries: a system waits for its answer no longer than for this journal."""

HISTORY_THREADS = DatabaseThreads(2, "cti-history")
"""What sessions that begin ask for: a thousand may begin at once, and no delivery waits behind them."""

REPEAT_SECONDS = 600.0
"""For so long the same fields are one delivery: as long as a captured signature could be sent again, either way."""
MAX_HISTORY = 1_000  # deliveries of one agent's calls
_PURGE_BATCH = 1_000
_PURGE_BATCHES = 20

_read: tuple[Settings, Mapping[str, Endpoint]] | None = None


def endpoints() -> Mapping[str, Endpoint]:
    """The project's endpoints by name.

    Raises:
        ValueError: the settings cannot be used; no delivery can be let in.
    """
    global _read
    settings = get_settings()
    if _read is None or _read[0] is not settings:
        given = settings.connector_options.get("webhook", {})
        _read = settings, Options.read({"endpoints": given.get("endpoints", {})}).endpoints
    return _read[1]


# -- writing ----------------------------------------------------------------------------------------------------------


def write(endpoint: str, fields: Fields, report: Report) -> bool:
    """Keep a delivery; False if it is kept already.

    To be called on ``JOURNAL_THREADS``, outside any transaction: it must be safe when this returns.

    Raises:
        django.db.Error: it could not be kept.
    """
    known = {name: list(values) for name, values in sorted(fields.items()) if name in FIELDS}
    now = timezone.now()
    row = WebhookDelivery(
        endpoint=endpoint,
        received_at=now,
        stage=report.stage,
        provider_call_id=report.provider_call_id,
        names="".join(f"\n{name}" for name in sorted(report.names)) + "\n",
        fields=known,
        digest=hashlib.sha256(json.dumps(known).encode()).hexdigest(),
    )
    alias = router.db_for_write(WebhookDelivery)
    for _attempt in range(2):
        try:
            row.save(force_insert=True, using=alias)
        except IntegrityError:
            same = _rows().filter(endpoint=endpoint, digest=row.digest)
            # The same words long after are another call, whose id the system uses again.
            if not same.filter(received_at__lt=now - timedelta(seconds=REPEAT_SECONDS)).update(digest=None):
                return False
        else:
            return True
    return False


def purge() -> int:
    """Remove what is older than it is to be kept; return how many there were.

    So is what lies as far ahead (a clock was wrong), and what came to endpoints that there are no longer.
    """
    settings = get_settings()
    keep = timedelta(seconds=max(settings.deliveries_seconds, settings.believed_seconds, REPEAT_SECONDS))
    removed = 0
    for _batch in range(_PURGE_BATCHES):
        oldest = _rows().order_by("pk").values_list("pk", "received_at")[:_PURGE_BATCH]
        now = timezone.now()
        old = [pk for pk, received_at in oldest if abs(now - received_at) > keep]
        removed += _rows().filter(pk__in=old).delete()[0] if old else 0
        if len(old) < _PURGE_BATCH:
            break
    return removed


# -- reading ----------------------------------------------------------------------------------------------------------


def newest(count: int) -> list[int]:
    """The numbers of the newest `count` deliveries, the newest first."""
    return list(_rows().order_by("-pk").values_list("pk", flat=True)[:count])


def after(serial: int, names: Collection[str], count: int) -> list[tuple[int, Delivery]]:
    """The oldest `count` deliveries to these endpoints with a higher number, each with its number."""
    return _read_rows(_rows().filter(pk__gt=serial, endpoint__in=names).order_by("pk")[:count])


def history(endpoint: str, names: Collection[str]) -> list[Delivery]:
    """All that is known of the calls of the agent who goes by `names`, the oldest first; the newest 1,000 of it."""
    kept = _rows().filter(endpoint=endpoint)
    about = Q()
    for name in names:
        about |= Q(names__contains=f"\n{name}\n")
    hers = kept.filter(about).values("provider_call_id")
    found = _read_rows(kept.filter(provider_call_id__in=hers).order_by("-pk")[:MAX_HISTORY])
    return [delivery for _serial, delivery in reversed(found)]


def logged(call_ids: Collection[str]) -> set[str]:
    """Which of these calls are in the call log with an end that somebody saw."""
    rows = CallRecord.objects.using(router.db_for_write(CallRecord)).filter(call_id__in=call_ids)
    return set(rows.exclude(state__in=OPEN).exclude(end_reason=EndReason.INFERRED).values_list("call_id", flat=True))


def _rows() -> QuerySet[WebhookDelivery]:
    # Not from a replica: what was written a moment ago must be seen.
    return WebhookDelivery.objects.using(router.db_for_write(WebhookDelivery))


def _read_rows(rows: QuerySet[WebhookDelivery]) -> list[tuple[int, Delivery]]:
    found: Any = rows.values_list("pk", "endpoint", "received_at", "fields")
    return [
        (
            serial,
            Delivery(
                endpoint=endpoint,
                received_at=received_at,
                fields={name: tuple(values) for name, values in fields.items()},
            ),
        )
        for serial, endpoint, received_at, fields in found
    ]
