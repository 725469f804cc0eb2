"""What an agent may ask for, and whether it makes sense now.

``parse_command`` turns a browser's or a terminal's message into a command; ``refusal`` is the one place that knows
which command makes sense for which call; ``actions`` is the same knowledge for the user interface, so that it shows
just what would work.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from ..exceptions import CommandRefused, InvalidCommand, NotCapable
from .events import Call
from .states import CallState, Direction

__all__ = [
    "MAX_TEXT",
    "Answer",
    "CancelTransfer",
    "Capability",
    "Command",
    "CompleteTransfer",
    "Consult",
    "Dial",
    "DoNotDisturb",
    "HangUp",
    "Hold",
    "Link",
    "Logout",
    "Pause",
    "QueueLogin",
    "QueueLogout",
    "Resume",
    "SendDTMF",
    "Subscribe",
    "Transfer",
    "TwoFactorCode",
    "Unpause",
    "actions",
    "parse_command",
    "refusal",
]

MAX_TEXT = 500
"""The longest text (characters) in any field of a command."""


class Capability(StrEnum):
    """What a telephone system can do for an agent. What is missing is hidden, and refused with INFO if asked for."""

    DIAL = "dial"
    ANSWER = "answer"
    HANG_UP = "hang_up"  # a connected or held call
    REFUSE = "refuse"  # hang up an inbound call that rings
    WITHDRAW = "withdraw"  # hang up an outbound call that rings
    HOLD = "hold"  # hold and resume
    TRANSFER = "transfer"  # blind transfer of a connected call
    TRANSFER_HELD = "transfer_held"  # blind transfer of a call on hold
    DEFLECT = "deflect"  # blind transfer of an inbound call that rings
    CONSULT = "consult"  # attended transfer: ask somebody first, then complete it or go back
    DTMF = "dtmf"  # press keys for the other side's menu
    QUEUES = "queues"  # log in to queues and out of them
    PAUSE = "pause"  # get no queue calls for a while
    DND = "dnd"  # do not disturb
    SUBSCRIBE = "subscribe"  # watch further nodes
    LINK = "link"  # show a link on the agent's softphone
    DIRECTORY = "directory"  # list the colleagues


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Base of all commands.

    Args:
        command_id: chosen by whoever asks; the same id twice is one command.
    """

    capability: ClassVar[Capability | None] = None
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial(Command):
    """Call `number`: the agent's own phone rings first. `number` is as typed; the session makes it dialable."""

    capability = Capability.DIAL
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallCommand(Command):
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(_CallCommand):
    """Answer a ringing call; without call_id ("") the one that has been ringing longest."""

    capability = Capability.ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp(_CallCommand):
    """End a call."""

    capability = Capability.HANG_UP


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(_CallCommand):
    """Put a connected call on hold."""

    capability = Capability.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(_CallCommand):
    """Take a call off hold."""

    capability = Capability.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(_CallCommand):
    """Hand a call to `number` (blind transfer)."""

    capability = Capability.TRANSFER
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consult(_CallCommand):
    """Put the call on hold and call `number`, to hand the call over afterwards (attended transfer)."""

    capability = Capability.CONSULT
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteTransfer(_CallCommand):
    """Connect the call with whoever is being consulted, and leave."""

    capability = Capability.CONSULT


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTransfer(_CallCommand):
    """Leave whoever is being consulted and go back to the call."""

    capability = Capability.CONSULT


@dataclass(frozen=True, slots=True, kw_only=True)
class SendDTMF(_CallCommand):
    """Press `digits` (1 to 32 of 0-9 * # A-D) for the other side to hear."""

    capability = Capability.DTMF
    digits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLogin(Command):
    """Serve `queue` from now on; "" all of the agent's."""

    capability = Capability.QUEUES
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLogout(Command):
    """Serve `queue` no longer; "" all of the agent's."""

    capability = Capability.QUEUES
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Command):
    """Get no queue calls until Unpause; `reason` is for the supervisor."""

    capability = Capability.PAUSE
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpause(Command):
    """Get queue calls again."""

    capability = Capability.PAUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class DoNotDisturb(Command):
    """`state` "on": the agent's phone takes no calls; "off": it does again."""

    capability = Capability.DND
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(_CallCommand):
    """Show a link on the agent's softphone while the call lasts."""

    capability = Capability.LINK
    url: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe(Command):
    """Watch a further node: "user:10032", "ivr:12", "queue:17", "conf:31"."""

    capability = Capability.SUBSCRIBE
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoFactorCode(Command):
    """The code that a TWO_FACTOR_AUTH event asked for. `nonce` "" means the one of that event."""

    code: str
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout(Command):
    """End the session with the telephone system."""


# name in a message -> (command, {field of the message: required?}); the field names are the commands' own
_FORMS: dict[str, tuple[type[Command], dict[str, bool]]] = {
    "call": (Dial, {"number": True}),
    "answer": (Answer, {"call_id": False}),
    "hangup": (HangUp, {"call_id": True}),
    "hold": (Hold, {"call_id": True}),
    "resume": (Resume, {"call_id": True}),
    "transfer": (Transfer, {"call_id": True, "number": True}),
    "consult": (Consult, {"call_id": True, "number": True}),
    "complete": (CompleteTransfer, {"call_id": True}),
    "back": (CancelTransfer, {"call_id": True}),
    "dtmf": (SendDTMF, {"call_id": True, "digits": True}),
    "queue_login": (QueueLogin, {"queue": False}),
    "queue_logout": (QueueLogout, {"queue": False}),
    "pause": (Pause, {"reason": False}),
    "unpause": (Unpause, {}),
    "dnd": (DoNotDisturb, {"state": True}),
    "subscribe": (Subscribe, {"node": True}),
    "link": (Link, {"call_id": True, "url": True, "text": False}),
    "code": (TwoFactorCode, {"code": True, "nonce": False}),
    "logout": (Logout, {}),
}

_PATTERNS = {"digits": re.compile(r"[0-9*#A-Da-d]{1,32}"), "state": re.compile(r"on|off")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def parse_command(message: Mapping[str, Any]) -> Command:
    """Turn ``{"command": "transfer", "id": "7", "call_id": "...", "number": "10032"}`` into a command.

    Raises:
        InvalidCommand: unknown command, a field missing, of the wrong type, too long, or with control characters.
    """
    name = message.get("command")
    form = _FORMS.get(name) if isinstance(name, str) else None
    if form is None:
        raise InvalidCommand("There is no such command.", code="unknown_command")
    command_class, fields = form
    values = {"command_id": _text(message, "id", required=True)}
    values.update({key: _text(message, key, required=required) for key, required in fields.items()})
    return command_class(**values)


def _text(message: Mapping[str, Any], key: str, *, required: bool) -> str:
    value = message.get(key, "")
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise InvalidCommand(f"“{key}” must be a text.")
    if len(value) > MAX_TEXT:
        raise InvalidCommand(f"“{key}” is too long.")
    if _CONTROL.search(value):
        raise InvalidCommand(f"“{key}” holds characters that are not allowed.")
    value = value.strip()
    if required and not value:
        raise InvalidCommand(f"“{key}” is missing.")
    if key in _PATTERNS and not _PATTERNS[key].fullmatch(value):
        raise InvalidCommand(f"“{key}” cannot be that.")
    return value


def refusal(command: Command, call: Call | None, capabilities: frozenset[Capability]) -> CommandRefused | None:
    """Why `command` makes no sense for `call` now, or None if it may go to the connector.

    Args:
        call: the call that the command names, None if it names none or there is no such call.
        capabilities: what the connector can do.
    """
    if isinstance(command, _CallCommand):
        if call is None or call.state.is_final:
            if isinstance(command, Answer) and not command.call_id:
                return _info("no_ringing_call", "No call is ringing.")
            return _info("no_such_call", "That call is over.")
        return _call_refusal(command, call, capabilities)
    if command.capability is not None and command.capability not in capabilities:
        return NotCapable("Your telephone system cannot do that.")
    return None


def _call_refusal(command: _CallCommand, call: Call, capabilities: frozenset[Capability]) -> CommandRefused | None:
    wanted = _needed(command, call)
    if wanted is None:
        return _info("not_now", f"That makes no sense while the call is {_IN_WORDS[call.state]}.")
    if wanted in capabilities:
        return None
    if command.capability in capabilities:
        # The system can do it, only not in this state (VoIPstudio: hang up a call that only rings).
        return _info("not_now", f"Your telephone system cannot do that while the call is {_IN_WORDS[call.state]}.")
    return NotCapable("Your telephone system cannot do that.")


_IN_WORDS = {
    CallState.INITIAL: "starting",
    CallState.ACCEPTED: "starting",
    CallState.RINGING: "ringing",
    CallState.CONNECTED: "connected",
    CallState.ON_HOLD: "on hold",
}


def _needed(command: _CallCommand, call: Call) -> Capability | None:
    """The capability that `command` needs for `call` as it is now; None if no system could do it."""
    inbound = call.direction is Direction.INBOUND
    ringing = call.state is CallState.RINGING
    starting = call.state in (CallState.INITIAL, CallState.ACCEPTED)
    if isinstance(command, (CompleteTransfer, CancelTransfer)):
        return Capability.CONSULT if call.consult else None
    if call.consult and not isinstance(command, (SendDTMF, Link)):
        return None  # complete it or go back first: what would happen to whom is anybody's guess
    if isinstance(command, Answer):
        return Capability.ANSWER if ringing and inbound else None
    if isinstance(command, HangUp):
        if ringing or starting:
            return Capability.REFUSE if inbound else Capability.WITHDRAW
        return Capability.HANG_UP
    if isinstance(command, Hold):
        return Capability.HOLD if call.state is CallState.CONNECTED else None
    if isinstance(command, Resume):
        return Capability.HOLD if call.state is CallState.ON_HOLD else None
    if isinstance(command, Consult):
        return Capability.CONSULT if call.state in (CallState.CONNECTED, CallState.ON_HOLD) else None
    if isinstance(command, SendDTMF):
        return Capability.DTMF if call.state is CallState.CONNECTED or call.consult else None
    if isinstance(command, Transfer):
        if call.state is CallState.CONNECTED:
            return Capability.TRANSFER
        if call.state is CallState.ON_HOLD:
            return Capability.TRANSFER_HELD
        return Capability.DEFLECT if ringing and inbound else None
    return command.capability


def _info(code: str, message: str) -> CommandRefused:
    return CommandRefused(message, code=code, event_name="INFO")


_OFFERED = {
    "answer": Answer(command_id="", call_id="-"),
    "hangup": HangUp(command_id="", call_id="-"),
    "hold": Hold(command_id="", call_id="-"),
    "resume": Resume(command_id="", call_id="-"),
    "transfer": Transfer(command_id="", call_id="-", number=""),
    "consult": Consult(command_id="", call_id="-", number=""),
    "complete": CompleteTransfer(command_id="", call_id="-"),
    "back": CancelTransfer(command_id="", call_id="-"),
    "dtmf": SendDTMF(command_id="", call_id="-", digits="1"),
}


def actions(call: Call, capabilities: frozenset[Capability]) -> list[str]:
    """The commands (by message name) that make sense for `call` now: what the user interface offers."""
    if not call.is_own:
        return []
    return [name for name, command in _OFFERED.items() if refusal(command, call, capabilities) is None]
