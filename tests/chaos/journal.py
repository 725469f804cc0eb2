"""The truth: what the PBX played, to whom, and over which subscriptions, read from its journal as it is written."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Dialog", "Hearing", "Journal", "Order", "Part"]

STATES = {"early": "RINGING", "confirmed": "CONNECTED", "terminated": "HANGUP"}


@dataclass(frozen=True, slots=True)
class Hearing:
    """A NOTIFY about a call was answered: somebody knows."""

    at: float
    process: str
    state: str


@dataclass(slots=True)
class Part:
    """One agent's part of one call.

    Args:
        agent: the extension.
        number: the other side, in digits.
        ended_at: None while it lives.
        was_cut: it ended because the PBX died.
    """

    agent: str
    call_id: str
    number: str
    is_outbound: bool
    started_at: float
    state: str = "RINGING"
    connected_at: float | None = None
    ended_at: float | None = None
    was_cut: bool = False
    hearings: list[Hearing] = field(default_factory=list)


@dataclass(slots=True)
class Dialog:
    """One SUBSCRIBE dialog on an agent's own node. Times are unix seconds; `ended_at` is None while it lives."""

    dialog_id: str
    agent: str
    process: str
    peer: int
    began_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A command that came in over REST."""

    at: float
    process: str
    agent: str
    what: str


class Journal:
    """Follows the journal file.

    Args:
        process_of: the name of the process behind a peer port of the PBX.
    """

    def __init__(self, path: Path, process_of: Callable[[int], str]) -> None:
        self.path, self._process_of = path, process_of
        self._offset = 0
        self.parts: dict[tuple[str, str], Part] = {}  # by agent and the PBX's call id
        self.dialogs: list[Dialog] = []
        self.orders: list[Order] = []
        self.changed_at: dict[str, float] = {}  # agent -> the last change of her live calls
        self._live_parts: dict[str, dict[str, Part]] = {}
        self._live_dialogs: dict[str, Dialog] = {}

    def live(self, agent: str) -> dict[str, str]:
        """An agent's live calls: number -> state, spelt as a browser's board spells it."""
        return {part.number: part.state for part in self._live_parts.get(agent, {}).values()}

    def dialogs_of(self, agent: str) -> list[Dialog]:
        """An agent's live SUBSCRIBE dialogs."""
        return [dialog for dialog in self._live_dialogs.values() if dialog.agent == agent]

    def read(self) -> None:
        """Take in what has been written since."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = data.rfind(b"\n") + 1  # a line may be half written, for good if the PBX was killed
        self._offset += end
        for line in data[:end].splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            getattr(self, f"_{entry['what']}", self._other)(entry)

    def end_all(self, at: float) -> None:
        """The PBX has died: everything that lived has ended."""
        self.read()
        for agent, parts in self._live_parts.items():
            for part in parts.values():
                part.ended_at, part.was_cut = at, True
                self.changed_at[agent] = at
        for dialog in self._live_dialogs.values():
            dialog.ended_at = at
        self._live_parts.clear()
        self._live_dialogs.clear()

    def _other(self, entry: dict[str, Any]) -> None:
        pass

    def _leg(self, entry: dict[str, Any]) -> None:
        key = entry["node"], entry["call"]
        part = self.parts.get(key)
        if part is None:
            part = Part(key[0], key[1], entry["number"], entry["initiator"], entry["at"])
            self.parts[key] = part
            self._live_parts.setdefault(part.agent, {})[part.call_id] = part
        self.changed_at[part.agent] = entry["at"]
        part.state = STATES[entry["state"]]
        if part.state == "CONNECTED":
            part.connected_at = part.connected_at or entry["at"]
            part.state = "ON_HOLD" if entry["hold"] else "CONNECTED"
        elif part.state == "HANGUP":
            part.ended_at = entry["at"]
            self._live_parts[part.agent].pop(part.call_id, None)

    def _subscribed(self, entry: dict[str, Any]) -> None:
        if entry["node"] == entry["user"]:
            process = self._process_of(entry["peer"])
            dialog = Dialog(entry["id"], entry["user"], process, entry["peer"], entry["at"])
            self.dialogs.append(dialog)
            self._live_dialogs[dialog.dialog_id] = dialog

    def _unsubscribed(self, entry: dict[str, Any]) -> None:
        dialog = self._live_dialogs.pop(entry["id"], None)
        if dialog is not None:
            dialog.ended_at = entry["at"]

    def _answered(self, entry: dict[str, Any]) -> None:
        process = self._process_of(entry["peer"])
        for leg_id, state in entry["legs"]:
            part = self.parts.get((entry["user"], leg_id.partition("-")[0]))
            if part is not None:
                part.hearings.append(Hearing(entry["at"], process, STATES[state]))

    def _command(self, entry: dict[str, Any]) -> None:
        what = f"{entry['method']} {entry['path']}"
        self.orders.append(Order(entry["at"], self._process_of(entry["peer"]), entry["user"], what))
