"""One watcher's subscription to one node, on the side of the PBX.

Source: RFC 6665 4.2, RFC 4235.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..wire.sip_message import Headers, SIPRequest
from .faults import Fault, Faults
from .journal import Journal
from .legs import Leg, Timer
from .notify_body import CONTENT_TYPE, ENTITY_BOMB, MALFORMED, dialog_info, oversized

__all__ = ["Line", "Subscription"]

MAX_UNANSWERED = 100


class Line(Protocol):
    """The socket that a subscription came in on."""

    user_id: str
    connection_id: str
    peer: int

    def send(self, frame: bytes) -> None: ...


class Subscription:
    """Sends the NOTIFYs of one dialog.

    Args:
        line: where they go.
        node, domain: what is watched.
        call_id, local, remote, target, event: of the SUBSCRIBE that began it: Call-ID, its To with our tag, its From,
            the URI of its Contact, its Event header.
        schedule, now: ``loop.call_later`` and monotonic seconds.
        journal: notes it, if the user watches her own calls.
        on_expiry: called when nobody has refreshed in time, after the last NOTIFY.
    """

    def __init__(
        self,
        line: Line,
        node: str,
        domain: str,
        *,
        call_id: str,
        local: str,
        remote: str,
        target: str,
        event: str,
        faults: Faults,
        schedule: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float],
        journal: Journal,
        on_expiry: Callable[["Subscription"], None],
    ) -> None:
        self.line, self.node = line, node
        self.target = target
        self.remote_cseq = 0
        self.version = -1
        self._domain, self._event = domain, event
        self._call_id, self._local, self._remote = call_id, local, remote
        self._faults, self._schedule, self._now = faults, schedule, now
        self._on_expiry = on_expiry
        self._cseq = 0
        self._expires_at = 0.0
        self._timer: Timer | None = None
        self._held_back: bytes | None = None
        self._journal = journal
        self._unanswered: dict[int, tuple[bool, list[tuple[str, str]]]] = {}  # by CSeq: full?, (leg, state)

    @property
    def expires_in(self) -> int:
        """Whole seconds until it ends unless refreshed."""
        return max(0, round(self._expires_at - self._now()))

    def refresh(self, seconds: int) -> None:
        """It lives that long from now on."""
        self.cancel()
        self._expires_at = self._now() + seconds
        self._timer = self._schedule(seconds, lambda: self._on_expiry(self))

    def cancel(self) -> None:
        """It ends without a word."""
        if self._timer:
            self._timer.cancel()

    def notify(self, legs: Sequence[Leg], *, is_full: bool, ended: str = "", with_body: bool = True) -> None:
        """Send one NOTIFY.

        Args:
            ended: "" while it is active, else the reason of ``Subscription-State: terminated``.
            with_body: False: neither body nor Content-Type, as the service greets a quiet user.
        """
        self.version += 2 if self._faults.take(Fault.GAP, self.line.user_id) else 1
        body = dialog_info(self.node, self._domain, self.version, legs, is_full=is_full) if with_body else b""
        frame = self._frame(body, ended)
        if self._journal.is_kept and legs:
            self._unanswered[self._cseq] = (is_full, [(leg.leg_id, leg.state.value) for leg in legs])
            if len(self._unanswered) > MAX_UNANSWERED:
                del self._unanswered[next(iter(self._unanswered))]
        self._transmit(frame)

    def misbehave(self, fault: Fault) -> None:
        """Send a NOTIFY with a body that nobody should swallow."""
        self.version += 1
        bodies = {Fault.MALFORMED_XML: MALFORMED, Fault.ENTITY_BOMB: ENTITY_BOMB}
        body = bodies.get(fault) or oversized(self.node, self._domain, self.version)
        self.line.send(self._frame(body, ""))

    def note(self, what: str, **facts: Any) -> None:
        """Write a line about this subscription into the journal, if the user watches her own calls."""
        if self._journal.is_kept and self.node == self.line.user_id:
            self._journal.note(
                what, id=self._call_id, user=self.node, node=self.node, connection=self.line.connection_id, **facts
            )

    def note_answer(self, cseq: int) -> None:
        """The watcher has taken the NOTIFY with that number."""
        told = self._unanswered.pop(cseq, None)
        if told is not None:
            self.note("answered", peer=self.line.peer, full=told[0], legs=told[1])

    def to_json(self) -> dict[str, Any]:
        """The subscription for the console."""
        return {
            "user": self.line.user_id,
            "node": self.node,
            "version": self.version,
            "expires_in": self.expires_in,
        }

    def _transmit(self, frame: bytes) -> None:
        take, user_id = self._faults.take, self.line.user_id
        if take(Fault.LOSE, user_id):
            return
        if delayed := take(Fault.DELAY, user_id):
            self._schedule(delayed.seconds, lambda: self.line.send(frame))
        elif self._held_back is None and take(Fault.REORDER, user_id):
            self._held_back = frame
        else:
            self.line.send(frame)
            if take(Fault.DUPLICATE, user_id):
                self.line.send(frame)
            if self._held_back is not None:
                self.line.send(self._held_back)
                self._held_back = None

    def _frame(self, body: bytes, ended: str) -> bytes:
        self._cseq += 1
        state = f"terminated;reason={ended}" if ended else f"active;expires={self.expires_in}"
        headers = Headers(
            [
                ("Via", f"SIP/2.0/WS {self._domain};branch=z9hG4bK{secrets.token_hex(8)}"),
                ("Max-Forwards", "70"),
                ("From", self._local),
                ("To", self._remote),
                ("Call-ID", self._call_id),
                ("CSeq", f"{self._cseq} NOTIFY"),
                ("Contact", f"<sip:{self.node}@{self._domain};transport=ws>"),
                ("Event", self._event),
                ("Subscription-State", state),
            ]
        )
        if body:
            headers.add("Content-Type", CONTENT_TYPE)
        return bytes(SIPRequest("NOTIFY", self.target, headers, body))
