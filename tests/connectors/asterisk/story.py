"""A recorded flow, told to a switchboard of its own, and what each agent's board makes of it."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cti_django.calls.board import CallBoard
from cti_django.calls.notifications import DialNotification, DialStage
from cti_django.calls.numbers import NumberPlan, dialable
from cti_django.connectors.asterisk.switchboard import Switchboard
from cti_django.wire.ami import AMIReader

RECORDINGS = Path(__file__).parents[2] / "recordings" / "asterisk"
FLOWS = sorted(path.parent.name for path in RECORDINGS.glob("*/ami.txt"))
PLAN = NumberPlan(region="GB")
AGENTS = ("1001", "1002", "1003", "1004", "1005", "1006")
NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


def messages_of(flow: str) -> list[dict[str, str]]:
    """All that Asterisk said in that flow."""
    reader = AMIReader()
    reader.receive_data((RECORDINGS / flow / "ami.txt").read_bytes())
    assert not reader.faults_received()
    return reader.messages_received()


def expectation(flow: str) -> dict:
    """What the flow is, and what should come of it."""
    return json.loads((RECORDINGS / flow / "expected.json").read_text())


class Office:
    """A switchboard that watches all agents, and a board for each."""

    def __init__(self) -> None:
        self.switchboard = Switchboard(PLAN)
        self.events: dict[str, list[dict]] = {}
        self.boards: dict[str, CallBoard] = {}
        self.now = NOW
        for agent in AGENTS:
            ids = itertools.count(1)
            self.switchboard.watch(f"PJSIP/{agent}")
            self.boards[agent] = CallBoard(lambda _, ids=ids: f"call-{next(ids)}")
            self.events[agent] = []

    def dial(self, agent: str, channel_id: str, number: str) -> None:
        """The agent clicks a number."""
        party = dialable(number, PLAN)
        self.switchboard.originations.begin(channel_id, "dial-1", party, f"PJSIP/{agent}")
        self.fold(agent, DialNotification(command_id="dial-1", destination=party, stage=DialStage.STARTED))

    def tell(self, *messages: dict[str, str]) -> None:
        """Asterisk says something."""
        for message in messages:
            self.now += timedelta(milliseconds=20)
            self.take(self.switchboard.receive(message))

    def take(self, told) -> None:
        for device, notification in told:
            self.fold(device.removeprefix("PJSIP/"), notification)

    def fold(self, agent: str, notification) -> None:
        for event in self.boards[agent].fold(notification, self.now):
            self.events[agent].append(event.to_json())

    def told(self) -> dict[str, list[dict]]:
        """Every event, by agent, of those who had any: less what depends on the clock."""
        return {agent: [_shown(event) for event in events] for agent, events in self.events.items() if events}


def _shown(event: dict) -> dict:
    call = event.get("call", {})
    left_out = {"status", "connectedAt", "endedAt"}
    facts = {key: value for key, value in call.items() if key not in left_out and value not in ("", None)}
    return {"name": event["name"], **facts}


def play(flow: str, messages: list[dict[str, str]] | None = None) -> Office:
    """Tell that flow, or `messages` in its place."""
    office = Office()
    for dial in expectation(flow)["dials"]:
        office.dial(**dial)
    office.tell(*(messages_of(flow) if messages is None else messages))
    return office
