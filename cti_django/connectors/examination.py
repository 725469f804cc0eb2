"""What an examination for ``cti_doctor`` shares between connectors: a name, a line, and a call of one's own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import uuid4

from ..calls.board import CallBoard
from ..calls.commands import Capability, Dial, HangUp
from ..calls.events import CallEvent
from ..calls.notifications import Notification, SessionNotification
from ..calls.states import CallState
from ..exceptions import CommandRefused, ConnectorError, LoginRefused
from .base import Connector, Finding

__all__ = ["CALLS", "LINE", "LOG_IN", "TEST_CALL", "examine_line", "look_up", "place_test_call"]

LOOK_UP_SECONDS = 10.0
LINE_SECONDS = 20.0  # from the log-in to READY
CALL_SECONDS = 75.0  # until somebody has answered; less than cti_doctor gives, so that the advice is heard
SHOWN_ADDRESSES = 4
TEST_COMMAND = "cti-doctor"
LOG_IN, LINE, CALLS, TEST_CALL = "Log in", "Open the line", "Hear of the agent's calls", "Place a test call"
SILENT = "The telephone system said nothing more."
NOBODY = "Nothing more was heard of the call."


async def look_up(host: str, port: int, advice: str) -> Finding:
    """Whether the name `host` is known here.

    Args:
        advice: what to do if it is not.
    """
    step = "Find the telephone system"
    try:
        return Finding(step=step, ok=True, message=f"{ip_address(host)} is an address, no name to look up.")
    except ValueError:
        pass
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return Finding(step=step, ok=False, message=f"The name {host} is not known.", advice=advice)
    addresses = sorted({str(address[4][0]) for address in found})
    return Finding(step=step, ok=True, message=f"{host} is {', '.join(addresses[:SHOWN_ADDRESSES])}.")


async def examine_line(
    connector: Connector, number: str = "", advice: Mapping[str, str] | None = None
) -> AsyncIterator[Finding]:
    """Log in, listen until the line is up, and place a call if `number` is given. Never raises; closes the connector.

    Args:
        connector: not open.
        number: "" for no call.
        advice: what helps, by the code of an error ("login_refused", "certificate" ...) or, failing that, by the step.
    """
    known = advice or {}
    step = LOG_IN
    try:
        async with asyncio.timeout(LINE_SECONDS):
            await connector.open()
        said = aiter(connector.notifications())
        names: set[str] = set()
        while not names & {"READY", "TWO_FACTOR_AUTH"}:
            async with asyncio.timeout(LINE_SECONDS):
                heard = await anext(said)
            names.add(getattr(heard, "name", ""))
            finding = _told(heard)
            if finding is not None:
                step = {LOG_IN: LINE, LINE: CALLS}.get(finding.step, step) if finding.ok else step
                yield finding
        if "READY" in names and number:
            yield await place_test_call(connector, said, number)
    except ConnectorError as error:
        step = CALLS if step == LINE and isinstance(error, LoginRefused) else step
        yield Finding(step=step, ok=False, message=str(error), advice=known.get(error.code) or known.get(step, ""))
    except (TimeoutError, StopAsyncIteration):
        yield Finding(step=step, ok=False, message=SILENT, advice=known.get(step, ""))
    finally:
        await connector.close()


def _told(heard: Notification) -> Finding | None:
    """What an opening line's notification means to whoever examines it."""
    if not isinstance(heard, SessionNotification):
        return None
    match heard.name:
        case "LOGGED_IN":
            return Finding(step=LOG_IN, ok=True, message="The telephone system accepts the account.")
        case "TWO_FACTOR_AUTH":
            message = "A second factor is asked for: the rest can be tried only with the agent's code."
            return Finding(step=LOG_IN, ok=None, message=message)
        case "SUBSCRIBED":
            return Finding(step=LINE, ok=True, message="The line is open.")
        case "READY":
            return Finding(step=CALLS, ok=True, message="The telephone system tells what her telephone does.")
        case "ERROR":
            return Finding(step="Listen", ok=False, message=heard.message or heard.code or "An error was told.")
    return None


async def place_test_call(
    connector: Connector, said: AsyncIterator[Notification], number: str, advice: str = ""
) -> Finding:
    """Have the agent's phone rung, then `number`; hang up when somebody answers.

    Args:
        connector: open.
        said: its notifications; those before READY may be among them.
        advice: what helps if nothing more is heard of the call.
    """
    if Capability.DIAL not in connector.capabilities:
        return Finding(step=TEST_CALL, ok=None, message="This telephone system cannot dial for an agent.")
    try:
        await connector.execute(Dial(command_id=TEST_COMMAND, number=number))
        async with asyncio.timeout(CALL_SECONDS):
            return await _follow(connector, said)
    except (TimeoutError, StopAsyncIteration):
        return Finding(step=TEST_CALL, ok=False, message=NOBODY, advice=advice)
    except ConnectorError as error:
        return Finding(step=TEST_CALL, ok=False, message=str(error))


async def _follow(connector: Connector, said: AsyncIterator[Notification]) -> Finding:
    board = CallBoard(lambda seed: seed or uuid4().hex)
    while True:
        for event in board.fold(await anext(said), datetime.now(UTC)):
            if not isinstance(event, CallEvent) or event.call.command_id != TEST_COMMAND:
                continue
            if event.call.state.is_final:
                message = event.call.cause or "The call ended before anybody had answered."
                return Finding(step=TEST_CALL, ok=False, message=message)
            if event.call.state is CallState.CONNECTED:
                message = "The agent's phone rang, and the number answered."
                try:
                    await connector.execute(
                        HangUp(command_id=f"{TEST_COMMAND}-end", call_id=event.call.call_id), event.call
                    )
                except CommandRefused:
                    message += " Hang up there: this program cannot."
                return Finding(step=TEST_CALL, ok=True, message=message)
