r"""SIP over TCP and TLS: where in the stream a message ends.

    stream.receive_data(chunk)
    while (message := stream.next_message()) is not None:
        user_agent.receive_data(message, now)

Content-Length decides (RFC 3261 18.3). What stands between messages is keep-alive (RFC 5626 3.5.1): ``\r\n\r\n`` asks,
``\r\n`` answers; both are handed out like messages, which is how ``UserAgent`` wants them.

Only the frame is looked at here. A message that makes no sense within its frame is the reader's to refuse; the stream
goes on behind it.

Deviates: a message without Content-Length has no body (RFC 3261 20.14 demands the header), because small systems leave
    it out where there is none.
"""

import re

from ..exceptions import SIPMessageError

__all__ = ["MAX_BODY", "MAX_HEAD", "SIPStream"]

MAX_HEAD = 64 * 1024
"""Bytes of start line and headers; a stream with more is given up."""
MAX_BODY = 64 * 1024
"""Bytes of a body that is kept. The message of a larger one is handed out without it, for a reader to refuse."""
_MAX_SKIPPED = 16 * 1024 * 1024  # a body that claims more is no body

_CRLF, _PING = b"\r\n", b"\r\n\r\n"
_START_RE = re.compile(rb"(?:SIP/2\.0 [0-9]|[!-~]+ [!-~]+ SIP/)", re.IGNORECASE)
_LENGTH_RE = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_NUMBER_RE = re.compile(rb"\s*([0-9]{1,9})\s*")


class SIPStream:
    """One connection's incoming bytes. It holds no more than one message and the chunk that came last."""

    __slots__ = ("_body", "_buffer", "_scanned", "_skip", "_was_pong")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # up to here there is no end of headers
        self._body = -1  # how long the message is whose headers are read, -1 while they are not
        self._skip = 0  # bytes of a body that is too large
        self._was_pong = False  # the line break before may be one half of a ping

    def receive_data(self, data: bytes) -> None:
        """Take a chunk, of any size, as the network gave it."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The next whole message or keep-alive; None until more has come.

        Raises:
            SIPMessageError: nobody can tell any more where a message begins. The connection has to be dropped.
        """
        if self._body < 0:
            if self._buffer.startswith(_CRLF):
                return self._keep_alive()
            if not self._read_head():
                return None
        if len(self._buffer) < self._body:
            return None
        message = bytes(self._buffer[: self._body])
        del self._buffer[: self._body]
        self._body, self._scanned = -1, 0
        return message

    def _keep_alive(self) -> bytes:
        is_ping = self._was_pong or self._buffer.startswith(_PING)
        size = len(_PING) if is_ping and not self._was_pong else len(_CRLF)
        del self._buffer[:size]
        self._was_pong = not is_ping
        return _PING if is_ping else _CRLF

    def _read_head(self) -> bool:
        """Look for the end of the headers; True when the length of the message is known."""
        end = self._buffer.find(_PING, self._scanned)
        if (end if end >= 0 else len(self._buffer)) > MAX_HEAD:
            raise SIPMessageError("The headers of a message are too long.")
        if end < 0:
            self._scanned = max(0, len(self._buffer) - len(_PING) + 1)
            return False
        self._was_pong = False
        head = bytes(self._buffer[: end + len(_CRLF)])
        if _START_RE.match(head.partition(_CRLF)[0]) is None:
            raise SIPMessageError("The stream holds what is no SIP message.")
        length, self._body = _content_length(head), end + len(_PING)
        if length <= MAX_BODY:
            self._body += length
        else:
            there = len(self._buffer) - self._body
            self._skip = max(0, length - there)
            del self._buffer[self._body : self._body + length]
        return True


def _content_length(head: bytes) -> int:
    lengths = _LENGTH_RE.findall(head)
    if not lengths:
        return 0
    match = _NUMBER_RE.fullmatch(lengths[0])
    if len(lengths) > 1 or match is None or int(match[1]) > _MAX_SKIPPED:
        raise SIPMessageError("The Content-Length of a message makes no sense.")
    return int(match[1])
