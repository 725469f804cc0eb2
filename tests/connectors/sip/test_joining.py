"""What is told of one call in several ways becomes one call; played on the board that an agent has."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cti_django.calls.board import CallBoard
from cti_django.calls.events import CallEvent
from cti_django.calls.notifications import DialNotification, DialStage, LegNotification, Snapshot
from cti_django.calls.numbers import classify
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.connectors.sip.joining import Joiner
from cti_django.connectors.sip.translate import translate
from cti_django.wire.dialog_info import parse_dialog_info

from .desk import PLAN
from .fake_server import document

MARIE = classify("sip:+33123456789@pbx.example", "Marie Curie", PLAN)
LISE = classify("sip:+4930123456@pbx.example", "Lise Meitner", PLAN)
NOBODY = classify("", "", PLAN)
OWN = classify("1006", "", PLAN)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def dialog(state: str, name: str = "1006", *, caller: str = "", display: str = "", direction: str = "") -> str:
    """A dialog as a server writes it: bare, or with all that it knows."""
    known = f' direction="{direction}"' if direction else ""
    remote = f'<remote><identity display="{display}">sip:{caller}@pbx.example</identity></remote>' if caller else ""
    return f'<dialog id="{name}"{known}>{remote}<state>{state}</state></dialog>'


EARLY = dialog("early", caller="+33123456789", display="Marie Curie", direction="recipient")


class Play:
    """A joiner, a board behind it, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOON
        self.due: list[tuple[datetime, Callable[[], None]]] = []
        self.events: list[CallEvent] = []
        self.version = itertools.count()
        ids = itertools.count(1)
        self.board = CallBoard(new_id=lambda _: f"c{next(ids)}")
        self.joiner = Joiner(OWN, self.fold, self.later, lambda: self.now)

    def fold(self, notification) -> None:
        self.events += self.board.fold(notification, self.now)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + timedelta(seconds=seconds), call))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for at, call in list(self.due):
            if at <= self.now:
                self.due.remove((at, call))
                call()

    def hear(self, *dialogs: str, state: str = "full") -> None:
        self.wait(0.1)
        for each in translate(parse_dialog_info(document(next(self.version), *dialogs, state=state)), "", PLAN):
            self.joiner.hear(each)

    def dial(self, key: str = "dial-1") -> str:
        call_id = self.joiner.place(key, MARIE)
        self.say_dial(call_id, DialStage.STARTED)
        return call_id

    def say_dial(self, call_id: str, stage: DialStage) -> None:
        self.fold(DialNotification(command_id="d", destination=MARIE, stage=stage, provider_call_id=call_id))

    @property
    def story(self) -> list[str]:
        return [self._line(event) for event in self.events]

    def _line(self, event: CallEvent) -> str:
        call = event.call
        way = "in" if call.direction is Direction.INBOUND else "out"
        words = [call.call_id, event.name.value, way, call.remote.name or call.remote.number_raw or "?"]
        return " ".join(words) + (f": {call.end_reason.value}" if call.end_reason else "")


@pytest.fixture
def play() -> Play:
    """At a line with one dialog, idle."""
    at_line = Play()
    at_line.hear(dialog("terminated"))
    return at_line


def test_a_server_that_says_who_calls_only_while_it_rings(play):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c1 HANGUP in Marie Curie: completed",
    ]


def test_a_line_that_is_busy_all_at_once_is_one_that_dials(play):
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    assert play.story == ["c1 CONNECTED out ?", "c1 HANGUP out ?: completed"]


def test_one_call_after_the_other_in_the_same_dialog_is_two_calls(play):
    for _ in range(2):
        play.hear(EARLY)
        play.hear(dialog("confirmed"))
        play.hear(dialog("terminated"))
    play.hear(dialog("confirmed"))
    assert [line.partition(" in")[0] for line in play.story[:6]] == [
        "c1 RINGING", "c1 CONNECTED", "c1 HANGUP", "c2 RINGING", "c2 CONNECTED", "c2 HANGUP",
    ]  # fmt: skip
    assert play.story[6:] == ["c3 CONNECTED out ?"]


@pytest.mark.parametrize("shadow_first", [True, False])
def test_a_shadow_contact_and_the_documents_tell_of_one_call(play, shadow_first):
    tell = [lambda: play.joiner.rang("invite", MARIE, OWN), lambda: play.hear(EARLY)]
    for each in tell if shadow_first else tell[::-1]:
        each()
    stop = [lambda: play.joiner.stopped("invite", elsewhere=True), lambda: play.hear(dialog("confirmed"))]
    for each in stop if shadow_first else stop[::-1]:
        each()
    play.wait(5)
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c1 HANGUP in Marie Curie: completed",
    ]


def test_the_shadow_contact_says_who_calls_where_the_documents_do_not(play):
    play.hear(dialog("early", direction="recipient"))
    play.joiner.rang("invite", MARIE, OWN)
    play.joiner.stopped("invite", elsewhere=True)
    play.hear(dialog("confirmed"))
    assert play.story[-1] == "c1 CONNECTED in Marie Curie"
    assert len({line.split()[0] for line in play.story}) == 1


def test_a_caller_of_whom_the_documents_know_no_number_is_one_call(play):
    """Asterisk writes "invalid" there."""
    play.hear(dialog("early", caller="invalid", direction="recipient"))
    play.joiner.rang("invite", MARIE, OWN)
    assert len({line.split()[0] for line in play.story}) == 1


@pytest.mark.parametrize(("elsewhere", "reason"), [(True, "elsewhere"), (False, "missed")])
def test_the_shadow_contact_tells_a_colleagues_answer_from_a_caller_who_gave_up(play, elsewhere, reason):
    play.joiner.rang("invite", MARIE, OWN)
    play.hear(EARLY)
    play.joiner.stopped("invite", elsewhere=elsewhere)
    play.hear(dialog("terminated"))
    assert play.story == ["c1 RINGING in Marie Curie", f"c1 HANGUP in Marie Curie: {reason}"]


def test_an_end_that_the_documents_tell_first_waits_for_the_reason(play):
    play.joiner.rang("invite", MARIE, OWN)
    play.hear(EARLY)
    play.hear(dialog("terminated"))
    play.joiner.stopped("invite", elsewhere=True)
    play.wait(5)
    assert play.story[-1] == "c1 HANGUP in Marie Curie: elsewhere"


def test_without_documents_the_shadow_contact_alone_tells():
    play = Play()
    play.joiner.is_watching = False
    play.joiner.rang("invite", MARIE, OWN)
    play.joiner.stopped("invite", elsewhere=True)
    assert play.story == ["c1 RINGING in Marie Curie", "c1 HANGUP in Marie Curie: elsewhere"]


def test_a_caller_who_waits_is_a_call_of_her_own_that_the_shadow_contact_tells(play):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    play.joiner.rang("second", LISE, OWN)
    play.hear(dialog("confirmed"))
    play.joiner.stopped("second", elsewhere=False)
    play.wait(5)
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c2 RINGING in Lise Meitner",
        "c2 HANGUP in Lise Meitner: missed",
        "c1 HANGUP in Marie Curie: completed",
    ]


@pytest.mark.parametrize("shadow_first", [True, False])
def test_a_caller_who_withholds_her_number_is_one_call_whoever_tells_first(play, shadow_first):
    withheld = classify("sip:anonymous@anonymous.invalid", "Anonymous", PLAN)
    hidden = dialog("early", caller="anonymous", display="Anonymous", direction="recipient")
    tell = [lambda: play.joiner.rang("invite", withheld, OWN), lambda: play.hear(hidden)]
    for each in tell if shadow_first else tell[::-1]:
        each()
    assert {line.split()[0] for line in play.story} == {"c1"}


def test_a_bare_document_that_comes_after_the_end_is_no_new_call(play):
    play.joiner.rang("invite", MARIE, OWN)
    play.joiner.stopped("invite", elsewhere=False)
    play.hear(dialog("early", direction="recipient"))
    play.hear(dialog("terminated"))
    play.wait(5)
    assert play.story == ["c1 RINGING in Marie Curie", "c1 HANGUP in Marie Curie: missed"]


def test_one_that_seemed_to_come_after_the_end_may_be_the_next_calls(play):
    play.joiner.rang("invite", MARIE, OWN)
    play.joiner.stopped("invite", elsewhere=False)
    play.hear(dialog("early", direction="recipient"))
    play.joiner.rang("next", LISE, OWN)
    play.joiner.stopped("next", elsewhere=True)
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    assert play.story[2:] == [
        "c2 RINGING in Lise Meitner",
        "c2 CONNECTED in Lise Meitner",
        "c2 HANGUP in Lise Meitner: completed",
    ]


def test_a_line_that_rings_while_it_talks_has_a_second_call(play):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    play.hear(dialog("early", caller="+4930123456", display="Lise Meitner", direction="recipient"))
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c2 RINGING in Lise Meitner",
        "c2 HANGUP in Lise Meitner: inferred",
        "c1 HANGUP in Marie Curie: completed",
    ]


SECOND = dialog("early", caller="+4930123456", display="Lise Meitner", direction="recipient")


@pytest.mark.parametrize("order", ["rang second stopped", "second rang stopped", "rang stopped second"])
def test_documents_and_shadow_contact_tell_of_one_waiting_caller(play, order):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    steps = {
        "rang": lambda: play.joiner.rang("b", LISE, OWN),
        "second": lambda: play.hear(SECOND),
        "stopped": lambda: play.joiner.stopped("b", elsewhere=False),
    }
    for step in order.split():
        steps[step]()
    play.hear(dialog("confirmed"))
    play.wait(5)
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c2 RINGING in Lise Meitner",
        "c2 HANGUP in Lise Meitner: missed",
        "c1 HANGUP in Marie Curie: completed",
    ]


def test_a_call_that_we_place_is_what_a_bare_line_shows(play):
    call_id = play.dial()
    play.hear(dialog("confirmed"))
    play.say_dial(call_id, DialStage.ACCEPTED)
    play.joiner.tell(call_id, CallState.RINGING)
    play.joiner.tell(call_id, CallState.CONNECTED)
    play.joiner.release(call_id)
    play.hear(dialog("confirmed"))
    play.wait(5)
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 INITIAL out Marie Curie",
        "c1 ACCEPTED out Marie Curie",
        "c1 RINGING out Marie Curie",
        "c1 CONNECTED out Marie Curie",
        "c1 HANGUP out Marie Curie: completed",
    ]


def test_a_call_that_we_place_is_what_a_talkative_server_shows_in_two_dialogs():
    play = Play()
    play.hear()
    call_id = play.dial()
    ours = dialog("confirmed", "a", caller="1006", direction="recipient")
    play.hear(ours, state="partial")
    play.say_dial(call_id, DialStage.ACCEPTED)
    play.joiner.tell(call_id, CallState.CONNECTED)
    play.hear(dialog("confirmed", "b", caller="+33123456789", direction="initiator"), state="partial")
    play.joiner.release(call_id)
    play.hear(dialog("terminated", "a"), state="partial")
    play.hear(dialog("terminated", "b"), state="partial")
    assert [line.split()[:2] for line in play.story] == [
        ["c1", "INITIAL"], ["c1", "ACCEPTED"], ["c1", "CONNECTED"], ["c1", "HANGUP"],
    ]  # fmt: skip


def test_a_call_that_failed_is_not_revived_by_the_phone_that_still_hears_the_tone(play):
    call_id = play.dial()
    play.hear(dialog("confirmed"))
    play.say_dial(call_id, DialStage.ACCEPTED)
    play.joiner.end(call_id, EndReason.BUSY)
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    play.hear(EARLY)
    assert [line.split()[:2] for line in play.story] == [
        ["c1", "INITIAL"], ["c1", "ACCEPTED"], ["c1", "HANGUP"], ["c2", "RINGING"],
    ]  # fmt: skip


def test_what_nobody_tells_of_any_more_is_over_soon():
    play = Play()
    play.hear()
    call_id = play.dial()
    play.joiner.tell(call_id, CallState.CONNECTED)
    play.joiner.release(call_id)
    play.wait(5)
    assert play.story[-1] == "c1 HANGUP out Marie Curie: inferred"


def test_a_new_line_goes_on_with_the_calls_of_the_old_one(play):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    play.joiner.begin()
    play.hear(dialog("confirmed"))
    play.hear(dialog("terminated"))
    assert play.story == [
        "c1 RINGING in Marie Curie",
        "c1 CONNECTED in Marie Curie",
        "c1 HANGUP in Marie Curie: completed",
    ]


def test_what_was_to_be_ended_on_the_old_line_ends_nothing_on_the_new_one(play):
    call_id = play.dial()
    play.say_dial(call_id, DialStage.ACCEPTED)
    play.joiner.tell(call_id, CallState.CONNECTED)
    play.joiner.release(call_id)  # from now on the documents tell of it, and none has come yet
    play.joiner.begin()
    play.hear(dialog("confirmed"))
    play.wait(5)
    assert play.story[-1] == "c1 CONNECTED out Marie Curie"


def test_what_ended_while_the_line_was_away_is_ended(play):
    play.hear(EARLY)
    play.joiner.begin()
    play.hear(dialog("terminated"))
    assert play.story[-1] == "c1 HANGUP in Marie Curie: inferred"


def test_a_process_that_takes_over_finds_the_call_by_the_lines_dialog(play):
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    heir = Play()
    heir.board.restore(play.board.calls())
    heir.hear(dialog("confirmed"))
    assert heir.story == []
    heir.hear(dialog("terminated"))
    assert heir.story == ["c1 HANGUP in Marie Curie: completed"]


def test_a_full_document_ends_what_it_does_not_list():
    play = Play()
    ring = dialog("early", "x", caller="+33123456789", direction="recipient")
    play.hear(ring, dialog("early", "y", caller="+4930123456", direction="recipient"))
    play.hear(ring)
    assert [line.split()[:2] for line in play.story] == [["c1", "RINGING"], ["c2", "RINGING"], ["c2", "HANGUP"]]


def test_after_a_transfer_a_talkative_server_tells_who_is_there_now():
    play = Play()
    for who in ("+33123456789", "+4930123456"):
        play.hear(dialog("confirmed", "x", caller=who, direction="recipient"))
    assert play.story == ["c1 CONNECTED in +33123456789", "c1 UPDATED in +4930123456"]


def test_what_is_told_of_other_nodes_is_passed_on_as_it_is(play):
    said = []
    joiner = Joiner(OWN, said.append, play.later, lambda: NOON)
    other = Snapshot(node="1007", legs=(LegNotification(
        provider_call_id="1", leg_id="1", state=CallState.RINGING, direction=Direction.INBOUND,
        local=OWN, remote=MARIE, node="1007",
    ),))  # fmt: skip
    for each in (other, *other.legs):
        joiner.hear(each)
    assert said == [other, *other.legs]


def test_a_document_that_comes_after_the_end_is_no_new_call(play):
    play.joiner.rang("invite", MARIE, OWN)
    play.joiner.stopped("invite", elsewhere=False)
    play.hear(EARLY)
    play.hear(dialog("terminated"))
    assert play.story == ["c1 RINGING in Marie Curie", "c1 HANGUP in Marie Curie: missed"]
    play.wait(5)
    play.hear(EARLY)
    assert play.story[2:] == ["c2 RINGING in Marie Curie"]


def test_her_own_phone_that_rings_for_her_click_to_call_is_no_second_call(play):
    play.dial()
    play.hear(dialog("confirmed"))
    play.hear(dialog("early", caller="1006", display="Ada", direction="recipient"))
    play.hear(dialog("confirmed"))
    assert play.story == ["c1 INITIAL out Marie Curie"]


def test_a_waiting_caller_who_has_gone_is_no_new_call_when_a_late_document_has_no_name_for_her():
    play = Play()
    play.hear(EARLY)
    play.hear(dialog("confirmed"))
    play.joiner.rang("waits", LISE, OWN)
    play.joiner.stopped("waits", elsewhere=False)
    before = len(play.events)
    play.hear(dialog("early", caller="invalid", direction="recipient"))
    assert len(play.events) == before
    play.hear(dialog("confirmed"))
    play.wait(5)
    assert [call.remote.name for call in play.board.calls()] == ["Marie Curie"]
