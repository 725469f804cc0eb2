"""The REST API over loopback."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest
from aiohttp import web

from cti_django.sandbox.dialling import Refused
from cti_django.sandbox.faults import Fault
from cti_django.sandbox.rest import read_json
from cti_django.sandbox.server import Sandbox
from cti_django.sandbox.users import Behaviour, Conduct

from .conftest import API

ForUser = Callable[[str], API]


@pytest.fixture
def anybody(sandbox: Sandbox, http: aiohttp.ClientSession) -> API:
    return API(http, sandbox.api_url)


# -- logging in -------------------------------------------------------------------------------------------------------


async def test_password_log_in_gives_a_token_that_works(anybody: API) -> None:
    status, answer = await anybody("POST", "/login", {"email": "Alice@example.com", "password": "sandbox"})
    assert (status, answer["user_id"]) == (200, 10031)
    anybody.token = answer["user_token"]
    status, me = await anybody("GET", "/me")
    assert status == 200
    assert (
        me["data"].items()
        >= {
            "id": 10031,
            "name": "Alice Agent",
            "sip_password": "sip-10031",
            "sip_domain": "127.0.0.1",
        }.items()
    )
    assert (await anybody("GET", "/ping"))[0] == 200
    assert (await anybody("POST", "/logout"))[0] == 200
    assert (await anybody("GET", "/ping"))[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        {"email": "alice@example.com", "password": "wrong"},
        {"email": "nobody@example.com", "password": "sandbox"},
        {"email": "nobody@example.com", "password": ""},
        {"email": 5, "password": ["sandbox"]},
        {"email": "alice@example.com", "password": "\ud800"},
        {},
    ],
)
async def test_a_wrong_log_in_is_refused_in_words(anybody: API, body: Any) -> None:
    assert await anybody("POST", "/login", body) == (401, {"message": "Invalid e-mail or password.", "errors": []})


async def test_two_factor_log_in_wants_a_code(anybody: API) -> None:
    status, answer = await anybody("POST", "/login", {"email": "dave@example.com", "password": "sandbox"})
    assert (status, list(answer)) == (200, ["nonce"])
    wrong = await anybody("POST", "/login2fa", {"code": "000000", "nonce": answer["nonce"]})
    assert wrong == (401, {"message": "Invalid code.", "errors": [{"field": "code", "message": "Invalid code."}]})
    status, right = await anybody("POST", "/login2fa", {"code": "123456", "nonce": answer["nonce"]})
    assert (status, right["user_id"]) == (200, 10034)
    assert (await anybody("POST", "/login2fa", {"code": "123456", "nonce": answer["nonce"]}))[0] == 401


@pytest.mark.parametrize("token", ["key-10031", "10031:key-10031"])
async def test_an_api_key_is_a_token(anybody: API, token: str) -> None:
    anybody.token = token
    assert (await anybody("GET", "/me"))[1]["data"]["id"] == 10031


@pytest.mark.parametrize("token", ["", "key-1", "10032:key-10031", ":", ":key-10031x"])
async def test_any_other_token_is_refused(anybody: API, token: str) -> None:
    anybody.token = token
    assert await anybody("GET", "/me") == (401, {"message": "Not authenticated", "errors": []})


async def test_basic_credentials_work_as_in_older_connectors(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    for password, status in (("key-10031", 200), ("key-10032", 401)):
        encoded = base64.b64encode(f"10031:{password}".encode()).decode()
        async with http.get(sandbox.api_url + "/me", headers={"Authorization": f"Basic {encoded}"}) as response:
            assert response.status == status
    async with http.get(sandbox.api_url + "/me", headers={"Authorization": "Basic %%%"}) as response:
        assert response.status == 401


async def test_colleagues_are_listed_without_secrets(api: ForUser) -> None:
    status, answer = await api("10031")("GET", "/users")
    assert (status, answer["total"]) == (200, 4)
    assert [row["id"] for row in answer["data"]] == [10031, 10032, 10033, 10034]
    assert "sip" not in str(answer)
    assert "key-" not in str(answer)


# -- calls ------------------------------------------------------------------------------------------------------------


async def test_placing_a_call_answers_when_the_own_phone_has_picked_up(sandbox: Sandbox, api: ForUser) -> None:
    placing = asyncio.create_task(api("10031")("POST", "/calls", {"to": "442079460018"}))
    await sandbox.wait_for(lambda: sandbox.switch.calls)
    (call,) = sandbox.switch.calls.values()
    assert not placing.done()
    sandbox.switch.answer(call.call_id)
    status, answer = await placing
    assert (status, answer["data"]["id"], answer["data"]["state"]) == (200, 7310025, "RINGING")


@pytest.mark.parametrize(
    ("conduct", "status"),
    [
        (Conduct(Behaviour.DECLINES), 403),
        (Conduct(Behaviour.BUSY, 0.01), 403),
    ],
)
async def test_placing_a_call_fails_if_the_own_phone_does_not_take_it(
    sandbox: Sandbox, api: ForUser, conduct: Conduct, status: int
) -> None:
    sandbox.switch.set_phone("10031", conduct=conduct)
    answer = await api("10031")("POST", "/calls", {"to": "442079460018"})
    assert answer == (status, {"message": "SIP endpoint rejected the call.", "errors": []})


async def test_placing_a_call_without_a_phone_fails_at_once(sandbox: Sandbox, api: ForUser) -> None:
    sandbox.switch.set_phone("10031", registered=False)
    answer = await api("10031")("POST", "/calls", {"to": "442079460018"})
    assert answer == (404, {"message": "SIP endpoint not found.", "errors": []})


@pytest.mark.parametrize(
    "to", ["10031", "+442079460018", "020 7946", "1\r\nX: 1", "", None, [], 1.5, "9" * 17, "10999"]
)
async def test_a_bad_number_is_a_validation_error(api: ForUser, to: Any) -> None:
    status, answer = await api("10031")("POST", "/calls", {"to": to})
    assert status == 400
    assert answer["errors"] == [{"field": "to", "message": answer["message"]}]


async def test_calls_are_listed_to_those_who_are_on_them(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.ring("10031", "+442079460018", "Dana")
    status, answer = await api("10031")("GET", "/calls")
    (row,) = answer["data"]
    assert (status, answer["total"]) == (200, 1)
    assert set(row) == {
        *("id", "src", "src_name", "dst", "dst_name", "state", "start_time", "connected_at", "duration"),
        *("context", "queue_state", "referred_by", "parent_id"),
    }
    assert (row["id"], row["src"], row["src_name"], row["state"]) == (7310025, "442079460018", "Dana", "RINGING")
    assert await api("10032")("GET", "/calls") == (200, {"data": [], "total": 0})
    sandbox.switch.hang_up(call.call_id)
    assert (await api("10031")("GET", "/calls"))[1]["total"] == 0


async def test_an_inbound_call_is_answered_held_resumed_and_hung_up(sandbox: Sandbox, api: ForUser) -> None:
    alice = api("10031")
    call = sandbox.switch.ring("10031", "1")
    for state, result in (("CONNECTED", "CONNECTED"), ("ON_HOLD", "ON_HOLD"), ("CONNECTED", "CONNECTED")):
        status, answer = await alice("PATCH", f"/calls/{call.call_id}", {"state": state})
        assert (status, answer["data"]["state"], call.state) == (200, result, result)
    assert await alice("DELETE", f"/calls/{call.call_id}") == (204, None)
    assert call.ended
    assert (await alice("DELETE", f"/calls/{call.call_id}"))[0] == 404


async def test_a_call_is_transferred(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.ring("10031", "1")
    sandbox.switch.answer(call.call_id)
    assert (await api("10031")("PATCH", f"/calls/{call.call_id}", {"dst": "10031"}))[0] == 400
    status, answer = await api("10031")("PATCH", f"/calls/{call.call_id}", {"dst": "10"})
    assert (status, answer["errors"][0]["field"]) == (400, "dst")
    assert (await api("10031")("PATCH", f"/calls/{call.call_id}", {"dst": "10032"}))[0] == 200
    assert [leg.node for leg in call.live()] == ["", "10032"]
    _, answer = await api("10032")("GET", "/calls")
    assert (answer["data"][0]["referred_by"], answer["data"][0]["dst"]) == ("10031", "10032")


async def test_a_link_is_shown(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.ring("10031", "1")
    link = {"action_url": "https://crm.example/7", "action_text": "Dana"}
    assert (await api("10031")("PATCH", f"/calls/{call.call_id}", link))[0] == 200
    assert call.link == {"url": "https://crm.example/7", "text": "Dana"}
    for url in ("javascript:alert(1)", "", 7, "https://" + "x" * 2000):
        assert (await api("10031")("PATCH", f"/calls/{call.call_id}", {"action_url": url}))[0] == 400


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_somebody_elses_call_does_not_exist(sandbox: Sandbox, api: ForUser, method: str) -> None:
    call = sandbox.switch.ring("10031", "1")
    assert (await api("10032")(method, f"/calls/{call.call_id}", {"state": "CONNECTED"}))[0] == 404
    assert call.state == "RINGING"


async def test_what_makes_no_sense_now_is_a_conflict(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.click_to_call("10031", "442079460018")
    path = f"/calls/{call.call_id}"
    assert (await api("10031")("PATCH", path, {"state": "CONNECTED"}))[0] == 409
    assert (await api("10031")("PATCH", path, {"state": "ON_HOLD"}))[0] == 409
    assert (await api("10031")("PATCH", path, {"state": "ASLEEP"}))[0] == 400
    assert (await api("10031")("PATCH", path, {}))[0] == 400


# -- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["null", "https://crm.example", "http://localhost:8000"])
async def test_pages_from_anywhere_may_use_it(sandbox: Sandbox, http: aiohttp.ClientSession, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-auth-token,content-type"}
    async with http.options(sandbox.api_url + "/calls/7", headers={"Origin": origin, **asked}) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "x-auth-token,content-type"
    for path in ("/me", "/nowhere"):
        async with http.get(sandbox.api_url + path, headers={"Origin": origin}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            assert "message" in await response.json()


# -- hostile input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"7", b'"x"', b"\xff", b"[" * 60_000, b'{"email":' * 6_000, b"x" * 70_000, b"null"]
)
@pytest.mark.parametrize("path", ["/login", "/login2fa", "/calls"])
async def test_wrong_json_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: bytes) -> None:
    headers = {"X-Auth-Token": "key-10031", "Content-Type": "application/json"}
    async with http.post(sandbox.api_url + path, data=body, headers=headers) as response:
        assert response.status in (400, 413)
        assert (await response.json())["message"]


@pytest.mark.parametrize("path", ["/calls/..%2f..", "/calls/%00", "/calls/" + "9" * 5000, "/nothing"])
async def test_wrong_paths_are_not_found(api: ForUser, path: str) -> None:
    assert (await api("10031")("DELETE", path))[0] == 404


# -- faults -----------------------------------------------------------------------------------------------------------


async def test_an_expired_token_is_refused_and_a_new_log_in_works(sandbox: Sandbox, anybody: API) -> None:
    credentials = {"email": "alice@example.com", "password": "sandbox"}
    anybody.token = (await anybody("POST", "/login", credentials))[1]["user_token"]
    sandbox.misbehave(Fault.EXPIRE_TOKEN, "10031")
    assert (await anybody("GET", "/ping"))[0] == 401
    anybody.token = (await anybody("POST", "/login", credentials))[1]["user_token"]
    assert (await anybody("GET", "/ping"))[0] == 200


async def test_an_expired_api_key_works_again_when_cleared(sandbox: Sandbox, api: ForUser) -> None:
    sandbox.misbehave(Fault.EXPIRE_TOKEN)
    assert (await api("10031")("GET", "/ping"))[0] == 401
    sandbox.misbehave(Fault.CLEAR)
    assert (await api("10031")("GET", "/ping"))[0] == 200


async def test_a_slow_answer_comes_after_the_deed(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.ring("10031", "1")
    sandbox.misbehave(Fault.SLOW, "10031", seconds=0.2)
    answering = asyncio.create_task(api("10031")("PATCH", f"/calls/{call.call_id}", {"state": "CONNECTED"}))
    await sandbox.wait_for(lambda: call.state == "CONNECTED")
    assert not answering.done()
    assert (await answering)[0] == 200


async def test_rubbish_answers(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    headers = {"X-Auth-Token": "key-10031"}
    expected = {
        Fault.HTML: (200, 50),
        Fault.EMPTY: (200, 0),
        Fault.HUGE: (200, 8_000_000),
        Fault.SERVER_ERROR: (500, 9),
    }
    for fault, (status, least) in expected.items():
        sandbox.misbehave(fault, "10031")
        async with http.get(sandbox.api_url + "/ping", headers=headers) as response:
            body = await response.read()
            assert (response.status, len(body) >= least) == (status, True)
            assert (response.content_type == "text/html") is (fault is Fault.HTML)
    async with http.get(sandbox.api_url + "/ping", headers=headers) as response:
        assert await response.json() == {"message": "pong"}


async def test_a_log_in_can_forget_the_token(sandbox: Sandbox, anybody: API) -> None:
    sandbox.misbehave(Fault.NO_TOKEN, "10031")
    credentials = {"email": "alice@example.com", "password": "sandbox"}
    assert await anybody("POST", "/login", credentials) == (200, {"user_id": "10031"})
    assert "user_token" in (await anybody("POST", "/login", credentials))[1]


async def test_the_connection_can_drop_instead_of_an_answer(sandbox: Sandbox, api: ForUser) -> None:
    call = sandbox.switch.ring("10031", "1")
    sandbox.misbehave(Fault.DISCONNECT, "10031")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("10031")("POST", f"/calls/{call.call_id}", {})


@pytest.mark.parametrize("error", [ConnectionResetError(), web.RequestPayloadError()])
async def test_a_request_that_breaks_off_is_refused(error: Exception) -> None:
    request = AsyncMock()
    request.read.side_effect = error
    with pytest.raises(Refused):
        await read_json(request)
