"""From an address to a line that is logged in, and what its manager may do."""

import hashlib
from collections.abc import Awaitable, Callable

from ...exceptions import ConnectionLost, LoginRefused
from ..transports import verifying_context
from .line import AMILine, Message, reach
from .options import Options

__all__ = ["allowed_commands", "log_in", "open_line"]

EVENTS = "call,agent,reporting,system"
"""What is wanted; the manager's rights narrow it. `system` brings Shutdown and FullyBooted, which are not needed."""


async def open_line(
    options: Options,
    *,
    on_event: Callable[[Message], None],
    on_lost: Callable[[ConnectionLost], None],
    room: Callable[[], Awaitable[None]],
) -> AMILine:
    """A line to the PBX that `options` name: open, greeted, not logged in.

    Raises:
        ConnectionLost: it cannot be had, or what is there is no manager interface.
    """
    host, port = options.address
    reader, writer = await reach(host, port, verifying_context(options.ca_file) if options.tls else None)
    line = AMILine(
        reader,
        writer,
        where=f"{host}:{port}",
        on_event=on_event,
        on_lost=on_lost,
        room=room,
        request_seconds=options.request_seconds,
        ping_seconds=options.ping_seconds,
    )
    try:
        await line.banner()
    except BaseException:
        await line.close()
        raise
    return line


async def log_in(line: AMILine, options: Options) -> None:
    """Log in as the manager. The secret itself travels over TLS, or if the PBX offers no challenge.

    Raises:
        ConnectionLost: no answer, or there is no room for another log-in of that name.
        LoginRefused: the PBX refuses the name or the secret.

    Source: Asterisk's documentation, AMI actions Challenge and Login.
    """
    if not options.username or not options.secret:
        raise LoginRefused("The manager's name and secret are missing in the settings.", code="no_credentials")
    proof = [("Secret", options.secret)]
    if not options.tls:
        challenge = (await line.ask("Challenge", [("AuthType", "MD5")])).get("Challenge", "")
        if challenge:
            digest = hashlib.md5(f"{challenge}{options.secret}".encode(), usedforsecurity=False).hexdigest()
            proof = [("AuthType", "MD5"), ("Key", digest)]
    answer = await line.ask("Login", [("Username", options.username), *proof, ("Events", EVENTS)])
    if "in use" in answer.get("Message", "").lower():
        raise ConnectionLost("The manager's name is in use, and the PBX allows it only once.", code="in_use")
    if answer.get("Response") != "Success":
        raise LoginRefused("The telephone system refuses the manager's name or secret.", code="manager_refused")


async def allowed_commands(line: AMILine) -> frozenset[str]:
    """The actions that the manager may use: Asterisk lists no others.

    Source: Asterisk's documentation, AMI action ListCommands.
    """
    answer = await line.ask("ListCommands")
    return frozenset(answer) - {"Response", "ActionID", "Message"}
