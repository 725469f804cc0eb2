"""A POST of a telephone system, from the request to the agent's page."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import time
from base64 import b64encode
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from django.test import AsyncClient, Client

from cti_django import calllog, deliveries, webhooks
from cti_django.connectors.webhook.decision import Redirect, Reject
from cti_django.connectors.webhook.proof import signature
from cti_django.models import CallRecord, ConnectorAccount, WebhookDelivery
from cti_django.sessions import deliveries as session_deliveries
from tests.faces.test_consumers import agent, connected, fake_telephone_system
from tests.faces.test_hostile_tabs import the_host, until
from tests.sessions.test_database_outage import Outage
from tests.test_metrics import told

__all__ = ["fake_telephone_system"]

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a-secret-of-32-characters-at-least"
OTHER = "another-secret-while-keys-change"
ENDPOINTS = {
    "signed": {"shape": "generic", "secret": [SECRET, OTHER]},
    "sip-gate": {
        "shape": "sipgate",
        "auth": "basic",
        "username": "crm",
        "secret": SECRET,
        "base_url": "https://crm.example",
    },
    "zammad": {"shape": "zammad", "auth": "token", "secret": SECRET},
    "open": {"shape": "generic", "auth": "token"},
}
NEW_CALL = {"event": "newCall", "from": "442079460018", "to": "442079460100", "direction": "in", "callId": "c-1"}


@pytest.fixture(autouse=True)
def endpoints(settings, fake_telephone_system):
    settings.CTI_DJANGO = {
        **settings.CTI_DJANGO,
        "CONNECTOR": "webhook",
        "CONNECTOR_OPTIONS": {"webhook": {"endpoints": ENDPOINTS}},
        "LINGER_SECONDS": 0.05,
    }
    settings.ALLOWED_HOSTS = ["*"]
    webhooks._complained_at.clear()


def account(user, endpoint="sip-gate", username="Alice", **more):
    accounts = ConnectorAccount.objects.filter(user=user)
    options = {"endpoint": endpoint, **more}
    return accounts.aupdate(connector="webhook", username=username, password="", options=options)


def basic(password=SECRET):
    return {"Authorization": "Basic " + b64encode(f"crm:{password}".encode()).decode()}


async def push(endpoint="sip-gate", headers=None, client=None, **fields):
    """What a system that speaks forms posts."""
    headers = basic() if headers is None else headers
    data = {name.replace("_list", "[]"): value for name, value in fields.items()}
    return await (client or AsyncClient()).post(f"/cti/webhook/{endpoint}/", data, headers=headers)


def signed(fields, secret=SECRET, at=None, endpoint="signed", client=None):
    body = json.dumps(fields).encode()
    header = {"X-CTI-Signature": signature(secret, body, int(time.time()) if at is None else at)}
    where = f"/cti/webhook/{endpoint}/"
    return (client or Client()).post(where, body, content_type="application/json", headers=header)


@asynccontextmanager
async def listening(key, **more):
    async with connected(key, **more) as tab:
        assert (await tab.answer("login", type="login"))["ok"]
        await tab.hear_event("READY")
        yield tab


# -- the whole way ----------------------------------------------------------------------------------------------------


async def test_a_pushed_call_rings_pops_is_answered_and_ends_on_the_agents_page():
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
        call = (await tab.hear_event("RINGING"))["call"]
        assert (call["source"], call["direction"], call["pop"]["action"]) == ("442079460018", "INBOUND", "open")
        assert call["number"] == "+442079460018"
        assert (await tab.answer("pop", type="pop", call_id=call["id"]))["ok"]
        await push(**{**NEW_CALL, "event": "answer"}, user="Alice", userId="w0", answeringNumber="442079460100")
        assert (await tab.hear_event("CONNECTED"))["call"]["id"] == call["id"]
        await push(**{**NEW_CALL, "event": "hangup"}, cause="normalClearing")
        ended = (await tab.hear_event("HANGUP"))["call"]
        assert (ended["id"], ended["endReason"]) == (call["id"], "completed")
    await calllog.aflush(5)
    assert await CallRecord.objects.filter(agent=user).acount() == 1


async def test_a_colleague_who_answers_takes_the_call_from_the_others():
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        await push(**NEW_CALL, user_list=["Alice", "Bob"])
        await tab.hear_event("RINGING")
        await push(**{**NEW_CALL, "event": "answer"}, user="Bob")
        assert (await tab.hear_event("HANGUP"))["call"]["endReason"] == "elsewhere"


async def test_what_comes_twice_is_one_row_one_call_and_two_good_answers():
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        for _time in range(2):
            assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
        await tab.hear_event("RINGING")
        await push(**{**NEW_CALL, "event": "hangup"}, cause="cancel")
        assert (await tab.hear("event"))["event"]["name"] == "HANGUP"
    assert await WebhookDelivery.objects.acount() == 2


async def test_a_call_that_rang_while_no_page_was_open_rings_when_one_is_and_one_that_was_missed_is_logged():
    user, key = await agent()
    await account(user)
    await push(**{**NEW_CALL, "callId": "missed"}, user_list=["Alice"])
    await push(**{**NEW_CALL, "callId": "missed", "event": "hangup"}, cause="cancel")
    await push(**NEW_CALL, user_list=["Alice"])
    async with listening(key) as tab:
        await tab.say(type="resync")
        seen = await tab.hear("snapshot")
        assert [call["status"] for call in seen["calls"]] == ["RINGING"]
        assert [call["endReason"] for call in seen["recent"]] == ["missed"]
    await calllog.aflush(5)
    missed = await CallRecord.objects.aget(agent=user, state="HANGUP")
    rows = [row async for row in WebhookDelivery.objects.filter(provider_call_id="missed").order_by("pk")]
    assert (missed.started_at, missed.ended_at) == (rows[0].received_at, rows[1].received_at)

    await until(lambda: not the_host().office.desks)
    async with listening(key, tab="tab-00000002"):
        pass
    await calllog.aflush(5)
    assert await CallRecord.objects.filter(agent=user, provider_call_id="missed").acount() == 1


async def test_a_call_that_ends_while_nobody_listens_has_the_end_that_was_pushed():
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        await push(**NEW_CALL, user_list=["Alice"])
        await push(**{**NEW_CALL, "event": "answer"}, user="Alice")
        call_id = (await tab.hear_event("CONNECTED"))["call"]["id"]
    await until(lambda: not the_host().office.desks)
    await push(**{**NEW_CALL, "event": "hangup"}, cause="normalClearing")
    row = await WebhookDelivery.objects.alatest("pk")
    assert (await CallRecord.objects.aget(call_id=call_id)).ended_at is None
    async with listening(key, tab="tab-00000002"):
        pass
    await calllog.aflush(5)
    ended = await CallRecord.objects.aget(agent=user)
    assert (ended.call_id, ended.end_reason, ended.ended_at) == (call_id, "completed", row.received_at)


async def test_the_answer_waits_for_no_session(monkeypatch):
    user, key = await agent()
    await account(user)
    gate = asyncio.Event()
    async with listening(key) as tab:
        look = session_deliveries.Deliveries._look

        async def stuck(self, **more):
            await gate.wait()
            await look(self, **more)

        monkeypatch.setattr(session_deliveries.Deliveries, "_look", stuck)
        assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
        gate.set()
        await tab.hear_event("RINGING")


async def test_a_hint_that_is_lost_costs_only_the_next_look(monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "_hint", _nothing)
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        await push(**NEW_CALL, user_list=["Alice"])
        await tab.hear_event("RINGING")


async def _nothing():
    pass


async def test_a_row_that_becomes_visible_after_a_later_one_is_not_missed(monkeypatch):
    monkeypatch.setattr(session_deliveries, "LOOK_SECONDS", 0.05)
    user, key = await agent()
    await account(user)
    async with listening(key) as tab:
        await push(**{**NEW_CALL, "callId": "late"}, user_list=["Alice"])
        await tab.hear_event("RINGING")
        (row,) = [row async for row in WebhookDelivery.objects.all()]
        later = the_host().office.deliveries
        later._note(row.pk + 2)  # as if the next but one had been read already
        await push(**NEW_CALL, user_list=["Alice"])
        assert (await tab.hear_event("RINGING"))["call"]["cid"] == "c-1"


async def test_one_look_is_one_question_however_many_calls_there_are(django_assert_max_num_queries):
    _user, _key = await agent()
    fields = {"event": ("newCall",), "user": ("Alice",), "direction": ("in",), "from": ("1",), "to": ("2",)}
    await sync_to_async(_journal)(200, fields)

    def ask():
        with django_assert_max_num_queries(1):
            assert len(deliveries.after(0, {"sip-gate"}, 500)) == 200
        with django_assert_max_num_queries(1):
            assert len(deliveries.history("sip-gate", {"alice"})) == 200

    await sync_to_async(ask)()


def _journal(count, fields):
    from cti_django.connectors.webhook.shapes import read_report

    for number in range(count):
        each = {**fields, "callId": (f"c-{number}",)}
        assert deliveries.write("sip-gate", each, read_report("sipgate", each))


# -- nothing is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
async def test_a_database_that_is_down_makes_the_system_come_again_and_then_nothing_is_missing(monkeypatch, error):
    user, key = await agent()
    await account(user)
    outage = Outage(error)
    outage.install(monkeypatch)
    async with listening(key) as tab:
        outage.begin()
        answer = await push(**NEW_CALL, user_list=["Alice"])
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        outage.end()
        assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 200
        await tab.hear_event("RINGING")


def _down(*args):
    raise OperationalError("no database today")


async def test_a_database_that_hangs_makes_the_system_come_again(monkeypatch):
    monkeypatch.setattr(webhooks, "JOURNAL_SECONDS", 0.05)
    gate = asyncio.Event()
    monkeypatch.setattr(deliveries.JOURNAL_THREADS, "run", lambda *args: gate.wait())
    assert (await push(**NEW_CALL, user_list=["Alice"])).status_code == 503


def test_the_same_words_after_a_while_are_another_call(monkeypatch):
    fields = {name: (value,) for name, value in NEW_CALL.items()}
    from cti_django.connectors.webhook.shapes import read_report

    report = read_report("sipgate", fields)
    assert deliveries.write("sip-gate", fields, report)
    assert not deliveries.write("sip-gate", fields, report)
    assert deliveries.write("zammad", fields, report)
    monkeypatch.setattr(deliveries, "REPEAT_SECONDS", 0.0)
    assert deliveries.write("sip-gate", fields, report)
    monkeypatch.undo()
    assert not deliveries.write("sip-gate", fields, report)
    assert WebhookDelivery.objects.filter(endpoint="sip-gate").count() == 2


def test_old_deliveries_are_removed_in_batches_and_young_ones_stay(settings, monkeypatch):
    monkeypatch.setattr(deliveries, "_PURGE_BATCH", 3)
    fields = {"event": ("newCall",), "direction": ("in",)}
    _journal(8, fields)
    assert deliveries.purge() == 0
    monkeypatch.setattr(deliveries, "REPEAT_SECONDS", 0.0)
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "DELIVERIES_SECONDS": 0.000001, "BELIEVED_SECONDS": 0.000001}
    assert deliveries.purge() == 8
    _journal(1, fields)
    settings.CTI_DJANGO = {"REGION": "GB", "DELIVERIES_SECONDS": 0.000001, "BELIEVED_SECONDS": 0.000001}
    assert deliveries.purge() == 1  # the numbers of callers outlive no endpoint


def test_what_a_clock_that_was_ahead_has_written_is_removed_too_and_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(deliveries, "_PURGE_BATCH", 2)
    _journal(4, {"event": ("newCall",), "direction": ("in",)})
    rows = WebhookDelivery.objects.order_by("pk")
    rows.filter(pk__in=rows[:2]).update(received_at=datetime.now(UTC) + timedelta(days=400))
    rows.filter(pk=rows[2].pk).update(received_at=datetime.now(UTC) - timedelta(days=2))
    assert deliveries.purge() == 3


def test_nothing_is_forgotten_while_it_could_be_sent_again(settings, monkeypatch):
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "DELIVERIES_SECONDS": 1.0, "BELIEVED_SECONDS": 1.0}
    _journal(2, {"event": ("newCall",), "direction": ("in",)})
    WebhookDelivery.objects.update(received_at=datetime.now(UTC) - timedelta(seconds=500))
    assert deliveries.purge() == 0


# -- who may ----------------------------------------------------------------------------------------------------------


def test_a_signed_delivery_is_taken_with_either_key():
    fields = {"event": "ringing", "call_id": "1", "direction": "inbound", "from": "1", "to": "2", "agent": "Alice"}
    assert signed(fields).status_code == 200
    assert signed({**fields, "call_id": "2"}, secret=OTHER).status_code == 200
    assert WebhookDelivery.objects.count() == 2


def test_a_captured_request_that_is_sent_again_does_nothing_new():
    fields = {"event": "ringing", "call_id": "1", "direction": "inbound"}
    at = int(time.time())
    assert [signed(fields, at=at).status_code for _time in range(2)] == [200, 200]
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"secret": "not-the-secret-at-all"}, {"at": 0}, {"at": int(time.time()) + 3600}])
def test_a_signature_that_is_wrong_old_or_of_the_future_is_refused(wrong):
    assert signed({"event": "ringing", "call_id": "1", "direction": "inbound"}, **wrong).status_code == 403
    assert not WebhookDelivery.objects.exists()


def test_whoever_is_refused_learns_nothing():
    fields = {"event": "newCall"}
    answers = [
        Client().post("/cti/webhook/sip-gate/", fields),
        Client().post("/cti/webhook/sip-gate/", fields, headers=basic("wrong")),
        Client().post("/cti/webhook/sip-gate/", fields, headers={"Authorization": "Basic ?"}),
        Client().post("/cti/webhook/unknown/", fields, headers=basic()),
        Client().post("/cti/webhook/UNKNOWN%20/x/y", fields),
        Client().post("/cti/webhook//", fields),
        Client().post("/cti/webhook/zammad/wrong-token/", fields),
        Client().post("/cti/webhook/signed/", fields),
        Client().post("/cti/webhook/open/", fields),
        Client().post("/cti/webhook/open/x", fields),
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(403, b"Refused.")}
    assert {
        answer.status_code for answer in (Client().get("/cti/webhook/signed/"), Client().put("/cti/webhook/x"))
    } == {405}


@pytest.mark.parametrize("where", ["zammad/{}/", "zammad/{}", "zammad"])
def test_a_token_may_stand_in_a_header_or_the_path_and_is_never_logged(where, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    headers = {} if "{}" in where else {"X-CTI-Token": SECRET}
    url = f"/cti/webhook/{where.format(SECRET)}"
    assert Client().post(url, {**NEW_CALL}, headers=headers).status_code == 200
    assert Client().post(url, {"event": "newCall"}, headers=headers).status_code == 400
    assert Client().get(url).status_code == 405
    monkeypatch.setattr(deliveries, "write", _down)
    assert Client().post(url, {**NEW_CALL}, headers=headers).status_code == 503
    assert SECRET not in caplog.text
    assert "442079460018" not in caplog.text


def test_settings_that_cannot_be_used_let_nobody_in(settings):
    broken = {"shape": "generic", "auth": "none", "secret": SECRET}
    settings.CTI_DJANGO = {"CONNECTOR_OPTIONS": {"webhook": {"endpoints": {"signed": broken}}}}
    assert signed({"event": "ringing", "call_id": "1", "direction": "inbound"}).status_code == 403


# -- what makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[" * 60_000, "application/json"),
        (b'{"a":' * 10_000, "application/json"),
        (b'{"event": "\xff"}', "application/json"),
        (b"event=%ff", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 10_000), "application/x-www-form-urlencoded"),
        (b"event=newCall&direction=in&callId=" + b"1" * 300, "application/x-www-form-urlencoded"),
        (b"event=newCall", "text/xml"),
        (b"", "application/json"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_a_body_that_makes_no_sense_is_a_400_and_leaves_nothing(body, content_type):
    answer = Client().post("/cti/webhook/sip-gate/", body, content_type=content_type, headers=basic())
    assert answer.status_code == 400
    assert not WebhookDelivery.objects.exists()


@pytest.mark.parametrize("end", ["%0A", "%0Ax/", "%0D%0A", "%FF", "%E2%80%A8", "/x/y"])
def test_a_path_that_is_entered_wrongly_is_refused_and_not_logged(end, caplog):
    answer = Client().post(f"/cti/webhook/zammad/{SECRET}{end}", NEW_CALL)
    assert (answer.status_code, SECRET in caplog.text, SECRET in answer.content.decode()) == (403, False, False)


def test_every_outcome_is_counted():
    wanted = {"accepted": 1, "repeated": 1, "ignored": 1, "refused": 1, "malformed": 2}
    before = {outcome: told()[("cti_deliveries_total", outcome)] for outcome in wanted}
    for fields in (NEW_CALL, NEW_CALL, {"event": "dtmf"}, {"event": "newCall"}, {"x": "x" * 70_000}):
        Client().post("/cti/webhook/sip-gate/", fields, headers=basic())
    Client().post("/cti/webhook/sip-gate/", NEW_CALL)
    assert {outcome: told()[("cti_deliveries_total", outcome)] - before[outcome] for outcome in wanted} == wanted


def test_a_body_that_is_too_large_is_not_even_looked_at():
    answer = Client().post("/cti/webhook/unknown/", b"x" * 65_537, content_type="text/plain")
    assert answer.status_code == 413


def test_an_event_that_says_nothing_of_a_call_is_taken_and_forgotten():
    answer = Client().post("/cti/webhook/sip-gate/", {"event": "dtmf", "callId": "1", "dtmf": "5"}, headers=basic())
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/xml")
    assert not WebhookDelivery.objects.exists()


def test_only_fields_that_are_known_are_kept_and_none_that_a_database_refuses():
    fields = {**NEW_CALL, "from": "a\x00b\ud800", "secret_of_the_caller": "x"}
    body = json.dumps(fields)
    answer = Client().post(
        "/cti/webhook/zammad/", body, content_type="application/json", headers={"X-CTI-Token": SECRET}
    )
    assert answer.status_code == 200
    assert WebhookDelivery.objects.get().fields["from"] == ["ab"]
    assert "secret_of_the_caller" not in WebhookDelivery.objects.get().fields


# -- what is answered -------------------------------------------------------------------------------------------------


def rejects(report):
    return Reject("busy") if report.caller == "442079460018" else None


def redirects(report):
    return Redirect("+442079460099")


def dawdles(report):
    time.sleep(0.5)
    return Reject()


def fails(report):
    raise ValueError("442079460018")


def decided_by(settings, name, endpoint="sip-gate"):
    places = {**ENDPOINTS, endpoint: {**ENDPOINTS[endpoint], "decide": f"{__name__}.{name}"}}
    settings.CTI_DJANGO = {**settings.CTI_DJANGO, "CONNECTOR_OPTIONS": {"webhook": {"endpoints": places}}}


def test_sipgate_is_told_where_to_push_what_comes_next():
    text = Client().post("/cti/webhook/sip-gate/", NEW_CALL, headers=basic()).content.decode()
    callback = f"https://crm:{SECRET}@crm.example/cti/webhook/sip-gate"
    assert f'onAnswer="{callback}" onHangup="{callback}"' in text
    later = Client().post("/cti/webhook/sip-gate/", {**NEW_CALL, "event": "hangup"}, headers=basic())
    assert b"onAnswer" not in later.content


def test_a_project_may_turn_a_caller_away_in_the_words_of_each_system(settings):
    decided_by(settings, "rejects")
    assert b'<Reject reason="busy" />' in Client().post("/cti/webhook/sip-gate/", NEW_CALL, headers=basic()).content
    decided_by(settings, "rejects", "zammad")
    answer = Client().post(f"/cti/webhook/zammad/{SECRET}/", NEW_CALL)
    assert json.loads(answer.content) == {"action": "reject", "reason": "busy"}


def test_a_project_may_send_a_caller_elsewhere_where_the_system_can(settings, caplog):
    decided_by(settings, "redirects")
    answer = Client().post("/cti/webhook/sip-gate/", NEW_CALL, headers=basic())
    assert b"<Dial><Number>442079460099</Number></Dial>" in answer.content
    decided_by(settings, "redirects", "zammad")
    assert json.loads(Client().post(f"/cti/webhook/zammad/{SECRET}/", NEW_CALL).content) == {}
    assert "cannot say what was decided" in caplog.text


def quits(call):
    sys.exit(3)


def is_cancelled(call):
    raise CancelledError


def stops(call):
    raise StopIteration


async def is_asynchronous(call):
    return Reject()


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    "name", ["dawdles", "fails", "is_not_there", "quits", "is_cancelled", "stops", "is_asynchronous"]
)
def test_a_decision_that_fails_or_comes_late_is_none(settings, caplog, name):
    decided_by(settings, name, "zammad")
    answer = Client().post(f"/cti/webhook/zammad/{SECRET}/", NEW_CALL)
    assert (answer.status_code, json.loads(answer.content)) == (200, {})
    assert any(words in caplog.text for words in ("did not decide in time", "failed", "returned no decision"))
    assert "442079460018" not in caplog.text


def test_decisions_that_never_come_are_said_to_be_missing_for_as_long_as_that_lasts(settings, caplog, monkeypatch):
    monkeypatch.setattr(webhooks, "_deciding", {object() for _each in range(4)})
    decided_by(settings, "rejects", "zammad")
    answer = Client().post(f"/cti/webhook/zammad/{SECRET}/", NEW_CALL)
    assert (answer.status_code, json.loads(answer.content)) == (200, {})
    assert "did not decide in time" in caplog.text


# -- as its page says -------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "connectors" / "webhook.md"


@pytest.mark.parametrize("program", ["bash", "python"])
def test_the_signed_requests_of_the_page_are_let_in_by_a_server_of_any_kind(program, live_server, settings):
    if program == "bash" and not (shutil.which("curl") and shutil.which("openssl")):
        pytest.skip("curl or openssl is not installed")
    settings.ALLOWED_HOSTS = ["*"]
    begin, end = {"bash": ("    body='", "\n\nThe same"), "python": ("    import hashlib", "\n\nRepeat")}[program]
    code = begin + PAGE.read_text().partition(begin)[2].partition(end)[0]
    code = textwrap.dedent(code).replace("https://crm.example.com", live_server.url).replace("/main/", "/signed/")
    command = ["bash", "-ec", code] if program == "bash" else [sys.executable, "-c", code]
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "no_proxy": "*"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert WebhookDelivery.objects.get().provider_call_id == "17-4"
