"""The console's HTTP API, and who may not use it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from cti_django.sandbox.faults import Fault
from cti_django.sandbox.server import Sandbox, run_sandbox

Post = Callable[..., Any]


@pytest.fixture
def post(sandbox: Sandbox, http: aiohttp.ClientSession) -> Post:
    async def send(path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = f"{sandbox.base_url}/console/api/{path}"
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        async with http.post(url, json=body if body is not None else {}, headers=fields) as response:
            return response.status, await response.json()

    return send


async def state(sandbox: Sandbox, http: aiohttp.ClientSession, query: str = "") -> dict[str, Any]:
    async with http.get(f"{sandbox.base_url}/console/api/state{query}") as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def test_a_call_is_rung_answered_held_resumed_and_hung_up(sandbox: Sandbox, post: Post) -> None:
    status, call = await post("ring", {"to": "10031", "from": "+442079460018", "name": "Dana"})
    assert status in (200, 201)
    assert call.items() >= {"id": "7310025", "call_id": "7310025", "from": "442079460018", "from_name": "Dana"}.items()
    for action, result in (
        ("answer", "CONNECTED"),
        ("hold", "ON_HOLD"),
        ("resume", "CONNECTED"),
        ("hangup", "HANGUP"),
    ):
        status, call = await post(f"calls/7310025/{action}")
        assert (status, call["state"]) == (200, result)
    assert await post("calls/7310025/answer") == (404, {"message": "There is no such call.", "errors": []})


@pytest.mark.parametrize("number", ["", "withheld", "anonymous", None])
async def test_a_caller_can_withhold_the_number(post: Post, number: Any) -> None:
    _, call = await post("ring", {"to": "10031", "from": number})
    assert (call["from"], call["from_name"]) == ("anonymous", "Anonymous")


async def test_answer_takes_a_click_to_call_one_side_at_a_time(sandbox: Sandbox, post: Post) -> None:
    await post("outside/default", {"behaviour": "manual"})
    status, call = await post("dial", {"from": "10031", "to": "442079460018"})
    assert (status, call["state"]) == (201, "INITIAL")
    assert (await post("calls/7310025/answer", {"side": "remote"}))[0] == 409
    assert (await post("calls/7310025/answer"))[1]["state"] == "RINGING"
    assert (await post("calls/7310025/answer"))[1]["state"] == "CONNECTED"


async def test_phones_decline_and_are_busy(post: Post) -> None:
    await post("ring", {"to": "10031,10032", "from": "1"})
    assert (await post("calls/7310025/decline", {"side": "10031"}))[1]["state"] == "RINGING"
    _, call = await post("calls/7310025/busy")
    assert (call["state"], call["cause"]) == ("HANGUP", "busy")


async def test_a_phone_gets_its_conduct(sandbox: Sandbox, post: Post) -> None:
    status, user = await post(
        "phones/10031", {"behaviour": "declines", "seconds": 2, "registered": True, "devices": 2, "pick_up_seconds": 1}
    )
    assert (status, user["phone"]) == (
        200,
        {"registered": True, "devices": 2, "behaviour": "declines", "seconds": 2, "pick_up_seconds": 1},
    )
    _, user = await post("phones/10031", {"pick_up_seconds": None, "behaviour": "manual"})
    assert (user["phone"]["pick_up_seconds"], user["phone"]["behaviour"]) == (None, "manual")


async def test_a_number_outside_gets_its_conduct(sandbox: Sandbox, post: Post) -> None:
    assert (await post("outside/+442079460099", {"behaviour": "unobtainable"}))[0] == 200
    assert sandbox.switch.outside["442079460099"].behaviour == "unobtainable"
    assert (await post("outside/alice", {"behaviour": "busy"}))[0] == 400


async def test_the_state_tells_everything(sandbox: Sandbox, http: aiohttp.ClientSession, post: Post) -> None:
    await post("ring", {"to": "10031", "from": "1"})
    await post("faults", {"fault": "slow", "user": "10031", "seconds": 3})
    told = await state(sandbox, http)
    assert [user["id"] for user in told["users"]] == ["10031", "10032", "10033", "10034"]
    assert [call["id"] for call in told["calls"]] == ["7310025"]
    assert told["faults"] == [{"fault": "slow", "user": "10031", "seconds": 3, "remaining": None}]
    assert told["subscriptions"] == []
    assert "sip-10031" not in json.dumps(told)


async def test_the_state_can_be_waited_for(sandbox: Sandbox, http: aiohttp.ClientSession, post: Post) -> None:
    revision = (await state(sandbox, http))["revision"]
    waiting = asyncio.create_task(state(sandbox, http, f"?since={revision}"))
    await post("ring", {"to": "10031", "from": "1"})
    assert [call["id"] for call in (await waiting)["calls"]] == ["7310025"]


@pytest.mark.parametrize("fault", sorted(Fault))
async def test_every_fault_can_be_asked_for(post: Post, fault: str) -> None:
    assert (await post("faults", {"fault": fault, "user": "10031", "seconds": 0.1, "count": 2}))[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ring", {}),
        ("ring", {"to": "10999"}),
        ("ring", {"to": 10031}),
        ("ring", {"to": "10031", "from": ["1"]}),
        ("ring", {"to": "10031", "from": "10031"}),
        ("ring", {"to": "10031", "via": "queue-1"}),
        ("ring", []),
        ("dial", {"from": "10999", "to": "1"}),
        ("dial", {"from": "10031", "to": "1"}),
        ("phones/10999", {}),
        ("phones/10031", {"behaviour": "dances"}),
        ("phones/10031", {"behaviour": "manual", "seconds": -1}),
        ("phones/10031", {"behaviour": "manual", "seconds": "2"}),
        ("phones/10031", {"registered": "yes"}),
        ("phones/10031", {"devices": 1000}),
        ("faults", {"fault": "earthquake"}),
        ("faults", {"fault": "slow", "user": "10999"}),
        ("faults", {"fault": "slow", "seconds": 1e9}),
        ("faults", {"fault": "slow", "count": 0}),
        ("calls/1/answer", {}),
        ("calls/1/explode", {}),
    ],
)
async def test_nonsense_is_refused_in_words(post: Post, path: str, body: Any) -> None:
    status, answer = await post(path, body)
    assert 400 <= status < 500
    assert answer["message"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 10_000, b"x" * 20_000, b'{"fault": NaN}'])
async def test_hostile_json_does_not_end_the_server(
    sandbox: Sandbox, http: aiohttp.ClientSession, post: Post, body: bytes
) -> None:
    url = f"{sandbox.base_url}/console/api/faults"
    async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status in (400, 413)
    assert (await post("ring", {"to": "10031"}))[0] == 201


async def test_a_hostile_caller_is_kept_as_text(sandbox: Sandbox, post: Post) -> None:
    _, call = await post("ring", {"to": "10031", "from": "+4420\r\nX: y", "name": "<img src=x onerror=alert(1)>"})
    assert (call["from"], call["from_name"]) == ("4420X: y", "<img src=x onerror=alert(1)>")


# -- who may not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example:9000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "["},
    ],
)
async def test_pages_of_other_origins_can_neither_act_nor_read(
    sandbox: Sandbox, http: aiohttp.ClientSession, post: Post, headers: dict[str, str]
) -> None:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(f"{sandbox.base_url}/console/api/ring", json={"to": "10031"}, headers=fields) as response:
        assert response.status in (400, 403)
        assert "Access-Control-Allow-Origin" not in response.headers
    async with http.get(f"{sandbox.base_url}/console/api/state", headers=fields) as response:
        assert response.status in (400, 403)
    assert not sandbox.switch.calls


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_form_can_send_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, content_type: str
) -> None:
    url = f"{sandbox.base_url}/console/api/ring"
    async with http.post(url, data=b'{"to": "10031"}', headers={"Content-Type": content_type}) as response:
        assert response.status == 415
    assert not sandbox.switch.calls


async def test_a_preflight_gets_no_permission(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with http.options(f"{sandbox.base_url}/console/api/ring", headers=headers) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_consoles_own_page_may(sandbox: Sandbox, post: Post) -> None:
    headers = {"Origin": sandbox.base_url, "Sec_Fetch_Site": "same-origin"}
    assert (await post("ring", {"to": "10031"}, **headers))[0] == 201


async def test_localhost_and_the_sip_domain_are_names_of_this_machine(http: aiohttp.ClientSession) -> None:
    async with run_sandbox(sip_domain="pbx.localhost") as sandbox:
        for name in ("localhost:1", "LOCALHOST", "pbx.localhost", "[::1]:9000"):
            async with http.get(f"{sandbox.base_url}/console/api/state", headers={"Host": name}) as response:
                assert response.status == 200


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/console/", "/console/console.css", "/console/console.js", "/console/api/state"])
async def test_everything_carries_the_security_headers(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(sandbox.base_url + path) as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe-inline" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"


async def test_the_page_has_no_inline_script_or_style(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{sandbox.base_url}/console/") as response:
        page = await response.text()
    assert 'src="console.js"' in page
    for forbidden in ("<style", " style=", " onclick", "javascript:"):
        assert forbidden not in page


@pytest.mark.parametrize("path", ["/", "/sip", "/console"])
async def test_a_browser_is_led_to_the_console(sandbox: Sandbox, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(sandbox.base_url + path, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/console/")


@pytest.mark.parametrize("path", ["/console/..%2fserver.py", "/console/static/x", "/console/console.html"])
async def test_no_other_file_is_served(sandbox: Sandbox, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(sandbox.base_url + path) as response:
        assert response.status == 404
