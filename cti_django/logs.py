"""Log lines that a machine can read and a person may keep: one JSON object each, without anybody's number or name.

``docs/observing.md`` shows the ``LOGGING`` that uses ``JSONFormatter``, and lists the lines.
"""

import json
import logging
import traceback
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .calls.events import CallEvent
from .calls.numbers import PartyKind
from .conf import get_settings

__all__ = ["JSONFormatter", "SessionLog", "log_call_event", "session_log", "shown"]

_FACTS = ("call_id", "agent_id", "fence", "holder")
_MAX_MESSAGE = 10_000  # characters; a line longer than that helps nobody and breaks collectors
_MAX_TRACEBACK = 20_000
_MAX_FACT = 200
_MAX_NUMBER = 64
_TELLING_DIGITS = 5  # a shorter number has no two digits that may be shown: the rest could be guessed

_calls = logging.getLogger("cti_django.calls")
_sessions = logging.getLogger("cti_django.sessions")


# -- personal data ----------------------------------------------------------------------------------------------------


def shown(number: Any) -> str:
    """A number as a log line may show it: "+44…18", or whole with the setting LOG_PERSONAL_DATA. One line, always.

    What is not a number (a name, a SIP address) shows nothing but "…".
    """
    text = str(number or "")
    if _may_tell_everything():
        return "".join(each if each.isprintable() else "?" for each in text[:_MAX_NUMBER])
    if not text:
        return ""
    digits = [each for each in text if each in "0123456789"]
    if len(digits) < _TELLING_DIGITS or any(each.isalpha() for each in text):
        return "…"
    beginning = "+" + "".join(digits[:2]) if text.startswith("+") and len(digits) > _TELLING_DIGITS else ""
    return f"{beginning}…{''.join(digits[-2:])}"


def _may_tell_everything() -> bool:
    try:
        return get_settings().log_personal_data
    except ImproperlyConfigured:  # which is about to be logged
        return False


# -- lines ------------------------------------------------------------------------------------------------------------


class SessionLog(logging.LoggerAdapter[logging.Logger]):
    """The lines of one session. Each carries the agent's id and the fence; `extra` of a single line comes on top."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what all the lines of this session carry."""
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}

    def claimed(self) -> None:
        """This process runs the session from now on."""
        self._say(logging.INFO, "was claimed")

    def taken_over(self, call_count: int) -> None:
        """It was run by another process before, and `call_count` calls are known from there."""
        self._say(logging.INFO, f"was taken over with {call_count} live calls")

    def handed_over(self) -> None:
        """This process has let go of it, for another one to take it over at once."""
        self._say(logging.INFO, "was handed over")

    def lost(self) -> None:
        """The lease could not be kept, or is somebody else's."""
        self._say(logging.WARNING, "was lost: its lease could not be kept")

    def link(self, state: str, code: str = "") -> None:
        """How it stands with the telephone system has changed.

        Args:
            state: the LinkState's value.
            code: the SessionState's code, "" if there is none.
        """
        level = logging.WARNING if state in ("lost", "refused") else logging.INFO
        self._say(level, f"has its link {state}{f' ({code})' if code else ''}")

    def _say(self, level: int, what: str) -> None:
        facts = self.extra or {}
        self.log(level, "The session of agent %s (fence %s) %s", facts.get("agent_id"), facts.get("fence"), what)


def session_log(
    agent_id: Any, fence: int, *, holder: str = "", call_id: str = "", logger: logging.Logger = _sessions
) -> SessionLog:
    """A logger for the lines of one session (and one call): each carries what is given here, for ``JSONFormatter``."""
    facts = {"agent_id": agent_id, "fence": fence, "holder": holder, "call_id": call_id}
    return SessionLog(logger, {name: value for name, value in facts.items() if value != ""})


def log_call_event(agent_id: Any, fence: int, event: CallEvent) -> None:
    """Write the line of one call event to the logger "cti_django.calls": INFO; DEBUG for calls that she only watches.

    Costs next to nothing where nobody reads these lines.
    """
    level = logging.INFO if event.call.is_own else logging.DEBUG
    if not _calls.isEnabledFor(level):
        return
    call = event.call
    facts = {"call_id": call.call_id, "agent_id": agent_id, "fence": fence}
    _calls.log(level, "%s", ", ".join(_call_words(agent_id, event)), extra=facts)


def _call_words(agent_id: Any, event: CallEvent) -> Iterator[str]:
    call = event.call
    yield f"{event.name}: {call.direction.lower()} call {call.call_id} of agent {agent_id}"
    if not call.is_own:
        yield "watched"
    remote = call.remote
    if remote.kind in (PartyKind.WITHHELD, PartyKind.UNAVAILABLE):
        yield remote.kind.value
    elif number := shown(remote.number or remote.extension or remote.number_raw):
        yield number
    if call.end_reason:
        yield call.end_reason.value
    if call.connected_at and call.ended_at:
        yield f"{(call.ended_at - call.connected_at).total_seconds():.0f} s"


# -- JSON -------------------------------------------------------------------------------------------------------------


class JSONFormatter(logging.Formatter):
    """One JSON object a line, ASCII only: at, level, logger, message; where there are any call_id, agent_id, fence,
    holder, exception and traceback.

    Never raises, whatever is logged. An exception of this package is told without its text, in which a database quotes
    rows and a telephone system numbers, unless the setting LOG_PERSONAL_DATA is on.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        present = record.__dict__
        line.update({name: _plain(present[name]) for name in _FACTS if present.get(name) is not None})
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            line["exception"] = type(error).__name__
            line["traceback"] = _traceback(error, with_text=_may_tell(record.name))
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()[:_MAX_MESSAGE]
    except Exception:  # arguments that do not fit, or cannot be turned into text
        return _text(record.msg, _MAX_MESSAGE)


def _plain(value: Any) -> Any:
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    return _text(value, _MAX_FACT)


def _text(value: Any, most: int) -> str:
    try:
        return str(value)[:most]
    except Exception:
        return f"({type(value).__name__})"


def _may_tell(logger_name: str) -> bool:
    is_ours = logger_name == "cti_django" or logger_name.startswith("cti_django.")
    return not is_ours or _may_tell_everything()


def _traceback(error: BaseException, *, with_text: bool) -> str:
    """The end of the traceback, which is what tells most; of a chain the first cause comes first."""
    try:
        if with_text:
            return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
        parts = [f"{''.join(traceback.format_tb(each.__traceback__))}{type(each).__name__}" for each in _chain(error)]
        return "\n\n".join(parts)[-_MAX_TRACEBACK:]
    except Exception:  # the text of an exception may fail, too
        return ""


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[0].__cause__ or _context(chain[0])) is not None and cause not in chain:
        chain.insert(0, cause)
    return chain


def _context(error: BaseException) -> BaseException | None:
    return None if error.__suppress_context__ else error.__context__
