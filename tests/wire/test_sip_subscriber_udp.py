"""Subscriptions over datagrams: what a WebSocket spares them."""

import pytest

from cti_django.wire.sip_digest import parse_credentials
from cti_django.wire.sip_subscriber import NotifyReceived, SubscriptionActive, SubscriptionEnded

from .sip_phone import Phone, accept, challenge, notify, refuse


@pytest.fixture
def phone():
    return Phone(transport="UDP")


def test_the_subscribe_is_sent_again_until_it_is_answered(phone):
    request = phone.subscribe()
    assert "rport" in request.vias[0].params
    assert request.headers["Contact"] == "<sip:482910@192.0.2.1:5062>"
    for moment in (1000.5, 1001.5, 1003.5, 1007.5):
        assert phone.subscriber.next_deadline() == moment
        phone.wait_for_deadline()
        assert phone.sent_one() == request
    phone.receive(accept(request))
    phone.receive(accept(request))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]
    assert phone.subscriber.next_deadline() == 1277.5


def test_silence_is_told_after_32_seconds(phone):
    phone.subscribe()
    while not (events := phone.events()):
        phone.wait_for_deadline()
    assert (phone.now, events) == (1032.0, [SubscriptionEnded("482910", 408, "no answer", 10.0, True)])


def test_a_notify_that_comes_again_gets_the_very_same_answer_even_behind_a_newer_one(phone):
    request = phone.subscribed()
    phone.events()
    phone.receive(notify(request, cseq=1))
    first = phone.sent_one()
    phone.receive(notify(request, cseq=2))
    phone.sent()
    phone.receive(notify(request, cseq=1))
    assert phone.sent_one() == first
    assert [event.seq for event in phone.events()] == [1, 2]


def test_a_notify_is_answered_while_the_subscribe_is_not(phone):
    request = phone.subscribe()
    phone.receive(notify(request))
    assert phone.sent_one().status == 200
    phone.wait_for_deadline()
    assert phone.sent_one() == request
    phone.receive(accept(request))
    assert [type(event) for event in phone.events()] == [NotifyReceived, SubscriptionActive]


def test_nothing_is_left_of_notifys_after_32_seconds(phone):
    request = phone.subscribed()
    for cseq in range(1, 100):
        phone.receive(notify(request, cseq=cseq))
    phone.now += 33
    phone.subscriber.handle_timeout(phone.now)
    assert not phone.agent._served


def test_a_redirect_is_followed_and_the_subscription_lives_there(phone):
    first = phone.subscribe()
    phone.receive(refuse(first, 302, ("Contact", "<sip:482910@elsewhere;transport=udp>")))
    second = phone.sent_one()
    assert (second.uri, second.call_id, second.cseq.number) == (
        "sip:482910@elsewhere;transport=udp",
        first.call_id,
        2,
    )
    phone.receive(accept(second, contact="<sip:x@elsewhere>"))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_redirects_in_a_circle_end_the_attempt(phone):
    request = phone.subscribe()
    for target in ("sip:a@x", "sip:b@x", "sip:a@x"):
        phone.receive(refuse(request, 301, ("Contact", f"<{target}>")))
        request = next(iter(phone.sent()), None)
    (ended,) = phone.events()
    assert (request, ended.status, ended.will_retry) == (None, 301, False)


def test_the_log_in_of_one_subscription_serves_its_refreshes_and_the_others():
    phone = Phone(transport="UDP", logs_in_ahead=True)
    phone.receive(challenge(phone.subscribe()))
    phone.receive(accept(phone.sent_one()))
    other = phone.subscribe("other")
    phone.receive(accept(other))
    phone.sent()
    while not (sent := phone.sent()):
        phone.wait_for_deadline()
    counts = [parse_credentials(request.headers["Authorization"]).nc for request in (other, sent[0])]
    assert counts == ["00000002", "00000003"]


def test_the_outbound_proxy_is_the_first_hop_and_record_routes_are_the_way_from_then_on():
    phone = Phone(transport="UDP")
    phone.agent.route = ("<sip:proxy.example;lr>",)
    request = phone.subscribe()
    assert request.headers.get_all("Route") == ["<sip:proxy.example;lr>"]
    phone.receive(accept(request, extra=[("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")]))
    phone.subscriber.refresh("482910", phone.now)
    assert phone.sent_one().headers.get_all("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"]


def test_unsubscribing_during_a_refresh_supersedes_it(phone):
    first = phone.subscribed()
    phone.subscriber.refresh("482910", phone.now)
    refresh = phone.sent_one()
    phone.subscriber.unsubscribe("482910", phone.now)
    last = phone.sent_one()
    assert last.cseq.number > refresh.cseq.number
    phone.receive(accept(refresh))
    phone.receive(accept(last, expires="0"))
    phone.receive(notify(first, cseq=9, state="terminated;reason=timeout"))
    assert phone.events()[-1] == SubscriptionEnded("482910", 0, "unsubscribed", None, False)


def test_a_lost_flow_is_told_to_whoever_waits(phone):
    phone.subscribe()
    phone.agent.lose_flow(phone.now)
    (ended,) = phone.events()
    assert (ended.status, ended.will_retry) == (503, True)
