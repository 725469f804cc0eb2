"""What the status of a call that did not come about means to people.

Source: RFC 3261 21.
"""

from ...calls.states import EndReason

__all__ = ["end_of", "own_phone_failed"]

_ENDS: dict[int, tuple[EndReason | None, str]] = {
    **dict.fromkeys((486, 600), (EndReason.BUSY, "The line is busy.")),
    **dict.fromkeys((403, 603, 607, 608), (EndReason.REJECTED, "The call was declined.")),
    **dict.fromkeys((404, 410, 484, 604), (None, "There is no such number.")),
    **dict.fromkeys((408, 480, 487), (EndReason.NO_ANSWER, "Nobody answered.")),
}

_OWN_PHONE = {
    404: "No phone of yours is registered.",
    408: "Your phone did not answer.",
    480: "No phone of yours is registered, or it did not answer.",
    486: "Your phone is busy, or you declined.",
    487: "The call was withdrawn.",
    600: "Your phone is busy, or you declined.",
    603: "You declined the call on your phone.",
}


def end_of(status: int) -> tuple[EndReason | None, str]:
    """Why a call with that final status is over, and the sentence for it."""
    return _ENDS.get(status, (None, f"The call did not come about (status {status:d})."))


def own_phone_failed(status: int) -> str:
    """The sentence for an agent whose own phone did not take a click-to-call."""
    return _OWN_PHONE.get(status, f"Your phone could not be reached (status {status:d}).")
