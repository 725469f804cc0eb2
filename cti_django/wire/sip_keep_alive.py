"""Keep-alive by empty lines: a double CRLF asks, a single one answers, and a NAT between keeps the way open.

Source: RFC 5626 3.5.1 and 4.4.1.
Deviates: over UDP it is a double CRLF too, which is never answered, and not STUN: every SIP server drops it unread.
"""

__all__ = ["PING", "PONG", "PONG_SECONDS", "KeepAlive"]

PING, PONG = b"\r\n\r\n", b"\r\n"
PONG_SECONDS = 10.0
"""How long a peer that has ever answered may take to answer again."""


class KeepAlive:
    """One flow's.

    Servers exist that answer no keep-alive. So silence counts only from a peer that has answered one before; and
    whatever comes from it is a sign of life.

    Args:
        seconds: between two.
        now: monotonic seconds.
    """

    __slots__ = ("_answers", "_ask_at", "_asked", "_seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._ask_at = now + seconds
        self._asked: float | None = None  # until when something has to come
        self._answers = False

    def hear(self, data: bytes) -> None:
        """The peer has said `data`."""
        self._asked = None
        self._answers = self._answers or data == PONG

    def next_deadline(self) -> float:
        """When ``handle_timeout`` wants to be called (monotonic seconds)."""
        return self._ask_at if self._asked is None else min(self._ask_at, self._asked)

    def handle_timeout(self, now: float) -> bytes | None:
        """What to send now, b"" for nothing; None if the peer is gone, which is said once."""
        if self._asked is not None and now >= self._asked:
            self._asked, self._ask_at, self._answers = None, now + self._seconds, False
            return None
        if now < self._ask_at:
            return b""
        self._ask_at = now + self._seconds
        if self._answers and self._asked is None:
            self._asked = now + PONG_SECONDS
        return PING
