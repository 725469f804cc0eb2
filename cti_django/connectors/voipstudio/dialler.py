"""Click-to-call: the request that is answered only when the agent's own phone has picked up."""

import asyncio
from collections.abc import Callable

from ...calls.notifications import DialNotification, DialStage, Notification, SessionNotification
from ...calls.numbers import Party, digits_to_dial
from ...exceptions import ConnectionLost, RESTError
from ...wire.voipstudio_rest import Refusal, place_call_request, read_placed
from ..transports import UNREACHABLE
from .api import API

__all__ = ["Dialler"]

AT_ONCE_SECONDS = 1.0  # the service fails sooner than this only if there is no phone to ring
NOT_REGISTERED = "No phone of yours is registered."
NOT_TAKEN = "Your phone declined or did not answer."
IN_DOUBT = "The line was lost while the call was being placed; it may come about all the same."
REFUSED = "The telephone service refused that number."


class Dialler:
    """The click-to-calls that wait for the agent's phone.

    Args:
        api: logged in.
        say: hears what becomes of them.
        on_unauthorised: called when the service no longer knows the token.
        dial_seconds: how long the agent's phone may ring.
    """

    __slots__ = ("_api", "_dial_seconds", "_on_unauthorised", "_say", "_waiting")

    def __init__(
        self,
        api: API,
        say: Callable[[Notification], None],
        on_unauthorised: Callable[[], None],
        dial_seconds: float,
    ) -> None:
        self._api = api
        self._say = say
        self._on_unauthorised = on_unauthorised
        self._dial_seconds = dial_seconds
        self._waiting: dict[str, tuple[asyncio.Task[None], Party]] = {}

    def dial(self, command_id: str, destination: Party) -> None:
        """Begin: STARTED is said before this returns.

        Raises:
            RESTError: the request cannot be written; nothing was said.
        """
        request = place_call_request(self._api.token, digits_to_dial(destination))
        self._say(DialNotification(command_id=command_id, destination=destination, stage=DialStage.STARTED))

        async def wait() -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                answer = await self._api.ask(request, read_placed, seconds=self._dial_seconds)
            except ConnectionLost as lost:
                self._waiting.pop(command_id, None)
                if lost.code in (UNREACHABLE, "timed_out"):
                    self._say_failed(command_id, destination, str(lost), lost.code)
                else:
                    self._say_doubtful(command_id, destination)
                    self._say(SessionNotification(name="INFO", message=IN_DOUBT, code="in_doubt"))
                return
            except RESTError as error:
                self._waiting.pop(command_id, None)
                self._say_failed(command_id, destination, str(error), error.code)
                return
            self._waiting.pop(command_id, None)
            if isinstance(answer, Refusal):
                self._say_refused(command_id, destination, answer, loop.time() - began)
                return
            self._say(
                DialNotification(
                    command_id=command_id,
                    destination=destination,
                    stage=DialStage.ACCEPTED,
                    provider_call_id=answer.call_id,
                )
            )

        self._waiting[command_id] = (asyncio.create_task(wait()), destination)

    def abandon(self, cause: str) -> None:
        """Give up whatever still waits; the agent hears `cause`."""
        for command_id, destination in self._stop_waiting():
            self._say(_failed(command_id, destination, cause))

    def leave_open(self) -> None:
        """The line is lost: the service may go on with whatever still waits, and nobody will hear its answer."""
        for command_id, destination in self._stop_waiting():
            self._say_doubtful(command_id, destination)

    def _stop_waiting(self) -> list[tuple[str, Party]]:
        waiting, self._waiting = self._waiting, {}
        for task, _ in waiting.values():
            task.cancel()
        return [(command_id, destination) for command_id, (_, destination) in waiting.items()]

    def _say_doubtful(self, command_id: str, destination: Party) -> None:
        stage = DialStage.DOUBTFUL
        self._say(DialNotification(command_id=command_id, destination=destination, stage=stage, cause=IN_DOUBT))

    def _say_refused(self, command_id: str, destination: Party, refusal: Refusal, seconds: float) -> None:
        if refusal.status in (400, 422):
            self._say_failed(command_id, destination, refusal.sentence or REFUSED, "number_refused")
            return
        if refusal.status == 401:
            self._on_unauthorised()
        self._say(_failed(command_id, destination, NOT_REGISTERED if seconds < AT_ONCE_SECONDS else NOT_TAKEN))

    def _say_failed(self, command_id: str, destination: Party, cause: str, code: str) -> None:
        if code == "timed_out":
            self._say(_failed(command_id, destination, NOT_TAKEN))
            return
        self._say(_failed(command_id, destination, cause))
        self._say(SessionNotification(name="ERROR", message=cause, code=code))


def _failed(command_id: str, destination: Party, cause: str) -> DialNotification:
    return DialNotification(command_id=command_id, destination=destination, stage=DialStage.FAILED, cause=cause)
