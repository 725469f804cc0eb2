"""VoIPstudio's REST API: requests as values, answers as values; nothing is sent from here.

A request is written by a ``*_request`` function, its answer is read by the ``read_*`` function of the same row:

    login_request            read_login       LoggedIn, TwoFactorAsked or Refusal
    two_factor_request       read_login
    me_request               read_me          Me or Refusal
    place_call_request       read_placed      Placed or Refusal
    users_request            read_users       tuple of User, or Refusal
    all the others           read_done        Done or Refusal

Every reader raises RESTError for what is no answer of this API: an HTML page with status 200, an empty body, a body
without a token, a wrong type, a status that is none of 2xx, 4xx and 5xx.

Source: VoIPstudio's API documentation ("API: calls", "Integrations - CTI Connector").
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from ..exceptions import RESTError

__all__ = [
    "MAX_BODY",
    "Done",
    "LoggedIn",
    "Me",
    "Placed",
    "Refusal",
    "Request",
    "TwoFactorAsked",
    "User",
    "answer_call_request",
    "hang_up_request",
    "hold_request",
    "link_request",
    "login_request",
    "logout_request",
    "me_request",
    "ping_request",
    "place_call_request",
    "read_done",
    "read_login",
    "read_me",
    "read_placed",
    "read_users",
    "transfer_request",
    "two_factor_request",
    "users_request",
]

MAX_BODY = 1_048_576  # bytes of an answer that are read
MAX_SENTENCE = 300  # characters of the service's own words that are kept
MAX_USERS = 2_000
MAX_FIELD = 255  # characters of any other text that is kept

_TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - a header's name
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_DOMAIN = re.compile(r"(?i)(?:[0-9a-z_-]+(?:\.[0-9a-z_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_BIDI = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to be sent to ``<api_url><path>``. What may hold a secret stays out of its repr."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service says no.

    Args:
        status: the HTTP status, 400 to 599.
        message: the service's own sentence as plain text, "" if it gave none.
        errors: its words for each field, as (field, sentence).
    """

    status: int
    message: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """All that the service said, in one text; "" if it said nothing."""
        told = [self.message] if self.message else []
        told.extend(text for _, text in self.errors if text not in self.message)
        return " ".join(dict.fromkeys(told))[:MAX_SENTENCE]

    @property
    def is_final(self) -> bool:
        """Whether the same request would be refused again: not so when the service is down or busy (408, 429, 5xx)."""
        return self.status < 500 and self.status not in (408, 425, 429)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A log-in was accepted."""

    user_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TwoFactorAsked:
    """The password is right, and a code is wanted as well."""

    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Me:
    """Who the token belongs to.

    Args:
        user_id: also the SIP user.
        sip_password: goes with it.
        sip_domain: host, or host:port.
        extension: the user's own extension, "" if the service does not say.
    """

    user_id: str
    sip_password: str = field(repr=False)
    sip_domain: str
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """The agent's phone has picked up; ``call_id`` is "" where the service names the call only by SIP."""

    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The service has done it."""


@dataclass(frozen=True, slots=True)
class User:
    """A colleague. ``extension`` and ``name`` are "" if the service does not tell them."""

    user_id: str
    extension: str = ""
    name: str = ""


# -- requests -------------------------------------------------------------------------------------------------------


def login_request(email: str, password: str) -> Request:
    """POST /login."""
    return _request("POST", "/login", body={"email": email, "password": password})


def two_factor_request(code: str, nonce: str) -> Request:
    """POST /login2fa: the code of the second factor, with the nonce that asked for it."""
    return _request("POST", "/login2fa", body={"code": code, "nonce": nonce})


def me_request(token: str) -> Request:
    """GET /me; with an API key as the token it is also the log-in."""
    return _request("GET", "/me", token)


def ping_request(token: str) -> Request:
    """GET /ping: keeps the token alive."""
    return _request("GET", "/ping", token)


def logout_request(token: str) -> Request:
    """POST /logout."""
    return _request("POST", "/logout", token, {})


def place_call_request(token: str, digits: str) -> Request:
    """POST /calls: ring the agent's own phone, then `digits`. Answered when her phone has picked up."""
    return _request("POST", "/calls", token, {"to": digits})


def answer_call_request(token: str, call_id: str) -> Request:
    """PATCH /calls/{id}: pick up the ringing call."""
    return _request("PATCH", _call_path(call_id), token, {"state": "CONNECTED"})


def hold_request(token: str, call_id: str, *, on: bool) -> Request:
    """PATCH /calls/{id}: put the call on hold, or take it off. No page documents this; the service may refuse."""
    return _request("PATCH", _call_path(call_id), token, {"state": "ON_HOLD" if on else "CONNECTED"})


def transfer_request(token: str, call_id: str, digits: str) -> Request:
    """PATCH /calls/{id}: hand the call to `digits` (blind transfer)."""
    return _request("PATCH", _call_path(call_id), token, {"dst": digits})


def link_request(token: str, call_id: str, url: str, text: str) -> Request:
    """PATCH /calls/{id}: show a link on the agent's softphone.

    Raises:
        RESTError: `url` is no http or https URL.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web:
        raise RESTError("A link must begin with http:// or https://.")
    return _request("PATCH", _call_path(call_id), token, {"action_url": url, "action_text": text or url})


def hang_up_request(token: str, call_id: str) -> Request:
    """DELETE /calls/{id}."""
    return _request("DELETE", _call_path(call_id), token)


def users_request(token: str) -> Request:
    """GET /users: the colleagues."""
    return _request("GET", "/users", token)


def _request(method: str, path: str, token: str = "", body: dict[str, str] | None = None) -> Request:
    headers = {"Accept": "application/json"}
    if token:
        # A key that somebody pasted with a line break in it must not become a header of its own.
        if not _TOKEN.fullmatch(token):
            raise RESTError("The API key holds characters that no key has.")
        headers[_TOKEN_HEADER] = token
    if body is None:
        return Request(method, path, headers)
    headers["Content-Type"] = "application/json"
    return Request(method, path, headers, json.dumps(body).encode())


def _call_path(call_id: str) -> str:
    # A call id comes from the network: with slashes or dots in it, it would name something else than a call.
    if not _ID.fullmatch(call_id):
        raise RESTError("The telephone system has not given this call an id yet.")
    return f"/calls/{quote(call_id, safe='')}"


# -- answers --------------------------------------------------------------------------------------------------------


def read_login(status: int, content_type: str, body: bytes) -> LoggedIn | TwoFactorAsked | Refusal:
    """Read the answer to a log-in."""
    answer = _read(status, content_type, body)
    if isinstance(answer, Refusal):
        return answer
    answer = _unwrapped(answer)
    if answer.get("user_token"):
        return LoggedIn(user_id=_identifier(answer.get("user_id")), token=_secret(answer["user_token"]))
    if answer.get("nonce"):
        return TwoFactorAsked(nonce=_secret(answer["nonce"]))
    raise RESTError("The telephone service accepted the log-in, but gave no token.")


def read_me(status: int, content_type: str, body: bytes) -> Me | Refusal:
    """Read the answer to GET /me."""
    answer = _read(status, content_type, body)
    if isinstance(answer, Refusal):
        return answer
    data = _unwrapped(answer)
    domain = data.get("sip_domain")
    if not isinstance(domain, str) or len(domain) > MAX_FIELD or not _DOMAIN.fullmatch(domain):
        raise RESTError("The telephone service did not name its SIP domain.")
    password = data.get("sip_password")
    if not isinstance(password, str) or not password or len(password) > MAX_FIELD:
        raise RESTError("The telephone service gave no SIP password.")
    return Me(_identifier(data.get("id")), password, domain, _extension(data))


def read_placed(status: int, content_type: str, body: bytes) -> Placed | Refusal:
    """Read the answer to POST /calls."""
    answer = _read(status, content_type, body, may_be_empty=True)
    if isinstance(answer, Refusal):
        return answer
    data = _unwrapped(answer)
    return Placed(_id_text(data.get("id", data.get("call_id"))))


def read_users(status: int, content_type: str, body: bytes) -> tuple[User, ...] | Refusal:
    """Read the answer to GET /users. Entries without an id are passed over."""
    answer = _read(status, content_type, body)
    if isinstance(answer, Refusal):
        return answer
    rows = answer.get("data")
    if not isinstance(rows, list):
        raise RESTError("The telephone service did not list its users.")
    users = []
    for row in rows[:MAX_USERS]:
        if isinstance(row, dict) and (user_id := _id_text(row.get("id"))):
            users.append(User(user_id, _extension(row), _name(row)))
    return tuple(users)


def read_done(status: int, content_type: str, body: bytes) -> Done | Refusal:
    """Read an answer that matters only as yes or no."""
    answer = _read(status, content_type, body, may_be_empty=True)
    return answer if isinstance(answer, Refusal) else Done()


def _read(status: int, content_type: str, body: bytes, *, may_be_empty: bool = False) -> dict[str, Any] | Refusal:
    if len(body) > MAX_BODY:
        raise RESTError("The telephone service sent an answer that is too large.")
    if not 200 <= status < 300 and not 400 <= status < 600:
        raise RESTError(f"The telephone service answered with the unexpected status {status:d}.")
    refused = status >= 400
    if not body.strip():
        if refused:
            return Refusal(status)
        if may_be_empty:
            return {}
        raise RESTError("The telephone service sent an empty answer.")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        if refused:
            return Refusal(status)  # a web server's own error page: nothing in it is for the agent
        what = "a web page" if "html" in content_type.lower() or body.lstrip()[:1] == b"<" else "text that is not JSON"
        raise RESTError(f"The telephone service sent {what} where an answer was expected.") from None
    if refused:
        return _refusal(status, answer)
    if isinstance(answer, dict):
        return answer
    if may_be_empty:
        return {}
    raise RESTError("The telephone service sent an answer of another shape than it promises.")


def _refusal(status: int, answer: Any) -> Refusal:
    if not isinstance(answer, dict):
        return Refusal(status)
    errors = answer.get("errors")
    told = []
    for error in errors[:20] if isinstance(errors, list) else ():
        if isinstance(error, dict) and (text := _sentence(error.get("message"))):
            told.append((_sentence(error.get("field")), text))
    return Refusal(status, _sentence(answer.get("message")), tuple(told))


def _unwrapped(answer: dict[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    return data if isinstance(data, dict) else answer


def _sentence(value: Any) -> str:
    """The service's words as plain text: no markup, no control characters, one line, capped."""
    if not isinstance(value, str):
        return ""
    text = _BIDI.sub("", _BLANK.sub(" ", _TAG.sub(" ", value[: 4 * MAX_SENTENCE])))
    text = _BLANK.sub(" ", text.replace("<", " ").replace(">", " "))
    return re.sub(r" (?=[.,;:!?])", "", text).strip()[:MAX_SENTENCE]


def _id_text(value: Any) -> str:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else ""


def _identifier(value: Any) -> str:
    text = _id_text(value)
    if not text:
        raise RESTError("The telephone service did not say who has logged in.")
    return text


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise RESTError("The telephone service gave a token of a shape that no token has.")
    return value


def _extension(row: Mapping[str, Any]) -> str:
    """The extension in `row`; the documentation names the field differently from page to page."""
    for key in ("extension", "ext", "exten", "number", "sip_number"):
        text = _id_text(row.get(key))
        if text.isascii() and text.isdigit() and len(text) <= 6:
            return text
    return ""


def _name(row: Mapping[str, Any]) -> str:
    name = _sentence(row.get("name"))
    if not name:
        name = f"{_sentence(row.get('first_name'))} {_sentence(row.get('last_name'))}".strip()
    return name or _sentence(row.get("email"))
