import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_django.wire.sip_digest import parse_credentials, verify
from cti_django.wire.sip_message import SIPRequest, parse_message
from cti_django.wire.sip_subscriber import (
    NotifyReceived,
    ProtocolFault,
    Subscriber,
    SubscriptionActive,
    SubscriptionEnded,
)
from cti_django.wire.sip_user_agent import UserAgent

from .sip_phone import XML, Phone, accept, challenge, notify, refuse

# The first SUBSCRIBE.


def test_the_subscribe_says_everything_that_a_server_behind_a_websocket_needs():
    phone = Phone()
    request = phone.subscribe("10032")
    headers = request.headers
    assert (request.method, request.uri) == ("SUBSCRIBE", "sip:10032@sip.example")
    assert (request.vias[0].transport, request.vias[0].branch[:7]) == ("WSS", "z9hG4bK")
    assert request.vias[0].host.endswith(".invalid")
    assert (request.from_.uri, request.to.uri) == ("sip:482910@sip.example", "sip:10032@sip.example")
    assert request.from_.tag
    assert not request.to.tag
    assert headers["Contact"] == f"<sip:482910@{request.vias[0].host};transport=ws>"
    assert (headers["Event"], headers["Accept"]) == ("dialog", "application/dialog-info+xml")
    assert (headers["Expires"], headers["Max-Forwards"], request.cseq.number) == ("300", "70", 1)
    assert "Authorization" not in headers


def test_a_plain_websocket_says_ws_in_the_via():
    assert Phone(transport="WS").subscribe().vias[0].transport == "WS"


def test_nodes_are_where_the_user_is():
    agent = UserAgent(address="sip:1@127.0.0.1:9000", username="1", password="x", transport="WS", sent_by="a.invalid")
    Subscriber(agent).subscribe("2", 0.0)
    assert parse_message(agent.data_to_send()[0]).uri == "sip:2@127.0.0.1:9000"


def test_a_node_cannot_write_its_own_headers():
    request = Phone().subscribe("1@evil>\r\nX: 1")
    assert "X" not in request.headers
    assert request.uri == "sip:1%40evil%3E%0D%0AX%3A%201@sip.example"


def test_the_password_is_in_no_repr():
    assert "secret" not in repr(Phone().subscriber)


def test_an_accepted_subscribe_is_active_and_is_said_once():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(request.reply(100))
    phone.receive(accept(request))
    phone.receive(accept(request))
    active, stray = phone.events()
    assert active == SubscriptionActive("482910", 300.0)
    assert isinstance(stray, ProtocolFault)
    assert phone.sent() == []


def test_a_202_counts_as_acceptance():
    phone = Phone()
    phone.receive(accept(phone.subscribe(), status=202))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_subscribing_twice_is_subscribing_once():
    phone = Phone()
    phone.subscribed()
    phone.subscriber.subscribe("482910", phone.now)
    assert phone.sent() == []


def test_several_nodes_live_side_by_side():
    phone = Phone()
    requests = {node: phone.subscribe(node) for node in ("482910", "queue-7", "conf-3")}
    for node in ("conf-3", "482910"):
        phone.receive(accept(requests[node]))
    phone.receive(notify(requests["queue-7"]))
    phone.receive(refuse(requests["queue-7"], 403))
    assert [(type(event).__name__, event.node) for event in phone.events()] == [
        ("SubscriptionActive", "conf-3"),
        ("SubscriptionActive", "482910"),
        ("NotifyReceived", "queue-7"),
        ("SubscriptionEnded", "queue-7"),
    ]


# Log-in.


@pytest.mark.parametrize(
    ("status", "name"), [(401, "Authorization"), (407, "Proxy-Authorization")], ids=["server", "proxy"]
)
def test_a_challenge_is_answered_with_the_next_cseq_in_the_same_call(status, name):
    phone = Phone()
    first = phone.subscribe()
    phone.receive(challenge(first, status=status))
    second = phone.sent_one()
    assert second.call_id == first.call_id
    assert second.from_ == first.from_
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert second.vias[0].branch != first.vias[0].branch
    assert verify(second.headers[name], "SUBSCRIBE", "secret", "n1", realm="sip.example", uri=second.uri)
    phone.receive(accept(second))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_a_proxy_and_a_server_may_both_ask():
    phone = Phone()
    phone.receive(challenge(phone.subscribe(), "p1", status=407, realm="proxy"))
    phone.receive(challenge(phone.sent_one(), "n1"))
    third = phone.sent_one()
    assert third.cseq.number == 3
    assert verify(third.headers["Proxy-Authorization"], "SUBSCRIBE", "secret", "p1", realm="proxy")
    assert verify(third.headers["Authorization"], "SUBSCRIBE", "secret", "n1", realm="sip.example")
    phone.receive(accept(third))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_a_stale_nonce_is_replaced():
    phone = Phone()
    phone.receive(challenge(phone.subscribe()))
    phone.receive(challenge(phone.sent_one(), "n2", stale=True))
    third = phone.sent_one()
    assert [parse_credentials(value).nonce for value in third.headers.get_all("Authorization")] == ["n2"]
    phone.receive(accept(third))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


@pytest.mark.parametrize("nonces", [["n1", "n1"], ["n1", "n2"]], ids=["same-nonce", "new-nonce"])
def test_a_second_challenge_that_is_not_stale_means_the_log_in_is_refused(nonces):
    phone = Phone()
    phone.receive(challenge(phone.subscribe(), nonces[0]))
    phone.receive(challenge(phone.sent_one(), nonces[1]))
    assert phone.sent() == []
    assert phone.events() == [SubscriptionEnded("482910", 401, "Unauthorized", None, False)]
    assert phone.subscriber.next_deadline() is None


def test_a_server_that_calls_every_nonce_stale_is_given_up():
    phone = Phone()
    request, rounds = phone.subscribe(), 0
    while request is not None and rounds < 20:
        rounds += 1
        phone.receive(challenge(request, f"n{rounds}", stale=rounds > 1))
        request = next(iter(phone.sent()), None)
    assert rounds < 8
    assert phone.events() == [SubscriptionEnded("482910", 401, "Unauthorized", None, False)]


def test_a_challenge_that_nobody_can_answer_is_a_refusal():
    phone = Phone()
    phone.receive(refuse(phone.subscribe(), 401, ("WWW-Authenticate", 'Basic realm="x"')))
    assert phone.events() == [SubscriptionEnded("482910", 401, "Unauthorized", None, False)]


def test_a_403_is_final_whatever_it_says_about_later():
    phone = Phone()
    phone.receive(refuse(phone.subscribe(), 403, ("Retry-After", "5")))
    assert phone.events() == [SubscriptionEnded("482910", 403, "Forbidden", None, False)]
    assert phone.subscriber.next_deadline() is None


# NOTIFY.


def test_a_notify_is_answered_before_it_is_told():
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    phone.receive(notify(request))
    answer = phone.sent_one()
    assert (answer.status, answer.cseq.number, answer.vias[0].branch) == (200, 1, "z9hG4bKs1srv")
    assert phone.events() == [NotifyReceived("482910", "application/dialog-info+xml", XML, "active", 1)]


def test_a_notify_may_have_no_body():
    phone = Phone()
    phone.receive(notify(phone.subscribed(), body=b""))
    assert phone.events()[1] == NotifyReceived("482910", "", b"", "active", 1)


def test_a_notify_before_the_200_makes_the_dialog():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(notify(request, state="pending"))
    assert phone.sent_one().status == 200
    phone.receive(accept(request))
    phone.receive(notify(request, cseq=2))
    assert [type(event) for event in phone.events()] == [NotifyReceived, SubscriptionActive, NotifyReceived]
    phone.sent()
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert (refresh.to.tag, refresh.from_.tag, refresh.cseq.number) == ("srv", request.from_.tag, 2)


def test_a_repeated_notify_is_answered_again_and_told_once():
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    for _ in range(3):
        phone.receive(notify(request, cseq=4))
    assert [answer.status for answer in phone.sent()] == [200, 200, 200]
    assert len(phone.events()) == 1


def test_a_notify_out_of_order_is_answered_500_and_not_told():
    phone = Phone()
    request = phone.subscribed()
    phone.receive(notify(request, cseq=4))
    phone.events()
    phone.sent()
    phone.receive(notify(request, cseq=3))
    assert phone.sent_one().status == 500
    assert [type(event) for event in phone.events()] == [ProtocolFault]


@pytest.mark.parametrize("event", ["presence", "", "dialog-x"])
def test_a_notify_of_another_event_is_answered_489(event):
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    phone.receive(notify(request, event=event))
    answer = phone.sent_one()
    assert (answer.status, answer.headers["Allow-Events"]) == (489, "dialog")
    assert [type(event) for event in phone.events()] == [ProtocolFault]


def test_an_event_may_have_parameters_and_another_case():
    phone = Phone()
    phone.receive(notify(phone.subscribed(), event="Dialog;id=7"))
    assert phone.sent_one().status == 200


@pytest.mark.parametrize("state", ["", "active;expires", "active;expires=1;expires=2"])
def test_a_notify_whose_subscription_state_is_missing_or_malformed(state):
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    phone.receive(notify(request, state=state))
    expected = 200 if state == "active;expires" else 400
    assert phone.sent_one().status == expected


def test_notifys_of_unknown_dialogs_are_answered_481_and_disturb_nothing():
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    other = Phone(expires=60).subscribe("other")
    wrong_tag = parse_message(bytes(request))
    wrong_tag.headers.set("From", "<sip:482910@sip.example>;tag=guessed")
    other.headers.set("Call-ID", "of-somebody-else")
    for stranger in (notify(other), notify(wrong_tag)):
        phone.receive(stranger)
        assert phone.sent_one().status == 481
    assert [type(event) for event in phone.events()] == [ProtocolFault, ProtocolFault]
    phone.receive(notify(request))
    assert phone.sent_one().status == 200


def test_the_first_notify_decides_which_fork_is_heard():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(notify(request, tag="fork1"))
    phone.receive(notify(request, tag="fork2"))
    phone.receive(accept(request, tag="fork2"))
    phone.receive(notify(request, tag="fork2", cseq=2))
    phone.receive(notify(request, tag="fork1", cseq=2))
    assert [answer.status for answer in phone.sent()] == [200, 481, 481, 200]
    phone.wait_for_deadline()
    assert phone.sent_one().to.tag == "fork1"


def test_a_fork_that_notifies_first_wins_over_the_one_that_answered():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(accept(request, tag="fork2", extra=[("Record-Route", "<sip:p2;lr>")]))
    phone.receive(notify(request, tag="fork1", contact="<sip:482910@one>"))
    assert phone.sent_one().status == 200
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert (refresh.to.tag, refresh.uri, refresh.headers.get_all("Route")) == ("fork1", "sip:482910@one", [])


# Other requests, and rubbish.


def test_options_are_answered_and_other_methods_are_refused_with_allow():
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    phone.receive(notify(request, method="OPTIONS"))
    answer = phone.sent_one()
    assert (answer.status, answer.headers.get_all("Allow")) == (200, ["NOTIFY", "OPTIONS"])
    assert answer.headers["Accept"] == "application/dialog-info+xml"
    assert phone.events() == []
    for method in ("INVITE", "MESSAGE", "BYE", "FOO"):
        phone.receive(notify(request, method=method))
        answer = phone.sent_one()
        assert (answer.status, answer.headers.get_all("Allow")) == (405, ["NOTIFY", "OPTIONS"])
    phone.receive(notify(request, method="ACK"))
    assert phone.sent() == []


def test_an_answer_to_a_request_outside_a_dialog_gets_a_tag():
    phone = Phone()
    request = notify(phone.subscribe(), method="OPTIONS")
    request.headers.set("To", "<sip:482910@sip.example>")
    phone.receive(request)
    assert phone.sent_one().to.tag


def test_keep_alives_are_understood():
    phone = Phone()
    phone.receive(b"\r\n\r\n")
    assert phone.subscriber.data_to_send() == [b"\r\n"]
    phone.receive("\r\n")
    assert phone.subscriber.data_to_send() == []
    assert phone.events() == []


def test_frames_may_be_text_and_headers_compact():
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    text = bytes(notify(request)).decode()
    for name, compact in {
        "Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Event": "o", "Content-Type": "c",
        "Content-Length": "l",
    }.items():  # fmt: skip
        text = text.replace(f"\r\n{name}:", f"\r\n{compact} :")
    phone.receive(text)
    assert phone.sent_one().status == 200
    assert [type(event) for event in phone.events()] == [NotifyReceived]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"Content-Length: 14", b"Content-Length: 99"),
        lambda data: data.replace(b"Content-Length: 14", b"Content-Length: -1"),
        lambda data: data.replace(b"Event: dialog", b"Event: dialog\r\nEvent: dialog"),
        lambda data: data.replace(b"Event: dialog", b"Event: dia\rlog"),
        lambda data: data.replace(b"Event: dialog", b"Event: \xff\xfe"),
        lambda data: data.replace(b"Event: dialog", b"Event"),
        lambda data: data.replace(b"Contact: <", b"Contact: <<"),
        lambda data: data + b"x" * 70_000,
    ],
)
def test_a_malformed_request_is_answered_400_and_the_session_lives_on(spoil):
    phone = Phone()
    request = phone.subscribed()
    phone.events()
    phone.receive(spoil(bytes(notify(request, cseq=1))))
    answer = phone.sent_one()
    assert (answer.status, answer.call_id) == (400, request.call_id)
    assert [type(event) for event in phone.events()] == [ProtocolFault]
    phone.receive(notify(request, cseq=2))
    assert phone.sent_one().status == 200


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\r\n",
        b"\r\n" * 3,
        b"\x00" * 100,
        b"x" * 100_000,
        "\ud800",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"ACK sip:a@b SIP/2.0\r\nFrom: <<\r\n\r\n",
        b"NOTIFY sip:a@b SIP/2.0\r\nVia: x\r\n\r\n",
    ],
)
def test_rubbish_is_dropped_without_an_answer(frame):
    phone = Phone()
    phone.subscribed()
    phone.events()
    phone.receive(frame)
    assert phone.sent() == []
    assert all(isinstance(event, ProtocolFault) for event in phone.events())


def test_a_stray_response_is_dropped():
    phone = Phone()
    request = phone.subscribe()
    stray = accept(request)
    stray.headers.set("Via", "SIP/2.0/WSS pc.invalid;branch=z9hG4bKother")
    phone.receive(stray)
    assert [type(event) for event in phone.events()] == [ProtocolFault]
    phone.receive(accept(request))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_an_acceptance_with_a_malformed_contact_ends_the_attempt_and_is_tried_again():
    phone = Phone()
    phone.receive(accept(phone.subscribe(), contact="<sip:>"))
    fault, ended = phone.events()
    assert isinstance(fault, ProtocolFault)
    assert (ended.status, ended.will_retry) == (200, True)


def test_nothing_is_remembered_of_what_strangers_send():
    phone = Phone()
    request = phone.subscribed()
    stranger = notify(request)
    for number in range(2000):
        stranger.headers.set("Call-ID", f"call-{number}")
        stranger.headers.set("Via", f"SIP/2.0/WSS host;branch=z9hG4bK{number}")
        phone.receive(stranger)
        phone.receive(f"rubbish {number}")
        phone.subscriber.data_to_send()
        phone.events()
    assert len(phone.agent._calls) == len(phone.subscriber._by_node) == 1


# Whatever the network does.


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), st.permutations(range(6)))
def test_any_order_and_repetition_of_200_and_notifys_is_one_active_subscription(repeated, order):
    phone = Phone()
    request = phone.subscribe()
    frames = [accept(request), *(notify(request, cseq=cseq) for cseq in range(1, 6))]
    for index in [*order, *repeated]:
        phone.receive(frames[index])
    answered = [answer.status for answer in phone.sent()]
    assert len(answered) == len([index for index in [*order, *repeated] if index])
    assert set(answered) <= {200, 500}
    events = phone.events()
    assert [event for event in events if isinstance(event, SubscriptionActive)] == [SubscriptionActive("482910", 300.0)]
    numbers = [event.seq for event in events if isinstance(event, NotifyReceived)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 5
    assert phone.subscriber.next_deadline() == 1260.0
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert (refresh.call_id, refresh.to.tag, refresh.uri) == (request.call_id, "srv", "sip:482910@host:5066")


PEER = {
    "accept": lambda r, n: accept(r),
    "accept for no time": lambda r, n: accept(r, expires="0"),
    "challenge": lambda r, n: challenge(r, f"n{n}"),
    "stale": lambda r, n: challenge(r, "n", stale=True),
    "403": lambda r, n: refuse(r, 403),
    "423": lambda r, n: refuse(r, 423, ("Min-Expires", "400")),
    "481": lambda r, n: refuse(r, 481),
    "503": lambda r, n: refuse(r, 503, ("Retry-After", "0")),
    "notify": lambda r, n: notify(r, cseq=n),
    "late": lambda r, n: notify(r, cseq=0),
    "fork": lambda r, n: notify(r, cseq=n, tag="fork"),
    "terminated": lambda r, n: notify(r, cseq=n, state="terminated"),
    "rejected": lambda r, n: notify(r, cseq=n, state="terminated;reason=rejected"),
    "rubbish": lambda r, n: bytes(r)[n % 40 :],
    "echo": lambda r, n: r,
}
OURS = ["wait", "subscribe", "unsubscribe"]


def play(phone, step, request, number):
    if step in PEER:
        phone.receive(PEER[step](request, number))
    elif step == "wait":
        if phone.subscriber.next_deadline() is not None:
            phone.wait_for_deadline()
    else:
        getattr(phone.subscriber, step)("482910", phone.now)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*PEER, *OURS]), st.booleans(), st.integers(1, 9)), max_size=40))
def test_no_sequence_of_the_peer_raises_or_grows_or_stops_the_subscriber(steps):
    phone = Phone()
    requests = [phone.subscribe()]
    for step, to_an_old_one, number in steps:
        play(phone, step, requests[-2 if to_an_old_one and len(requests) > 1 else -1], number)
        sent = [message for message in phone.sent() if isinstance(message, SIPRequest)]
        assert len(sent) <= 1
        requests += sent
        assert (phone.subscriber.next_deadline() is not None) == bool(phone.subscriber._by_node)
        assert len(phone.agent._calls) <= 1
        phone.events()
    if phone.subscriber.next_deadline() is None:
        assert phone.subscribe().cseq.number == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_mutation_of_a_good_frame_raises(data):
    phone = Phone()
    request = phone.subscribed()
    good = bytes(data.draw(st.sampled_from([notify(request), accept(request), challenge(request)])))
    frame = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(frame) - 1))
        frame[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8)) or b" "
    phone.receive(bytes(frame))
    phone.sent()
    phone.receive(notify(request, cseq=1_000_000))
    assert phone.sent_one().status in (200, 481, 500)
