"""The Asterisk connector's own settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..options import Reader, choice, flag, read_options, seconds, text

__all__ = ["EXTENSION", "Options"]

EXTENSION = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What an agent's extension may be: anything else could name a channel, a pattern or a second header."""

PORT, TLS_PORT = 5038, 5039
MAX_NAMES = 2_000
MAX_TEXT = 500
_PLACE = "{extension}"
# What most desk phones and softphones obey: Snom, Yealink, Grandstream, Linphone, baresip and others.
_AUTO_ANSWER = {
    "Call-Info": "<sip:127.0.0.1>;answer-after=0",
    "Alert-Info": "<http://127.0.0.1>;info=alert-autoanswer;delay=0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The connector's settings, checked.

    Args:
        host: where Asterisk's manager interface is.
        port: its port; None for 5038, with `tls` 5039.
        tls: whether the line to it is TLS; the certificate is verified.
        ca_file: PEM file of the authorities that are trusted, "" for the system's own.
        username: the manager's name in manager.conf.
        secret: its secret.
        channel: what rings an agent's phone; "{extension}" stands for hers.
        dial_context: where a number that she dials is looked up.
        transfer_context: where the destination of a transfer is looked up; "" for `dial_context`.
        international_prefix: what the dialplan wants before a country code: "+", "00", or "" for the bare digits.
        check_numbers: ask the dialplan whether it knows a number before it is called: a transfer to one that it does
            not know would drop the caller. False where extensions are in a database (``switch => Realtime``).
        hold_context: where the two sides of a held call wait; "" if there is none: then no call can be held.
        hold_extens: the other side's extension there, and the agent's.
        answer: how a call is answered from the screen: "talk" (NOTIFY Event: talk), "redirect", or "" for not at all.
        answer_context: with "redirect": where the caller is sent; it calls the agent's extension and has it answer.
        auto_answer: SIP headers that make the agent's phone answer a click-to-call by itself; {} for none, and True
            for those that most phones obey.
        variables: channel variables for a click-to-call; "{extension}" stands for the agent's.
        dial_seconds: how long the agent's own phone may ring.
        answer_seconds: how long her phone may take to obey "answer".
        queues: the queues that the agents may log in to.
        dnd_family: the family of Asterisk's database that holds "do not disturb" ("DND" with FreePBX); "" for none.
        directory: names of the colleagues: {extension: name}.
        hint_context: the context of the hints that are the directory; "" for all contexts.
        request_seconds: how long Asterisk may take to answer.
        ping_seconds: how often the line is tried.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    tls: bool = False
    ca_file: str = ""
    username: str = ""
    secret: str = field(default="", repr=False)
    channel: str = f"PJSIP/{_PLACE}"
    dial_context: str = "from-internal"
    transfer_context: str = ""
    international_prefix: str = "+"
    check_numbers: bool = True
    hold_context: str = ""
    hold_extens: tuple[str, str] = ("caller", "agent")
    answer: str = ""
    answer_context: str = ""
    auto_answer: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    dial_seconds: float = 30.0
    answer_seconds: float = 3.0
    queues: tuple[str, ...] = ()
    dnd_family: str = ""
    directory: Mapping[str, str] = field(default_factory=dict)
    hint_context: str = ""
    request_seconds: float = 8.0
    ping_seconds: float = 15.0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Options":
        """Options from settings, an account or a command line; numbers and lists may be texts.

        Raises:
            ValueError: an unknown option, or a value that cannot be used; the sentence names it, and never shows it.
        """
        options = cls(**read_options("Asterisk", _READERS, given))
        if options.answer == "redirect" and not options.answer_context:
            raise ValueError('The option answer is "redirect", which needs the option answer_context.')
        return options

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the manager interface."""
        return self.host, self.port or (TLS_PORT if self.tls else PORT)

    @property
    def transfers_to(self) -> str:
        """The context that transfers end in."""
        return self.transfer_context or self.dial_context

    def device_of(self, extension: str) -> str:
        """The device that is `extension`'s phone: ``PJSIP/1001``."""
        return self.channel.replace(_PLACE, extension)

    def call_variables(self, extension: str) -> list[tuple[str, str]]:
        """The channel variables of a click-to-call of `extension`: the auto-answer headers and her own."""
        headers = [(f"PJSIP_HEADER(add,{name})", value) for name, value in self.auto_answer.items()]
        return headers + [(name, value.replace(_PLACE, extension)) for name, value in self.variables.items()]


def _matching(pattern: str, what: str) -> Reader:
    compiled = re.compile(pattern)

    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(f"The option {key} must be {what}.")
        return value

    return read


def _line(key: str, value: Any) -> str:
    line = text(key, value)
    if len(line) > MAX_TEXT or not line.isprintable():
        raise ValueError(f"The option {key} must be a text of one line.")
    return line


def _port(key: str, value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or not 0 < int(value) < 65_536:
        raise ValueError(f"The option {key} must be a port number.")
    return int(value)


def _list(key: str, value: Any) -> list[Any]:
    items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or len(items) > MAX_NAMES:
        raise ValueError(f"The option {key} must be a list.")
    return list(items)


def _names(key: str, value: Any) -> tuple[str, ...]:
    return tuple(_name(key, item) for item in _list(key, value))


def _pair(key: str, value: Any) -> tuple[str, str]:
    items = [_name(key, item) for item in _list(key, value)]
    if len(items) != 2:
        raise ValueError(f"The option {key} must name two extensions.")
    return items[0], items[1]


def _mapping(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MAX_NAMES:
        raise ValueError(f"The option {key} must be a mapping of texts.")
    return {_line(key, name): _line(key, text) for name, text in value.items()}


def _variables(key: str, value: Any) -> dict[str, str]:
    """Names and values of channel variables: Asterisk splits the header at commas, and at quotes."""
    read = _mapping(key, value)
    if not all(re.fullmatch(r"[A-Za-z0-9_()-]{1,80}", name) for name in read) or any(
        set(text) & set(",\"'\\") or not text.isascii() for text in read.values()
    ):
        raise ValueError(f"The option {key} must hold plain names, and values without commas, quotes and backslashes.")
    return read


def _headers(key: str, value: Any) -> dict[str, str]:
    if isinstance(value, (bool, str)):
        return dict(_AUTO_ANSWER) if flag(key, value) else {}
    return _variables(key, value)


def _directory(key: str, value: Any) -> dict[str, str]:
    read = _mapping(key, value)
    if not all(EXTENSION.fullmatch(extension) for extension in read):
        raise ValueError(f"The option {key} must map extensions to names.")
    return read


_name = _matching(r"[A-Za-z0-9_.*#+-]{1,79}", "a name of letters, digits, '_', '.' and '-'")
_context = _matching(r"[A-Za-z0-9_.-]{0,79}", "the name of a context")

_READERS: dict[str, Reader] = {
    "host": _matching(r"[A-Za-z0-9.:-]{1,255}", "a host name or an address"),
    "port": _port,
    "tls": flag,
    "ca_file": _line,
    "username": _line,
    "secret": _line,
    "channel": _matching(
        r"[A-Za-z0-9]+/[A-Za-z0-9_@.-]*\{extension\}[A-Za-z0-9_@.-]*", 'a channel like "PJSIP/{extension}"'
    ),
    "dial_context": _matching(r"[A-Za-z0-9_.-]{1,79}", "the name of a context"),
    "transfer_context": _context,
    "international_prefix": _matching(r"\+|[0-9*#]{0,8}", '"+", digits or ""'),
    "check_numbers": flag,
    "hold_context": _context,
    "hold_extens": _pair,
    "answer": choice("", "talk", "redirect"),
    "answer_context": _context,
    "auto_answer": _headers,
    "variables": _variables,
    "dial_seconds": seconds(1, 300),
    "answer_seconds": seconds(0.05, 30),
    "queues": _names,
    "dnd_family": _matching(r"[A-Za-z0-9_-]{0,40}", "the name of a family"),
    "directory": _directory,
    "hint_context": _context,
    "request_seconds": seconds(0.05, 60),
    "ping_seconds": seconds(0.05, 60),
}
