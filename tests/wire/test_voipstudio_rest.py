"""The REST codec: every request as it is sent, every answer as it may come."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import RESTError
from cti_django.wire import voipstudio_rest as rest

JSON = "application/json"
READERS = [rest.read_login, rest.read_me, rest.read_placed, rest.read_users, rest.read_done]


def answer(read, content, status=200, content_type=JSON):
    return read(status, content_type, content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    ("request_", "method", "path", "body"),
    [
        (rest.login_request("a@b", 'p"w'), "POST", "/login", {"email": "a@b", "password": 'p"w'}),
        (rest.two_factor_request("123456", "n"), "POST", "/login2fa", {"code": "123456", "nonce": "n"}),
        (rest.me_request("t"), "GET", "/me", None),
        (rest.ping_request("t"), "GET", "/ping", None),
        (rest.logout_request("t"), "POST", "/logout", {}),
        (rest.place_call_request("t", "442079460018"), "POST", "/calls", {"to": "442079460018"}),
        (rest.answer_call_request("t", "7310025"), "PATCH", "/calls/7310025", {"state": "CONNECTED"}),
        (rest.hold_request("t", "7310025", on=True), "PATCH", "/calls/7310025", {"state": "ON_HOLD"}),
        (rest.hold_request("t", "7310025", on=False), "PATCH", "/calls/7310025", {"state": "CONNECTED"}),
        (rest.transfer_request("t", "7310025", "10032"), "PATCH", "/calls/7310025", {"dst": "10032"}),
        (
            rest.link_request("t", "7310025", "https://crm.example/?a=b", ""),
            "PATCH",
            "/calls/7310025",
            {"action_url": "https://crm.example/?a=b", "action_text": "https://crm.example/?a=b"},
        ),
        (rest.hang_up_request("t", "7310025"), "DELETE", "/calls/7310025", None),
        (rest.users_request("t"), "GET", "/users", None),
    ],
)
def test_each_request_is_written_as_the_service_documents_it(request_, method, path, body):
    assert (request_.method, request_.path) == (method, path)
    assert (json.loads(request_.body) if request_.body else None) == body
    is_login = path.startswith("/login")
    assert request_.headers.get("X-Auth-Token") == (None if is_login else "t")
    assert ("Content-Type" in request_.headers) is (body is not None)


@pytest.mark.parametrize("call_id", ["", ".", "..", "1/2", "1?x", "1#x", "1%2f", "-1", "1\r\n", "x" * 200])
def test_a_call_id_that_names_something_else_is_refused(call_id):
    with pytest.raises(RESTError):
        rest.hang_up_request("t", call_id)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "é", "x" * 5000])
def test_a_token_that_would_break_the_header_is_refused(token):
    with pytest.raises(RESTError):
        rest.me_request(token)


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "data:text/html,x", "https:///x", "http://[", "//x"])
def test_a_link_that_is_no_web_page_is_refused(url):
    with pytest.raises(RESTError, match="http"):
        rest.link_request("t", "1", url, "")


def test_secrets_stay_out_of_every_repr():
    values = [
        rest.login_request("a@b", "s3cret"),
        rest.me_request("s3cret"),
        answer(rest.read_login, {"user_id": 1, "user_token": "s3cret"}),
        answer(rest.read_login, {"nonce": "s3cret"}),
        answer(rest.read_me, {"data": {"id": 1, "sip_password": "s3cret", "sip_domain": "x"}}),
    ]
    assert "s3cret" not in repr(values)


def test_a_log_in_gives_a_token_or_asks_for_a_code():
    assert answer(rest.read_login, {"user_id": 1, "user_token": "t"}) == rest.LoggedIn("1", "t")
    assert answer(rest.read_login, {"data": {"user_id": "1", "user_token": "t"}}) == rest.LoggedIn("1", "t")
    assert answer(rest.read_login, {"nonce": "n"}) == rest.TwoFactorAsked("n")


def test_me_tells_the_sip_account_and_the_extension_if_there_is_one():
    data = {"id": 482910, "sip_password": "p", "sip_domain": "sip.example:5061", "ext": 10031}
    assert answer(rest.read_me, {"data": data}) == rest.Me("482910", "p", "sip.example:5061", "10031")
    del data["ext"]
    assert answer(rest.read_me, {"data": data}).extension == ""


@pytest.mark.parametrize("domain", [None, "", "a b", "a/b", "a@b", "x\r\n", "sip.example:x", ["a"], "a" * 300, "{x}"])
def test_a_sip_domain_that_is_no_host_is_refused(domain):
    with pytest.raises(RESTError, match="SIP domain"):
        answer(rest.read_me, {"data": {"id": 1, "sip_password": "p", "sip_domain": domain}})


@pytest.mark.parametrize(
    ("content", "call_id"),
    [
        (b"", ""),
        ({}, ""),
        ({"data": {"id": 7310025}}, "7310025"),
        ({"id": "7310025"}, "7310025"),
        ({"data": {"call_id": 7}}, "7"),
        ({"data": {"id": True}}, ""),
        ({"data": {"id": "../me"}}, ""),
        ([], ""),
    ],
)
def test_a_placed_call_may_or_may_not_have_an_id(content, call_id):
    assert answer(rest.read_placed, content) == rest.Placed(call_id)


def test_users_are_listed_with_what_the_service_tells():
    rows = [
        {"id": 1, "name": "Bob"},
        {"id": "2", "first_name": "Carol", "last_name": "Agent", "extension": "10033"},
        {"id": 3, "email": "dave@example.com", "number": "+442079460018"},
        {"name": "nobody"},
        "nonsense",
        {"id": {"a": 1}},
    ]
    assert answer(rest.read_users, {"data": rows}) == (
        rest.User("1", "", "Bob"),
        rest.User("2", "10033", "Carol Agent"),
        rest.User("3", "", "dave@example.com"),
    )


def test_a_refusal_tells_the_services_sentence_as_plain_text():
    refusal = answer(
        rest.read_login,
        {
            "message": "Validation <b>failed</b>.\r\n\x00",
            "errors": [{"field": "email", "message": "Not <script>an address</script>."}, 7, {"field": 1}],
        },
        status=400,
    )
    assert refusal.message == "Validation failed."
    assert refusal.errors == (("email", "Not an address."),)
    assert refusal.sentence == "Validation failed. Not an address."
    assert len(answer(rest.read_login, {"message": "x" * 9999}, status=400).sentence) <= rest.MAX_SENTENCE


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'"no"', b'{"message": 7, "errors": "x"}', b"\xff"])
def test_a_refusal_without_a_sentence_is_a_refusal(content):
    for read in READERS:
        refusal = answer(read, content, status=403, content_type="text/html")
        assert (refusal.status, refusal.sentence) == (403, "")


@pytest.mark.parametrize(("status", "is_final"), [(400, True), (401, True), (408, False), (429, False), (503, False)])
def test_a_service_that_is_only_busy_has_not_refused_for_good(status, is_final):
    assert rest.Refusal(status).is_final is is_final


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"  \r\n", "empty"),
        (b"<html>Maintenance</html>", "web page"),
        (b"plain words", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"null", "another shape"),
        (b"[]", "another shape"),
        (b'{"user_id": 1}', "no token"),
        (b'{"user_id": 1, "user_token": 7}', "shape"),
        (b'{"user_id": 1, "user_token": "a\\r\\nb"}', "shape"),
        (b'{"user_id": [1], "user_token": "t"}', "who"),
        (b'{"user_token": "t"}', "who"),
        (b"{}" + b" " * rest.MAX_BODY, "too large"),
    ],
)
def test_a_log_in_answered_with_nonsense_is_a_plain_sentence(content, sentence):
    with pytest.raises(RESTError, match=sentence) as error:
        answer(rest.read_login, content, content_type="text/plain")
    assert str(error.value).startswith("The telephone service")


@pytest.mark.parametrize("status", [100, 204 + 100, 301, 399, 600, 0])
def test_a_status_of_no_known_kind_is_refused(status):
    for read in READERS:
        with pytest.raises(RESTError, match="unexpected status"):
            answer(read, {}, status=status)


def test_yes_may_be_empty_but_not_a_web_page():
    assert answer(rest.read_done, b"", status=204) == rest.Done()
    assert answer(rest.read_done, {"message": "pong"}) == rest.Done()
    with pytest.raises(RESTError):
        answer(rest.read_done, b"<html>", content_type="text/html; charset=utf-8")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["data", "id", "user_id", "user_token", "nonce", "sip_domain", "sip_password", "message", "errors"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES | st.binary(max_size=40), st.integers(0, 700))
def test_no_answer_whatever_raises_anything_but_a_rest_error(content, status):
    for read in READERS:
        with contextlib.suppress(RESTError):
            answer(read, content, status=status)
