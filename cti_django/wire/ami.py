"""Asterisk's manager interface (AMI): what comes in as messages, what goes out as bytes.

A message is a run of lines "Name: value", ended by an empty line. A line ends with LF, or with CR LF: one CR before the
LF belongs to the ending, every other control character belongs to the value, so that a caller's name with a lone CR, a
vertical tab or a NEL in it stays one value and never becomes a header of its own.

Source: Asterisk 22, "Asterisk Manager Interface (AMI)", protocol version 11.
"""

import re
from collections.abc import Iterable

from ..exceptions import AMIError

__all__ = ["MAX_HEADERS", "MAX_LINE", "MAX_MESSAGE", "AMIReader", "action"]

MAX_LINE = 8_192  # bytes of a line that is read
MAX_MESSAGE = 65_536  # bytes of a message that is read
MAX_HEADERS = 300
MAX_UNREAD = 1_000  # messages that may wait for ``messages_received``, besides those of one ``receive_data``
MAX_FAULTS = 20  # sentences that are kept until they are asked for
MAX_SENT_LINE = 1_000  # bytes: Asterisk throws away what is longer than 1,024
MAX_SENT_HEADERS = 100  # Asterisk reads 128

_BANNER = b"Asterisk Call Manager"
_MAX_BANNER = 256
_REPEATED = frozenset({"Output", "Variable", "ChanVariable"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9()_-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class AMIReader:
    """The bytes of one manager connection, from its first on, as messages.

    A message that breaks a limit is skipped as a whole, up to the empty line behind it, and told by
    ``faults_received``; the connection lives on.
    """

    __slots__ = ("_buffer", "_faults", "_is_skipping", "_messages", "banner")

    def __init__(self) -> None:
        self.banner = ""
        self._buffer = bytearray()
        self._messages: list[dict[str, str]] = []
        self._faults: list[str] = []
        self._is_skipping = False

    def receive_data(self, data: bytes) -> None:
        """Take in what the network brought.

        Raises:
            AMIError: the first bytes are not those of a manager interface. Nothing that follows can be trusted.
        """
        buffer = self._buffer
        seen = max(len(buffer) - 3, 0)
        buffer += data
        if not self.banner:
            if not self._read_banner():
                return
            seen = 0
        end = max(buffer.rfind(b"\n\n", seen) + 2, buffer.rfind(b"\n\r\n", seen) + 3)
        if end > 2:
            complete = bytes(buffer[:end])
            del buffer[:end]
            self._read_messages(complete)
        if len(buffer) > MAX_MESSAGE:
            if not self._is_skipping:
                self._fault("A message of the manager was too long and has been skipped.")
            self._is_skipping = True
            del buffer[:-3]  # the empty line may have begun

    def messages_received(self) -> list[dict[str, str]]:
        """The messages since the last time, in order: header names as sent.

        Of a header that stands there more than once the first value counts; "Output", "Variable" and "ChanVariable"
        have all of theirs, joined by LF.
        """
        messages, self._messages = self._messages, []
        return messages

    def faults_received(self) -> list[str]:
        """What was skipped since the last time and why, one sentence for each message (the first few of them)."""
        faults, self._faults = self._faults, []
        return faults

    def _read_banner(self) -> bool:
        """Whether the banner is complete; what follows it is left in the buffer."""
        buffer = self._buffer
        head = bytes(buffer[: len(_BANNER)])
        end = buffer.find(b"\n", 0, _MAX_BANNER)
        if head != _BANNER[: len(head)] or (end < 0 and len(buffer) >= _MAX_BANNER) or 0 <= end < len(_BANNER):
            buffer.clear()
            raise AMIError("What answers there is not Asterisk's manager interface.")
        if end < 0:
            return False
        self.banner = buffer[:end].decode("utf-8", "replace").rstrip("\r")
        del buffer[: end + 1]
        return True

    def _read_messages(self, complete: bytes) -> None:
        """Read `complete`, which ends with an empty line."""
        if len(self._messages) > MAX_UNREAD:
            self._fault("Messages of the manager were not taken in time and have been dropped.")
            return
        # One replacement makes the endings alike without making new ones: CR CR LF keeps its first CR.
        texts = complete.replace(b"\r\n", b"\n").split(b"\n\n")
        if self._is_skipping:
            self._is_skipping = False
            del texts[0]
        append = self._messages.append
        for text in texts:
            if len(text) > MAX_LINE and not self._is_within_limits(text):
                continue
            lines = text.decode("utf-8", "replace").split("\n")
            try:
                message = dict([line.split(": ", 1) for line in lines])
            except ValueError:
                message = {}
            if len(message) != len(lines):
                message = _read_slowly(lines)
            if not message:
                continue
            if len(message) > MAX_HEADERS:
                self._fault("A message of the manager had too many headers and has been skipped.")
                continue
            append(message)

    def _is_within_limits(self, text: bytes) -> bool:
        if len(text) > MAX_MESSAGE:
            self._fault("A message of the manager was too long and has been skipped.")
            return False
        if any(len(line) > MAX_LINE for line in text.split(b"\n")):
            self._fault("A line of the manager was too long; its message has been skipped.")
            return False
        return True

    def _fault(self, sentence: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(sentence)


def _read_slowly(lines: list[str]) -> dict[str, str]:
    """The headers of a message in which one stands twice, or a line is no header: such a line says nothing."""
    message: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(": ")
        if not separator:
            name, separator, value = line.partition(":")
        if not separator or not name:
            continue
        if name not in message:
            message[name] = value
        elif name in _REPEATED:
            message[name] += "\n" + value
    return message


def action(name: str, action_id: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """One action, ready to be sent.

    Whatever the values are, what is written is one message of exactly these headers: a value that could end its line is
    refused, never cleaned, because half of what was asked for is not what was asked for.

    Args:
        name: the action ("Originate").
        action_id: comes back with every answer to it.
        headers: names and values, in order; a name may come more than once ("Variable").

    Raises:
        AMIError: a name that is no header's name, or a value with control characters or too long for Asterisk to read.
    """
    lines = [("Action", name), ("ActionID", action_id), *headers]
    if not name or len(lines) > MAX_SENT_HEADERS:
        raise AMIError("That cannot be asked of the telephone system.")
    return b"".join([_line(each, value) for each, value in lines]) + b"\r\n"


def _line(name: str, value: str) -> bytes:
    if not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise AMIError("That holds characters that cannot be sent to the telephone system.")
    try:
        line = f"{name}: {value}\r\n".encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise AMIError("That holds characters that cannot be sent to the telephone system.") from None
    if len(line) > MAX_SENT_LINE:
        raise AMIError("That is too long for the telephone system.")
    return line
