"""What lives on a user agent, and what is told by one.

Source: RFC 3261 8.
"""

from dataclasses import dataclass
from typing import Protocol

from .sip_message import SIPRequest, SIPResponse

__all__ = ["FlowFailed", "ProtocolFault", "Sleeper", "Usage"]


@dataclass(frozen=True, slots=True)
class ProtocolFault:
    """The peer sent something that was dropped, or answered with an error. Nothing else has come of it.

    Args:
        message: a sentence for a log; holds nothing of what was received.
    """

    message: str


@dataclass(frozen=True, slots=True)
class FlowFailed:
    """The peer has stopped answering keep-alives: whoever has the socket closes it, and says ``lose_flow``."""


class Usage(Protocol):
    """What lives on a user agent: a subscription, a registration, a call."""

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """What has become of a request of ours.

        Args:
            request: as it was sent last: its CSeq, its Request-URI and its Expires may differ from what ``send`` was
                given, if it was challenged, redirected, or asked for longer.
            response: provisional or final. One without a To tag and with status 408 stands for silence, one with 503
                for a lost flow, one with 487 for an INVITE that was cancelled and accepted at the same moment (the
                user agent has hung up by itself). An INVITE of the *peer* with a 408 means that our 2xx to it was
                never acknowledged. What raises a SIPMessageError here comes again as a 500.
        """

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """A request of the peer with an attached Call-ID: to be answered by ``UserAgent.respond``, now or later.

        An ACK comes for a 2xx only, once, and is not answered. A CANCEL is answered already, and its INVITE will be
        answered 487 unless that is done here. A SIPMessageError answers 400.
        """


class Sleeper(Protocol):
    """Whoever wants to be woken; see ``UserAgent.wake``."""

    def handle_timeout(self, now: float) -> None:
        """It is time."""
