"""What may stand in the SIP connector's options, and what becomes of it."""

import pytest

from cti_django.connectors.sip.options import Options, Server


@pytest.mark.parametrize(
    ("written", "server"),
    [
        ("pbx.example.com", Server("UDP", "pbx.example.com")),
        ("sip:pbx.example.com:5070", Server("UDP", "pbx.example.com", 5070)),
        ("sip:pbx.example.com;transport=tcp", Server("TCP", "pbx.example.com")),
        ("sip:pbx.example.com;transport=TLS", Server("TLS", "pbx.example.com")),
        ("sips:pbx.example.com", Server("TLS", "pbx.example.com")),
        ("sips:pbx.example.com;transport=tcp", Server("TLS", "pbx.example.com")),
        ("sip:[2001:db8::1]:5060", Server("UDP", "[2001:db8::1]", 5060)),
        ("wss://pbx.example.com/ws", Server("WSS", "pbx.example.com", None, "wss://pbx.example.com/ws")),
        ("ws://127.0.0.1:8088/ws", Server("WS", "127.0.0.1", 8088, "ws://127.0.0.1:8088/ws")),
    ],
)
def test_a_server_is_written_as_a_name_a_uri_or_a_url(written, server):
    assert Options.read({"server": written}).server == server


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, "server"),
        ({"server": "sip:alice@pbx.example.com"}, "server"),
        ({"server": "sip:pbx.example.com;transport=carrier-pigeon"}, "server"),
        ({"server": "sip:pbx.example.com;transport=ws"}, "wss://pbx.example.com/ws"),
        ({"server": "wss://user:secret@pbx.example.com"}, "server"),
        ({"server": "two words"}, "server"),
        ({"server": "pbx", "sever": "x"}, "sever"),
        ({"server": "pbx", "click_to_call": "please"}, "click_to_call"),
        ({"server": "pbx", "register": "perhaps"}, "register"),
        ({"server": "pbx", "dial_prefix": "call me"}, "dial_prefix"),
        ({"server": "pbx", "domain": "a b"}, "domain"),
        ({"server": "pbx", "watch": "a@b"}, "watch"),
        ({"server": "pbx", "phone": "sip:"}, "phone"),
        ({"server": "pbx", "directory": ["1007"]}, "directory"),
        ({"server": "pbx", "directory": {"10 07": "Grace"}}, "directory"),
        ({"server": "pbx", "expires_seconds": "nan"}, "expires_seconds"),
        ({"server": "pbx", "outbound_proxy": "sip:<x>"}, "outbound_proxy"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given, names):
    with pytest.raises(ValueError, match=names):
        Options.read(given)


def test_texts_from_a_command_line_are_read():
    options = Options.read({"server": "pbx", "register": "yes", "expires_seconds": "120", "phone": "1006"})
    assert (options.register, options.expires_seconds, options.phone) == (True, 120.0, "1006")
    assert Options.read({"server": "pbx", "register": "off"}).register is False


@pytest.mark.parametrize(
    ("options", "username", "address"),
    [
        ({}, "1006", "sip:1006@pbx.example.com"),
        ({"domain": "example.org"}, "1006", "sip:1006@example.org"),
        ({"domain": "example.org"}, "ada@example.net", "sip:ada@example.net"),
    ],
)
def test_an_agents_address_has_her_own_domain_the_options_or_the_servers(options, username, address):
    assert str(Options.read({"server": "pbx.example.com", **options}).address(username)) == address


def test_everything_goes_through_the_outbound_proxy():
    options = Options.read({"server": "pbx.example.com", "outbound_proxy": "sip:edge.example.com:5080;transport=tls"})
    assert options.reached == Server("TLS", "edge.example.com", 5080)
    assert options.route == ("<sip:edge.example.com:5080;lr;transport=tcp>",)
    assert Options.read({"server": "pbx.example.com"}).route == ()
