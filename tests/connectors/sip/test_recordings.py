"""What a real Asterisk told of one line becomes whole lists of events; also where NOTIFYs come twice, or get lost."""

import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cti_django.calls.board import CallBoard
from cti_django.calls.events import CallEvent, Event
from cti_django.calls.notifications import Notification
from cti_django.calls.numbers import NumberPlan, classify
from cti_django.connectors.complaints import Complaints
from cti_django.connectors.sip.joining import Joiner
from cti_django.connectors.sip.watch import new_watch
from cti_django.wire.sip_message import SIPRequest, SIPResponse, parse_message
from cti_django.wire.sip_subscriber import Subscriber
from cti_django.wire.sip_user_agent import UserAgent

RECORDINGS = Path(__file__).parents[2] / "recordings" / "sip"
FLOWS = sorted(path.parent.name for path in RECORDINGS.glob("*/notifies.txt"))
PLAN = NumberPlan(region="GB")
BEGUN = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
LINE = "1001"
BRANCH = b"branch=z9hG4bK"

Notifies = list[tuple[float, bytes]]
"""Each with the second at which it came."""


def notifies_of(flow: str) -> Notifies:
    """The NOTIFYs as they were on the wire."""
    text = (RECORDINGS / flow / "notifies.txt").read_text()
    _, *parts = re.split(r"^--- +([0-9.]+)\n", text, flags=re.MULTILINE)
    return [(float(second), on_the_wire(told)) for second, told in zip(parts[::2], parts[1::2], strict=True)]


def on_the_wire(told: str) -> bytes:
    head, _, body = told.partition("\n\n")
    (length,) = re.findall(r"^Content-Length: +([0-9]+)$", head, flags=re.MULTILINE)
    assert body == body[: int(length)] + "\n", "the body is not what its length says"
    return f"{head}\n\n".replace("\n", "\r\n").encode() + body[: int(length)].encode()


def expectation(flow: str) -> list[dict]:
    """What the agent should be told."""
    return json.loads((RECORDINGS / flow / "expected.json").read_text())["events"]


class Desk:
    """A line that has subscribed as the recorded one had, and a board behind it; its clock is the recording's."""

    def __init__(self, first: SIPRequest) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.events: list[tuple[float, Event]] = []
        ids = itertools.count(1)
        self.board = CallBoard(lambda _: f"call-{next(ids)}")
        self.agent = user_agent_of(first)
        self.subscriber = Subscriber(self.agent, expires=600)
        self.joiner = Joiner(classify(LINE, "", PLAN), self.fold, self.later, self.clock)
        self.watch = new_watch(LINE, [], PLAN, Complaints(self.fold), self.joiner.hear, pytest.fail)
        self.watch.begin(self)
        (self.subscribe_sent,) = self.sent()

    def subscribe(self, node: str) -> None:
        self.subscriber.subscribe(node, self.now)

    def refresh(self, node: str) -> None:
        pytest.fail("every document of Asterisk is full: none needs to be asked for")

    def clock(self) -> datetime:
        return BEGUN + timedelta(seconds=self.now)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, call))

    def fold(self, notification: Notification) -> None:
        self.events += ((self.now, event) for event in self.board.fold(notification, self.clock()))

    def sent(self) -> list[SIPRequest | SIPResponse]:
        return [parse_message(data) for data in self.agent.data_to_send()]

    def receive(self, data: bytes) -> list[SIPRequest | SIPResponse]:
        """One datagram; what is answered to it."""
        self.agent.receive_data(data, self.now)
        for event in self.agent.events_received():
            self.watch.hear(event)
        return self.sent()

    def wait_until(self, second: float) -> None:
        for at, call in sorted(self.due, key=lambda each: each[0]):
            if at <= second:
                self.now = at
                self.due.remove((at, call))
                call()
        self.now = second

    def accept(self, subscribe: SIPRequest, first: SIPRequest) -> None:
        answer = subscribe.reply(200, to_tag=first.from_.tag)
        answer.headers.add("Contact", first.headers["Contact"])
        answer.headers.add("Expires", "600")
        self.receive(bytes(answer))

    def told(self) -> list[dict]:
        """Every event of a call, with all that is known of it then."""
        return [shown(at, event) for at, event in self.events if isinstance(event, CallEvent)]

    def told_of_the_line(self) -> list[str]:
        return [event.name.value for _, event in self.events if not isinstance(event, CallEvent)]


def user_agent_of(first: SIPRequest) -> UserAgent:
    """One whose Call-ID and tag come out as those of the recorded dialog."""
    dice = {12: bytes.fromhex(first.call_id), 6: bytes.fromhex(first.to.tag)}
    return UserAgent(
        address=first.to.uri,
        username="1010",
        password="secret",
        transport="UDP",
        sent_by=first.uri.partition("@")[2],
        random=lambda count: dice.get(count, bytes(count)),
    )


def shown(at: float, event: CallEvent) -> dict:
    left_out = {"status", "startedAt", "connectedAt", "endedAt"}
    call = event.to_json()["call"]
    facts = {key: value for key, value in call.items() if key not in left_out and value not in ("", None)}
    return {"at": at, "name": event.name.value, **facts}


def play(notifies: Notifies, first: bytes = b"") -> Desk:
    """Tell `notifies`; `first` is of the same subscription, if the first of them is not."""
    request = parse_message(first or notifies[0][1])
    desk = Desk(request)
    desk.accept(desk.subscribe_sent, request)
    for second, data in notifies:
        desk.wait_until(second)
        assert [answer.status for answer in desk.receive(data)] == [200]
    desk.wait_until(desk.now + 10)
    return desk


@pytest.mark.parametrize("flow", FLOWS)
def test_every_event_of_a_recorded_flow(flow):
    desk = play(notifies_of(flow))
    assert desk.told() == expectation(flow)
    assert desk.told_of_the_line() == ["SUBSCRIBED", "READY"]
    assert desk.board.calls() == []


@pytest.mark.parametrize("flow", FLOWS)
def test_a_notify_that_is_sent_again_is_answered_again_and_changes_nothing(flow):
    desk = play([each for each in notifies_of(flow) for _ in range(2)])
    assert desk.told() == expectation(flow)
    assert desk.told_of_the_line() == ["SUBSCRIBED", "READY"]


@pytest.mark.parametrize("flow", FLOWS)
async def test_an_old_notify_that_comes_another_way_is_not_believed(flow):
    """After each all that came before, as if they were requests of their own; async, for complaints need a loop."""
    notifies = notifies_of(flow)
    first = parse_message(notifies[0][1])
    desk = Desk(first)
    desk.accept(desk.subscribe_sent, first)
    for at, (second, data) in enumerate(notifies):
        desk.wait_until(second)
        desk.receive(data)
        for old, (_, late) in enumerate(notifies[:at]):
            answers = desk.receive(late.replace(BRANCH, BRANCH + b"%d-%d-" % (at, old)))
            assert [answer.status for answer in answers] == [500]
        assert [answer.status for answer in desk.receive(data.replace(BRANCH, BRANCH + b"2-"))] == [200]
    assert desk.told() == expectation(flow)


LOSSES = [(flow, at) for flow in FLOWS for at in range(len(notifies_of(flow)))]


@pytest.mark.parametrize(("flow", "lost"), LOSSES)
def test_a_notify_that_is_lost_leaves_no_call_behind(flow, lost):
    notifies = notifies_of(flow)
    desk = play(notifies[:lost] + notifies[lost + 1 :], notifies[0][1])
    if lost == len(notifies) - 1:
        refresh(desk, notifies[-1][1])
    assert desk.board.calls() == []
    by_call: dict[str, list[str]] = {}
    for event in desk.told():
        by_call.setdefault(event["id"], []).append(event["name"])
    for names in by_call.values():
        assert names[-1] == "HANGUP"
        assert len(names) == len(set(names))


@pytest.mark.parametrize("flow", FLOWS)
def test_an_end_that_is_lost_is_told_when_the_subscription_is_refreshed(flow):
    *notifies, (_, end) = notifies_of(flow)
    desk = play(notifies, end)
    expected = expectation(flow)
    assert desk.told() == expected[:-1]
    refresh(desk, end)
    assert 540 < desk.now < 600
    assert desk.told() == [*expected[:-1], *({**event, "at": desk.now} for event in expected[-1:])]


def refresh(desk: Desk, last: bytes) -> None:
    """Wait until the line asks again: Asterisk says once more how things stand, in the next NOTIFY."""
    while not (sent := desk.sent()):  # what was answered is forgotten first
        desk.now = desk.agent.next_deadline()
        desk.agent.handle_timeout(desk.now)
    (subscribe,) = sent
    desk.accept(subscribe, parse_message(last))
    seq, version = (re.search(pattern, last)[1] for pattern in (rb"CSeq: (\d+)", rb'\bversion="(\d+)" state'))
    anew = last.replace(b"CSeq: " + seq, b"CSeq: %d" % (int(seq) + 1)).replace(BRANCH, BRANCH + b"anew-")
    anew = anew.replace(b'version="%b" state' % version, b'version="%d" state' % (int(version) + 1))
    assert [answer.status for answer in desk.receive(anew)] == [200]


@pytest.mark.parametrize(
    ("lost", "story"),
    [
        ("first", ["RINGING INBOUND +33123456789", "CONNECTED INBOUND +33123456789", "HANGUP INBOUND completed"]),
        ("early", ["CONNECTED OUTBOUND", "HANGUP OUTBOUND completed"]),
        ("confirmed", ["RINGING INBOUND +33123456789", "HANGUP INBOUND missed"]),
    ],
)
def test_what_a_lost_notify_takes_away(lost, story):
    """Who calls is told once, while it rings; and a line that is busy all at once is one that dials."""
    notifies = notifies_of("inbound-answered")
    del notifies[["first", "early", "confirmed"].index(lost)]
    told = play(notifies).told()
    assert [
        " ".join([event["name"], event["direction"], event.get("endReason", event.get("number", ""))]).strip()
        for event in told
    ] == story
