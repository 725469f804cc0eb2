"""What ``cti_doctor`` tries on the way to VoIPstudio, step by step, and what helps where a step fails."""

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from ...calls.commands import Logout
from ...exceptions import ConnectionLost, CTIError, RESTError
from ...wire import voipstudio_rest as rest
from ..base import Connector, Finding
from ..examination import LINE, examine_line, look_up
from ..transports import Network
from .api import API
from .options import Options

__all__ = ["examine"]

REACH = "Reach the service"
REACH_TOKEN = "cti-doctor"  # noqa: S105 - one that nobody has
NOT_THE_API = "Check the option api_url: something answers there, and it is not this API."
ADDRESS = "Check the option api_url, and that this machine can resolve the name."
ADVICE = {
    "unreachable": "Check the option api_url, and that the firewall lets this machine out to port 443.",
    "timed_out": "The service is slow or something swallows the connection: check proxies and the firewall.",
    "certificate": "If a proxy of yours answers for the service, name its authority's file in the option ca_file.",
    "configuration": "Check the options api_url and sip_url.",
    "login_refused": "Log in to the service's own web pages with the same e-mail address and password, or enter the "
    "API key again. If that works there, the account here holds another one.",
    "no_credentials": "Enter an e-mail address and a password, or an API key, in the agent's telephone account.",
    LINE: "The firewall must let WebSockets out to the SIP domain, port 443. See the option sip_url.",
}


async def examine(connector: Connector, options: Options, number: str) -> AsyncIterator[Finding]:
    """Try everything that the VoIPstudio connector needs. Never raises, and closes what it opens.

    Args:
        connector: the agent's, not open.
        options: its settings.
        number: to be called at the end, "" for no call.
    """
    address = urlsplit(options.api_url)
    found = await look_up(address.hostname or "", address.port or 443, ADDRESS)
    yield found
    if not found.ok:
        return
    reached = await _reach(options)
    yield reached
    if not reached.ok:
        return
    async for finding in examine_line(connector, number, ADVICE):
        yield finding
    if not connector.credentials.api_key:
        with contextlib.suppress(CTIError):  # a log-in that was only for trying does not stay
            await connector.execute(Logout(command_id="cti-doctor-logout"))


async def _reach(options: Options) -> Finding:
    """Whether something answers at the API's address as the API does: with a "no" to a token that is none."""
    network = Network.shared(options.ca_file)
    network.hold()
    try:
        api = API(network, options.api_url, options.request_seconds)
        answer = await api.ask(rest.ping_request(REACH_TOKEN), rest.read_done)
    except ConnectionLost as lost:
        return Finding(step=REACH, ok=False, message=str(lost), advice=ADVICE.get(lost.code, ""))
    except RESTError as error:
        return Finding(step=REACH, ok=False, message=str(error), advice=NOT_THE_API)
    finally:
        await network.release()
    if isinstance(answer, rest.Refusal) and answer.status == 404:
        return Finding(step=REACH, ok=False, message="Nothing of that name is there (status 404).", advice=NOT_THE_API)
    if isinstance(answer, rest.Refusal) and not answer.is_final:
        return Finding(step=REACH, ok=False, message=f"The service is not available now (status {answer.status:d}).")
    how = "with a certificate that is trusted" if options.api_url.startswith("https:") else "without encryption"
    return Finding(step=REACH, ok=True, message=f"The service answers, {how}.")
