"""Commands as manager actions, and Asterisk's "no" in plain words."""

from dataclasses import replace

import pytest

from cti_django.calls.numbers import NumberPlan, Party, PartyKind
from cti_django.connectors.asterisk import actions
from cti_django.connectors.asterisk.options import Options
from cti_django.connectors.asterisk.rights import capabilities_of, needs
from cti_django.exceptions import CommandRefused
from cti_django.wire.ami import action

PLAN = NumberPlan(region="GB")
ADA = Party(kind=PartyKind.NUMBER, number_raw="+442079460018", number="+442079460018", name="Ada")
BOB = Party(kind=PartyKind.EXTENSION, number_raw="1002", extension="1002", name="Bob")
OPTIONS = Options(dial_context="out", transfer_context="inside", hold_context="park", answer_context="auto")


def test_an_originate_rings_the_agents_phone_first_and_shows_whom_it_is_for():
    options = replace(OPTIONS, variables={"A": "{extension}"}, dial_seconds=12.5)
    asked = actions.originate(options, "1001", "cti-1", ADA)
    assert asked.name == "Originate"
    assert asked.headers == (
        ("Channel", "PJSIP/1001"),
        ("ChannelId", "cti-1"),
        ("Context", "out"),
        ("Exten", "+442079460018"),
        ("Priority", "1"),
        ("CallerID", '"Ada" <+442079460018>'),
        ("Timeout", "12500"),
        ("Async", "true"),
        ("Variable", "A=1001"),
    )


@pytest.mark.parametrize(
    "name", ['a"<b>\\', "x\r\nAction: Originate\r\n\r\n", "\u2028\x85", "\u202eadA", "é" * 200, "a\x00b"]
)
def test_a_name_stays_within_its_quotes_and_its_line(name):
    asked = actions.originate(OPTIONS, "1001", "cti-1", replace(ADA, name=name))
    shown = dict(asked.headers)["CallerID"]
    assert shown.count('"') in (0, 2)
    assert shown.endswith("<+442079460018>")
    assert shown.count("<") == 1
    assert action(asked.name, "1", asked.headers).count(b"\r\n") == len(asked.headers) + 3


@pytest.mark.parametrize(
    ("prefix", "party", "digits", "keys"),
    [
        ("+", ADA, "+442079460018", "442079460018"),
        ("00", ADA, "00442079460018", "00442079460018"),
        ("", ADA, "442079460018", "442079460018"),
        ("00", BOB, "1002", "1002"),
        ("+", Party(kind=PartyKind.EMERGENCY, number_raw="999"), "999", "999"),
    ],
)
def test_numbers_are_written_as_the_dialplan_wants_them(prefix, party, digits, keys):
    options = Options(international_prefix=prefix)
    assert actions.digits_for(party, options) == digits
    assert actions.digits_for(party, options, as_keys=True) == keys


def test_whom_to_call_is_read_and_a_colleagues_name_is_known():
    assert actions.callee("1002", PLAN, "1001", {"1002": "Bob"}) == BOB
    assert actions.callee("020 7946 0018", PLAN, "1001", {}).number == "+442079460018"


@pytest.mark.parametrize("number", ["1001", "", "Dana", "1002\r\nAction: Originate", "1002&1003", "*97", "1002@park"])
def test_what_nobody_can_be_called_with_is_refused(number):
    with pytest.raises(CommandRefused):
        actions.callee(number, PLAN, "1001", {})


def test_a_hold_parks_both_sides_and_they_are_joined_again():
    assert dict(actions.hold(OPTIONS, "PJSIP/mine", "PJSIP/theirs").headers) == {
        "Channel": "PJSIP/theirs",
        "Context": "park",
        "Exten": "caller",
        "Priority": "1",
        "ExtraChannel": "PJSIP/mine",
        "ExtraContext": "park",
        "ExtraExten": "agent",
        "ExtraPriority": "1",
    }
    joined = dict(actions.go_on_together("PJSIP/mine", "PJSIP/theirs").headers)
    assert (joined["Channel1"], joined["Channel2"]) == ("PJSIP/theirs", "PJSIP/mine")


def test_transfers_name_the_context_that_they_end_in():
    asked = (
        actions.transfer(OPTIONS, "PJSIP/mine", "1002"),
        actions.send_to(OPTIONS, "PJSIP/theirs", "1002"),
        actions.consult(OPTIONS, "PJSIP/mine", "1002"),
    )
    assert [each.name for each in asked] == ["BlindTransfer", "Redirect", "Atxfer"]
    assert {dict(each.headers)["Context"] for each in asked} == {"inside"}
    assert dict(actions.answer_by_redirect(OPTIONS, "1001", "PJSIP/theirs").headers)["Context"] == "auto"


def test_queues_pause_and_keys():
    assert ("MemberName", "Ada") in actions.join_queue("sales", "PJSIP/1001", "Ada", is_paused=True).headers
    assert "MemberName" not in dict(actions.join_queue("sales", "PJSIP/1001", "", is_paused=False).headers)
    assert dict(actions.pause("PJSIP/1001", is_paused=True, reason='lu"nch\r\n').headers)["Reason"] == "lunch"
    assert "Reason" not in dict(actions.pause("PJSIP/1001", is_paused=False).headers)
    assert dict(actions.press_key("PJSIP/x", "a").headers)["Digit"] == "A"


def test_do_not_disturb_is_noted_where_the_dialplan_reads_it():
    options = Options(dnd_family="DND")
    on, off = (actions.do_not_disturb(options, "1001", is_on=is_on) for is_on in (True, False))
    assert on == actions.Action("DBPut", (("Family", "DND"), ("Key", "1001"), ("Val", "YES")))
    assert off == actions.Action("DBDel", (("Family", "DND"), ("Key", "1001")))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("No such channel", "no_such_call"),
        ("Channel not found", "no_such_call"),
        ("Channel does not exist: PJSIP/1001-1", "no_such_call"),
        ("Channel specified does not exist", "no_such_call"),
        ("Channel1 does not exist: x", "no_such_call"),
        ("Unable to add interface to queue: No such queue", "no_such_queue"),
        ("Member not dynamic", "fixed_member"),
        ("Interface not found", "not_in_queue"),
        ("Extension does not exist.", "number_refused"),
        ("Transfer not permitted", "not_permitted"),
        ("Transfer failed", "transfer_failed"),
        ("Permission denied", "missing_rights"),
        ("Invalid/unknown command: Foo", "not_capable"),
        ("The moon is full", "refused_by_service"),
        ("", "refused_by_service"),
    ],
)
def test_what_asterisk_refuses_is_said_in_plain_words(message, code):
    refused = actions.refused({"Response": "Error", "Message": message})
    assert refused.code == code
    assert str(refused).endswith(".")
    assert "PJSIP" not in str(refused)


def test_asterisks_own_words_are_capped_and_hold_no_control_characters():
    sentence = str(actions.refused({"Message": "x" * 500 + "\x1b[31m"}))
    assert len(sentence) < 200
    assert sentence.isprintable()


# -- rights ---------------------------------------------------------------------------------------------------


def names(options, commands):
    return {capability.value for capability in capabilities_of(options, commands)}


def test_capabilities_are_what_the_manager_may_ask_for():
    assert names(Options(), ()) == set()
    assert names(Options(), {"Originate"}) == {"dial"}
    assert names(Options(), {"Hangup"}) == {"hang_up", "refuse", "withdraw"}
    assert names(Options(), {"Redirect"}) == {"deflect"}
    assert names(Options(), {"Redirect", "BlindTransfer", "Hangup"}) >= {"transfer", "transfer_held", "deflect"}
    assert names(Options(), {"Atxfer", "Hangup"}) == names(Options(), {"Hangup"})
    assert "consult" in names(Options(), {"Atxfer", "CancelAtxfer", "Hangup"})
    assert names(Options(), {"PlayDTMF", "QueuePause", "ExtensionStateList"}) == {"dtmf", "pause", "directory"}


def test_some_need_an_option_too():
    everything = {command for need in needs(Options(answer="talk")) for command in need.commands} | {"Redirect"}
    without = names(Options(), everything)
    assert without.isdisjoint({"hold", "answer", "queues", "dnd"})
    full = Options(hold_context="park", answer="redirect", answer_context="a", queues=("sales",), dnd_family="DND")
    assert names(full, everything) - without == {"hold", "answer", "queues", "dnd"}


def test_an_answer_by_notify_needs_the_right_system():
    (need,) = (need for need in needs(Options(answer="talk")) if need.capability == "answer")
    assert (need.commands, need.right) == ({"PJSIPNotify"}, "system")
