"""Where telephone systems post what happens: proven, parsed, journalled, answered. In this order, and nothing else.

The answer waits for one INSERT (and for the project's own decision on a new call, where there is one), never for a
session. Who is refused learns nothing: an unknown endpoint and a wrong secret are answered alike. A URL may hold a
token, so nothing here, and nothing of Django's that logs failed requests, writes it down.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic, time
from typing import Any
from urllib.parse import quote

from django import db
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from . import deliveries, metrics
from .connectors.webhook.bodies import MAX_BODY, read_fields
from .connectors.webhook.decision import Decision, Redirect, Reject, answer
from .connectors.webhook.options import Endpoint
from .connectors.webhook.proof import is_genuine
from .connectors.webhook.shapes import Report, Stage, read_report
from .exceptions import WebhookError
from .sessions import bus
from .sessions.host import current_host
from .threads import DatabaseThreads

__all__ = ["receive"]

logger = logging.getLogger(__name__)

JOURNAL_SECONDS = 5.0  # how long the INSERT may take; after that the system is asked to come again
DECIDE_SECONDS = 0.3
HINT_SECONDS = 0.05  # how long the answer waits for the hint to be sent; it goes on behind it
COMPLAIN_SECONDS = 60.0  # between lines about the same thing: anybody can post nonsense
DECIDE_THREADS = DatabaseThreads(2, "cti-decide")

_hints: set[asyncio.Task[None]] = set()
_complained_at: dict[str, float] = {}
_deciding: set[Future[Any]] = set()


@csrf_exempt
@login_not_required
@transaction.non_atomic_requests
@never_cache
async def receive(request: HttpRequest, endpoint: str, token: str = "") -> HttpResponse:
    """A delivery: 2xx when it is safe (or was already), or says nothing of a call.

    Else: 403 refused, 400 makes no sense, 405 not a POST, 413 too large, 503 could not be kept: to be sent again.
    """
    if request.method != "POST":
        return _plain(405, "Only POST.", Allow="POST")
    body = _body(request)
    if body is None:
        return _refused("malformed", 413, "Too large.")
    place = _endpoint(endpoint)
    headers = {name.lower(): value for name, value in request.headers.items()}
    if place is None or not is_genuine(place, headers, body, token, time()):
        _complain("refused", "A delivery was refused: its endpoint is unknown, or its proof is wrong or too old.")
        return _refused("refused", 403, "Refused.")
    try:
        fields = read_fields(request.headers.get("Content-Type", ""), body)
        report = read_report(place.shape, fields)
    except WebhookError as error:
        _complain("malformed", "A delivery to the endpoint %s makes no sense: %s", place.name, error)
        return _refused("malformed", 400, str(error))
    if report is None:
        metrics.deliveries_total.labels(outcome="ignored").inc()
        return _answer(place, None)
    try:
        async with asyncio.timeout(JOURNAL_SECONDS):
            is_new = await deliveries.JOURNAL_THREADS.run(deliveries.write, place.name, fields, report)
    except (db.Error, TimeoutError, RuntimeError) as error:  # RuntimeError: the process ends
        _complain("failed", "Deliveries cannot be kept (%s): they are to be sent again.", type(error).__name__)
        return _refused("failed", 503, "Later.", **{"Retry-After": "5"})
    metrics.deliveries_total.labels(outcome="accepted" if is_new else "repeated").inc()
    if is_new:
        await _hint()
    return _answer(place, report, await _decide(place, report))


# -- in ---------------------------------------------------------------------------------------------------------------


def _body(request: HttpRequest) -> bytes | None:
    """The raw body; None if it is too large."""
    try:
        body = request.read(MAX_BODY + 1)
    except UnreadablePostError:  # whoever sent it has gone
        return b""
    return body if len(body) <= MAX_BODY else None


def _endpoint(name: str) -> Endpoint | None:
    try:
        return deliveries.endpoints().get(name)
    except ValueError:
        _complain("settings", "No delivery is let in: the webhook's settings cannot be used (see manage.py check).")
        return None


async def _hint() -> None:
    """Have sessions look into the journal now: here at once, elsewhere by the bus, which nobody waits for."""
    host = current_host()
    if host is not None:
        host.delivered()
    if not bus.spans_processes():
        return
    hint = asyncio.ensure_future(bus.tell_of_delivery())
    _hints.add(hint)
    hint.add_done_callback(_hints.discard)
    await asyncio.wait({hint}, timeout=HINT_SECONDS)


# -- the project's decision -------------------------------------------------------------------------------------------


async def _decide(place: Endpoint, report: Report) -> Decision:
    """What the project wants done with a new call; nothing if it does not say so in time, or fails."""
    if not place.decide or report.stage is not Stage.RINGING:
        return None
    try:
        if len(_deciding) >= 2 * DECIDE_THREADS.count:
            raise TimeoutError
        decide: Callable[[Report], Decision] = import_string(place.decide)
        asked = DECIDE_THREADS.submit(_decided, decide, report)
        _deciding.add(asked)
        asked.add_done_callback(_deciding.discard)
        async with asyncio.timeout(DECIDE_SECONDS):
            decision = await asyncio.shield(asyncio.wrap_future(asked))
    except TimeoutError:
        _complain("decide", "The endpoint %s: %s did not decide in time.", place.name, place.decide)
        return None
    except Exception as error:
        decision = error
    if isinstance(decision, BaseException):
        _complain("decide", "The endpoint %s: %s failed (%s).", place.name, place.decide, type(decision).__name__)
        return None
    if decision is not None and not isinstance(decision, Reject | Redirect):
        _complain("decide", "The endpoint %s: %s returned no decision.", place.name, place.decide)
        return None
    return decision


def _decided(decide: Callable[[Report], Decision], report: Report) -> Decision | BaseException:
    """What was decided, or what was raised instead: sys.exit(), raised where it is awaited, would end the process."""
    try:
        return decide(report)
    except BaseException as error:
        return error


# -- out --------------------------------------------------------------------------------------------------------------


def _answer(place: Endpoint, report: Report | None, decision: Decision = None) -> HttpResponse:
    is_new_call = report is not None and report.stage is Stage.RINGING
    said = answer(place.shape, decision, is_new_call=is_new_call, callback_url=_callback_url(place))
    if not said.is_obeyed:
        _complain("disobeyed", "The endpoint %s: its shape cannot say what was decided.", place.name)
    return _unlogged(HttpResponse(said.body, content_type=said.content_type))


def _callback_url(place: Endpoint) -> str:
    """Where a system posts what comes next, with what it needs to be let in; "" if that is not known."""
    if not place.base_url:
        return ""
    base, path = place.base_url, [place.name]
    if place.auth == "token":
        path.append(place.secrets[0])
    if place.auth == "basic":
        scheme, _separator, rest = base.partition("://")
        base = f"{scheme}://{quote(place.username, safe='')}:{quote(place.secrets[0], safe='')}@{rest}"
    return base + reverse("cti_django:webhook", args=path)


def _refused(outcome: str, status: int, text: str, **headers: str) -> HttpResponse:
    metrics.deliveries_total.labels(outcome=outcome).inc()
    return _plain(status, text, **headers)


def _plain(status: int, text: str, **headers: str) -> HttpResponse:
    return _unlogged(HttpResponse(text, status=status, content_type="text/plain", headers=headers))


def _unlogged(response: HttpResponse) -> HttpResponse:
    response._has_been_logged = True  # Django would log the path, and a token with it
    return response


def _complain(about: str, text: str, *facts: Any) -> None:
    now = monotonic()
    if now - _complained_at.get(about, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
        _complained_at[about] = now
        logger.warning(text, *facts)
