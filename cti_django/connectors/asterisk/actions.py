"""What an agent asks for, as actions of Asterisk's manager interface; and what Asterisk's "no" to them means.

Pure: a channel here is its name, a number the digits that the dialplan wants.

Source: Asterisk's documentation, AMI actions Originate, Hangup, Redirect, Bridge, BlindTransfer, Atxfer, CancelAtxfer,
PJSIPNotify, PlayDTMF, QueueAdd, QueueRemove, QueuePause, DBPut, DBDel.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...calls.numbers import NumberPlan, Party, dialable, digits_to_dial
from ...exceptions import CommandRefused, InvalidNumber
from .options import Options

__all__ = [
    "BUSY",
    "NORMAL_CLEARING",
    "Action",
    "answer_by_redirect",
    "answer_by_talk",
    "callee",
    "cancel_consultation",
    "consult",
    "digits_for",
    "do_not_disturb",
    "go_on_together",
    "hang_up",
    "hold",
    "join_queue",
    "leave_queue",
    "originate",
    "pause",
    "press_key",
    "refused",
    "send_to",
    "transfer",
]

NORMAL_CLEARING, BUSY = "16", "17"  # ITU-T Q.850
KEY_MILLISECONDS = "100"
MAX_TOLD = 120  # characters of Asterisk's own words that an agent sees


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its name, and its headers in order (a header may come more than once)."""

    name: str
    headers: tuple[tuple[str, str], ...]


def callee(number: str, plan: NumberPlan, own_extension: str, directory: Mapping[str, str]) -> Party:
    """Whom to call for `number`, which is not the agent herself; a colleague's name is known.

    Raises:
        CommandRefused: nobody can be called with that, or it is her own extension.
    """
    try:
        party = dialable(number, plan)
    except InvalidNumber as error:
        raise CommandRefused(str(error), code=error.code) from None
    if own_extension in (party.extension, party.number_raw):
        raise CommandRefused("You cannot call yourself.", code="own_number")
    name = directory.get(party.extension, "")
    return Party(
        kind=party.kind, number_raw=party.number_raw, name=name, number=party.number, extension=party.extension
    )


def digits_for(party: Party, options: Options, *, as_keys: bool = False) -> str:
    """What the dialplan is told to call for `party`: "1002", "+442079460018", "00442079460018".

    Args:
        as_keys: it is pressed on a keypad, which has no '+'.
    """
    prefix = options.international_prefix if party.number else ""
    return ("" if as_keys and prefix == "+" else prefix) + digits_to_dial(party)


def originate(options: Options, extension: str, channel_id: str, party: Party) -> Action:
    """Ring the agent's phone, and when she has picked up, `party`."""
    digits = digits_for(party, options)
    shown = _quotable(party.name)
    variables = (("Variable", f"{name}={value}") for name, value in options.call_variables(extension))
    return Action(
        "Originate",
        (
            ("Channel", options.device_of(extension)),
            ("ChannelId", channel_id),
            ("Context", options.dial_context),
            ("Exten", digits),
            ("Priority", "1"),
            ("CallerID", f'"{shown}" <{digits}>' if shown else f"<{digits}>"),
            ("Timeout", str(round(options.dial_seconds * 1000))),
            ("Async", "true"),
            *variables,
        ),
    )


def answer_by_talk(mine: str) -> Action:
    """Have the agent's phone answer, with a NOTIFY inside the dialog in which it rings."""
    return Action("PJSIPNotify", (("Channel", mine), ("Variable", "Event=talk")))


def answer_by_redirect(options: Options, extension: str, caller: str) -> Action:
    """Send the caller to where the agent's phone is rung again, this time told to answer by itself."""
    return _redirect(caller, options.answer_context, extension)


def hang_up(channel: str, cause: str) -> Action:
    """End `channel`."""
    return Action("Hangup", (("Channel", channel), ("Cause", cause)))


def hold(options: Options, mine: str, other: str) -> Action:
    """Park both sides: the other one with music, the agent's phone in silence."""
    other_exten, own_exten = options.hold_extens
    return Action(
        "Redirect",
        (
            *_redirect(other, options.hold_context, other_exten).headers,
            ("ExtraChannel", mine),
            ("ExtraContext", options.hold_context),
            ("ExtraExten", own_exten),
            ("ExtraPriority", "1"),
        ),
    )


def go_on_together(mine: str, other: str) -> Action:
    """Connect two parked channels again."""
    return Action("Bridge", (("Channel1", other), ("Channel2", mine), ("Tone", "no")))


def transfer(options: Options, mine: str, digits: str) -> Action:
    """Hand over whoever the agent is connected with."""
    return Action("BlindTransfer", (("Channel", mine), ("Context", options.transfers_to), ("Exten", digits)))


def send_to(options: Options, other: str, digits: str) -> Action:
    """Send the other side to `digits`, wherever it is now: it rings, waits or is parked."""
    return _redirect(other, options.transfers_to, digits)


def consult(options: Options, mine: str, keys: str) -> Action:
    """Have the PBX press the keys of an attended transfer for the agent."""
    return Action("Atxfer", (("Channel", mine), ("Context", options.transfers_to), ("Exten", keys), ("Priority", "1")))


def cancel_consultation(mine: str) -> Action:
    """Leave whoever is being consulted."""
    return Action("CancelAtxfer", (("Channel", mine),))


def press_key(other: str, key: str) -> Action:
    """Have the other side hear one key."""
    return Action("PlayDTMF", (("Channel", other), ("Digit", key.upper()), ("Duration", KEY_MILLISECONDS)))


def join_queue(queue: str, device: str, name: str, *, is_paused: bool) -> Action:
    """Serve `queue`."""
    paused = "true" if is_paused else "false"
    headers = (("Queue", queue), ("Interface", device), ("Paused", paused), ("MemberName", _quotable(name)))
    return Action("QueueAdd", tuple(header for header in headers if header[1]))


def leave_queue(queue: str, device: str) -> Action:
    """Serve `queue` no longer."""
    return Action("QueueRemove", (("Queue", queue), ("Interface", device)))


def pause(device: str, *, is_paused: bool, reason: str = "") -> Action:
    """Get no calls from any queue, or get them again."""
    headers = (("Interface", device), ("Paused", "true" if is_paused else "false"))
    return Action("QueuePause", (*headers, ("Reason", _quotable(reason))) if reason else headers)


def do_not_disturb(options: Options, extension: str, *, is_on: bool) -> Action:
    """Note in Asterisk's database, for the dialplan to read, whether the agent may be disturbed."""
    key = (("Family", options.dnd_family), ("Key", extension))
    return Action("DBPut", (*key, ("Val", "YES"))) if is_on else Action("DBDel", key)


# what Asterisk's message holds -> (sentence, code, event name)
_SENTENCES: tuple[tuple[str, tuple[str, str, str]], ...] = (
    ("no such channel", ("That call is over.", "no_such_call", "INFO")),
    ("channel not found", ("That call is over.", "no_such_call", "INFO")),
    ("channel is not up", ("That makes no sense now.", "not_now", "INFO")),
    ("channel not up", ("That makes no sense now.", "not_now", "INFO")),
    ("unable to add channel", ("That makes no sense now.", "not_now", "INFO")),
    ("not bridged", ("That makes no sense now.", "not_now", "INFO")),
    ("no such queue", ("The telephone system does not know that queue.", "no_such_queue", "ERROR")),
    ("member not dynamic", ("That queue's members are fixed in the telephone system.", "fixed_member", "INFO")),
    ("interface not found", ("You are not logged in to a queue.", "not_in_queue", "INFO")),
    ("extension does not exist", ("The telephone system does not know that number.", "number_refused", "ERROR")),
    ("transfer not permitted", ("The telephone system does not allow that transfer.", "not_permitted", "ERROR")),
    ("transfer failed", ("The transfer failed.", "transfer_failed", "ERROR")),
    ("permission denied", ("The telephone system does not let this program do that.", "missing_rights", "ERROR")),
    ("invalid/unknown command", ("Your telephone system cannot do that.", "not_capable", "INFO")),
)


def refused(answer: Mapping[str, str]) -> CommandRefused:
    """Asterisk's "no", for the agent."""
    told = answer.get("Message", "").lower()
    is_gone = "does not exist" in told and "channel" in told
    for words, (sentence, code, event_name) in _SENTENCES:
        if words in told:
            return CommandRefused(sentence, code=code, event_name=event_name)
    if is_gone:
        return CommandRefused("That call is over.", code="no_such_call", event_name="INFO")
    words = "".join(char for char in answer.get("Message", "") if char.isprintable())[:MAX_TOLD].rstrip(". ")
    return CommandRefused(
        f"The telephone system refused that: {words}." if words else "The telephone system refused that.",
        code="refused_by_service",
    )


def _redirect(channel: str, context: str, exten: str) -> Action:
    headers = (("Channel", channel), ("Context", context), ("Exten", exten), ("Priority", "1"))
    return Action("Redirect", headers)


def _quotable(text: str) -> str:
    """`text` without what would end a quoted name, or a line."""
    return "".join(char for char in text if char.isprintable() and char not in '"\\<>')[:80].strip()
