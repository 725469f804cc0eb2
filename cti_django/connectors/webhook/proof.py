"""Whether a request comes from who it says: a signature, HTTP Basic, or a token. Whatever is not proven is refused.

    X-CTI-Signature: t=<seconds since 1970>,v1=<hexadecimal>[,v1=<with a second key, while keys are changed>]

The signature is HMAC-SHA256 over the timestamp's digits, a full stop and the raw body.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

from .options import Endpoint

__all__ = ["SIGNATURE_HEADER", "TOKEN_HEADER", "WINDOW_SECONDS", "is_genuine", "signature"]

SIGNATURE_HEADER = "x-cti-signature"
TOKEN_HEADER = "x-cti-token"  # noqa: S105  the name of a header
WINDOW_SECONDS = 300
"""How far a signature's time may be from the server's, either way."""
MAX_SIGNATURES = 4
MAX_HEADER = 1_000  # characters

_SIGNATURE = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64})+)")


def is_genuine(endpoint: Endpoint, headers: Mapping[str, str], body: bytes, path_token: str, now: float) -> bool:
    """Whether the request proves what `endpoint` asks for; never for one without a secret.

    Args:
        headers: by their names in lower case.
        body: as it came, before anything has read it.
        path_token: what stands behind the endpoint's name in the URL, "" if nothing does.
        now: seconds since 1970 by the server's clock.
    """
    match endpoint.auth:
        case "hmac":
            return _is_signed(endpoint, headers.get(SIGNATURE_HEADER, ""), body, now)
        case "basic":
            return _is_one_of(_basic(headers.get("authorization", "")), endpoint.basic_pairs())
        case "token":
            scheme, _space, bearer = headers.get("authorization", "").partition(" ")
            presented = headers.get(TOKEN_HEADER, "") or (bearer.strip() if scheme.lower() == "bearer" else "")
            return _is_one_of((presented or path_token).encode("utf-8", "replace"), endpoint.secret_bytes())
    return False


def signature(secret: str, body: bytes, at: int) -> str:
    """What ``X-CTI-Signature`` must say for `body`, sent at `at` (whole seconds since 1970)."""
    return f"t={at},v1={_digest(secret.encode(), str(at), body)}"


def _digest(secret: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _is_signed(endpoint: Endpoint, header: str, body: bytes, now: float) -> bool:
    found = _SIGNATURE.fullmatch(header.replace(" ", "")) if len(header) <= MAX_HEADER else None
    if found is None or abs(now - int(found[1])) > WINDOW_SECONDS:
        return False
    given = [each.removeprefix("v1=") for each in found[2][1:].split(",")][:MAX_SIGNATURES]
    expected = [_digest(secret, found[1], body) for secret in endpoint.secret_bytes()]
    return any(hmac.compare_digest(one, other) for one in given for other in expected)


def _basic(header: str) -> bytes:
    scheme, _space, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > MAX_HEADER:
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_one_of(presented: bytes, secrets: tuple[bytes, ...]) -> bool:
    return bool(presented) and any(hmac.compare_digest(presented, secret) for secret in secrets)
