"""The connector against a service that does what each test says."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from cti_django.calls.commands import (
    Answer,
    Capability,
    Dial,
    HangUp,
    Hold,
    Link,
    Logout,
    Resume,
    Subscribe,
    Transfer,
    TwoFactorCode,
)
from cti_django.calls.events import Call
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Credentials
from cti_django.connectors.transports import AT_ONCE, Network
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused

from .fake_service import HTML, ME, TOKEN, dialog, document
from .listener import Listener

DANA = Party(kind=PartyKind.NUMBER, number_raw="442079460018", number="+442079460018")
ALICE = Party(kind=PartyKind.EXTENSION, number_raw="10031", extension="10031")
CALL = Call(
    call_id="ours",
    provider_call_id="7310025",
    leg_id="7310025-1",
    state=CallState.CONNECTED,
    direction=Direction.INBOUND,
    source=DANA,
    destination=ALICE,
)


COMMAND_NUMBERS = itertools.count()


def cid():
    return f"command-{next(COMMAND_NUMBERS)}"


# -- logging in -----------------------------------------------------------------------------------------------------


async def test_a_log_in_says_logged_in_subscribed_and_ready(ready, service):
    _connector, listener = await ready()
    await listener.until_said("Snapshot")
    assert listener.names() == ["LOGGED_IN", "SUBSCRIBED", "READY", "Snapshot"]
    assert listener.said[1].uri == "user:482910"
    assert service.requests[:2] == [
        ("POST", "/login", {"email": "alice@example.com", "password": "sandbox"}, ""),
        ("GET", "/me", None, TOKEN),
    ]


async def test_a_notify_may_overtake_the_answer_to_the_subscribe(ready, service):
    service.notify_first = True
    service.first_documents["482910"] = document(dialog(), version=0, state="full")
    _connector, listener = await ready()
    assert listener.names() == ["LOGGED_IN", "Snapshot", "SUBSCRIBED", "READY"]
    assert listener.said[1].legs[0].provider_call_id == "7310025"


async def test_an_api_key_is_the_token(ready, service):
    await ready(Credentials(api_key="482910:key"))
    assert service.requests[0] == ("GET", "/me", None, "482910:key")


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_log_in_tells_the_services_own_sentence(connect, service, status):
    service.answers["POST", "/login"] = (status, {"message": "Invalid <b>e-mail</b> or password.", "errors": []})
    with pytest.raises(LoginRefused, match=r"^Invalid e-mail or password\.$"):
        await connect().open()


async def test_a_refused_api_key_is_a_refused_log_in(connect, service):
    service.answers["GET", "/me"] = (401, {})
    with pytest.raises(LoginRefused, match="API key"):
        await connect(Credentials(api_key="nonsense")).open()


async def test_a_key_with_a_line_break_never_reaches_the_network(connect, service):
    with pytest.raises(LoginRefused, match="characters"):
        await connect(Credentials(api_key="key\r\nX-Evil: 1")).open()
    assert service.requests == []


async def test_without_credentials_nothing_is_sent(connect, service):
    with pytest.raises(LoginRefused, match="needed"):
        await connect(Credentials(username="alice@example.com")).open()
    assert service.requests == []


@pytest.mark.parametrize(
    ("path", "answer", "sentence"),
    [
        (("POST", "/login"), HTML, "a web page where an answer"),
        (("POST", "/login"), (200, ""), "empty answer"),
        (("POST", "/login"), (200, {"user_id": 482910}), "gave no token"),
        (("POST", "/login"), (200, [1, 2]), "another shape"),
        (("POST", "/login"), (200, {"data": "x" * 1_100_000}), "too large"),
        (("POST", "/login"), (302, ""), "unexpected status 302"),
        (("POST", "/login"), (503, HTML[1]), "not available now"),
        (("POST", "/login"), (429, {"message": "Slow down."}), "Slow down"),
        (("POST", "/login"), (404, HTML[1]), "status 404"),
        (("POST", "/login"), "drop", "was lost"),
        (("GET", "/me"), HTML, "a web page where an answer"),
        (("GET", "/me"), (200, {"data": {**ME, "sip_domain": "x/../y"}}), "SIP domain"),
        (("GET", "/me"), (200, {"data": {**ME, "sip_password": None}}), "SIP password"),
        (("GET", "/me"), (200, {"data": {**ME, "id": {"a": 1}}}), "who has logged in"),
    ],
)
async def test_a_service_that_answers_nonsense_is_a_lost_line_with_a_plain_sentence(
    connect, service, path, answer, sentence
):
    service.answers[path] = answer
    with pytest.raises(ConnectionLost, match=sentence):
        await connect().open()


async def test_a_service_that_is_not_there_is_a_lost_line(connect):
    with pytest.raises(ConnectionLost, match=r"^127\.0\.0\.1:1 cannot be reached\.$"):
        await connect(api_url="http://127.0.0.1:1/api").open()


async def test_a_sip_server_that_is_not_there_is_a_lost_line_behind_a_log_in_that_went_well(connect):
    connector = connect(sip_url="ws://127.0.0.1:1/")
    await connector.open()
    notifications = connector.notifications()
    assert (await anext(notifications)).name == "LOGGED_IN"
    with pytest.raises(ConnectionLost, match=r"^127\.0\.0\.1:1 cannot be reached\.$"):
        await anext(notifications)


async def test_an_answer_that_does_not_come_is_a_lost_line(connect, service):
    async def never():
        await asyncio.Event().wait()

    service.answers["POST", "/login"] = never
    with pytest.raises(ConnectionLost, match="did not answer in time"):
        await connect(request_seconds=0.1).open()


# -- the second factor ----------------------------------------------------------------------------------------------


async def test_the_second_factor_is_asked_for_and_then_all_goes_on(connect, service):
    service.answers["POST", "/login"] = (200, {"nonce": "n-1"})
    connector = connect()
    await connector.open()
    listener = Listener(connector)
    asked = await listener.until_said("TWO_FACTOR_AUTH")
    assert asked.nonce == "n-1"
    await connector.execute(TwoFactorCode(command_id=cid(), code="123456", nonce=""))
    await listener.until_said("READY")
    assert listener.names()[:4] == ["TWO_FACTOR_AUTH", "LOGGED_IN", "SUBSCRIBED", "READY"]
    assert ("POST", "/login2fa", {"code": "123456", "nonce": "n-1"}, "") in service.requests


async def test_a_wrong_code_is_an_error_and_may_be_tried_again(connect, service):
    service.answers["POST", "/login"] = (200, {"nonce": "n-1"})
    service.answers["POST", "/login2fa"] = [
        (401, {"message": "Invalid code."}),
        (200, {"user_id": 482910, "user_token": TOKEN}),
    ]
    connector = connect()
    await connector.open()
    listener = Listener(connector)
    with pytest.raises(CommandRefused, match=r"^Invalid code\.$") as refused:
        await connector.execute(TwoFactorCode(command_id=cid(), code="000000", nonce=""))
    assert refused.value.event_name == "ERROR"
    await connector.execute(TwoFactorCode(command_id=cid(), code="123456", nonce=""))
    await listener.until_said("READY")


async def test_a_code_that_nobody_asked_for_is_no_use(ready):
    connector, _listener = await ready()
    with pytest.raises(CommandRefused, match="No code"):
        await connector.execute(TwoFactorCode(command_id=cid(), code="123456", nonce=""))


async def test_a_line_that_fails_after_the_code_ends_the_notifications(connect, service):
    service.answers["POST", "/login"] = (200, {"nonce": "n-1"})
    connector = connect(sip_url="ws://127.0.0.1:1/")
    await connector.open()
    listener = Listener(connector)
    await connector.execute(TwoFactorCode(command_id=cid(), code="123456", nonce=""))
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, ConnectionLost)


# -- the line -------------------------------------------------------------------------------------------------------


async def test_a_lost_line_ends_the_notifications_and_the_token_serves_again(ready, service):
    connector, listener = await ready()
    await connector.execute(Subscribe(command_id=cid(), node="user:10032"))
    await listener.until_said("SUBSCRIBED", 2)
    await service.line.socket.close()
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, ConnectionLost)
    await connector.close()
    service.requests.clear()
    await connector.open()
    listener = Listener(connector)
    await listener.until_said("SUBSCRIBED", 2)
    assert [said.uri for said in listener.said if getattr(said, "uri", "")] == ["user:482910", "user:10032"]
    assert service.paths() == ["GET /me"]


async def test_a_token_that_is_refused_means_a_new_log_in(ready, service):
    connector, _listener = await ready()
    await connector.close()
    service.requests.clear()
    service.answers["GET", "/me"] = [(401, {}), (200, {"data": ME})]
    await connector.open()
    assert service.paths() == ["GET /me", "POST /login", "GET /me"]


async def test_a_refused_subscription_is_a_refused_log_in(connect, service):
    service.subscribe_statuses["482910"] = 403
    connector = connect()
    await connector.open()
    listener = Listener(connector)
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, LoginRefused)
    assert "403" in str(listener.error)
    assert listener.names() == ["LOGGED_IN"]


async def test_a_silent_sip_server_never_leads_to_ready(connect, service):
    service.silent_nodes.add("482910")
    connector = connect()
    await connector.open()
    listener = Listener(connector)
    await service.until(lambda: service.subscribed)
    assert listener.names() in ([], ["LOGGED_IN"])


async def test_rejected_for_good_is_a_refused_log_in(ready, service):
    _connector, listener = await ready()
    await service.line.notify("482910", state="terminated;reason=rejected")
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, LoginRefused)


async def test_deactivated_means_to_subscribe_anew_and_no_second_ready(ready, service):
    _connector, listener = await ready()
    await service.line.notify("482910", state="terminated;reason=deactivated")
    await service.until(lambda: len(service.subscribed) == 2)
    await listener.until_said("Snapshot", 2)
    assert listener.names().count("READY") == 1
    assert not listener.is_over


async def test_probation_waits_and_says_so(ready, service):
    _connector, listener = await ready()
    await service.line.notify("482910", state="terminated;reason=probation;retry-after=30")
    error = await listener.until_said("ERROR")
    assert "30 seconds" in error.message
    assert len(service.subscribed) == 1


async def test_a_missed_version_asks_for_a_full_state(ready, service):
    _connector, listener = await ready()
    await service.line.notify("482910", document(dialog(), version=1))
    await service.line.notify("482910", document(dialog(state="confirmed"), version=4))
    await service.until(lambda: ("482910", True) in service.subscribed)
    await listener.until_said("Snapshot", 2)
    assert listener.names()[-3:] == ["RINGING", "CONNECTED", "Snapshot"]


async def test_a_refresh_asks_for_ones_own_calls_anew_whatever_their_version(ready, service):
    connector, listener = await ready()
    service.first_documents["482910"] = document(dialog(state="confirmed"), version=0, state="full")
    await connector.refresh()
    await listener.until_said("Snapshot", 2)
    assert ("482910", True) in service.subscribed
    assert [leg.state for leg in listener.said[-1].legs] == [CallState.CONNECTED]


async def test_without_a_line_a_refresh_does_nothing(connect, service):
    await connect().refresh()
    assert service.requests == []


async def test_repeated_documents_are_dropped(ready, service):
    _connector, listener = await ready()
    for version in (1, 1, 1, 2, 2):
        state = "early" if version == 1 else "confirmed"
        await service.line.notify("482910", document(dialog(state=state), version=version))
    await listener.until_said("CONNECTED")
    assert [name for name in listener.names() if name in ("RINGING", "CONNECTED")] == ["RINGING", "CONNECTED"]


async def test_an_empty_first_notify_means_that_there_are_no_calls(connect, service):
    service.first_documents["482910"] = ""
    connector = connect()
    await connector.open()
    listener = Listener(connector)
    await listener.until_said("Snapshot")
    assert listener.said[-1].legs == ()


async def test_binary_frames_are_read_like_text(ready, service):
    _connector, listener = await ready()
    await service.line.notify("482910", document(dialog(), version=1), binary=True)
    await listener.until_said("RINGING")


BOMB = (
    '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="&b;"/>'
)


@pytest.mark.parametrize(
    "body",
    [
        "<dialog-info",
        "no XML at all",
        BOMB,
        "<a>" * 500 + "</a>" * 500,
        document("x" * 300_000, version=1),
        "<other/>",
    ],
)
async def test_hostile_documents_are_one_error_and_the_session_lives(ready, service, body):
    _connector, listener = await ready()
    for _ in range(20):
        await service.line.notify("482910", body)
    await service.line.notify("482910", document(dialog(), version=1))
    await listener.until_said("RINGING")
    assert listener.names().count("ERROR") == 1
    assert not listener.is_over


async def test_rubbish_frames_are_one_error_and_the_session_lives(ready, service):
    _connector, listener = await ready()
    for frame in (b"", b"\x00" * 50, b"NOTIFY\r\r\n\n", b"SIP/2.0 200 OK\r\n\r\n", b"{}", b"A" * 300_000) * 5:
        await service.line.send(frame)
    await service.line.notify("482910", document(dialog(), version=1))
    await listener.until_said("RINGING")
    assert listener.names().count("ERROR") == 1
    assert not listener.is_over


async def test_a_frame_beyond_all_bounds_loses_the_line_with_a_plain_sentence(ready, service):
    _connector, listener = await ready()
    await service.line.send(b"A" * 3_000_000)
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, ConnectionLost)
    assert "too large" in str(listener.error)


# -- further nodes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "sip"), [("user:10032", "10032"), ("ivr:12", "ivr-12"), ("queue:17", "queue-17"), ("conf:31", "conf-31")]
)
async def test_further_nodes_are_watched_under_their_own_name(ready, service, node, sip):
    connector, listener = await ready()
    await connector.execute(Subscribe(command_id=cid(), node=node))
    await listener.until_said("SUBSCRIBED", 2)
    await service.line.notify(sip, document(dialog(), version=1))
    leg = await listener.until_said("RINGING")
    assert leg.node == node


@pytest.mark.parametrize(
    "node", ["", "user", "user:1", "user:012", "fax:12", "user:12 ", "ivr-12", "user:1é", "queue:"]
)
async def test_what_is_no_node_is_refused(ready, service, node):
    connector, _listener = await ready()
    with pytest.raises(CommandRefused) as refused:
        await connector.execute(Subscribe(command_id=cid(), node=node))
    assert refused.value.event_name == "ERROR"
    assert len(service.subscribed) == 1


async def test_a_refused_further_node_is_an_error_and_the_session_lives(ready, service):
    connector, listener = await ready()
    service.subscribe_statuses["10032"] = 403
    await connector.execute(Subscribe(command_id=cid(), node="user:10032"))
    error = await listener.until_said("ERROR")
    assert "user:10032" in error.message
    assert not listener.is_over
    del service.subscribe_statuses["10032"]
    await connector.execute(Subscribe(command_id=cid(), node="user:10032"))
    await listener.until_said("SUBSCRIBED", 2)


# -- keep-alive and the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_service_that_is_busy_or_restarts_at_a_ping_logs_nobody_out(ready, service, status):
    service.answers["GET", "/ping"] = [(status, {}), (status, {}), (200, {})]
    _connector, listener = await ready(ping_seconds=0.05)
    await service.until(lambda: service.paths().count("GET /ping") >= 4)
    assert not listener.is_over
    assert [name for name in listener.names() if name in ("ERROR", "LOGGED_OUT")] == ["ERROR"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_ping_is_one_logged_out_and_then_nothing(ready, service, status):
    service.answers["GET", "/ping"] = (status, {})
    connector, listener = await ready(ping_seconds=0.05)
    await listener.until(lambda heard: heard.is_over)
    assert listener.error is None
    assert listener.names().count("LOGGED_OUT") == 1
    assert listener.names()[-1] == "LOGGED_OUT"
    await connector.close()


async def test_a_ping_without_an_answer_is_a_lost_line(ready, service):
    service.answers["GET", "/ping"] = "drop"
    _connector, listener = await ready(ping_seconds=0.05)
    await listener.until(lambda heard: heard.is_over)
    assert isinstance(listener.error, ConnectionLost)


async def test_a_ping_answered_by_a_web_page_is_one_error_and_the_session_lives(ready, service):
    service.answers["GET", "/ping"] = HTML
    _connector, listener = await ready(ping_seconds=0.05)
    await service.until(lambda: service.paths().count("GET /ping") >= 4)
    assert listener.names().count("ERROR") == 1
    assert not listener.is_over


async def test_a_log_out_tells_the_service_and_ends(ready, service):
    connector, listener = await ready()
    await connector.execute(Logout(command_id=cid()))
    await listener.until(lambda heard: heard.is_over)
    assert listener.names()[-1] == "LOGGED_OUT"
    assert ("POST", "/logout", {}, TOKEN) in service.requests


async def test_a_log_out_that_the_service_ignores_is_a_log_out(ready, service):
    service.answers["POST", "/logout"] = "drop"
    connector, listener = await ready()
    await connector.execute(Logout(command_id=cid()))
    await listener.until(lambda heard: heard.is_over)
    assert listener.names()[-1] == "LOGGED_OUT"


async def test_who_has_logged_out_while_the_line_was_lost_is_not_logged_in_again(ready, service):
    connector, _listener = await ready()
    await connector.close()
    await connector.execute(Logout(command_id=cid()))
    service.requests.clear()
    await connector.open()
    listener = Listener(connector)
    await listener.until(lambda heard: heard.is_over)
    assert listener.names() == ["LOGGED_OUT"]
    assert service.requests == []


async def test_who_logs_out_while_waiting_for_her_turn_is_not_logged_in(connect, service):
    connector = connect()
    turn = Network.shared("").turn(service.options["api_url"])
    for _ in range(AT_ONCE):
        await turn.acquire()
    opening = asyncio.create_task(connector.open())
    await asyncio.sleep(0)
    await connector.execute(Logout(command_id=cid()))
    turn.release()
    await asyncio.wait_for(opening, 5)
    listener = Listener(connector)
    await listener.until(lambda heard: heard.is_over)
    assert listener.names() == ["LOGGED_OUT"]
    assert service.requests == []


async def test_log_ins_wait_for_their_turn_and_the_wait_is_not_counted_against_them(connect, service, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.transports.AT_ONCE", 1)
    under_way = most = 0

    async def slow():
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        under_way -= 1
        return 200, {"user_id": 482910, "user_token": TOKEN}

    service.answers["POST", "/login"] = slow
    connectors = [connect(request_seconds=0.3) for _ in range(5)]
    await asyncio.gather(*(connector.open() for connector in connectors))
    assert most == 1
    for connector in connectors:
        await Listener(connector).until_said("READY")


async def test_nothing_is_left_behind_after_close(ready, service):
    before = asyncio.all_tasks()
    connector, listener = await ready()
    await connector.close()
    await connector.close()
    await listener.until(lambda heard: heard.is_over)
    await service.until(lambda: service.line.socket.closed)
    left = [task for task in asyncio.all_tasks() - before if "voipstudio" in repr(task.get_coro())]
    assert left == []
    assert Network.shared()._session is None


# -- commands -------------------------------------------------------------------------------------------------------


async def test_a_dial_says_started_at_once_and_accepted_with_the_call_id(ready, service):
    service.answers["POST", "/calls"] = (200, {"data": {"id": 7310025}})
    connector, listener = await ready()
    await connector.execute(Dial(command_id="d1", number="020 7946 0018"))
    accepted = await listener.until_said("ACCEPTED")
    assert accepted.provider_call_id == "7310025"
    assert accepted.command_id == "d1"
    assert ("POST", "/calls", {"to": "442079460018"}, TOKEN) in service.requests
    assert [name for name in listener.names() if name in ("STARTED", "ACCEPTED")] == ["STARTED", "ACCEPTED"]


@pytest.mark.parametrize("number", ["10031", " 100 31 ", "482910", "", "anonymous", "+44\r\nX: 1", "0"])
async def test_numbers_that_cannot_be_dialled_are_refused_before_anything_is_said(ready, service, number):
    connector, listener = await ready()
    said = len(listener.said)
    with pytest.raises(CommandRefused) as refused:
        await connector.execute(Dial(command_id=cid(), number=number))
    assert refused.value.event_name == "ERROR"
    assert "STARTED" not in listener.names()[said:]
    assert "POST /calls" not in service.paths()


async def test_ones_own_extension_is_named_as_such(ready):
    connector, _listener = await ready()
    with pytest.raises(CommandRefused, match=r"^You cannot call yourself\.$"):
        await connector.execute(Dial(command_id=cid(), number="10031"))


async def test_ones_own_extension_is_learnt_from_ones_own_calls(ready, service):
    service.answers["GET", "/me"] = (200, {"data": {key: ME[key] for key in ("id", "sip_password", "sip_domain")}})
    connector, listener = await ready()
    await service.line.notify("482910", document(dialog(direction="initiator"), version=1))
    await listener.until_said("RINGING")
    with pytest.raises(CommandRefused, match="yourself"):
        await connector.execute(Dial(command_id=cid(), number="10031"))


async def test_a_number_that_the_service_refuses_fails_with_its_sentence_and_an_error(ready, service):
    service.answers["POST", "/calls"] = (
        400,
        {"message": "Validation failed.", "errors": [{"field": "to", "message": "This number is barred."}]},
    )
    connector, listener = await ready()
    await connector.execute(Dial(command_id=cid(), number="+442079460018"))
    error = await listener.until_said("ERROR")
    failed = await listener.until_said("FAILED")
    assert error.message == failed.cause == "Validation failed. This number is barred."


async def test_no_phone_at_all_is_told_from_one_that_declines(ready, service, monkeypatch):
    service.answers["POST", "/calls"] = (404, {"message": "No endpoint."})
    connector, listener = await ready()
    await connector.execute(Dial(command_id=cid(), number="10032"))
    failed = await listener.until_said("FAILED")
    assert failed.cause == "No phone of yours is registered."
    monkeypatch.setattr("cti_django.connectors.voipstudio.dialler.AT_ONCE_SECONDS", 0.0)
    await connector.execute(Dial(command_id=cid(), number="10032"))
    failed = await listener.until_said("FAILED", 2)
    assert failed.cause == "Your phone declined or did not answer."
    assert "ERROR" not in listener.names()


async def test_a_phone_that_rings_for_too_long_has_not_answered(ready, service):
    async def never():
        await asyncio.Event().wait()

    service.answers["POST", "/calls"] = never
    connector, listener = await ready(dial_seconds=0.1)
    await connector.execute(Dial(command_id=cid(), number="10032"))
    failed = await listener.until_said("FAILED")
    assert failed.cause == "Your phone declined or did not answer."


async def test_a_dial_that_is_answered_with_nonsense_fails_with_an_error(ready, service):
    service.answers["POST", "/calls"] = HTML
    connector, listener = await ready()
    await connector.execute(Dial(command_id=cid(), number="10032"))
    error = await listener.until_said("ERROR")
    assert "web page" in error.message
    assert "FAILED" in listener.names()


async def test_a_dial_that_still_waits_is_in_doubt_when_the_line_is_lost(ready, service):
    async def never():
        await asyncio.Event().wait()

    service.answers["POST", "/calls"] = never
    connector, listener = await ready()
    await connector.execute(Dial(command_id=cid(), number="10032"))
    await service.until(lambda: "POST /calls" in service.paths())
    await service.line.socket.close()
    await listener.until(lambda heard: heard.is_over)
    assert listener.names()[-1] == "DOUBTFUL"
    assert isinstance(listener.error, ConnectionLost)


async def test_a_dial_whose_answer_is_lost_on_the_way_is_in_doubt(ready, service):
    service.answers["POST", "/calls"] = "drop"
    connector, listener = await ready()
    await connector.execute(Dial(command_id=cid(), number="10032"))
    info = await listener.until_said("INFO")
    assert (info.code, "DOUBTFUL" in listener.names(), "FAILED" in listener.names()) == ("in_doubt", True, False)


@pytest.mark.parametrize(
    ("command", "method", "body"),
    [
        (Answer(command_id="a", call_id="ours"), "PATCH", {"state": "CONNECTED"}),
        (HangUp(command_id="a", call_id="ours"), "DELETE", None),
        (Hold(command_id="a", call_id="ours"), "PATCH", {"state": "ON_HOLD"}),
        (Resume(command_id="a", call_id="ours"), "PATCH", {"state": "CONNECTED"}),
        (Transfer(command_id="a", call_id="ours", number="10032"), "PATCH", {"dst": "10032"}),
        (Transfer(command_id="a", call_id="ours", number="020 7946 0099"), "PATCH", {"dst": "442079460099"}),
        (
            Link(command_id="a", call_id="ours", url="https://crm.example/1?a=b", text="Dana"),
            "PATCH",
            {"action_url": "https://crm.example/1?a=b", "action_text": "Dana"},
        ),
    ],
)
async def test_each_command_is_its_request(ready, service, command, method, body):
    service.answers[method, "/calls/7310025"] = (200, {})
    connector, _listener = await ready()
    await connector.execute(command, CALL)
    assert service.requests[-1] == (method, "/calls/7310025", body, TOKEN)


@pytest.mark.parametrize(
    ("answer", "event_name", "sentence"),
    [
        ((404, {}), "INFO", "That call is over."),
        ((409, {"message": "Not now."}), "INFO", "Not now."),
        ((403, {"message": "<i>No</i>"}), "ERROR", "No"),
        ((500, "<html>"), "ERROR", "The telephone service refused that (status 500)."),
        (HTML, "ERROR", "The telephone service sent a web page where an answer was expected."),
    ],
)
async def test_a_refused_command_tells_why(ready, service, answer, event_name, sentence):
    service.answers["DELETE", "/calls/7310025"] = answer
    connector, listener = await ready()
    with pytest.raises(CommandRefused) as refused:
        await connector.execute(HangUp(command_id=cid(), call_id="ours"), CALL)
    assert (refused.value.event_name, str(refused.value)) == (event_name, sentence)
    assert not listener.is_over


async def test_a_service_that_refuses_hold_is_not_asked_again(ready, service):
    service.answers["PATCH", "/calls/7310025"] = (422, {"message": "Unknown state."})
    connector, _listener = await ready()
    assert Capability.HOLD in connector.capabilities
    with pytest.raises(CommandRefused, match="Use the hold key") as refused:
        await connector.execute(Hold(command_id=cid(), call_id="ours"), CALL)
    assert refused.value.event_name == "INFO"
    assert Capability.HOLD not in connector.capabilities
    await connector.open()
    assert Capability.HOLD not in connector.capabilities


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x/", "//crm.example/", "https://", "http://[x"])
async def test_only_web_links_are_shown(ready, service, url):
    connector, _listener = await ready()
    with pytest.raises(CommandRefused):
        await connector.execute(Link(command_id=cid(), call_id="ours", url=url, text=""), CALL)


@pytest.mark.parametrize("provider_call_id", ["", "..", "7310025/../../me", "a?b", "x" * 500])
async def test_a_call_id_from_the_wire_cannot_name_another_resource(ready, service, provider_call_id):
    connector, _listener = await ready()
    sent = len(service.requests)
    with pytest.raises(CommandRefused):
        await connector.execute(
            HangUp(command_id=cid(), call_id="ours"), replace(CALL, provider_call_id=provider_call_id)
        )
    assert len(service.requests) == sent


async def test_a_transfer_to_oneself_is_refused(ready):
    connector, _listener = await ready()
    with pytest.raises(CommandRefused, match="yourself"):
        await connector.execute(Transfer(command_id=cid(), call_id="ours", number="10031"), CALL)


async def test_the_directory_lists_the_colleagues(ready):
    connector, _listener = await ready()
    assert await connector.directory() == [{"number": "482911", "name": "Bob", "node": "user:482911"}]


async def test_commands_before_the_line_is_there_are_refused(connect):
    connector = connect()
    for command in (Dial(command_id="1", number="10032"), Subscribe(command_id="2", node="user:10032")):
        with pytest.raises(CommandRefused, match="not connected"):
            await connector.execute(command)
    with pytest.raises(CommandRefused, match="not connected"):
        await connector.directory()


def test_capabilities_are_those_of_the_protocol_page(connect):
    assert {capability.value for capability in connect().capabilities} == {
        "dial", "answer", "hang_up", "hold", "transfer", "subscribe", "link", "directory",
    }  # fmt: skip


def test_no_secret_is_in_a_repr(connect):
    connector = connect(Credentials(username="a", password="pw-secret", api_key="key-secret"))
    assert "secret" not in repr(connector.credentials)
    assert "secret" not in repr(connector)


async def test_the_own_extension_is_learnt_from_an_inbound_call(ready, service):
    service.answers["GET", "/me"] = (200, {"data": {**ME, "extension": ""}})
    connector, listener = await ready()
    await service.line.notify("482910", document(dialog(), version=1))
    await listener.until_said("RINGING")
    with pytest.raises(CommandRefused, match="yourself"):
        await connector.execute(Dial(command_id="1", number="10031"))
