"""How this process is, for those that are not people: load balancers, systemd, Prometheus.

Nothing here tells of agents, numbers or names, or why something failed: that is in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connections, router, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import calllog
from . import metrics as told
from .conf import get_settings
from .models import AgentLease
from .sessions import host
from .threads import WORK_THREADS

__all__ = ["live", "metrics", "ready"]

CHECK_SECONDS = 2.0
"""How long a check may take before it counts as failed."""

FULL = 0.8
"""The outbox counts as failed when it is this full: calls are about to be lost."""

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


def _for_machines(page: Page) -> Page:
    return login_not_required(transaction.non_atomic_requests(never_cache(require_safe(page))))


@_for_machines
async def live(request: HttpRequest) -> HttpResponse:
    """Whether the process answers at all: 200, always."""
    return JsonResponse({"status": "ok"})


@_for_machines
async def ready(request: HttpRequest) -> HttpResponse:
    """Whether agents should be sent here: 200 or 503, and which part fails.

    Each check is "ok", "failed", or "unused": this process has run no session yet.
    """
    database, sessions = await asyncio.gather(_in_time(_database()), _in_time(_sessions()))
    checks = {"database": "ok" if database else "failed", "outbox": "ok" if _outbox() else "failed"}
    for name in ("bus", "leases"):
        checks[name] = "failed" if sessions is None else sessions.get(name, "unused")
    is_ready = "failed" not in checks.values()
    body = {"status": "ok" if is_ready else "failed", "checks": checks}
    return JsonResponse(body, status=200 if is_ready else 503)


async def _in_time(check: Coroutine[Any, Any, Any]) -> Any:
    """What the check finds; None if it fails, whatever the reason, or takes too long."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except Exception:
        return None


async def _sessions() -> dict[str, str]:
    running = host.current_host()
    facts = running.health() if running is not None else {}
    return {name: "ok" if is_well else "failed" for name, is_well in facts.items()}


def _outbox() -> bool:
    try:
        return calllog.outbox.fill < FULL
    except Exception:
        return False


_question: Future[bool] | None = None
"""The last question to the database. There is one at a time: whoever asks much, or while the database hangs, takes up
no more than one thread."""


async def _database() -> bool:
    global _question
    if _question is None or _question.done():
        _question = WORK_THREADS.submit(_ask_database)
    question = asyncio.wrap_future(_question)
    await asyncio.wait({question})  # not cancelled with whoever waits here: others wait for it as well
    return question.result()


def _ask_database() -> bool:
    alias = router.db_for_write(AgentLease)
    for _each in range(2):
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
                return bool(cursor.fetchone())
        except Error:
            connections[alias].close()  # it may only have been the old connection
    return False


@_for_machines
async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for the bearer of the setting METRICS_TOKEN and for staff who may see the sessions."""
    if not (_bears_token(request) or await _may_look(request)):
        return HttpResponse("You may not see this.", status=403, content_type="text/plain")
    rendered = told.render()
    if rendered is None:
        sentence = "There are no metrics: prometheus-client is not installed (pip install cti-django[metrics])."
        return HttpResponse(sentence, status=404, content_type="text/plain")
    return HttpResponse(rendered[0], content_type=rendered[1])


def _bears_token(request: HttpRequest) -> bool:
    token = get_settings().metrics_token
    scheme, _space, presented = request.headers.get("Authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(presented.strip(), token)


async def _may_look(request: HttpRequest) -> bool:
    user: Any = await request.auser()
    return bool(user.is_active and user.is_staff and await user.ahas_perm("cti_django.view_agentlease"))
