"""What Django knows of an agent's telephone, step by step, for ``cti_doctor``: before her telephone system is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from asgiref.typing import WebSocketScope
from channels.layers import get_channel_layer
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from ..conf import get_settings, problems, project_setting
from ..connectors.base import Connector, Finding
from ..exceptions import LoginRefused
from ..models import AgentLease, ConnectorAccount, WebhookDelivery
from ..sessions import bus
from ..sessions.access import PERMISSION
from ..sessions.session import LinkState

__all__ = [
    "examine_account",
    "examine_channel_layer",
    "examine_clock",
    "examine_deliveries",
    "examine_lease",
    "examine_rights",
    "examine_settings",
    "examine_socket",
]

CLOCK_SECONDS = 5.0  # so far apart, times in the call log look wrong
NOT_LOGGED_IN = 4401  # what the socket says to whoever has no session: it is there
ALL_KEYS = "All keys are listed in docs/settings.md."


def examine_settings() -> list[Finding]:
    """Whether ``CTI_DJANGO`` can be used."""
    step = "Read the settings"
    found = [Finding(step=step, ok=False, message=text, advice=ALL_KEYS) for text in problems()]
    return found or [Finding(step=step, ok=True, message="CTI_DJANGO can be used.")]


def examine_rights(agent: Any) -> Finding:
    """Whether the agent may use the telephone at all."""
    step = "Look at the agent's rights"
    if not agent.is_active:
        advice = "Switch the user on again in the admin."
        return Finding(step=step, ok=False, message="The user has been switched off.", advice=advice)
    if not agent.has_perm(PERMISSION):
        advice = "Give her, or a group of hers, the permission “Can use the telephone” in the admin."
        return Finding(step=step, ok=False, message="She may not use the telephone.", advice=advice)
    return Finding(step=step, ok=True, message="She may use the telephone.")


def examine_account(account: ConnectorAccount | None) -> list[Finding]:
    """Whether there is an account that somebody can log in with."""
    step = "Look at the telephone account"
    if account is None:
        advice = "Add one in the admin, under telephone accounts."
        return [Finding(step=step, ok=False, message="She has no telephone account.", advice=advice)]
    if not account.is_active:
        advice = "Switch it on in the admin."
        return [Finding(step=step, ok=False, message="Her telephone account has been switched off.", advice=advice)]
    if account.connector not in get_settings().connectors:
        advice = "Choose another connector in the admin, or name that one in CTI_DJANGO['CONNECTORS']."
        message = f"Its connector, {account.connector}, is not in the settings."
        return [Finding(step=step, ok=False, message=message, advice=advice)]
    found = [Finding(step=step, ok=True, message=f"It is there, and its connector is {account.connector}.")]
    step = "Read the stored secrets"
    try:
        account.credentials()
    except LoginRefused as refused:
        advice = "Put the former key back into SALT_KEY or SECRET_KEY, or enter the password anew."
        found.append(Finding(step=step, ok=False, message=str(refused), advice=advice))
    else:
        found.append(Finding(step=step, ok=True, message="They can be read."))
    return found


def examine_clock(agent: Any) -> Finding:
    """Whether this machine's clock and the database's agree."""
    step = "Compare the clocks"
    rows = type(agent)._default_manager.filter(pk=agent.pk).annotate(now=Now()).values_list("now", flat=True)
    told = rows.first()
    if told is None:
        return Finding(step=step, ok=None, message="The database does not tell its time.")
    apart = abs((datetime.now(UTC) - told).total_seconds())
    if apart > CLOCK_SECONDS:
        message = f"This machine's clock and the database's are {apart:.0f} seconds apart."
        return Finding(step=step, ok=False, message=message, advice="Set both by NTP.")
    return Finding(step=step, ok=True, message="This machine's clock and the database's agree.")


def examine_lease(agent: Any) -> Finding:
    """Who runs the agent's session now; that nobody does is no fault."""
    step = "Look for a running session"
    lease = AgentLease.objects.filter(pk=agent.pk, expires_at__gt=Now()).exclude(holder="").first()
    if lease is None:
        return Finding(step=step, ok=None, message="None runs now: she has no page open, or has not logged in.")
    message = f"It runs in {lease.holder}, and its line is {lease.link or 'not known yet'}."
    is_well = lease.link in (LinkState.READY.value, LinkState.CONNECTING.value, "")
    advice = "" if is_well else "What follows here shows why."
    return Finding(step=step, ok=is_well, message=message, advice=advice)


def examine_deliveries(connector: Connector) -> list[Finding]:
    """When the system last pushed something to the agent's endpoint; nothing for systems that do not push."""
    if not connector.endpoint:
        return []
    step = "Look for the last delivery"
    last = WebhookDelivery.objects.filter(endpoint=connector.endpoint).order_by("-pk").first()
    if last is None:
        advice = "Enter the endpoint's address in the telephone system, and make a call (docs/connectors/webhook.md)."
        message = f"Nothing was ever pushed to {connector.endpoint}."
        return [Finding(step=step, ok=False, message=message, advice=advice)]
    message = f"{connector.endpoint} last heard {last.stage} at {last.received_at:%Y-%m-%d %H:%M:%S} UTC."
    return [Finding(step=step, ok=True, message=message)]


async def examine_channel_layer() -> Finding:
    """Whether a message through the channel layer arrives."""
    step = "Send something through the channel layer"
    if get_channel_layer() is None:
        advice = "Set CHANNEL_LAYERS: without it no event reaches a page."
        return Finding(step=step, ok=False, message="There is no channel layer.", advice=advice)
    try:
        address = await bus.new_address()
        sent = await bus.send(address, {"type": "cti.doctor"})
        if sent:
            await bus.receive(address)
    except (OSError, ValueError, RuntimeError) as error:
        sent, why = False, f" ({type(error).__name__})"
    else:
        why = ""
    if not sent:
        advice = "Check CHANNEL_LAYERS, and that its server (Redis, say) can be reached from here."
        return Finding(step=step, ok=False, message=f"It does not arrive{why}.", advice=advice)
    where = "" if bus.spans_processes() else " It reaches this process only: with several, use channels_redis."
    return Finding(step=step, ok=True, message=f"It arrives.{where}")


async def examine_socket() -> Finding:
    """Whether the project's ASGI application has the telephone's WebSocket at its path."""
    step = "Find the WebSocket"
    path, name = get_settings().socket_path, project_setting("ASGI_APPLICATION")
    if not name:
        advice = "Set ASGI_APPLICATION, and serve the project with Daphne or uvicorn."
        return Finding(step=step, ok=False, message="ASGI_APPLICATION is missing.", advice=advice)
    advice = "Wrap the application in cti_django.routing.with_cti, as docs/quickstart.md shows."
    try:
        application = import_string(name)
    except Exception as error:
        message = f"{name} cannot be imported ({type(error).__name__})."
        return Finding(step=step, ok=False, message=message, advice=advice)
    try:
        code = await _knock(application, path)
    except Exception as error:  # whatever the project's own application does
        message = f"The application does not answer at {path} ({type(error).__name__})."
        return Finding(step=step, ok=False, message=message, advice=advice)
    if code != NOT_LOGGED_IN:
        advice += " Check ALLOWED_HOSTS, too, and what else stands before the socket."
        return Finding(step=step, ok=False, message=f"Something else answers at {path}.", advice=advice)
    return Finding(step=step, ok=True, message=f"It answers at {path}.")


async def _knock(application: Callable[..., Awaitable[None]], path: str) -> int:
    """Open the WebSocket as somebody who has not logged in; the close code, 0 if there was none."""
    host = _a_host()
    scope: WebSocketScope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host.encode()), (b"origin", f"http://{host}".encode())],
        "client": ("127.0.0.1", 0),
        "server": None,
        "subprotocols": [],
        "state": {},
        "extensions": {},
    }
    waiting = [{"type": "websocket.connect"}]
    said: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close" and not said.done():
            said.set_result(message)

    serving = asyncio.ensure_future(application(scope, receive, send))
    try:
        await asyncio.wait([serving, said], return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and not said.done():
            serving.result()
            return 0
        return int(said.result().get("code") or 0)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _a_host() -> str:
    """A host that the project answers to."""
    named = [str(host).lstrip(".") for host in project_setting("ALLOWED_HOSTS") or [] if host != "*"]
    return named[0] if named else "localhost"
