"""The shell around ``wire.voipstudio_rest``: one agent's access to the REST API."""

from collections.abc import Callable
from typing import TypeVar

from ...wire.voipstudio_rest import Request
from ..transports import HTTPClient

__all__ = ["API"]

Answer = TypeVar("Answer")


class API:
    """The service's REST API at one address.

    Args:
        client: sends the requests.
        url: what stands before each path.
        request_seconds: how long one request may take.
    """

    __slots__ = ("_client", "_request_seconds", "_url", "token")

    def __init__(self, client: HTTPClient, url: str, request_seconds: float) -> None:
        self._client = client
        self._url = url
        self._request_seconds = request_seconds
        self.token = ""
        """What the service gave at log-in, or the API key; "" while there is none."""

    async def ask(
        self, request: Request, read: Callable[[int, str, bytes], Answer], *, seconds: float | None = None
    ) -> Answer:
        """Send `request` and read its answer with the ``read_*`` function that belongs to it.

        Raises:
            ConnectionLost: there was no answer within `seconds` (default: request_seconds).
            RESTError: it was none of this API.
        """
        answer = await self._client.request(
            request.method,
            self._url + request.path,
            headers=request.headers,
            body=request.body,
            timeout_seconds=seconds or self._request_seconds,
        )
        return read(answer.status, answer.content_type, answer.body)
