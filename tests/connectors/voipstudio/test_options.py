"""The connector's own settings."""

import pytest

from cti_django.connectors.voipstudio.options import Options


def test_the_defaults_are_the_services_own():
    options = Options.read({})
    assert options.api_url == "https://l7api.com/v1.2/voipstudio"
    assert options.sip_url_for("sip.example") == "wss://sip.example:443"


def test_a_domain_with_a_port_of_its_own_keeps_it():
    assert Options.read({}).sip_url_for("sip.example:5061") == "wss://sip.example:5061"
    options = Options.read({"sip_url": "wss://{sip_domain}:8443/ws"})
    assert options.sip_url_for("sip.example:5061") == "wss://sip.example:8443/ws"
    assert Options.read({"sip_url": "ws://127.0.0.1:9000/"}).sip_url_for("x") == "ws://127.0.0.1:9000/"


def test_texts_from_a_command_line_serve_as_numbers():
    options = Options.read({"ping_seconds": "12.5", "api_url": "http://127.0.0.1:9000/v1.2/voipstudio/"})
    assert (options.ping_seconds, options.api_url) == (12.5, "http://127.0.0.1:9000/v1.2/voipstudio")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_uri", "x"),
        ("api_url", "ftp://x"),
        ("api_url", "nonsense"),
        ("api_url", "https://user:pw@x/"),
        ("api_url", "https://x y/"),
        ("sip_url", "https://x"),
        ("sip_url", "wss://"),
        ("sip_url", "wss://[x"),
        ("ca_file", 7),
        ("ping_seconds", "nan"),
        ("ping_seconds", 0),
        ("dial_seconds", 1e9),
        ("request_seconds", None),
        ("expires_seconds", "soon"),
    ],
)
def test_what_cannot_be_used_is_named(key, value):
    with pytest.raises(ValueError, match=key):
        Options.read({key: value})
