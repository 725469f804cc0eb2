"""The console: a page, and its HTTP API, to play the rest of the world.

Nobody is asked for a password here, so the console keeps web pages of other origins out: every change needs a JSON
body (which such a page cannot send without being asked), a foreign Origin is refused, nothing carries CORS headers,
and on a loopback address the Host must be a name of this machine, which ends DNS rebinding.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from .faults import ARMED, AT_ONCE, Fault
from .legs import Call, Cause
from .pbx import Refused, Switch
from .rest import read_json
from .users import PASSWORD, TWO_FACTOR_CODE, Behaviour, Conduct, User

if TYPE_CHECKING:
    from .server import Sandbox

__all__ = ["Console"]

STATIC = Path(__file__).parent / "static"
FILES = {"": "console.html", "console.css": "console.css", "console.js": "console.js"}
MAX_BODY = 16 * 1024
MAX_SECONDS = 3600.0
LONG_POLL_SECONDS = 25.0
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_STATUS = {"no_such_call": 404, "no_such_extension": 404, "no_such_node": 404, "not_now": 409}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Console:
    """The aiohttp routes below ``/console``."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._host_names = _loopback_names(sandbox.host, sandbox.sip_domain)

    @property
    def _switch(self) -> Switch:
        return self._sandbox.switch

    def app(self) -> web.Application:
        """The application to be mounted at ``/console``."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        app.router.add_get("/{file:|console.css|console.js}", self._file)
        app.router.add_get("/api/state", self._state)
        app.router.add_post("/api/ring", self._ring)
        app.router.add_post("/api/dial", self._dial)
        app.router.add_post("/api/calls/{call_id}/{action:answer|decline|busy|hold|resume|hangup|transfer}", self._act)
        app.router.add_post("/api/phones/{user_id}", self._phone)
        app.router.add_post("/api/outside/{number}", self._outside)
        app.router.add_post("/api/faults", self._fault)
        return app

    # -- who may ------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_source(request)
            response = await handler(request)
        except Refused as refused:
            response = _error(_STATUS.get(refused.code, 400), str(refused), refused.field)
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        response.headers.update(SECURITY_HEADERS)
        return response

    def _check_source(self, request: web.Request) -> None:
        if self._host_names and _host_name(request.host) not in self._host_names:
            raise web.HTTPForbidden(reason="The console is only for this machine")
        origin = request.headers.get("Origin")
        is_own = origin is None or origin.lower() == f"{request.scheme}://{request.host}".lower()
        is_page = "/api/" not in request.path  # a link from elsewhere may lead to the page
        if not is_own or not (is_page or request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")):
            raise web.HTTPForbidden(reason="Pages of other origins may not use the console")
        if request.method != "GET" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(reason="The console takes application/json")

    # -- the page -----------------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / FILES[request.match_info["file"]])

    async def _state(self, request: web.Request) -> web.Response:
        """Everything; with ``?since=<revision>`` as soon as anything has changed since, or after 25 s."""
        sandbox = self._sandbox
        since = request.query.get("since", "")
        if since == str(sandbox.revision):
            with contextlib.suppress(TimeoutError):
                await sandbox.wait_for(lambda: since != str(sandbox.revision), LONG_POLL_SECONDS)
                await asyncio.sleep(0)  # let what belongs together become one answer
        return web.json_response(self._state_json())

    def _state_json(self) -> dict[str, Any]:
        sandbox, switch = self._sandbox, self._switch
        subscriptions = [one for line in sandbox.sip.connections for one in line.subscriptions.values()]
        return {
            "revision": sandbox.revision,
            "urls": {"api": sandbox.api_url, "sip": sandbox.sip_url, "sip_domain": sandbox.sip_domain},
            "login": {"password": PASSWORD, "two_factor_code": TWO_FACTOR_CODE},
            "users": [_user_json(user) for user in switch.users.values()],
            "nodes": switch.nodes,
            "calls": [call.to_json() for call in switch.calls.values()],
            "ended": [call.to_json() for call in switch.ended],
            "sockets": len(sandbox.sip.connections),
            "subscriptions": [one.to_json() for one in subscriptions],
            "outside": {"": _conduct_json(switch.outside_default)}
            | {number: _conduct_json(conduct) for number, conduct in switch.outside.items()},
            "faults": sandbox.faults.to_json(),
            "known_faults": {"at_once": sorted(AT_ONCE), "armed": sorted(ARMED)},
        }

    # -- calls --------------------------------------------------------------------------------------------------

    async def _ring(self, request: web.Request) -> web.Response:
        data = await read_json(request)
        call = self._switch.ring(_text(data, "to"), _text(data, "from"), _text(data, "name"), via=_text(data, "via"))
        return web.json_response(call.to_json(), status=201)

    async def _dial(self, request: web.Request) -> web.Response:
        """Begin a click-to-call for an agent, as her connector would."""
        data = await read_json(request)
        user_id = _text(data, "from")
        self._check_user(user_id)
        return web.json_response(self._switch.click_to_call(user_id, _text(data, "to")).to_json(), status=201)

    async def _act(self, request: web.Request) -> web.Response:
        data = await read_json(request)
        call_id, side, switch = request.match_info["call_id"], _text(data, "side"), self._switch
        call: Call
        match request.match_info["action"]:
            case "answer":
                call = switch.answer(call_id, side)
            case "decline":
                call = switch.decline(call_id, side)
            case "busy":
                call = switch.decline(call_id, side, Cause.BUSY)
            case "hold":
                call = switch.hold(call_id, side or "agent")
            case "resume":
                call = switch.resume(call_id, side or "agent")
            case "transfer":
                call = switch.transfer(call_id, side, _text(data, "to"))
            case _:
                call = switch.hang_up(call_id, side if side in switch.users else "")
        return web.json_response(call.to_json())

    # -- phones, numbers, faults --------------------------------------------------------------------------------

    async def _phone(self, request: web.Request) -> web.Response:
        user_id = request.match_info["user_id"]
        self._check_user(user_id)
        data = await read_json(request)
        phone = self._switch.users[user_id].phone
        phone.registered = _flag(data, "registered", phone.registered)
        phone.devices = int(_number(data, "devices", phone.devices, 1, 5))
        if "behaviour" in data:
            phone.conduct = _conduct(data)
        if "pick_up_seconds" in data:
            seconds = data["pick_up_seconds"]
            phone.pick_up = None
            if seconds is not None:
                phone.pick_up = Conduct(Behaviour.ANSWERS, _number(data, "pick_up_seconds", 0, 0, MAX_SECONDS))
        self._sandbox.touch()
        return web.json_response(_user_json(self._switch.users[user_id]))

    async def _outside(self, request: web.Request) -> web.Response:
        number = request.match_info["number"].removeprefix("+")
        conduct = _conduct(await read_json(request))
        if number == "default":
            self._switch.outside_default = conduct
        elif number.isascii() and number.isdigit() and 6 <= len(number) <= 16:
            self._switch.outside[number] = conduct
        else:
            raise Refused("That is no number outside.", field="number", code="invalid")
        self._sandbox.touch()
        return web.json_response(_conduct_json(conduct))

    async def _fault(self, request: web.Request) -> web.Response:
        data = await read_json(request)
        name, user_id = _text(data, "fault"), _text(data, "user")
        if name not in set(Fault):
            raise Refused("There is no such fault.", field="fault", code="invalid")
        if user_id:
            self._check_user(user_id)
        count = None if data.get("count") is None else int(_number(data, "count", 1, 1, 10_000))
        seconds = _number(data, "seconds", 1.0, 0, MAX_SECONDS)
        self._sandbox.misbehave(Fault(name), user_id, count=count, seconds=seconds)
        return web.json_response({"fault": name, "armed": self._sandbox.faults.to_json()})

    def _check_user(self, user_id: str) -> None:
        if user_id not in self._switch.users:
            raise Refused("There is no such extension.", field="user", code="no_such_extension")


def _loopback_names(host: str, sip_domain: str) -> frozenset[str]:
    """The Host names that the console answers to; empty, for any, if it listens on the network."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        return frozenset()
    return frozenset({"127.0.0.1", "localhost", "::1", host.lower(), sip_domain.lower()})


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _error(status: int, message: str, field: str = "") -> web.StreamResponse:
    errors = [{"field": field, "message": message}] if field else []
    return web.json_response({"message": message, "errors": errors}, status=status)


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused("That must be a text.", field=key, code="invalid")
    return value


def _flag(data: dict[str, Any], key: str, default: bool) -> bool:
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise Refused("That must be true or false.", field=key, code="invalid")
    return value


def _number(data: dict[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Refused(f"That must be a number from {least:g} to {most:g}.", field=key, code="invalid")
    return value


def _conduct(data: dict[str, Any]) -> Conduct:
    name = _text(data, "behaviour")
    if name not in set(Behaviour):
        raise Refused("There is no such behaviour.", field="behaviour", code="invalid")
    return Conduct(Behaviour(name), _number(data, "seconds", 0, 0, MAX_SECONDS))


def _conduct_json(conduct: Conduct) -> dict[str, Any]:
    return {"behaviour": conduct.behaviour.value, "seconds": conduct.seconds}


def _user_json(user: User) -> dict[str, Any]:
    phone = user.phone
    return {
        "id": user.user_id,
        "name": user.name,
        "email": user.email,
        "two_factor": user.two_factor,
        "phone": {
            "registered": phone.registered,
            "devices": phone.devices,
            **_conduct_json(phone.conduct),
            "pick_up_seconds": phone.pick_up.seconds if phone.pick_up else None,
        },
    }
