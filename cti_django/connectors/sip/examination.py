"""Trying out, step by step, what the SIP connector needs, with the advice that helps where it fails.

Source: the steps are those of ``reach``, ``registration`` and ``connector``; RFC 3261 21 for what a refusal means.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ...calls.notifications import SessionNotification
from ...exceptions import ConnectionLost, ConnectorError, LoginRefused
from ..base import Finding
from ..examination import place_test_call
from .locate import Resolver, Target, locate
from .options import Options
from .sockets import connect

if TYPE_CHECKING:
    from .connector import SIPConnector

__all__ = ["examine"]

READY_SECONDS = 12.0
NO_HINT = (
    "Let the server tell about this user's dialogs. Asterisk: a hint for the user, subscribe_context of the endpoint "
    "naming the hint's context, allow_subscribe=yes. Kamailio: presence_dialoginfo and pua_dialoginfo. FreeSWITCH: "
    "manage-presence."
)
OR_REGISTER = f"{NO_HINT} Or set the option register."
NO_PHONE = "Check the option phone, and that the phone is registered."
WRONG_REALM = "The server wants the log-in of its realm “{realm}”: is that where this account belongs?"
WRONG_LOGIN = (
    "Check the account's user name and password; the digest may want another name (option auth_username), or the "
    "server another domain in the address (option domain)."
)


async def examine(
    connector: "SIPConnector", options: Options, resolver: Resolver, number: str
) -> AsyncIterator[Finding]:
    """See ``Connector.examine``."""
    async for finding in _network(options, resolver):
        yield finding
        if finding.ok is False:
            return
    try:
        await connector.open()
    except LoginRefused as error:
        yield Finding(step="Log in", ok=False, message=str(error), advice=_advice(error, connector.realm))
    except ConnectorError as error:
        yield Finding(step="Log in", ok=False, message=str(error), advice=_advice(error, connector.realm))
    else:
        yield Finding(step="Log in", ok=True, message="The server answers, and takes the account.")
        try:
            async for finding in _online(connector, number):
                yield finding
        except ConnectorError as error:
            advice = OR_REGISTER if error.code == "no_dialog_events" else _advice(error, connector.realm)
            yield Finding(step="Watch calls", ok=False, message=str(error), advice=advice)
    await connector.close()


async def _network(options: Options, resolver: Resolver) -> AsyncIterator[Finding]:
    server = options.reached
    if server.url:
        return
    try:
        targets = await locate(server, resolver)
    except ConnectionLost as error:
        advice = "Check the option server, and the DNS."
        yield Finding(step="Find the server", ok=False, message=str(error), advice=advice)
        return
    found = ", ".join(f"{target.address} port {target.port:d}" for target in targets)
    yield Finding(step="Find the server", ok=True, message=f"{server.host} is {found}.")
    if server.transport == "UDP":
        return  # an open UDP socket tells nothing: the log-in does
    async for finding in _connections(options, targets):
        yield finding


async def _connections(options: Options, targets: list[Target]) -> AsyncIterator[Finding]:
    failed = []
    for target in targets:
        step = f"Connect over {target.transport} to {target.address}"
        try:
            flow = await connect(target, options.reached, options.ca_file)
        except ConnectionLost as error:
            failed.append(Finding(step=step, ok=False, message=str(error), advice=_advice(error)))
        else:
            await flow.socket.close()
            yield Finding(step=step, ok=True, message="The server takes the connection.")
            for each in failed:
                yield Finding(step=each.step, ok=None, message=each.message, advice=each.advice)
            return
    for each in failed:
        yield each


async def _online(connector: "SIPConnector", number: str) -> AsyncIterator[Finding]:
    said = connector.notifications()
    is_watched = True
    try:
        async with asyncio.timeout(READY_SECONDS):
            async for notification in said:
                if isinstance(notification, SessionNotification) and notification.code == "no_dialog_events":
                    is_watched = False
                if isinstance(notification, SessionNotification) and notification.name == "READY":
                    break
    except TimeoutError:
        yield Finding(step="Watch calls", ok=False, message="The server said nothing more.", advice=NO_HINT)
        return
    if is_watched:
        yield Finding(step="Watch calls", ok=True, message="The server tells about this user's calls.")
    else:
        message = "The server does not tell how calls go on."
        yield Finding(step="Watch calls", ok=None, message=message, advice=NO_HINT)
    if number:
        finding = await place_test_call(connector, said, number)
        yield finding if finding.ok else replace(finding, advice=NO_PHONE)


def _advice(error: ConnectorError, realm: str = "") -> str:
    if isinstance(error, LoginRefused):
        return f"{WRONG_REALM.format(realm=realm)} {WRONG_LOGIN}" if realm.isprintable() and realm else WRONG_LOGIN
    if error.code == "certificate":
        return "Use a certificate that names the server's host, or give its authority as ca_file."
    if isinstance(error, ConnectionLost):
        return "Check host, port and transport in the option server, and the firewalls on the way."
    return ""
