"""The REST API, as far as a CTI connector needs it. CORS is open: browser pages from anywhere may use it.

Source: VoIPstudio's documentation ("API: calls", "Integrations - CTI Connector"). Hold and resume by
``PATCH {"state": "ON_HOLD" | "CONNECTED"}`` are the sandbox's own extension.
"""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .accounts import Accounts
from .faults import Fault, Faults
from .journal import Journal, token_mark
from .legs import Call, Cause, Leg, LegState
from .pbx import Refused, Switch
from .users import User

__all__ = ["PREFIX", "RESTServer", "peer_port", "read_json"]

PREFIX = "/v1.2/voipstudio"
MAX_BODY = 64 * 1024
MAX_LINK = 2000

_STATUS = {"no_such_call": 404, "invalid": 400, "no_phone": 404}
_NOT_TAKEN = {Cause.NO_ANSWER: (504, "SIP endpoint did not answer."), Cause.CANCELLED: (409, "The call was cancelled.")}
_MAINTENANCE = "<!DOCTYPE html><title>Maintenance</title><h1>Back soon</h1>"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def read_json(request: web.Request) -> dict[str, Any]:
    """The request's JSON object. Raises Refused (code "invalid") for anything else."""
    try:
        data = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        raise Refused("The request is not JSON.", code="invalid") from None
    except (ConnectionError, web.RequestPayloadError):
        raise Refused("The request broke off.", code="invalid") from None
    if not isinstance(data, dict):
        raise Refused("The request is no JSON object.", code="invalid")
    return data


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key, "")
    return value if isinstance(value, str) else ""


class RESTServer:
    """The aiohttp routes of the API.

    Args:
        domain: told to every user as her sip_domain.
        journal: notes who logs in and what is asked for.
    """

    def __init__(self, switch: Switch, accounts: Accounts, faults: Faults, domain: str, journal: Journal) -> None:
        self._switch, self._accounts, self._faults, self._domain = switch, accounts, faults, domain
        self._journal = journal

    def app(self) -> web.Application:
        """The application to be mounted at PREFIX."""
        app = web.Application(middlewares=[self._cors, self._misbehave, self._refuse], client_max_size=MAX_BODY)
        app.router.add_post("/login", self._login)
        app.router.add_post("/login2fa", self._login2fa)
        app.router.add_get("/me", self._me)
        app.router.add_get("/ping", self._ping)
        app.router.add_post("/logout", self._logout)
        app.router.add_get("/users", self._users)
        app.router.add_get("/calls", self._calls)
        app.router.add_post("/calls", self._place_call)
        app.router.add_patch("/calls/{call_id}", self._change_call)
        app.router.add_delete("/calls/{call_id}", self._hang_up)
        app.router.add_route("*", "/{path:.*}", self._nothing_here)
        return app

    # -- around every request -----------------------------------------------------------------------------------

    @web.middleware
    async def _cors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            response: web.StreamResponse = web.Response(status=204)
        else:
            response = await handler(request)
        origin = request.headers.get("Origin")
        headers = response.headers
        headers["Vary"] = "Origin"
        headers["Cache-Control"] = "no-store"
        if origin:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, PUT, DELETE, OPTIONS"
            headers["Access-Control-Allow-Headers"] = (
                request.headers.get("Access-Control-Request-Headers") or "Content-Type, X-Auth-Token, Authorization"
            )
            headers["Access-Control-Max-Age"] = "600"
            headers["Access-Control-Allow-Private-Network"] = "true"
        return response

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        user_id = await self._concerned(request)
        if self._faults.take(Fault.DISCONNECT, user_id) and request.transport:
            request.transport.abort()
            return web.Response()
        if self._faults.take(Fault.SERVER_ERROR, user_id):
            return web.json_response({"message": "Internal server error."}, status=500)
        response = await handler(request)
        if slow := self._faults.take(Fault.SLOW, user_id):
            await asyncio.sleep(slow.seconds)
        if self._faults.take(Fault.HTML, user_id):
            return web.Response(
                text="<!DOCTYPE html><title>Maintenance</title><h1>Back soon</h1>", content_type="text/html"
            )
        if self._faults.take(Fault.EMPTY, user_id):
            return web.Response()
        if self._faults.take(Fault.HUGE, user_id):
            return web.json_response({"data": "x" * 8_000_000})
        if request.path.startswith(f"{PREFIX}/login") and self._faults.take(Fault.NO_TOKEN, user_id):
            return web.json_response({"user_id": user_id})
        return response

    async def _concerned(self, request: web.Request) -> str:
        """The id of the user whose request this is, "" if that cannot be told."""
        user = self._accounts.user_of(_token(request))
        if user is None and request.path == f"{PREFIX}/login":
            try:
                user = self._accounts.user_of_email(_text(await read_json(request), "email"))
            except Refused:
                user = None
        return user.user_id if user else ""

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return _error(_STATUS.get(refused.code, 409), str(refused), refused.field)
        except web.HTTPException as error:
            return _error(error.status, error.reason)

    def _user(self, request: web.Request) -> User:
        user = self._accounts.user_of(_token(request))
        if user is None:
            raise web.HTTPUnauthorized(reason="Not authenticated")
        return user

    # -- logging in ---------------------------------------------------------------------------------------------

    async def _login(self, request: web.Request) -> web.Response:
        data = await read_json(request)
        user = self._accounts.check_password(_text(data, "email"), _text(data, "password"))
        known = user or self._accounts.user_of_email(_text(data, "email"))
        self._journal.note("login", user=known.user_id if known else "", ok=user is not None, peer=peer_port(request))
        if user is None:
            return _error(401, "Invalid e-mail or password.")
        if user.two_factor:
            return web.json_response({"nonce": self._accounts.issue_nonce(user)})
        return self._logged_in(user)

    async def _login2fa(self, request: web.Request) -> web.Response:
        data = await read_json(request)
        code = data.get("code")
        user = self._accounts.check_code(
            _text(data, "nonce"), str(code) if isinstance(code, int) else _text(data, "code")
        )
        return self._logged_in(user) if user else _error(401, "Invalid code.", "code")

    def _logged_in(self, user: User) -> web.Response:
        return web.json_response({"user_id": int(user.user_id), "user_token": self._accounts.issue_token(user)})

    async def _me(self, request: web.Request) -> web.Response:
        user = self._user(request)
        private = {"sip_password": user.sip_password, "sip_domain": self._domain}
        return web.json_response({"data": _user_json(user) | private})

    async def _ping(self, request: web.Request) -> web.Response:
        self._user(request)
        return web.json_response({"message": "pong"})

    async def _logout(self, request: web.Request) -> web.Response:
        self._note_command(request, "logout")
        self._accounts.revoke(_token(request))
        return web.json_response({"message": "Logged out."})

    async def _users(self, request: web.Request) -> web.Response:
        self._user(request)
        rows = [_user_json(user) for user in self._switch.users.values()]
        return web.json_response({"data": rows, "total": len(rows)})

    # -- calls --------------------------------------------------------------------------------------------------

    async def _calls(self, request: web.Request) -> web.Response:
        user_id = self._user(request).user_id
        rows = [_call_json(call, user_id) for call in self._switch.calls_of(user_id)]
        return web.json_response({"data": rows, "total": len(rows)})

    async def _place_call(self, request: web.Request) -> web.Response:
        """Answers when the agent's own phone has picked up, or has not."""
        user = self._user(request)
        to = (await read_json(request)).get("to")
        try:
            call = self._switch.click_to_call(user.user_id, str(to) if isinstance(to, int | str) else "")
        except Refused:
            self._note_command(request, "dial")
            raise
        self._note_command(request, "dial", call.call_id)
        decided: asyncio.Future[Cause | None] = asyncio.get_running_loop().create_future()

        def watch(changed: Call) -> None:
            if changed.state != "INITIAL" and not decided.done():
                decided.set_result(changed.cause)

        call.listeners.append(watch)
        watch(call)
        cause = await decided
        call.listeners.remove(watch)
        if cause:
            return _error(*_NOT_TAKEN.get(cause, (403, "SIP endpoint rejected the call.")))
        return web.json_response({"data": _call_json(call, user.user_id)})

    def _note_command(self, request: web.Request, command: str, call_id: str = "") -> None:
        self._journal.note(
            "command",
            user=self._user(request).user_id,
            method=request.method,
            path=request.path,
            command=command,
            call=call_id or request.match_info.get("call_id", ""),
            token=token_mark(_token(request)),
            peer=peer_port(request),
        )

    def _own_call(self, request: web.Request) -> tuple[str, Call, Leg]:
        user_id = self._user(request).user_id
        call = self._switch.call(request.match_info["call_id"])
        legs = call.live(user_id)
        if not legs:
            raise Refused("There is no such call.", code="no_such_call")
        return user_id, call, legs[0]

    async def _change_call(self, request: web.Request) -> web.Response:
        self._user(request)
        data = await read_json(request)
        self._note_command(request, _command(data))
        user_id, call, leg = self._own_call(request)
        if "action_url" in data:
            self._show_link(call, data)
        elif "dst" in data:
            self._transfer(call, user_id, data["dst"])
        else:
            self._set_state(call, leg, data.get("state"))
        return web.json_response({"data": _call_json(call, user_id)})

    def _show_link(self, call: Call, data: dict[str, Any]) -> None:
        url, text = _text(data, "action_url"), _text(data, "action_text")
        if not url.startswith(("https://", "http://")) or len(url) + len(text) > MAX_LINK:
            raise Refused("This is not a valid URL.", field="action_url", code="invalid")
        self._switch.set_link(call.call_id, url, text)

    def _transfer(self, call: Call, user_id: str, dst: Any) -> None:
        try:
            self._switch.transfer(call.call_id, user_id, str(dst) if isinstance(dst, int | str) else "")
        except Refused as refused:
            refused.field = "dst" if refused.field else ""
            raise

    def _set_state(self, call: Call, leg: Leg, state: Any) -> None:
        match state:
            case "CONNECTED" if leg.state is LegState.CONFIRMED:
                self._switch.resume(call.call_id, leg.node)
            case "CONNECTED" if not leg.initiator:
                self._switch.answer(call.call_id, leg.node)
            case "CONNECTED":
                raise Refused("Only an inbound call can be answered.", code="not_now")
            case "ON_HOLD":
                self._switch.hold(call.call_id, leg.node)
            case _:
                raise Refused("This state cannot be set.", field="state", code="invalid")

    async def _hang_up(self, request: web.Request) -> web.Response:
        self._note_command(request, "hang_up")
        user_id, call, _ = self._own_call(request)
        self._switch.hang_up(call.call_id, user_id)
        return web.Response(status=204)

    async def _nothing_here(self, request: web.Request) -> web.Response:
        raise web.HTTPNotFound


def peer_port(request: web.Request) -> int:
    """The port at the other end of a request's connection, 0 if that is gone."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    return int(name[1]) if name else 0


def _command(data: dict[str, Any]) -> str:
    """What the body of a PATCH asks for."""
    if "action_url" in data:
        return "link"
    if "dst" in data:
        return "transfer"
    return {"CONNECTED": "answer or resume", "ON_HOLD": "hold"}.get(_text(data, "state"), "")


def _token(request: web.Request) -> str:
    """From X-Auth-Token, or from the Basic credentials ``user_id:token`` that older browser connectors send."""
    token = request.headers.get("X-Auth-Token", "")
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if not token and scheme.lower() == "basic":
        try:
            token = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            return ""
    return token


def _error(status: int, message: str, field: str = "") -> web.Response:
    errors = [{"field": field, "message": message}] if field else []
    return web.json_response({"message": message, "errors": errors}, status=status)


def _user_json(user: User) -> dict[str, Any]:
    first, _, last = user.name.partition(" ")
    return {
        "id": int(user.user_id),
        "name": user.name,
        "first_name": first,
        "last_name": last,
        "email": user.email,
        "extension": user.user_id,
    }


def _call_json(call: Call, user_id: str) -> dict[str, Any]:
    """The call as the documentation lists it, seen by one user."""
    mine = call.live(user_id)
    state = "ON_HOLD" if mine and mine[0].on_hold else "CONNECTED" if call.state == "ON_HOLD" else call.state
    return {
        "id": int(call.call_id),
        "src": call.origin.party.number,
        "src_name": call.origin.party.name,
        "dst": call.target.number,
        "dst_name": call.target.name,
        "state": state,
        "start_time": _iso(call.started_at),
        "connected_at": _iso(call.connected_at) if call.connected_at else None,
        "duration": int(time.time() - call.connected_at) if call.connected_at else 0,
        "context": "LOCAL",
        "queue_state": None,
        "referred_by": call.referred_by or None,
        "parent_id": None,
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
