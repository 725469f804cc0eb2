"""The rest of the world: the sandbox's console, over its HTTP API."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

from .driver import SECONDS

__all__ = ["Console"]


class Console:
    """Plays callers, other telephones and misfortune (docs/sandbox.md).

    Args:
        sandbox: where the sandbox listens, with a slash at the end.
    """

    def __init__(self, sandbox: str) -> None:
        self.sandbox = sandbox

    def ring(self, to: str, number: str = "", name: str = "") -> str:
        """Somebody calls extension `to`; the sandbox's id of the call."""
        return self.post("ring", {"to": to, "from": number, "name": name})["id"]

    def act(self, call_id: str, action: str, side: str = "") -> None:
        """What one of the telephones does: answer, decline, busy, hold, resume, hangup."""
        self.post(f"calls/{call_id}/{action}", {"side": side})

    def phone(self, extension: str, **conduct: Any) -> None:
        self.post(f"phones/{extension}", conduct)

    def outside(self, number: str, behaviour: str, seconds: float = 0.0) -> None:
        self.post(f"outside/{number}", {"behaviour": behaviour, "seconds": seconds})

    def fault(self, fault: str, **details: Any) -> None:
        self.post("faults", {"fault": fault, **details})

    def calls(self) -> list[dict[str, Any]]:
        """The calls that live."""
        return self._state()["calls"]

    def wait_for(self, wanted: Callable[[dict[str, Any]], Any]) -> Any:
        """The first true answer of `wanted` to the sandbox's state; it is asked at every change."""
        deadline = time.monotonic() + SECONDS
        state = self._state()
        while not (answer := wanted(state)):
            assert time.monotonic() < deadline, state["calls"]
            state = self._state(f"?since={state['revision']}")
        return answer

    def wait_for_call(self) -> str:
        """The id of the one call that lives, as soon as there is one."""
        return self.wait_for(lambda state: state["calls"])[0]["id"]

    def wait_for_state(self, call_id: str, wanted: str) -> None:
        """Return when the call is in that state ("HANGUP": over)."""
        self.wait_for(lambda state: _state_of(state, call_id) == wanted)

    def reset(self) -> None:
        """No calls, no faults, and telephones as they were in the beginning."""
        state = self._state()
        for call in state["calls"]:
            self.act(call["id"], "hangup")
        self.fault("clear")
        for user in state["users"]:
            self.phone(user["id"], registered=True, devices=1, behaviour="manual", pick_up_seconds=None)
        for number in state["outside"]:
            self.outside(number or "default", "answers", 2.0)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = Request(f"{self.sandbox}console/api/{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)

    def _state(self, query: str = "") -> dict[str, Any]:
        with urlopen(f"{self.sandbox}console/api/state{query}", timeout=SECONDS + 25) as answer:
            return json.load(answer)


def _state_of(state: dict[str, Any], call_id: str) -> str:
    return next((call["state"] for call in state["calls"] if call["id"] == call_id), "HANGUP")
