"""Bodies and shapes: what is posted, as fields, as a report."""

import json
from random import Random

import pytest

from cti_django.calls.states import Direction
from cti_django.connectors.webhook.bodies import MAX_BODY, read_fields
from cti_django.connectors.webhook.shapes import SHAPES, Report, Stage, name_of, read_report
from cti_django.exceptions import WebhookError

FORM = "application/x-www-form-urlencoded"
SIPGATE_NEW_CALL = (
    b"event=newCall&from=492111234567&to=4915791234567&direction=in&callId=123456&user[]=Alice&user[]=Bob+B"
    b"&userId[]=w0&userId[]=w1&fullUserId[]=1234567w0&fullUserId[]=1234567w1&origCallId=99&diversion=492110"
)
SIPGATE_ANSWER = (
    b"event=answer&callId=123456&user=Alice&userId=w0&fullUserId=1234567w0&from=492111234567&to=4915791234567"
    b"&direction=in&answeringNumber=21199999999"
)
SIPGATE_HANGUP = b"event=hangup&cause=normalClearing&callId=123456&from=492111234567&to=4915791234567&direction=in"
ZAMMAD = {"event": "newCall", "from": "493023125741", "to": "492214710334", "direction": "in", "callId": "307fa962"}
GENERIC = {"event": "ringing", "call_id": 17, "direction": "inbound", "from": "+442079460018", "agent": ["Alice", 4]}


def reported(shape, body, content_type=FORM):
    return read_report(shape, read_fields(content_type, body))


def as_json(shape, **fields):
    return reported(shape, json.dumps(fields).encode(), "application/json")


def as_parts(*pairs):
    parts = [f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs]
    return "".join(parts).encode() + b"--xyz--\r\n"


def test_a_new_call_of_sipgate_names_everybody_whom_it_rings():
    assert reported("sipgate", SIPGATE_NEW_CALL) == Report(
        stage=Stage.RINGING,
        provider_call_id="123456",
        original_call_id="99",
        direction=Direction.INBOUND,
        caller="492111234567",
        callee="4915791234567",
        names=frozenset({"alice", "bob b", "w0", "w1", "1234567w0", "1234567w1", "4915791234567"}),
        user_count=2,
    )


def test_an_answer_of_sipgate_names_who_has_answered_and_where():
    report = reported("sipgate", SIPGATE_ANSWER)
    assert (report.stage, report.answerers) == (Stage.ANSWERED, {"alice", "w0", "1234567w0"})
    assert report.answering == {"21199999999"}
    assert report.answerers | report.answering < report.names


def test_an_end_tells_its_cause_and_who_had_answered_if_anybody_had():
    assert reported("sipgate", SIPGATE_HANGUP).cause == "normalClearing"
    talked = as_json("zammad", **{**ZAMMAD, "event": "hangup", "user": "Emma", "cause": "normalClearing"})
    missed = as_json("zammad", **{**ZAMMAD, "event": "hangup", "user": "Emma", "cause": "cancel"})
    assert (talked.answerers, missed.answerers) == ({"emma"}, frozenset())


@pytest.mark.parametrize("users", ["Emma Taylor", ["Emma Taylor"], [" emma  TAYLOR "]])
def test_zammad_names_one_user_or_several(users):
    assert as_json("zammad", **ZAMMAD, user=users).names == {"emma taylor", "492214710334"}


def test_an_answer_that_names_several_users_does_not_say_who_it_was():
    both = as_json("zammad", **{**ZAMMAD, "event": "answer"}, user=["Emma", "Christopher"], answeringNumber="emma@x.y")
    assert (both.answerers, both.answering) == (frozenset(), {"emma@x.y"})


def test_a_form_in_parts_says_the_same_as_any_other():
    pairs = [*ZAMMAD.items(), ("user[]", "Emma Taylor"), ("user[]", "Christopher")]
    parts = reported("zammad", as_parts(*pairs), "multipart/form-data; boundary=xyz")
    assert parts == as_json("zammad", **ZAMMAD, user=["Emma Taylor", "Christopher"])
    file = b'--xyz\r\nContent-Disposition: form-data; name="user"; filename="a"\r\n\r\nBob\r\n'
    assert reported("zammad", file + as_parts(*pairs), 'multipart/form-data; boundary="xyz"') == parts


def test_the_generic_shape_knows_holding_and_names():
    report = as_json("generic", **GENERIC, from_name="Dana")
    assert (report.provider_call_id, report.names, report.user_count) == ("17", {"alice", "4"}, 2)
    assert report.caller_name == "Dana"
    assert as_json("generic", event="held", call_id="17").stage is Stage.HELD
    assert as_json("generic", event="answered", call_id="17", agent="Alice").answerers == {"alice"}
    both = as_json("generic", event="answered", call_id="17", agent=["Alice", "Bob"], answered_by="Bob")
    assert both.answerers == {"bob"}


def test_outbound_it_is_the_caller_who_is_ours():
    assert "492111234567" in reported("sipgate", SIPGATE_NEW_CALL.replace(b"direction=in", b"direction=out")).names


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_that_says_nothing_of_a_call_is_none(shape):
    assert as_json(shape, event="dtmf", dtmf="1") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"callId=1",
        b"event=newCall&direction=in",
        b"event=newCall&callId=1",
        b"event=newCall&callId=1&direction=up",
    ],
)
def test_what_a_report_needs_must_be_there(body):
    with pytest.raises(WebhookError):
        reported("sipgate", body)


def test_a_long_id_is_shortened_to_the_same_one_each_time():
    one, other = ("x" * 200, "x" * 199 + "y")
    ids = [as_json("generic", event="held", call_id=each).provider_call_id for each in (one, one, other)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) <= 100
    with pytest.raises(WebhookError):
        as_json("generic", event="held", call_id="x" * 300)


def test_a_caller_with_a_long_name_still_calls():
    report = as_json("generic", **{**GENERIC, "from": "1" * 500, "from_name": "x" * 500}, cause="y" * 500)
    assert (len(report.caller), len(report.caller_name), len(report.cause)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("one", "other"), [("+49 211 1234567", "492111234567"), ("0049211123", "49211123"), (" Alice  B ", "ALICE B")]
)
def test_names_and_numbers_are_compared_however_they_are_written(one, other):
    assert name_of(one) == name_of(other)


def test_json_is_taken_as_the_texts_and_numbers_that_it_holds():
    body = b'{"a": 1e999, "b": 123456789012345678901234567890, "c": null, "d": {"e": 1}, "f": [1, "2", [3]], "g h": 1}'
    assert read_fields("application/json; charset=utf-8", body) == {
        "a": ("1e999",),
        "b": ("123456789012345678901234567890",),
        "f": ("1", "2"),
    }


def test_without_a_content_type_the_first_letter_tells():
    assert read_fields("", b' {"event": "x"}') == read_fields("", b"event=x")


@pytest.mark.parametrize("content_type", ["application/json", FORM, "multipart/form-data; boundary=x"])
def test_a_body_may_be_64_kib_and_no_more(content_type):
    with pytest.raises(WebhookError, match="too large"):
        read_fields(content_type, b"x" * (MAX_BODY + 1))


def test_control_characters_and_half_characters_are_left_out():
    assert read_fields("application/json", b'{"from": "a\\u0000b\\r\\n\\ud800c"}') == {"from": ("abc",)}


def test_a_hundred_thousand_damaged_bodies_are_reports_or_typed_errors():
    random = Random(31)
    seeds = [
        ("sipgate", FORM, SIPGATE_NEW_CALL),
        ("sipgate", FORM, SIPGATE_ANSWER),
        ("sipgate", FORM, SIPGATE_HANGUP),
        ("zammad", "application/json", json.dumps({**ZAMMAD, "user": ["Emma", "Bob"]}).encode()),
        ("zammad", "multipart/form-data; boundary=xyz", as_parts(*ZAMMAD.items())),
        ("generic", "application/json", json.dumps(GENERIC).encode()),
    ]
    pieces = (
        b'&|=|%|%00|%ff|[]|"|\\u0000|\\ud800|{|}|[|[[[[[[|,|:|\x00|\xff|\r\n|--xyz|callId=|event=answer|1e9|-1|null'
    )
    understood = 0
    for _ in range(100_000):
        shape, content_type, body = random.choice(seeds)
        data = bytearray(body)
        for _each in range(random.choice((1, 1, 2, 5))):
            at = random.randrange(len(data) + 1)
            match random.randrange(4):
                case 0:
                    data[at:at] = random.choice(pieces.split(b"|")) if random.random() < 0.3 else b"&"
                case 1:
                    data[at : at + 1] = bytes([random.randrange(256)])
                case 2:
                    del data[at : at + random.choice((1, 2, 20))]
                case _:
                    data[at:at] = data[: random.randrange(60)]
        try:
            report = reported(shape, bytes(data), content_type)
        except WebhookError:
            continue
        understood += 1
        if report is not None:
            assert 0 < len(report.provider_call_id) <= 100
            repr(report).encode()
    assert 20_000 < understood < 95_000


def test_a_generic_delivery_without_an_event_is_told_so():
    with pytest.raises(WebhookError, match="no event"):
        read_report("generic", {"call_id": ("1",), "evnt": ("ringing",)})
    assert read_report("generic", {"call_id": ("1",), "event": ("voicemail_left",)}) is None
