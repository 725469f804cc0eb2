"""Watching over a real WebSocket."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_django.exceptions import DialogInfoError
from cti_django.sandbox.faults import Fault, Faults
from cti_django.sandbox.pbx import Switch
from cti_django.sandbox.server import Sandbox, run_sandbox
from cti_django.sandbox.sip_server import SIPServer
from cti_django.sandbox.users import demo_users, make_users
from cti_django.wire.dialog_info import parse_dialog_info
from cti_django.wire.sip_digest import DigestClient
from cti_django.wire.sip_message import SIPRequest, SIPResponse, parse_message

from .conftest import Watcher

Connect = Callable[..., Any]


async def subscribed(watcher: Connect, user_id: str = "10031", **headers: str) -> Watcher:
    one: Watcher = await watcher(user_id)
    response = await one.subscribe(**headers)
    assert response.status == 200
    await one.notify()
    return one


async def test_a_subscription_is_challenged_then_granted(watcher: Connect) -> None:
    one = await watcher("10031")
    challenge = await one.ask(one.request())
    assert challenge.status == 401
    assert 'realm="127.0.0.1"' in challenge.headers["WWW-Authenticate"]
    response = await one.subscribe()
    assert (response.status, response.headers["Expires"]) == (200, "300")
    assert response.to.tag
    assert response.headers["Contact"] == "<sip:10031@127.0.0.1;transport=ws>"
    first = await one.notify()
    assert (first.body, "Content-Type" in first.headers) == (b"", False)
    assert first.headers["Subscription-State"] == "active;expires=300"
    assert first.headers["Event"] == "dialog"
    assert first.from_.tag == response.to.tag
    assert first.to.tag == one.tag
    assert first.uri == "sip:4qrg81ef@df7jal23ls0d.invalid;transport=ws"


@pytest.mark.parametrize("path", ["", "sip"])
async def test_both_paths_serve_and_binary_frames_are_understood(watcher: Connect, path: str) -> None:
    one = await watcher("10031", path=path)
    assert one.socket.protocol == "sip"
    await one.socket.send_bytes(bytes(one.request()))
    assert (await one._responses.get()).status == 401


async def test_every_change_is_a_notify_with_the_next_version(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    call = sandbox.switch.ring("10031", "+442079460018", "Dana <b>")
    info = await one.info()
    (dialog,) = info.dialogs
    assert (info.version, info.is_full, info.entity) == (1, False, "sip:10031@127.0.0.1")
    assert (dialog.dialog_id, dialog.state, dialog.direction) == ("7310025-1", "early", "recipient")
    assert (dialog.local.identity, dialog.local.display) == ("sip:10031@127.0.0.1", "Alice Agent")
    assert dialog.local.params["+sip.rendering"] == "yes"
    assert dialog.local.params["timestamp.start"] == str(int(call.started_at))
    assert dialog.local.params["context"] == "LOCAL"
    assert (dialog.remote.identity, dialog.remote.display) == ("sip:442079460018@127.0.0.1", "Dana <b>")
    sandbox.switch.answer(call.call_id)
    assert await one.state() == (2, "confirmed")
    sandbox.switch.hold(call.call_id)
    held = await one.info()
    assert held.dialogs[0].local.params["+sip.rendering"] == "no"
    sandbox.switch.hang_up(call.call_id)
    assert await one.state() == (4, "terminated")


async def test_the_start_of_a_call_is_the_same_in_all_that_is_said_of_it(
    sandbox: Sandbox, watcher: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1_767_603_600, 10)
    monkeypatch.setattr(sandbox.switch, "_now", lambda: float(next(clock)))
    one = await subscribed(watcher)
    call = sandbox.switch.ring("10031", "442079460018")
    sandbox.switch.answer(call.call_id)
    sandbox.switch.hold(call.call_id)
    sandbox.switch.resume(call.call_id)
    told = [await one.info() for _ in range(4)]
    await one.subscribe()
    told.append(await one.info())
    sandbox.switch.transfer(call.call_id, "10031", "10032")
    told.append(await one.info())
    other = await watcher("10032")
    await other.subscribe()
    told.append(await other.info())
    assert {info.dialogs[0].local.params["timestamp.start"] for info in told} == {"1767603600"}


async def test_the_xml_is_spelt_as_the_service_spells_it(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    sandbox.switch.ring("10031", "withheld")
    body = (await one.notify()).body.decode()
    assert '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="partial"' in body
    assert '<dialog id="7310025-1" direction="receiver">' in body
    assert '<identity display="Anonymous">sip:anonymous@anonymous.invalid</identity>' in body
    assert '<param pname="+sip.rendering" pval="yes" />' in body


async def test_a_watcher_who_comes_in_the_middle_gets_the_full_state(sandbox: Sandbox, watcher: Connect) -> None:
    sandbox.switch.answer(sandbox.switch.ring("10031", "1").call_id)
    one = await watcher("10031")
    await one.subscribe()
    info = await one.info()
    assert (info.version, info.is_full, info.dialogs[0].state) == (0, True, "confirmed")


async def test_a_refresh_gives_the_full_state_again(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    response = await one.subscribe()
    assert response.status == 200
    info = await one.info()
    assert (info.version, info.is_full, info.dialogs) == (1, True, ())
    sandbox.switch.ring("10031", "1")
    assert await one.state() == (2, "early")


async def test_a_refresh_with_an_old_cseq_is_refused(watcher: Connect) -> None:
    one = await subscribed(watcher)
    await one.subscribe()
    one.cseq = 0
    assert (await one.subscribe()).status == 500


async def test_unsubscribing_ends_with_a_last_notify(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    await one.subscribe(Expires="0")
    assert (await one.notify()).headers["Subscription-State"] == "terminated;reason=timeout"
    assert not sandbox.sip.by_node
    assert (await one.subscribe()).status == 481


async def test_a_subscription_that_nobody_refreshes_expires(watcher: Connect) -> None:
    one = await subscribed(watcher, Expires="1")
    assert (await one.notify()).headers["Subscription-State"] == "terminated;reason=timeout"


async def test_a_dialog_that_nobody_knows_is_481(watcher: Connect) -> None:
    one = await watcher("10031")
    one.to = "<sip:10031@127.0.0.1>;tag=unknown"
    assert (await one.subscribe()).status == 481


@pytest.mark.parametrize(
    ("node", "status"),
    [("10032", 200), ("queue-17", 200), ("ivr-12", 200), ("conf-31", 200), ("conf-99", 403), ("10999", 404)],
)
async def test_nodes(watcher: Connect, node: str, status: int) -> None:
    one = await watcher("10031")
    assert (await one.subscribe(node)).status == status


async def test_a_queue_shows_the_calls_that_came_through_it(sandbox: Sandbox, watcher: Connect) -> None:
    one = await watcher("10031")
    await one.subscribe("queue-17")
    await one.notify()
    call = sandbox.switch.ring("10032", "1", via="queue-17")
    assert await one.state() == (1, "early")
    sandbox.switch.answer(call.call_id)
    assert await one.state() == (2, "confirmed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Event": "presence"}, 489),
        ({"Event": ""}, 489),
        ({"Accept": "text/plain"}, 406),
        ({"Expires": "soon"}, 400),
        ({"Contact": ""}, 400),
        ({"Contact": "<tel:>"}, 400),
        ({"Contact": "*"}, 400),
    ],
)
async def test_a_subscription_that_makes_no_sense_is_refused(
    watcher: Connect, headers: dict[str, str], status: int
) -> None:
    one = await watcher("10031")
    assert (await one.subscribe(**headers)).status == status


async def test_a_wrong_password_is_challenged_again(watcher: Connect) -> None:
    one = await watcher("10031", "wrong")
    assert (await one.subscribe()).status == 401


async def test_replayed_credentials_are_stale(watcher: Connect) -> None:
    one = await subscribed(watcher)
    request = one.request()
    response = await one.ask(request)
    for name, value in one._digest.answer(request, response):
        request.headers.set(name, value)
    assert (await one.ask(request)).status == 200
    again = await one.ask(request)
    assert again.status == 401
    assert "stale=true" in again.headers["WWW-Authenticate"]


async def test_one_socket_is_one_user(watcher: Connect) -> None:
    one = await subscribed(watcher)
    other = Watcher(one.socket, "10032")
    other._task.cancel()
    other._responses = one._responses
    assert (await other.subscribe()).status == 403


async def test_a_longer_subscription_than_allowed_is_shortened(http: aiohttp.ClientSession) -> None:
    async with run_sandbox(max_expires=60) as sandbox, http.ws_connect(sandbox.sip_url, protocols=["sip"]) as socket:
        response = await Watcher(socket, "10031").subscribe()
        assert response.headers["Expires"] == "60"


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("REGISTER", 200), ("BYE", 481), ("INVITE", 405)])
async def test_other_methods_are_answered_politely(watcher: Connect, method: str, status: int) -> None:
    one = await watcher("10031")
    assert (await one.ask(one.request(method, Event=""))).status == status


async def test_a_keep_alive_is_answered(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(sandbox.sip_url, protocols=["sip"]) as socket:
        await socket.send_str("\r\n\r\n")
        assert await socket.receive_str(timeout=5) == "\r\n"


@pytest.mark.parametrize(
    "frame",
    [
        b"rubbish",
        b"\x00\xff" * 500,
        b"SUBSCRIBE sip:10031@127.0.0.1 SIP/2.0\r\n\r\n",
        b"SUBSCRIBE sip:%00 SIP/2.0\r\nVia: x\r\nContent-Length: -1\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"A" * 200_000,
    ],
)
async def test_rubbish_does_not_end_the_line(sandbox: Sandbox, watcher: Connect, frame: bytes) -> None:
    one = await subscribed(watcher)
    await one.socket.send_bytes(frame)
    await one.socket.send_str(frame.decode("latin-1"))
    sandbox.switch.ring("10031", "1")
    assert await one.state() == (1, "early")


async def test_rubbish_credentials_are_only_challenged(watcher: Connect) -> None:
    one = await watcher("10031")
    for value in ("Digest", "Basic eDp5", 'Digest username="10031"', 'Digest nc="zz", username="\x85"', "x" * 5000):
        assert (await one.ask(one.request(Authorization=value))).status == 401


async def test_without_the_subprotocol_there_is_no_socket(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(sandbox.sip_url)
    assert refused.value.status == 400


async def test_a_lost_socket_takes_its_subscriptions_along(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    await one.close()
    await sandbox.wait_for(lambda: not sandbox.sip.connections)
    assert not sandbox.sip.by_node


async def test_a_watcher_who_answers_481_hears_no_more(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    one.reply_with = 481
    sandbox.switch.ring("10031", "1")
    await sandbox.wait_for(lambda: not sandbox.sip.by_node)


# -- faults -------------------------------------------------------------------------------------------------------


async def states_after(sandbox: Sandbox, one: Watcher, count: int) -> list[tuple[int, str]]:
    call = sandbox.switch.ring("10031", "1")
    sandbox.switch.answer(call.call_id)
    sandbox.switch.hang_up(call.call_id)
    return [await one.state() for _ in range(count)]


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (Fault.DUPLICATE, [(1, "early"), (1, "early"), (2, "confirmed"), (3, "terminated")]),
        (Fault.DELAY, [(2, "confirmed"), (3, "terminated"), (1, "early")]),
        (Fault.REORDER, [(2, "confirmed"), (1, "early"), (3, "terminated")]),
        (Fault.GAP, [(2, "early"), (3, "confirmed"), (4, "terminated")]),
        (Fault.LOSE, [(2, "confirmed"), (3, "terminated")]),
    ],
)
async def test_notifies_can_go_wrong_once(
    sandbox: Sandbox, watcher: Connect, fault: Fault, states: list[tuple[int, str]]
) -> None:
    one = await subscribed(watcher)
    sandbox.misbehave(fault, "10031", seconds=0.05)
    assert await states_after(sandbox, one, len(states)) == states


async def test_faults_of_one_user_leave_the_others_alone(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    sandbox.misbehave(Fault.LOSE, "10032")
    assert (await states_after(sandbox, one, 1)) == [(1, "early")]


@pytest.mark.parametrize("fault", [Fault.MALFORMED_XML, Fault.ENTITY_BOMB, Fault.OVERSIZED])
async def test_bad_bodies_come_as_notifies(sandbox: Sandbox, watcher: Connect, fault: Fault) -> None:
    one = await subscribed(watcher)
    sandbox.misbehave(fault)
    notify = await one.notify()
    with pytest.raises(DialogInfoError):
        parse_dialog_info(notify.body)
    assert (len(notify.body) > 800_000) is (fault is Fault.OVERSIZED)


async def test_a_malformed_frame_is_sent(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(sandbox.sip_url, protocols=["sip"]) as socket:
        await sandbox.wait_for(lambda: sandbox.sip.connections)
        sandbox.misbehave(Fault.MALFORMED_SIP)
        assert (await socket.receive_bytes(timeout=5)).startswith(b"NOTIFY sip:\x00")


async def test_the_line_drops(sandbox: Sandbox, watcher: Connect) -> None:
    one, other = await subscribed(watcher), await subscribed(watcher, "10032")
    sandbox.misbehave(Fault.DROP_LINE, "10031")
    await asyncio.wait_for(asyncio.wait([one._task]), 5)
    assert not other.socket.closed
    await sandbox.wait_for(lambda: len(sandbox.sip.connections) == 1)


async def test_a_subscription_is_ended_by_the_pbx(sandbox: Sandbox, watcher: Connect) -> None:
    one = await subscribed(watcher)
    sandbox.misbehave(Fault.END_SUBSCRIPTION, "10031")
    assert (await one.notify()).headers["Subscription-State"] == "terminated;reason=deactivated"


async def test_new_sockets_are_refused_until_cleared(sandbox: Sandbox, watcher: Connect) -> None:
    sandbox.misbehave(Fault.REFUSE_SOCKETS)
    for _ in range(2):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await watcher("10031")
        assert refused.value.status == 503
    sandbox.misbehave(Fault.CLEAR)
    await subscribed(watcher)


async def test_one_notification_costs_nothing_for_the_other_users(http: aiohttp.ClientSession) -> None:
    async with (
        run_sandbox(make_users(1000)) as sandbox,
        http.ws_connect(sandbox.sip_url, protocols=["sip"]) as socket,
    ):
        one = Watcher(socket, "10500")
        await one.subscribe()
        await one.notify()
        for user_id in range(10031, 11031):
            sandbox.switch.ring(str(user_id), "1")
        assert await one.state() == (1, "early")
        assert one.notifies.empty()


@pytest.fixture
async def tls_sandbox(tmp_path: Any) -> AsyncIterator[Sandbox]:
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    async with run_sandbox(
        tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem"), sip_domain="localhost"
    ) as sandbox:
        yield sandbox


async def test_tls_serves_rest_and_sip(tls_sandbox: Sandbox, http: aiohttp.ClientSession, tmp_path: Any) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    assert tls_sandbox.sip_url.startswith("wss://127.0.0.1:")
    async with http.ws_connect(tls_sandbox.sip_url, protocols=["sip"], ssl=context) as socket:
        one = Watcher(socket, "10031")
        assert (await one.subscribe()).status == 200
    headers = {"X-Auth-Token": "key-10031"}
    async with http.get(tls_sandbox.api_url + "/me", headers=headers, ssl=context) as response:
        assert (await response.json())["data"]["sip_domain"] == "localhost"


# -- without a socket: any frame at all ------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_frame_whatsoever_raises(data: st.DataObject) -> None:
    switch = Switch(demo_users(), schedule=lambda delay, act: _NeverTimer(), now=lambda: 0.0)
    server = SIPServer(switch, Faults(), "127.0.0.1", schedule=lambda delay, act: _NeverTimer(), now=lambda: 0.0)
    sent: list[bytes] = []
    connection = server.connect(sent.append, lambda: None)
    digest = DigestClient("10031", "sip-10031")
    connection.receive(FIRST)
    challenge = parse_message(sent.pop())
    assert isinstance(challenge, SIPResponse)
    request = parse_message(FIRST)
    assert isinstance(request, SIPRequest)
    for name, value in digest.answer(request, challenge):
        request.headers.set(name, value)
    frame = bytearray(bytes(request))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=12))
    connection.receive(bytes(frame))
    switch.answer(switch.ring("10031", data.draw(st.text(max_size=20)), data.draw(st.text(max_size=20))).call_id)
    for message in sent:
        parse_message(message)
    connection.lost()
    assert not server.by_node


class _NeverTimer:
    def cancel(self) -> None: ...


FIRST = (
    b"SUBSCRIBE sip:10031@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    b"From: <sip:10031@127.0.0.1>;tag=a\r\nTo: <sip:10031@127.0.0.1>\r\nCall-ID: c1\r\nCSeq: 1 SUBSCRIBE\r\n"
    b'Contact: "A" <sip:x@a.invalid;transport=ws>;expires=3\r\nEvent: dialog;id=7\r\nExpires: 300\r\n'
    b"Accept: application/dialog-info+xml\r\nContent-Length: 0\r\n\r\n"
)
