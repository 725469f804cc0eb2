"""What is changed in descriptions, and what is left alone."""

import pytest

from cti_django.connectors.sip.sdp import black_hole, directed, direction_of
from cti_django.exceptions import SIPMessageError

PHONE = (
    b"v=0\r\no=phone 77 3 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\na=sendonly\r\n"
    b"m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=recvonly\r\nm=video 0 RTP/AVP 31\r\na=inactive\r\n"
)


def test_all_media_get_the_direction_and_the_origin_is_ours():
    lines = directed(PHONE, "sendrecv", (5, 6)).split(b"\r\n")
    assert lines[1] == b"o=- 5 6 IN IP4 0.0.0.0"
    assert lines[5:] == [
        b"m=audio 4000 RTP/AVP 8",
        b"a=rtpmap:8 PCMA/8000",
        b"a=sendrecv",
        b"m=video 0 RTP/AVP 31",
        b"a=sendrecv",
        b"",
    ]


@pytest.mark.parametrize(
    ("description", "direction"),
    [
        (PHONE, "recvonly"),
        (PHONE.replace(b"a=recvonly\r\n", b""), "sendonly"),
        (PHONE.replace(b"a=recvonly\r\n", b"").replace(b"a=sendonly\r\n", b""), "sendrecv"),
        (black_hole(), "inactive"),
    ],
)
def test_the_first_media_tell_the_direction(description, direction):
    assert direction_of(description) == direction


@pytest.mark.parametrize("rubbish", [b"", b"hello", b"v=0\r\ns=-\r\n", b"\xff" * 10, b"v=0\r\nm=a\r\n" + b"x" * 20_000])
def test_what_is_no_description_is_refused(rubbish):
    for use in (lambda: directed(rubbish, "sendrecv", (1, 1)), lambda: direction_of(rubbish)):
        with pytest.raises(SIPMessageError):
            use()
