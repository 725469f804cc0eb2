import pytest

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_dialog import Dialog
from cti_django.wire.sip_digest import make_challenge, parse_credentials, verify
from cti_django.wire.sip_uri import NameAddr
from cti_django.wire.sip_user_agent import FlowFailed, ProtocolFault

from .sip_peers import Agent


def answer(request, status, *extra, tag="b"):
    response = request.reply(status, to_tag="" if status == 100 else tag)
    for name, value in extra:
        response.headers.add(name, value)
    return response


def challenge(request, nonce="n1", *, status=401, realm="example.com", stale=False):
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return answer(request, status, (name, make_challenge(realm, nonce, stale=stale)))


def accept(request, *extra, tag="b"):
    return answer(request, 200, ("Contact", f"<sip:bob@{tag}.example>"), *extra, tag=tag)


def an_options(alice, *, usage=None):
    request = alice.agent.new_request("OPTIONS", "sip:bob@example.com")
    alice.agent.send(request, usage or alice, alice.now)
    return alice.sent_one()


# What a request looks like.


def test_a_request_says_who_and_where_we_are():
    alice = Agent(user_agent="desk/1", supported=("replaces",))
    request = alice.invite(headers=(("X-Id", "7"),))
    via = request.vias[0]
    assert next(iter(request.headers.items()))[0] == "Via"
    assert (via.transport, via.host, via.port, via.branch[:7]) == ("UDP", "alice.example.com", 5062, "z9hG4bK")
    assert "rport" in via.params
    assert (request.from_.uri, request.to.uri, request.to.tag) == ("sip:alice@example.com", "sip:bob@example.com", "")
    assert request.headers["Contact"] == "<sip:alice@alice.example.com:5062>"
    assert (request.headers["User-Agent"], request.headers["Supported"], request.headers["X-Id"]) == (
        "desk/1",
        "replaces",
        "7",
    )
    assert "BYE" in request.headers.get_all("Allow")
    assert (request.headers["Max-Forwards"], request.cseq.number) == ("70", 1)


@pytest.mark.parametrize(
    ("transport", "contact"),
    [
        ("UDP", "<sip:alice@alice.example.com:5062>"),
        ("TCP", "<sip:alice@alice.example.com:5062;transport=tcp>"),
        ("TLS", "<sip:alice@alice.example.com:5062;transport=tls>"),
        ("WS", "<sip:alice@alice.example.com:5062;transport=ws>"),
        ("WSS", "<sip:alice@alice.example.com:5062;transport=ws>"),
    ],
)
def test_the_contact_says_the_transport(transport, contact):
    alice = Agent(transport=transport)
    assert str(alice.agent.contact) == contact
    assert ("rport" in alice.invite().vias[0].params) == (transport not in ("WS", "WSS"))
    assert alice.agent.reliable == (transport != "UDP")


def test_a_new_place_changes_via_and_contact():
    alice = Agent()
    alice.agent.sent_by = "[2001:db8::1]:6000"
    assert str(alice.agent.contact) == "<sip:alice@[2001:db8::1]:6000>"
    request = alice.invite()
    assert (request.vias[0].host, request.vias[0].port) == ("[2001:db8::1]", 6000)
    assert alice.agent.sent_by == "[2001:db8::1]:6000"


def test_an_outbound_proxy_is_the_first_hop():
    alice = Agent(route=("<sip:proxy.example;lr>",))
    assert alice.invite().headers.get_all("Route") == ["<sip:proxy.example;lr>"]
    alice.agent.route = ("<sip:one.example;lr>", "<sip:two.example;lr>")
    assert alice.invite().headers.get_all("Route") == ["<sip:one.example;lr>", "<sip:two.example;lr>"]


@pytest.mark.parametrize("options", [{"route": ("nonsense",)}, {"route": ("<sip:>",)}])
def test_a_route_that_is_none_is_refused(options):
    with pytest.raises(SIPMessageError):
        Agent(**options)


@pytest.mark.parametrize("text", ["sip:x@y>\r\nX: 1", "no uri", "sip:a b"])
def test_no_uri_can_write_headers(text):
    with pytest.raises(SIPMessageError):
        Agent().agent.new_request("INVITE", text)


def test_the_password_is_in_no_repr():
    assert "secret" not in repr(Agent().agent)


def test_whoever_it_is_for_may_be_said_apart_from_where_it_goes():
    request = Agent().agent.new_request("REFER", "sip:1@gw", to=NameAddr("sip:2@x", params={"tag": "t"}), call_id="c")
    assert (request.uri, request.to.uri, request.to.tag, request.call_id) == ("sip:1@gw", "sip:2@x", "t", "c")


# Challenges.


def test_every_hop_may_ask_and_every_nonce_may_be_stale_once():
    alice = Agent()
    first = request = alice.invite()
    for asked in (
        {"nonce": "p1", "status": 407, "realm": "proxy"},
        {"nonce": "n1"},
        {"nonce": "n2", "stale": True},
    ):
        alice.receive(challenge(request, **asked))
        ack, request = alice.sent()
        assert ack.method == "ACK"
    assert request.cseq.number == 4
    assert (request.call_id, request.from_) == (first.call_id, first.from_)
    assert verify(request.headers["Proxy-Authorization"], "INVITE", "secret", "p1", realm="proxy")
    assert verify(request.headers["Authorization"], "INVITE", "secret", "n2", realm="example.com", uri=request.uri)
    assert alice.said() == []


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_late_copy_of_a_challenge_is_no_answer_to_the_log_in(method):
    alice = Agent()
    first = alice.invite() if method == "INVITE" else an_options(alice)
    alice.receive(challenge(first))
    second = alice.sent()[-1]
    alice.receive(challenge(first))
    assert [message.method for message in alice.sent()] == ["ACK"] * (method == "INVITE")
    alice.receive(accept(second))
    assert alice.said() == [f"200 {method}"]
    while alice.agent.next_deadline() is not None:
        alice.wait_for_deadline()
    assert not alice.agent._sent


def test_a_peer_that_asks_for_ever_is_heard_of_after_five_rounds():
    alice = Agent()
    request, rounds = an_options(alice), 0
    while request is not None and rounds < 20:
        rounds += 1
        alice.receive(challenge(request, f"n{rounds}", status=407, realm=f"hop{rounds}"))
        request = next(iter(alice.sent()), None)
    assert rounds == 6
    assert alice.said() == ["407 OPTIONS"]


def test_what_was_asked_once_is_said_without_being_asked_again():
    alice = Agent()
    alice.receive(challenge(an_options(alice)))
    alice.receive(answer(alice.sent_one(), 200))
    again = an_options(alice)
    credentials = parse_credentials(again.headers["Authorization"])
    assert (credentials.nonce, credentials.nc) == ("n1", "00000002")
    alice.receive(challenge(again, "n2", stale=True))
    third = alice.sent_one()
    assert [parse_credentials(value).nonce for value in third.headers.get_all("Authorization")] == ["n2"]
    alice.receive(answer(third, 403))
    assert alice.said() == ["200 OPTIONS", "403 OPTIONS"]


def test_credentials_that_are_refused_are_not_sent_again():
    alice = Agent()
    alice.receive(challenge(an_options(alice)))
    alice.receive(challenge(alice.sent_one(), "n2"))
    assert alice.said() == ["401 OPTIONS"]
    assert "Authorization" not in an_options(alice).headers


def test_each_request_may_be_left_to_be_challenged_for_itself():
    alice = Agent(logs_in_ahead=False)
    alice.receive(challenge(an_options(alice)))
    alice.receive(answer(alice.sent_one(), 200))
    assert "Authorization" not in an_options(alice).headers


def test_numbers_in_a_call_never_repeat_whatever_log_ins_take():
    alice = Agent()
    request = alice.invite()
    alice.receive(challenge(request))
    alice.receive(accept(alice.sent()[1]))
    asked, response = alice.heard[-1][1]
    dialog = Dialog.from_response(asked, response)
    alice.agent.send_ack(dialog.new_ack(asked.cseq.number), alice.now)
    assert [str(message.cseq) for message in alice.sent()] == ["2 ACK"]
    alice.agent.send(dialog.new_request("INFO"), alice, alice.now)
    info = alice.sent_one()
    alice.receive(challenge(info, "n9", stale=True))
    alice.sent()
    alice.agent.send(dialog.new_request("BYE"), alice, alice.now)
    assert str(alice.sent_one().cseq) == "5 BYE"


# Redirects, and other shapes of the same request.


def test_a_redirected_request_follows_the_best_contact_in_the_same_call():
    alice = Agent()
    first = alice.invite()
    contacts = "<sip:bob@second>;q=0.2, <mailto:bob@x>, <tel:+1>, <<, <sip:b@c?X=1>, <sip:bob@best>;q=0.9"
    alice.receive(answer(first, 302, ("Contact", contacts)))
    _ack, second = alice.sent()
    assert (second.uri, second.cseq.number, second.to.uri) == ("sip:bob@best", 2, "sip:bob@example.com")
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    assert alice.said() == []


def test_redirects_in_a_circle_or_for_ever_end():
    for target in ("sip:bob@example.com", "sip:bob@there{}"):
        alice = Agent()
        request, rounds = an_options(alice), 0
        while request is not None and rounds < 20:
            rounds += 1
            alice.receive(answer(request, 302, ("Contact", f"<{target.format(rounds)}>")))
            request = next(iter(alice.sent()), None)
        assert rounds <= 6
        assert alice.said() == ["302 OPTIONS"]


def test_a_redirect_within_a_dialog_or_of_a_registration_is_the_user_s():
    alice = Agent()
    for method, to in (("REGISTER", None), ("REFER", NameAddr("sip:b@c", params={"tag": "t"}))):
        alice.agent.send(alice.agent.new_request(method, "sip:example.com", to=to), alice, alice.now)
        alice.receive(answer(alice.sent_one(), 302, ("Contact", "<sip:elsewhere>")))
        assert alice.said() == [f"302 {method}"]


def test_a_proof_is_not_carried_to_another_address():
    alice = Agent()
    alice.receive(challenge(an_options(alice)))
    alice.receive(answer(alice.sent_one(), 302, ("Contact", "<sip:bob@elsewhere>")))
    assert "Authorization" not in alice.sent_one().headers


@pytest.mark.parametrize("method", ["REGISTER", "SUBSCRIBE"])
def test_a_423_is_asked_again_for_longer(method):
    alice = Agent()
    request = alice.agent.new_request(method, "sip:example.com", headers=(("Expires", "60"),))
    alice.agent.send(request, alice, alice.now)
    alice.receive(answer(alice.sent_one(), 423, ("Min-Expires", "600")))
    again = alice.sent_one()
    assert (again.headers["Expires"], again.cseq.number) == ("600", 2)
    alice.receive(answer(again, 200))
    request, _ = alice.heard[-1][1]
    assert request.headers["Expires"] == "600"


# Answers.


def test_silence_is_told_as_408_and_a_lost_flow_as_503():
    alice = Agent()
    an_options(alice)
    while alice.agent.next_deadline() is not None:
        alice.wait_for_deadline()
    assert (alice.now, alice.said()) == (1032.0, ["408 OPTIONS"])
    alice.sent()
    an_options(alice)
    alice.invite()
    alice.agent.lose_flow(alice.now)
    assert alice.said() == ["503 OPTIONS", "503 INVITE"]
    assert alice.agent.next_deadline() is None


@pytest.mark.parametrize(("transport", "faults"), [("TCP", [ProtocolFault] * 2), ("UDP", [])])
def test_a_response_through_too_many_vias_or_to_nothing_is_dropped(transport, faults):
    alice = Agent(transport=transport)
    request = an_options(alice)
    for spoil in ("SIP/2.0/UDP other;branch=z9hG4bKx", None):
        response = answer(request, 200)
        if spoil is None:
            response.headers.add("Via", "SIP/2.0/UDP second;branch=z9hG4bKy")
        else:
            response.headers.set("Via", spoil)
        alice.receive(response)
    assert [type(event) for event in alice.agent.events_received()] == faults
    assert alice.said() == []


@pytest.mark.parametrize(
    ("params", "address"),
    [
        (";received=198.51.100.7;rport=40312", "198.51.100.7:40312"),
        (";rport=40312", "alice.example.com:40312"),
        (";received=2001:db8::7;rport=9", "[2001:db8::7]:9"),
        (";rport", ""),
        (";received=<x>;rport=1", ""),
    ],
)
def test_the_peer_tells_where_it_sees_us(params, address):
    alice = Agent()
    response = answer(an_options(alice), 200)
    via = response.headers["Via"].replace(";rport", "") + params
    response.headers.remove("Via")
    response.headers.prepend("Via", via) if "<" not in via else response.headers.add("Via", via.replace("<x>", '"<x>"'))
    alice.receive(response)
    assert alice.agent.public_address == address
    assert alice.said() == ["200 OPTIONS"]


def test_what_is_abandoned_is_told_to_nobody_and_what_has_no_usage_goes_on():
    alice = Agent()
    alice.agent.attach("one", alice)
    for usage in (alice, None):
        alice.agent.send(alice.agent.new_request("BYE", "sip:b@c", call_id="one"), usage, alice.now)
    _, second = alice.sent()
    alice.agent.detach("one")
    alice.wait_for_deadline()
    assert alice.sent() == [second]
    assert alice.said() == []


# INVITE: acceptance, forks, CANCEL.


def test_the_ack_is_sent_as_often_as_the_2xx_comes_and_carries_the_log_in():
    alice = Agent()
    alice.receive(challenge(alice.invite()))
    invite = alice.sent()[1]
    alice.receive(accept(invite))
    assert alice.said() == ["200 INVITE"]
    alice.receive(accept(invite))
    assert alice.sent() == []  # its user has not yet said the ACK
    dialog = Dialog.from_response(invite, accept(invite))
    alice.agent.send_ack(dialog.new_ack(invite.cseq.number), alice.now)
    ack = alice.sent_one()
    assert ack.headers["Authorization"] == invite.headers["Authorization"]
    assert ack.vias[0].branch != invite.vias[0].branch
    assert ack.uri == "sip:bob@b.example"
    alice.receive(accept(invite))
    assert alice.sent() == [ack]
    assert alice.said() == []


def test_every_other_fork_that_answers_is_acknowledged_and_hung_up():
    alice = Agent()
    invite = alice.invite()
    alice.receive(answer(invite, 180, tag="one"))
    alice.receive(answer(invite, 180, tag="two"))
    alice.receive(accept(invite, tag="one"))
    routes = ("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")
    alice.receive(accept(invite, routes, tag="two"))
    ack, bye = alice.sent()
    assert [(ack.method, ack.to.tag, ack.uri), (bye.method, bye.to.tag, bye.uri)] == [
        ("ACK", "two", "sip:bob@two.example"),
        ("BYE", "two", "sip:bob@two.example"),
    ]
    assert ack.headers.get_all("Route") == bye.headers.get_all("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert bye.cseq.number > invite.cseq.number
    alice.receive(accept(invite, tag="two"))
    assert alice.sent() == [ack]
    assert alice.said() == ["180 INVITE", "180 INVITE", "200 INVITE"]


def test_no_more_forks_are_served_than_anybody_has_phones():
    alice = Agent()
    invite = alice.invite()
    for number in range(50):
        alice.receive(accept(invite, tag=f"fork{number}"))
    assert len(alice.sent()) <= 16


def test_a_cancel_waits_for_the_first_word_and_its_user_hears_487():
    alice = Agent()
    invite = alice.invite()
    alice.agent.cancel(invite, alice.now)
    assert alice.sent() == []
    alice.receive(answer(invite, 100))
    cancel = alice.sent_one()
    assert (cancel.method, cancel.vias[0].branch, cancel.cseq.number) == ("CANCEL", invite.vias[0].branch, 1)
    alice.agent.cancel(invite, alice.now)
    alice.receive(answer(cancel, 200))
    alice.receive(answer(invite, 180))
    assert alice.sent() == []
    alice.receive(answer(invite, 487))
    assert [message.method for message in alice.sent()] == ["ACK"]
    assert alice.said() == ["100 INVITE", "180 INVITE", "487 INVITE"]


def test_an_acceptance_that_crosses_the_cancel_is_hung_up_and_its_user_hears_487():
    alice = Agent()
    invite = alice.invite()
    alice.receive(answer(invite, 180))
    alice.agent.cancel(invite, alice.now)
    alice.sent()
    alice.receive(accept(invite))
    alice.receive(accept(invite))
    assert [message.method for message in alice.sent()] == ["ACK", "BYE", "ACK"]
    assert alice.said() == ["180 INVITE", "487 INVITE"]


def test_a_call_that_nobody_wants_any_more_is_hung_up_when_it_is_answered():
    alice = Agent()
    invite = alice.invite()
    alice.agent.detach(invite.call_id)
    alice.receive(accept(invite))
    assert [message.method for message in alice.sent()] == ["ACK", "BYE"]
    assert alice.said() == []


def test_a_cancelled_call_is_not_logged_in_once_more():
    alice = Agent()
    invite = alice.invite()
    alice.agent.cancel(invite, alice.now)
    alice.receive(challenge(invite))
    assert [message.method for message in alice.sent()] == ["ACK"]
    assert alice.said() == ["401 INVITE"]


def test_an_acceptance_with_a_malformed_contact_is_told_to_the_user_and_harms_no_one():
    alice = Agent()
    invite = alice.invite()
    alice.agent.cancel(invite, alice.now)
    response = answer(invite, 200, ("Contact", "<sip:>"))
    alice.receive(response)
    assert [type(event) for event in alice.agent.events_received()] == [ProtocolFault]


def test_an_acceptance_that_its_user_cannot_read_comes_again_as_a_refusal():
    class Reader(Agent):
        def receive_response(self, request, response, now):
            super().receive_response(request, response, now)
            if response.status < 300:
                Dialog.from_response(request, response)

    alice = Reader()
    invite = alice.invite()
    alice.receive(answer(invite, 200, ("Contact", "<sip:>")))
    assert alice.said() == ["200 INVITE", "500 INVITE"]
    assert [type(event) for event in alice.agent.events_received()] == [ProtocolFault]


# Timers and signs of life.


def test_a_sleeper_is_woken_once_and_only_at_its_latest_time():
    alice = Agent()
    alice.agent.wake(alice, 1010.0)
    alice.agent.wake(alice, 1020.0)
    alice.agent.handle_timeout(1019.0)
    assert alice.said() == []
    alice.wait_for_deadline()
    assert (alice.now, alice.said(), alice.agent.next_deadline()) == (1020.0, ["woken"], None)
    alice.agent.wake(alice, 1030.0)
    alice.agent.wake(alice, None)
    assert alice.agent.next_deadline() is None


def test_a_peer_that_answers_no_keep_alive_is_not_thought_dead():
    alice = Agent(transport="TCP")
    alice.agent.keep_alive(30.0, alice.now)
    for count in range(1, 5):
        alice.wait_for_deadline()
        assert alice.now == 1000.0 + 30.0 * count
        assert alice.agent.data_to_send() == [b"\r\n\r\n"]
    assert alice.agent.events_received() == []


def test_a_peer_that_answered_once_and_then_falls_silent_is_gone():
    alice = Agent(transport="TCP")
    alice.agent.keep_alive(30.0, alice.now)
    for _ in range(2):
        alice.wait_for_deadline()
        alice.agent.receive_data(b"\r\n", alice.now + 1)
    assert alice.agent.next_deadline() == 1090.0
    alice.wait_for_deadline()
    alice.agent.receive_data(b"any sign of life", alice.now + 1)
    alice.wait_for_deadline()
    alice.agent.events_received()
    alice.wait_for_deadline()
    assert alice.now == 1130.0
    assert alice.agent.events_received() == [FlowFailed()]


def test_a_ping_is_answered_where_the_flow_is_a_stream():
    for transport, answered in (("TCP", [b"\r\n"]), ("WS", [b"\r\n"]), ("UDP", [])):
        alice = Agent(transport=transport)
        alice.agent.receive_data(b"\r\n\r\n", alice.now)
        assert alice.agent.data_to_send() == answered


def test_events_of_usages_come_in_order_with_those_of_the_agent():
    alice = Agent()
    alice.agent.tell("first")
    alice.agent.receive_data(b"rubbish", alice.now)
    alice.agent.tell("last")
    first, fault, last = alice.agent.events_received()
    assert (first, type(fault), last) == ("first", ProtocolFault, "last")
