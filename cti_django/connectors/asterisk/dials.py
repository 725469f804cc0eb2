"""What becomes of the click-to-calls that we have asked for, until the agent's own phone answers.

begin() ── her phone answers ──> ACCEPTED, and the call is told by its legs from then on
   └────── it does not ────────> FAILED, and why in words; no leg is ever told
"""

from dataclasses import dataclass

from ...calls.notifications import DialNotification, DialStage
from ...calls.numbers import Party
from .channels import Channel
from .translate import BUSY, DECLINED, NO_ANSWER

__all__ = ["MAX_PENDING", "Originations"]

MAX_PENDING = 10_000

NO_PHONE = "Your phone is not registered with the telephone system."
DID_NOT_ANSWER = "Your phone did not answer."
IS_BUSY = "Your phone is busy, or it declined the call."
HAS_DECLINED = "Your phone declined the call."
CANCELLED = "The call was cancelled before your phone answered."
FAILED = "The telephone system could not call your phone."
UNKNOWN = "The line was lost; what became of the call is not known."

_REASONS = {"1": DID_NOT_ANSWER, "3": DID_NOT_ANSWER, "5": IS_BUSY, "8": FAILED}  # of OriginateResponse


@dataclass(slots=True)
class _Origination:
    command_id: str
    destination: Party
    device: str
    is_accepted: bool = False
    failure: str = ""


class Originations:
    """Our click-to-calls, by the id that we have given their first channel."""

    def __init__(self) -> None:
        self._pending: dict[str, _Origination] = {}

    def begin(self, channel_id: str, command_id: str, destination: Party, device: str) -> None:
        """An Originate with this ChannelId is about to be sent, for the agent at `device`."""
        self._pending[channel_id] = _Origination(command_id, destination, device)
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]

    def withdraw(self, channel_id: str) -> None:
        """Nothing will come of it: the action was refused, or could not be sent."""
        self._pending.pop(channel_id, None)

    def destination(self, channel_id: str) -> Party | None:
        """Whom the agent asked for."""
        origination = self._pending.get(channel_id)
        return origination.destination if origination else None

    def is_pending(self, channel_id: str) -> bool:
        """Whether the agent's phone has not answered yet, so that there is no call to tell of."""
        return channel_id in self._pending

    def answered(self, channel_id: str) -> tuple[str, DialNotification] | None:
        """The agent's phone has answered."""
        return self._settle(channel_id, DialStage.ACCEPTED)

    def response(self, event: dict[str, str], channel: Channel | None) -> tuple[str, DialNotification] | None:
        """Take in an OriginateResponse. While there still is a channel, its end says better why it failed."""
        channel_id = event.get("Uniqueid", "")
        origination = self._pending.get(channel_id)
        if origination is None:
            return None
        if event.get("Response") == "Success":
            return self.answered(channel_id)
        reason = _REASONS.get(event.get("Reason", ""), "")
        if channel is not None:
            origination.failure = reason
            return None
        return self._settle(channel_id, DialStage.FAILED, reason or NO_PHONE)

    def ended(self, channel: Channel) -> tuple[str, DialNotification] | None:
        """The agent's phone was called, and that is over."""
        origination = self._pending.get(channel.uniqueid)
        if origination is None:
            return None
        cause = channel.hangup_cause
        if cause == BUSY or channel.dial_status == "BUSY":
            sentence = IS_BUSY
        elif cause == DECLINED:
            sentence = HAS_DECLINED
        elif cause in NO_ANSWER or origination.failure:
            sentence = origination.failure or DID_NOT_ANSWER
        else:
            sentence = CANCELLED if cause in (0, 16) else FAILED
        return self._settle(channel.uniqueid, DialStage.FAILED, sentence)

    def doubt(self, living: dict[str, Channel]) -> list[tuple[str, DialNotification]]:
        """All channels were told anew: what is said of those click-to-calls whose channel was not among them."""
        lost = [channel_id for channel_id in self._pending if channel_id not in living]
        settled = (self._settle(channel_id, DialStage.DOUBTFUL, UNKNOWN) for channel_id in lost)
        return [each for each in settled if each]

    def _settle(self, channel_id: str, stage: DialStage, cause: str = "") -> tuple[str, DialNotification] | None:
        origination = self._pending.pop(channel_id, None)
        if origination is None:
            return None
        notification = DialNotification(
            command_id=origination.command_id,
            destination=origination.destination,
            stage=stage,
            provider_call_id=channel_id,
            cause=cause,
        )
        return origination.device, notification
