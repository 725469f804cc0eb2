"""The user agent that VoIPstudio wants: one WebSocket, nothing but NOTIFYs coming in."""

import secrets

from ...wire.sip_subscriber import Subscriber
from ...wire.sip_uri import SIPURI, parse_uri
from ...wire.sip_user_agent import UserAgent
from ...wire.voipstudio_rest import Me

__all__ = ["new_subscriber"]

DIALOG_INFO = "application/dialog-info+xml"


def new_subscriber(me: Me, sip_url: str, expires_seconds: float) -> Subscriber:
    """The subscriptions of `me` over a WebSocket to `sip_url`, each for so many seconds at a time.

    Raises:
        SIPMessageError: the domain, as the service told it, is none.
    """
    domain = parse_uri(f"sip:{me.sip_domain}")
    agent = UserAgent(
        address=str(SIPURI("sip", me.user_id, domain.host, domain.port)),
        username=me.user_id,
        password=me.sip_password,
        transport="WSS" if sip_url.startswith("wss:") else "WS",
        # The peer reaches us through the socket alone, so our host is a name that can never resolve (RFC 7118 5).
        sent_by=f"{secrets.token_hex(6)}.invalid",
        user_agent="",
        allow=("NOTIFY", "OPTIONS"),
        accept=DIALOG_INFO,
        logs_in_ahead=False,  # each SUBSCRIBE is challenged for itself, as by the service's own programs
    )
    return Subscriber(agent, accept=DIALOG_INFO, expires=round(expires_seconds))
