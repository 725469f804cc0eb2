"""Log lines: one JSON object each whatever is logged, and nobody's number or name in them."""

import json
import logging
import logging.config
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cti_django.calls.events import Call, CallEvent, EventName
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.logs import JSONFormatter, log_call_event, session_log, shown

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DANA = Party(kind=PartyKind.NUMBER, number_raw="442079460018", name="Dana", number="+442079460018")
ALICE = Party(kind=PartyKind.EXTENSION, number_raw="10031", name="", extension="10031")


class Unprintable:
    """A value that cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def a_call(**facts: Any) -> Call:
    defaults = {
        "call_id": "c1",
        "provider_call_id": "p1",
        "leg_id": "l1",
        "state": CallState.RINGING,
        "direction": Direction.INBOUND,
        "source": DANA,
        "destination": ALICE,
    }
    return Call(**{**defaults, **facts})


def an_event(**facts: Any) -> CallEvent:
    call = a_call(**facts)
    return CallEvent(name=EventName(call.state.value), call=call, at=NOON)


def line(message: Any = "hello", *args: Any, logger: str = "cti_django.calls", **extra: Any) -> dict[str, Any]:
    """What the formatter makes of a log call, read back; it must be one line of ASCII."""
    error = extra.pop("error", None)
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.getLogger(logger).makeRecord(
        logger, logging.INFO, __file__, 1, message, args, exc_info, extra=extra
    )
    text = JSONFormatter().format(record)
    assert text.isascii()
    assert "\n" not in text
    return json.loads(text)


def raised(make: Any) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_a_line_has_the_time_the_level_the_logger_the_message_and_the_facts() -> None:
    found = line("it %s", "rings", call_id="c1", agent_id=7, fence=3, holder="web1:1:ab")
    moment = datetime.fromisoformat(found.pop("at"))
    assert moment.tzinfo is not None
    assert found == {
        "level": "INFO",
        "logger": "cti_django.calls",
        "message": "it rings",
        "call_id": "c1",
        "agent_id": 7,
        "fence": 3,
        "holder": "web1:1:ab",
    }


def test_a_line_without_facts_is_quiet_about_them() -> None:
    assert set(line()) == {"at", "level", "logger", "message"}


@pytest.mark.parametrize("text", ['a\nb"c', '"}\r\n{"level": "ERROR"', "\u2028\u2029\x85", "\ud800", "\x00\x1b[31m"])
def test_no_text_ends_the_line_or_the_object(text: str) -> None:
    found = line("%s", text, call_id=text)
    assert found["message"] == found["call_id"] == text


@pytest.mark.parametrize(
    ("value", "shown_as"),
    [
        (UUID(int=5), str(UUID(int=5))),
        (float("nan"), "nan"),
        (10**30, str(10**30)),
        (10**6000, "(int)"),
        (Unprintable(), "(Unprintable)"),
        ({"a": {1}}, "{'a': {1}}"),
        (b"\xff", "b'\\xff'"),
    ],
    ids=["uuid", "nan", "big", "too big to print", "unprintable", "dict", "bytes"],
)
def test_any_value_can_be_logged(value: Any, shown_as: str) -> None:
    assert line(agent_id=value)["agent_id"] == shown_as


def test_arguments_that_do_not_fit_do_not_lose_the_line() -> None:
    assert line("%d calls", "many")["message"] == "%d calls"
    assert line(Unprintable())["message"] == "(Unprintable)"
    assert line("%s", Unprintable())["message"] == "%s"


def test_what_is_too_long_is_cut() -> None:
    found = line("x" * 50_000, call_id="y" * 5_000)
    assert (len(found["message"]), len(found["call_id"])) == (10_000, 200)


NUMBER = "+4420794600" + "18"  # so that it stands in no source line that a traceback quotes


def _fail() -> None:
    try:
        int(NUMBER + "x")
    except ValueError as cause:
        raise KeyError(NUMBER) from cause


def test_an_exception_of_ours_is_told_without_its_text() -> None:
    found = line(error=raised(_fail))
    assert found["exception"] == "KeyError"
    assert "in _fail" in found["traceback"]
    assert found["traceback"].index("ValueError") < found["traceback"].index("KeyError")
    assert found["traceback"].endswith("\nKeyError")
    assert NUMBER not in json.dumps(found)


def test_the_setting_and_loggers_of_others_show_the_text(settings) -> None:
    error = raised(_fail)
    assert NUMBER in line(error=error, logger="django.request")["traceback"]
    settings.CTI_DJANGO = {"LOG_PERSONAL_DATA": True}
    assert NUMBER in line(error=error)["traceback"]


def test_an_exception_that_cannot_be_told_or_leads_round_in_a_circle_does_not_lose_the_line() -> None:
    class Mute(Exception):
        __str__ = Unprintable.__str__

    mute = Mute()
    assert line(error=mute, logger="django")["exception"] == "Mute"
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert line(error=first)["exception"] == "ValueError"


def test_a_very_long_traceback_keeps_its_end() -> None:
    def fall(depth: int) -> None:
        if depth:
            exec("fall(depth - 1)", {"fall": fall, "depth": depth})  # no two frames alike are folded away
        raise OverflowError

    found = line(error=raised(lambda: fall(min(400, sys.getrecursionlimit() // 3))))
    assert len(found["traceback"]) == 20_000
    assert found["traceback"].endswith("OverflowError")


def test_wrong_settings_do_not_lose_the_line_that_tells_of_them(settings) -> None:
    settings.CTI_DJANGO = {"NONSENSE": 1}
    assert line(error=raised(_fail))["exception"] == "KeyError"
    assert shown("+442079460018") == "+44…18"


# -- personal data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+442079460018", "+44…18"),
        ("020 7946 0018", "…18"),
        ("10031", "…31"),
        ("112", "…"),
        ("+4412", "…"),
        ("Dana Smith", "…"),
        ("sip:dana@example.org", "…"),
        ("sip:442079460018@example.org", "…"),
        ("\n442079460018\n", "…18"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_number_keeps_its_last_two_digits(number: Any, masked: str) -> None:
    assert shown(number) == masked


def test_with_the_setting_a_number_is_whole_and_still_one_line(settings) -> None:
    settings.CTI_DJANGO = {"LOG_PERSONAL_DATA": True}
    assert shown("+442079460018") == "+442079460018"
    assert shown("12\nERROR 34\u2028\x1b") == "12?ERROR 34??"
    assert len(shown("1" * 500)) == 64


# -- the lines of calls and sessions ----------------------------------------------------------------------------------


def test_a_call_event_is_one_line_with_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cti_django.calls")
    log_call_event(7, 3, an_event())
    over = {"state": CallState.HANGUP, "end_reason": EndReason.COMPLETED}
    log_call_event(7, 3, an_event(**over, connected_at=NOON, ended_at=NOON + timedelta(seconds=63)))
    assert [record.getMessage() for record in caplog.records] == [
        "RINGING: inbound call c1 of agent 7, +44…18",
        "HANGUP: inbound call c1 of agent 7, +44…18, completed, 63 s",
    ]
    record = caplog.records[0]
    assert (record.levelname, record.name) == ("INFO", "cti_django.calls")
    assert (record.__dict__["call_id"], record.__dict__["agent_id"], record.__dict__["fence"]) == ("c1", 7, 3)


@pytest.mark.parametrize(
    ("party", "words"),
    [
        (Party(kind=PartyKind.WITHHELD, number_raw="anonymous", name="Anonymous"), "withheld"),
        (Party(kind=PartyKind.ALPHANUMERIC, number_raw="Dana\nERROR", name=""), "…"),
        (ALICE, "…31"),
    ],
)
def test_nobodys_name_is_in_the_line(caplog: pytest.LogCaptureFixture, party: Party, words: str) -> None:
    caplog.set_level(logging.INFO, "cti_django.calls")
    log_call_event(7, 3, an_event(source=party))
    assert caplog.records[0].getMessage() == f"RINGING: inbound call c1 of agent 7, {words}"


def test_calls_that_are_only_watched_are_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cti_django.calls")
    log_call_event(7, 3, an_event(node="queue:17"))
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "cti_django.calls")
    log_call_event(7, 3, an_event(node="queue:17"))
    assert caplog.records[0].getMessage() == "RINGING: inbound call c1 of agent 7, watched, +44…18"


def test_the_lines_of_a_session_carry_who_and_which_fence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cti_django.sessions")
    log = session_log(7, 3, holder="web1")
    log.claimed()
    log.taken_over(2)
    log.link("ready")
    log.link("lost", "connection_lost")
    log.handed_over()
    log.lost()
    log.info("once more", extra={"call_id": "c1"})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "The session of agent 7 (fence 3) was claimed"),
        ("INFO", "The session of agent 7 (fence 3) was taken over with 2 live calls"),
        ("INFO", "The session of agent 7 (fence 3) has its link ready"),
        ("WARNING", "The session of agent 7 (fence 3) has its link lost (connection_lost)"),
        ("INFO", "The session of agent 7 (fence 3) was handed over"),
        ("WARNING", "The session of agent 7 (fence 3) was lost: its lease could not be kept"),
        ("INFO", "once more"),
    ]
    facts = [(record.__dict__["agent_id"], record.__dict__["fence"]) for record in caplog.records]
    assert set(facts) == {(7, 3)}
    assert caplog.records[-1].__dict__["call_id"] == "c1"
    assert json.loads(JSONFormatter().format(caplog.records[-1]))["holder"] == "web1"


def test_the_documented_set_up_and_lines_are_those_of_the_formatter() -> None:
    page = (Path(__file__).parents[1] / "docs" / "observing.md").read_text()
    (block,) = re.findall(r"```python\n(LOGGING = .*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    configurator = logging.config.DictConfigurator(names["LOGGING"])
    assert type(configurator.configure_formatter(names["LOGGING"]["formatters"]["json"])) is JSONFormatter
    assert {name.split(".")[0] for name in names["LOGGING"]["loggers"]} == {"cti_django"}
    lines = [json.loads(each) for each in re.findall(r'^\{"at".*$', page, re.MULTILINE)]
    assert {each["logger"] for each in lines} == {"cti_django.calls", "cti_django.sessions"}
    for each in lines:
        assert list(each)[:4] == list(line()), each
        assert line(each["message"], **dict(list(each.items())[4:])).keys() == each.keys()
