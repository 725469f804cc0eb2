"""Getting through to a server: where it is, a socket there, and a first question that shows who answers.

Source: RFC 3263 4.3 (the next machine, when one does not answer or says 503), RFC 3261 11 (OPTIONS), RFC 3581.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from ...exceptions import ConnectionLost, LoginRefused
from ...wire.sip_exchange import read_seconds
from ...wire.sip_message import SIPRequest, SIPResponse
from ...wire.sip_uri import SIPURI
from ...wire.sip_user_agent import UserAgent
from ..sip_line import SIPLine
from ..transports import Network, Socket
from .locate import Resolver, locate
from .options import Options
from .sockets import Flow, connect, connect_websocket

__all__ = ["Line", "Question", "knock", "reach"]

ANSWER_SECONDS = 4.0
NewLine = Callable[[Flow, Callable[[ConnectionLost], None]], tuple[SIPLine, UserAgent]]
WRONG_PASSWORD = "The telephone system refuses this user name or password."  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class Line:
    """A socket with a user agent on it, whose server has answered."""

    sip: SIPLine
    socket: Socket
    agent: UserAgent


class Question:
    """One request of ours that somebody waits for."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[SIPResponse] = asyncio.get_running_loop().create_future()

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """See ``Usage``."""
        if response.status >= 200 and not self._answer.done():
            self._answer.set_result(response)

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """See ``Usage``: nothing comes of an OPTIONS."""

    async def answer(self, seconds: float) -> SIPResponse | None:
        """The final answer, None if there is none in that time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._answer
        except TimeoutError:
            return None


async def reach(
    options: Options,
    network: Network,
    resolver: Resolver,
    new_line: NewLine,
    on_lost: Callable[[ConnectionLost], None],
) -> Line:
    """A line to the first machine that answers.

    Args:
        new_line: puts a user agent on an open socket; what is called when that is lost is its other argument.
        on_lost: hears why the line that was returned is gone.

    Raises:
        ConnectionLost: none answers, or all say that they cannot now.
        LoginRefused: it answers, and does not know this user and password.
    """
    server = options.reached
    if server.url:
        return await _try(lambda: connect_websocket(server, network), new_line, on_lost)
    lost = ConnectionLost(f"{server.host} cannot be reached.")
    for target in await locate(server, resolver):
        try:
            return await _try(partial(connect, target, server, options.ca_file), new_line, on_lost)
        except ConnectionLost as error:
            lost = error
    raise lost


async def _try(
    connect_flow: Callable[[], Awaitable[Flow]], new_line: NewLine, on_lost: Callable[[ConnectionLost], None]
) -> Line:
    flow = await connect_flow()
    losses: list[ConnectionLost] = []

    def lose(error: ConnectionLost) -> None:
        if knocking.done():
            on_lost(error)
        else:
            losses.append(error)
            knocking.cancel()

    line, agent = new_line(flow, lose)
    knocking = asyncio.create_task(knock(line, agent))
    try:
        try:
            answer = await knocking
        except asyncio.CancelledError:
            if losses:
                raise losses[0] from None
            raise
        if answer is None:
            raise ConnectionLost("The telephone system does not answer.", code="timed_out")
        if answer.status in (401, 407):
            raise LoginRefused(WRONG_PASSWORD)
        if answer.status in (500, 503):
            retry = read_seconds(answer.headers.get("Retry-After"))
            when = f" It asks to be tried again in {retry:.0f} seconds." if retry else ""
            raise ConnectionLost(f"The telephone system is not available now (status {answer.status}).{when}")
    except BaseException:
        await line.close()
        raise
    if agent.public_address and not flow.sent_by.endswith(".invalid"):
        agent.sent_by = agent.public_address  # behind a NAT, the server knows us by this
    return Line(line, flow.socket, agent)


async def knock(line: SIPLine, agent: UserAgent) -> SIPResponse | None:
    """Ask the server what it can do; its final answer, None if there is none."""
    domain = str(SIPURI(agent.uri.scheme, "", agent.uri.host, agent.uri.port))
    request = agent.new_request("OPTIONS", domain)
    question = Question()
    agent.attach(request.call_id, question)
    agent.send(request, question, line.now())
    line.flush()
    try:
        return await question.answer(ANSWER_SECONDS)
    finally:
        agent.detach(request.call_id)
