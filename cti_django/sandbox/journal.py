"""What the sandbox has seen and done, one JSON object a line: for tests that compare, and for people who wonder.

what           facts
start, stop    pid, port
call           call, state, from, to, agents, click_to_call, start, reason: a call has come into another state
leg            call, leg, node, state, hold, initiator, direction, local, number, start, reason: so has one phone's part
subscribed     id, user, node, connection, peer: a user watches her own calls
unsubscribed   id, user, node, connection, why: unsubscribed, expired, socket closed, heartbeat, 481 or deactivated
answered       id, user, node, connection, peer, full, legs [[leg, state], ...]: a NOTIFY about her own calls got a 200
login          user, ok, peer
command        user, method, path, command, call, token, peer: a request to change something, done or not

`at` is unix seconds; `id` the Call-ID of the SUBSCRIBE dialog; `peer` the port at the other end of the TCP connection;
`connection` stands for one SIP socket, and `token` for what a REST client has shown, without telling it.
"""

import hashlib
import json
import os
import time
from typing import Any

from .legs import Call, Leg
from .pbx import Switch

__all__ = ["Journal", "token_mark"]

MAX_REMEMBERED = 10_000  # calls whose last state is known


class Journal:
    """Appends to a file; without one it does nothing.

    Every line is one write to the system, so that a killed process leaves all but its last line behind.

    Args:
        path: of the file; "" for none.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._file: int | None = None
        self._states: dict[str, str] = {}  # of calls, so that each is noted once

    @property
    def is_kept(self) -> bool:
        """Whether anything is written at all."""
        return self._file is not None

    def open(self) -> None:
        """Begin. Raises OSError if the file cannot be written."""
        if self._path and self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """No more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def note(self, what: str, **facts: Any) -> None:
        """Write one line."""
        if self._file is not None:
            line = json.dumps({"at": time.time(), "what": what, **facts}, separators=(",", ":"))
            os.write(self._file, line.encode() + b"\n")

    def follow(self, switch: Switch) -> None:
        """Note what becomes of all calls of `switch`."""
        switch.listeners.append(self._note_leg)
        switch.call_listeners.append(self._note_call)

    def _note_call(self, call: Call) -> None:
        if self._file is None or self._states.get(call.call_id) == call.state:
            return
        self._states[call.call_id] = call.state
        if len(self._states) > MAX_REMEMBERED:
            del self._states[next(iter(self._states))]
        self.note(
            "call",
            call=call.call_id,
            state=call.state,
            **{"from": call.origin.party.number, "to": call.target.number},
            agents=sorted({leg.node for leg in call.legs if leg.node and not leg.observes}),
            click_to_call=call.click_to_call,
            start=int(call.started_at),
            reason=call.cause.value if call.cause else "",
        )

    def _note_leg(self, leg: Leg) -> None:
        if self._file is None or not leg.node:
            return
        self.note(
            "leg",
            call=leg.call.call_id,
            leg=leg.leg_id,
            node=leg.node,
            state=leg.state.value,
            hold=leg.on_hold,
            initiator=leg.initiator,
            direction="OUTBOUND" if leg.initiator else "INBOUND",
            local=leg.party.number,
            number=leg.remote.number,
            start=int(leg.call.started_at),
            reason=leg.cause.value if leg.cause else "",
        )


def token_mark(token: str) -> str:
    """Eight characters that tell one token from another without being of any use; "" for none."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()[:8] if token else ""
