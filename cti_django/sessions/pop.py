"""The pop of a call: when it is due, what names it, which page it opens."""

from dataclasses import dataclass
from typing import Any
from zlib import crc32

from django.urls import NoReverseMatch, reverse

from ..calls.events import Call
from ..calls.numbers import Party, PartyKind
from ..calls.states import CallState, Direction

__all__ = ["PopPolicy", "pop_key", "pop_path", "side_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PopPolicy:
    """What happens on the agent's screen when somebody calls: `action` open, card or none; `when` ring or answer."""

    action: str = "open"
    when: str = "ring"

    def offer(self, call: Call, offered: str) -> dict[str, Any] | None:
        """The pop that is due for `call` as it is now (docs/architecture.md, CALL), None if none is.

        Args:
            offered: the key of the pop that was offered for it last, "" if none was.
        """
        if self.action == "none" or not self._is_due(call, offered):
            return None
        url = pop_path(call.call_id)
        if url and offered:  # the call is in the log, but perhaps not yet with this other side: the page waits for it
            url += f"?side={side_of(call.remote)}"
        return {"action": self.action if url else "card", "url": url, "key": pop_key(call)}

    def has_been_due(self, call: Call) -> bool:
        """Whether whoever followed `call` until it came to its present state has offered its pop."""
        return self.when == "ring" or call.state is not CallState.RINGING

    def _is_due(self, call: Call, offered: str) -> bool:
        if call.direction is not Direction.INBOUND or call.state.is_final:
            return False
        if offered:  # an attended transfer to her may have come through: then the caller is whom she speaks with now
            return call.remote.kind is not PartyKind.UNAVAILABLE and offered != pop_key(call)
        return call.state is (CallState.RINGING if self.when == "ring" else CallState.CONNECTED)


def pop_key(call: Call) -> str:
    """What names a call's pop, in whatever process: a call pops once for each other side that it has."""
    return f"{call.call_id}-{side_of(call.remote)}"


def side_of(party: Party) -> str:
    """What tells the other sides of one call apart: 8 hexadecimal digits."""
    told = f"{party.kind.value} {party.number or party.extension or party.number_raw}"
    return f"{crc32(told.encode()):08x}"


def pop_path(call_id: str) -> str:
    """The path of the page that pops for a call; "" if the project has not included ``cti_django.urls``: cards only."""
    try:
        return reverse("cti_django:pop", args=[call_id])
    except NoReverseMatch:
        return ""
