"""What the connector has to know of session descriptions: it never sends or hears media, it only introduces phones.

Source: RFC 8866, RFC 3264; RFC 3725 for the description without media ("black hole").
"""

from ...exceptions import SIPMessageError

__all__ = ["CONTENT_TYPE", "black_hole", "directed", "direction_of"]

CONTENT_TYPE = "application/sdp"
MAX_BYTES = 16_384
_DIRECTIONS = (b"a=sendrecv", b"a=sendonly", b"a=recvonly", b"a=inactive")


def black_hole() -> bytes:
    """An offer of audio that goes nowhere, in every codec that a desk phone has: its answer is what a phone can do."""
    lines = (
        b"v=0",
        b"o=- 0 0 IN IP4 0.0.0.0",
        b"s=-",
        b"c=IN IP4 0.0.0.0",
        b"t=0 0",
        b"m=audio 9 RTP/AVP 8 0 9 18 101",
        b"a=rtpmap:8 PCMA/8000",
        b"a=rtpmap:0 PCMU/8000",
        b"a=rtpmap:9 G722/8000",
        b"a=rtpmap:18 G729/8000",
        b"a=rtpmap:101 telephone-event/8000",
        b"a=fmtp:101 0-16",
        b"a=inactive",
    )
    return b"\r\n".join(lines) + b"\r\n"


def directed(sdp: bytes, direction: str, origin: tuple[int, int]) -> bytes:
    """`sdp` with all its media in `direction`, said by us.

    Args:
        direction: "sendrecv" or "inactive".
        origin: (session, version) of what we say in one dialog: the version rises with each description, whoever's
            phone it is of (RFC 3264 8).

    Raises:
        SIPMessageError: it is no description, or too large.
    """
    said = b"a=" + direction.encode()
    out: list[bytes] = []
    in_media = False
    for line in _lines(sdp):
        if line in _DIRECTIONS:
            continue
        if line.startswith(b"o="):
            line = b"o=- %d %d IN IP4 0.0.0.0" % origin
        if line.startswith(b"m="):
            if in_media:
                out.append(said)
            in_media = True
        out.append(line)
    return b"\r\n".join([*out, said]) + b"\r\n"


def direction_of(sdp: bytes) -> str:
    """What the first media of `sdp` may do: "sendrecv" unless it says something else.

    Raises:
        SIPMessageError: it is no description, or too large.
    """
    lines = _lines(sdp)
    media = [index for index, line in enumerate(lines) if line.startswith(b"m=")]
    ends = [*media[1:], len(lines)]
    for part in (lines[media[0] : ends[0]], lines[: media[0]]):
        told = [line for line in part if line in _DIRECTIONS]
        if told:
            return told[0][2:].decode()
    return "sendrecv"


def _lines(sdp: bytes) -> list[bytes]:
    lines = [line.rstrip(b"\r") for line in sdp.strip().split(b"\n")]
    if len(sdp) > MAX_BYTES or lines[0] != b"v=0" or not any(line.startswith(b"m=") for line in lines):
        raise SIPMessageError("That is no session description.")
    return lines
