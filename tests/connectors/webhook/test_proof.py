"""Who is let in: a signature, HTTP Basic, a token; and nobody without a secret."""

from base64 import b64encode

import pytest

from cti_django.connectors.webhook.options import Endpoint
from cti_django.connectors.webhook.proof import WINDOW_SECONDS, is_genuine, signature

KEY, NEW_KEY = "first-key-of-this-endpoint", "second-key-while-they-change"
NOW = 1_700_000_000
BODY = b'{"event": "ringing"}'
SIGNED = Endpoint(name="x", shape="generic", secrets=(KEY, NEW_KEY))
BASIC = Endpoint(name="x", shape="sipgate", auth="basic", username="crm", secrets=(KEY,))
TOKEN = Endpoint(name="x", shape="zammad", auth="token", secrets=(KEY, NEW_KEY))


def signed(header, body=BODY, now=NOW, endpoint=SIGNED):
    return is_genuine(endpoint, {"x-cti-signature": header}, body, "", now)


def test_the_signature_is_the_documented_one():
    # As openssl writes it: printf '1700000000.{}' | openssl dgst -sha256 -hmac key-of-the-example -r
    known = "b4d168ee28de880e17b2b0b831c9d5178f1c970af28250e8fddbe36b17b160b8"
    assert signature("key-of-the-example", b"{}", NOW) == f"t={NOW},v1={known}"


@pytest.mark.parametrize("key", [KEY, NEW_KEY])
@pytest.mark.parametrize("drift", [0, WINDOW_SECONDS, -WINDOW_SECONDS])
def test_either_key_opens_within_the_window(key, drift):
    assert signed(signature(key, BODY, NOW + drift))


def test_a_sender_may_sign_with_both_keys_at_once():
    header = signature("a-key-that-nobody-knows", BODY, NOW) + signature(KEY, BODY, NOW).removeprefix(f"t={NOW}")
    assert signed(header)


@pytest.mark.parametrize("drift", [WINDOW_SECONDS + 1, -WINDOW_SECONDS - 1, 10**9])
def test_an_old_or_a_future_signature_is_refused(drift):
    assert not signed(signature(KEY, BODY, NOW + drift))


def test_a_signature_is_good_for_its_body_and_its_time_alone():
    good = signature(KEY, BODY, NOW)
    assert not signed(good, BODY + b" ")
    assert not signed(good.replace(f"t={NOW}", f"t={NOW + 1}"))


@pytest.mark.parametrize(
    "header",
    [
        *("", "t=,v1=", "v1=" + "0" * 64, f"t={NOW}", f"t={NOW},v1=" + "G" * 64),
        *(f"t=-1,v1={'0' * 64}", "t=٣,v1=" + "0" * 64, f"t={NOW}" + (",v1=" + "0" * 64) * 50, "x" * 100_000),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(header):
    assert not signed(header)


def basic(text, scheme="Basic"):
    return is_genuine(BASIC, {"authorization": f"{scheme} {b64encode(text.encode()).decode()}"}, BODY, "", NOW)


def test_basic_wants_both_the_name_and_the_password():
    assert basic(f"crm:{KEY}")
    assert basic(f"crm:{KEY}", "basic")
    for wrong in (f"crm:{NEW_KEY}", f"root:{KEY}", f"crm{KEY}", "crm:", ":", ""):
        assert not basic(wrong)
    assert not is_genuine(BASIC, {"authorization": "Basic \xff~"}, BODY, KEY, NOW)
    assert not is_genuine(BASIC, {}, BODY, KEY, NOW)


@pytest.mark.parametrize("headers", [{"x-cti-token": KEY}, {"authorization": f"Bearer {NEW_KEY}"}])
def test_a_token_stands_in_a_header_or_in_the_path(headers):
    assert is_genuine(TOKEN, headers, BODY, "", NOW)
    assert is_genuine(TOKEN, {}, BODY, KEY, NOW)
    for wrong in ("", "x", KEY + "x", "ключ"):
        assert not is_genuine(TOKEN, {"x-cti-token": wrong}, BODY, wrong, NOW)


@pytest.mark.parametrize("auth", ["hmac", "basic", "token"])
@pytest.mark.parametrize("secrets", [(), ("",), ("short",)])
def test_without_a_secret_that_is_one_nobody_is_let_in(auth, secrets):
    endpoint = Endpoint(name="x", shape="generic", auth=auth, username="crm", secrets=secrets)
    secret = secrets[0] if secrets else ""
    encoded = b64encode(f"crm:{secret}".encode()).decode()
    headers = {
        "x-cti-signature": signature(secret, BODY, NOW),
        "x-cti-token": secret,
        "authorization": f"Basic {encoded}",
    }
    assert endpoint.weaknesses
    assert not is_genuine(endpoint, headers, BODY, secret, NOW)


def test_no_secret_shows():
    assert KEY not in repr(SIGNED)
