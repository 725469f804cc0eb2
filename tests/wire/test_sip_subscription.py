import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_django.wire.sip_digest import parse_credentials
from cti_django.wire.sip_message import SIPRequest
from cti_django.wire.sip_subscriber import NotifyReceived, ProtocolFault, SubscriptionActive, SubscriptionEnded

from .sip_phone import Phone, accept, challenge, notify, refuse

# Refreshing.


@pytest.mark.parametrize(
    ("granted", "after"),
    [
        *[("300", 270.0), ("60", 30.0), ("40", 20.0), ("12", 6.0), ("3", 1.5), ("1", 1.0), ("0", 1.0)],
        *[("9999", 270.0), (None, 270.0), ("x", 270.0)],
    ],
)
def test_a_subscription_is_refreshed_in_time_for_what_was_granted(granted, after):
    phone = Phone()
    phone.subscribed(expires=granted)
    assert phone.subscriber.next_deadline() == phone.now + after


def test_a_shorter_expiry_in_the_notify_counts_and_a_longer_does_not():
    phone = Phone()
    request = phone.subscribed(expires="200")
    phone.receive(notify(request, state="active;expires=5000"))
    assert phone.subscriber.next_deadline() == 1170.0
    phone.receive(notify(request, cseq=2, state="active;expires=60"))
    assert phone.subscriber.next_deadline() == 1030.0


def test_a_shorter_expiry_in_a_notify_before_the_200_counts_too():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(notify(request, state="active;expires=60"))
    phone.receive(accept(request))
    assert phone.subscriber.next_deadline() == 1030.0


def test_notifys_cannot_push_the_refresh_away():
    phone = Phone()
    request = phone.subscribed(expires="60")
    for cseq in range(1, 30):
        phone.now += 1
        phone.receive(notify(request, cseq=cseq, state=f"active;expires={60 - cseq}"))
    assert phone.subscriber.next_deadline() <= 1030.0


def test_a_refresh_goes_to_the_contact_along_the_record_routes():
    phone = Phone()
    routes = [("Record-Route", "<sip:p1.example;lr>, <sip:p2.example;lr>")]
    first = phone.subscribed(extra=routes)
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert refresh.uri == "sip:482910@host:5066"
    assert refresh.headers.get_all("Route") == ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]
    assert (refresh.call_id, refresh.cseq.number) == (first.call_id, 2)
    assert (refresh.from_.tag, refresh.to.tag) == (first.from_.tag, "srv")
    assert refresh.headers["Expires"] == "300"


def test_the_notify_s_own_record_route_wins_and_its_contact_moves_the_target():
    phone = Phone()
    request = phone.subscribed(extra=[("Record-Route", "<sip:p1;lr>")])
    route = [("Record-Route", "<sip:p8;lr>, <sip:p9;lr>")]
    phone.receive(notify(request, contact="<sip:482910@moved>", extra=route))
    phone.receive(notify(request, cseq=2, contact="", extra=[("Record-Route", "<sip:later;lr>")]))
    phone.sent()
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert refresh.uri == "sip:482910@moved"
    assert refresh.headers.get_all("Route") == ["<sip:p8;lr>", "<sip:p9;lr>"]


def test_a_notify_without_record_route_leaves_the_route_of_the_200_whichever_comes_first():
    for order in ("200 first", "NOTIFY first"):
        phone = Phone()
        request = phone.subscribe()
        frames = [accept(request, extra=[("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")]), notify(request)]
        for frame in frames if order == "200 first" else frames[::-1]:
            phone.receive(frame)
        phone.sent()
        phone.wait_for_deadline()
        assert phone.sent_one().headers.get_all("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"], order


def test_an_accepted_refresh_is_quiet_and_counts_from_then_on():
    phone = Phone()
    phone.subscribed()
    phone.events()
    phone.wait_for_deadline()
    phone.receive(accept(phone.sent_one(), expires="120", contact="<sip:482910@elsewhere>"))
    assert phone.events() == []
    assert phone.subscriber.next_deadline() == phone.now + 90.0
    phone.wait_for_deadline()
    assert phone.sent_one().uri == "sip:482910@elsewhere"


def test_a_refresh_may_be_challenged_with_the_old_nonce_or_a_new_one():
    phone = Phone()
    phone.receive(challenge(phone.subscribe()))
    phone.receive(accept(phone.sent_one()))
    for nonce, count in (("n1", "00000002"), ("n2", "00000001")):
        phone.wait_for_deadline()
        phone.receive(challenge(phone.sent_one(), nonce, qop=("auth",)))
        answered = phone.sent_one()
        credentials = parse_credentials(answered.headers["Authorization"])
        assert (credentials.nonce, credentials.nc, credentials.uri) == (nonce, count, answered.uri)
        phone.receive(accept(answered))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]
    assert answered.cseq.number == 6


def test_each_exchange_may_be_challenged_as_often_as_the_one_before():
    phone = Phone()
    phone.receive(accept(phone.subscribe()))
    for number, answer in enumerate([accept] * 4 + [lambda r: refuse(r, 503)] * 2 + [accept]):
        phone.wait_for_deadline()
        phone.receive(challenge(phone.sent_one(), f"n{number}"))
        phone.receive(challenge(phone.sent_one(), f"m{number}", stale=True))
        phone.receive(challenge(phone.sent_one(), f"o{number}", stale=True))
        phone.receive(answer(phone.sent_one()))
    phone.wait_for_deadline()
    phone.receive(challenge(phone.sent_one(), "x"))
    phone.receive(challenge(phone.sent_one(), "y", stale=True))
    phone.sent()
    phone.subscriber.unsubscribe("482910", phone.now)
    for number in range(4):
        phone.receive(challenge(phone.sent_one(), f"u{number}", stale=True))
    assert phone.sent_one().headers["Expires"] == "0"
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_a_notify_during_a_refresh_starts_no_second_one():
    phone = Phone()
    request = phone.subscribed()
    phone.wait_for_deadline()
    phone.sent_one()
    phone.receive(notify(request, state="active;expires=12"))
    assert phone.subscriber.next_deadline() == phone.now + 32


def test_an_endless_reason_phrase_is_cut():
    phone = Phone()
    response = refuse(phone.subscribe(), 404)
    response.reason = "x" * 5000
    phone.receive(response)
    assert len(phone.events()[0].reason) == 200


def test_a_refresh_that_meets_481_is_a_fresh_subscription_at_once():
    phone = Phone()
    first = phone.subscribed()
    phone.events()
    phone.wait_for_deadline()
    phone.receive(refuse(phone.sent_one(), 481))
    fresh = phone.sent_one()
    assert phone.events() == [SubscriptionEnded("482910", 481, "Call/Transaction Does Not Exist", 0.0, True)]
    assert fresh.call_id != first.call_id
    assert fresh.from_.tag != first.from_.tag
    assert (fresh.uri, fresh.to.tag, fresh.cseq.number) == ("sip:482910@sip.example", "", 1)
    phone.receive(accept(fresh))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


def test_a_refresh_that_fails_for_the_moment_is_tried_again_while_the_subscription_lives():
    phone = Phone()
    first = phone.subscribed()
    phone.events()
    phone.wait_for_deadline()
    phone.receive(refuse(phone.sent_one(), 503, ("Retry-After", "12")))
    assert phone.events() == []
    phone.receive(notify(first))
    assert phone.sent_one().status == 200
    phone.events()
    assert phone.subscriber.next_deadline() == phone.now + 12
    phone.wait_for_deadline()
    again = phone.sent_one()
    assert (again.call_id, again.to.tag) == (first.call_id, "srv")
    phone.receive(refuse(again, 503, ("Retry-After", "40")))
    assert phone.events() == [SubscriptionEnded("482910", 503, "Service Unavailable", 40.0, True)]


def test_a_server_that_refuses_every_refresh_for_no_time_makes_no_hot_loop():
    phone = Phone()
    phone.subscribed()
    attempts = 0
    while phone.now < 1310.0 and attempts < 100:
        phone.wait_for_deadline()
        for refresh in phone.sent():
            attempts += 1
            phone.receive(refuse(refresh, 503, ("Retry-After", "0")))
    assert 2 <= attempts <= 8


def test_a_refresh_may_be_asked_for_at_any_time_and_only_one_runs():
    phone = Phone()
    phone.subscriber.refresh("482910", phone.now)
    phone.subscribed()
    phone.subscriber.refresh("482910", phone.now)
    phone.subscriber.refresh("482910", phone.now)
    refresh = phone.sent_one()
    assert (refresh.to.tag, refresh.headers["Expires"]) == ("srv", "300")
    phone.now += 5
    phone.receive(accept(refresh))
    assert phone.subscriber.next_deadline() == 1275.0


@settings(max_examples=150, deadline=None)
@given(
    contact=st.text(alphabet='<>sip:tel@a.;=?,"\\%41[] \té#*&', max_size=25),
    routes=st.lists(st.text(alphabet='<>sip:@a.;lr="\\%4 ,é?', max_size=20), max_size=3),
)
def test_whatever_the_contact_and_the_routes_the_next_subscribe_can_be_written(contact, routes):
    phone = Phone()
    for wrapped in (contact, f"<sip:a@host{contact}>", f"<sip:{contact}host>"):
        request = phone.subscribe(wrapped)
        extra = [("Record-Route", text) for route in routes for text in (f"<sip:p{route}>", f"<{route}sip:p;lr>")]
        phone.receive(accept(request, contact=wrapped, extra=extra))
        phone.receive(notify(request, contact=wrapped, extra=extra))
        phone.sent()
    for _ in range(3):
        phone.wait_for_deadline()
        assert all(message.method == "SUBSCRIBE" for message in phone.sent())


def test_silence_on_a_refresh_is_told_when_the_subscription_has_run_out():
    phone = Phone()
    phone.subscribed()
    phone.events()
    phone.wait_for_deadline()
    refresh = phone.sent_one()
    assert phone.subscriber.next_deadline() == phone.now + 32
    phone.wait_for_deadline()
    (ended,) = phone.events()
    assert (ended.status, ended.will_retry) == (408, True)
    phone.wait_for_deadline()
    assert phone.sent_one().call_id != refresh.call_id


# Failures and trying again.


def test_silence_on_the_first_subscribe_is_told_after_32_seconds():
    phone = Phone()
    request = phone.subscribe()
    assert phone.subscriber.next_deadline() == 1032.0
    phone.subscriber.handle_timeout(1031.9)
    assert phone.events() == []
    phone.wait_for_deadline()
    assert phone.events() == [SubscriptionEnded("482910", 408, "no answer", 10.0, True)]
    phone.receive(accept(request))
    assert [type(event) for event in phone.events()] == [ProtocolFault]
    phone.wait_for_deadline()
    assert phone.now == 1042.0
    phone.receive(accept(phone.sent_one()))
    assert phone.events() == [SubscriptionActive("482910", 300.0)]


@pytest.mark.parametrize(
    ("status", "said", "waits"),
    [
        (503, "20", 20.0),
        (503, "20;duration=60", 20.0),
        (503, "20 (in maintenance)", 20.0),
        (503, "999999", 300.0),
        (503, "0", 0.0),
        (503, "soon", 10.0),
        (503, None, 10.0),
        (500, None, 10.0),
        (480, None, 10.0),
        (408, None, 10.0),
        (481, None, 10.0),
        (404, "30", 30.0),
    ],
)
def test_a_passing_failure_is_tried_again_when_the_server_says_but_within_limits(status, said, waits):
    phone = Phone()
    first = phone.subscribe()
    phone.receive(refuse(first, status, *([("Retry-After", said)] if said else [])))
    (ended,) = phone.events()
    assert (ended.status, ended.retry_after, ended.will_retry) == (status, waits, True)
    if waits:
        assert phone.sent() == []
        assert phone.subscriber.next_deadline() == phone.now + waits
        phone.wait_for_deadline()
    assert phone.sent_one().call_id != first.call_id


@pytest.mark.parametrize("status", [400, 404, 405, 406, 410, 420, 489, 501, 505, 603, 604, 302])
def test_other_refusals_are_final(status):
    phone = Phone()
    phone.receive(refuse(phone.subscribe(), status))
    (ended,) = phone.events()
    assert (ended.status, ended.retry_after, ended.will_retry) == (status, None, False)
    assert phone.subscriber.next_deadline() is None
    assert phone.subscribe().cseq.number == 1


def test_a_423_is_asked_again_with_the_time_that_it_wants():
    phone = Phone()
    first = phone.subscribe()
    phone.receive(refuse(first, 423, ("Min-Expires", "600")))
    second = phone.sent_one()
    assert (second.headers["Expires"], second.cseq.number, second.call_id) == ("600", 2, first.call_id)
    phone.receive(accept(second, expires="600"))
    assert phone.events() == [SubscriptionActive("482910", 600.0)]


@pytest.mark.parametrize("wants", ["60", "300", "999999999", "", "x"])
def test_a_423_that_makes_no_sense_is_final(wants):
    phone = Phone()
    phone.receive(refuse(phone.subscribe(), 423, *([("Min-Expires", wants)] if wants else [])))
    (ended,) = phone.events()
    assert (ended.status, ended.will_retry) == (423, False)


def test_a_server_that_wants_ever_more_time_is_given_up():
    phone = Phone()
    request, wants = phone.subscribe(), 300
    while request is not None and wants < 400:
        wants += 1
        phone.receive(refuse(request, 423, ("Min-Expires", str(wants))))
        request = next(iter(phone.sent()), None)
    assert wants < 310
    assert phone.events()[-1].status == 423


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ("terminated;reason=deactivated", 0.0),
        ("terminated;reason=Timeout", 0.0),
        ("Terminated", 0.0),
        ("terminated;reason=unheard-of", 0.0),
        ("terminated;reason=timeout;retry-after=7", 7.0),
        ("terminated;reason=probation", 10.0),
        ("terminated;reason=probation;retry-after=30", 30.0),
        ("terminated;reason=giveup", 10.0),
        ("terminated;reason=giveup;retry-after=99999", 300.0),
        ("terminated;reason=rejected", None),
        ("terminated;reason=noresource;retry-after=5", None),
        ("terminated;reason=invariant", None),
    ],
)
def test_the_reason_of_a_termination_tells_whether_and_when_to_try_again(state, waits):
    phone = Phone()
    first = phone.subscribed()
    phone.events()
    phone.receive(notify(first, state=state))
    answer, *more = phone.sent()
    assert answer.status == 200
    notified, ended = phone.events()
    assert notified.subscription_state == "terminated"
    assert (ended.status, ended.retry_after, ended.will_retry) == (0, waits, waits is not None)
    assert len(more) == (waits == 0)
    if waits:
        assert phone.subscriber.next_deadline() == phone.now + waits
        phone.wait_for_deadline()
        more = phone.sent()
    if waits is None:
        assert phone.subscriber.next_deadline() is None
    else:
        assert more[0].call_id != first.call_id


def test_a_termination_before_the_200_ends_the_attempt():
    phone = Phone()
    request = phone.subscribe()
    phone.receive(notify(request, state="terminated;reason=rejected"))
    phone.receive(accept(request))
    assert [type(event) for event in phone.events()] == [NotifyReceived, SubscriptionEnded, ProtocolFault]


def test_an_attempt_that_a_notify_ended_is_not_ended_again_by_the_missing_answer():
    phone = Phone()
    phone.receive(notify(phone.subscribe(), state="terminated;reason=giveup;retry-after=60"))
    assert phone.subscriber.next_deadline() == phone.now + 60


@pytest.mark.parametrize("how", ["terminated", "503 with Retry-After 0", "481 on refresh"])
def test_a_server_that_always_ends_the_subscription_makes_no_hot_loop(how):
    phone = Phone()
    phone.subscriber.subscribe("482910", phone.now)
    attempts = 0
    while phone.now < 1600.0 and attempts < 100:
        for request in phone.sent():
            if not isinstance(request, SIPRequest):
                continue
            attempts += not request.to.tag
            if how.startswith("503"):
                phone.receive(refuse(request, 503, ("Retry-After", "0")))
            elif request.to.tag:
                phone.receive(refuse(request, 481))
            else:
                phone.receive(accept(request, expires="1" if how.startswith("481") else "300"))
                if how == "terminated":
                    phone.receive(notify(request, state="terminated;reason=deactivated"))
        phone.wait_for_deadline()
    assert attempts < 20
    assert phone.subscriber.next_deadline() - phone.now <= 60.0


def test_a_subscription_that_lived_long_is_renewed_at_once_each_time():
    phone = Phone()
    request = phone.subscribe()
    for _ in range(5):
        phone.receive(accept(request))
        phone.now += 100
        phone.receive(notify(request, state="terminated;reason=deactivated"))
        _answer, request = phone.sent()
        assert phone.events()[-1] == SubscriptionEnded("482910", 0, "deactivated", 0.0, True)


# Unsubscribing.


def test_unsubscribing_asks_for_zero_seconds_and_ends_with_the_last_notify():
    phone = Phone()
    first = phone.subscribed()
    phone.events()
    phone.subscriber.unsubscribe("482910", phone.now)
    last = phone.sent_one()
    assert (last.headers["Expires"], last.to.tag, last.uri) == ("0", "srv", "sip:482910@host:5066")
    phone.receive(challenge(last))
    last = phone.sent_one()
    assert (last.headers["Expires"], "Authorization" in last.headers) == ("0", True)
    phone.receive(accept(last, expires="0"))
    phone.subscriber.unsubscribe("482910", phone.now)
    assert phone.events() == []
    phone.receive(notify(first, state="terminated;reason=timeout"))
    assert [answer.status for answer in phone.sent()] == [200]
    assert phone.events()[-1] == SubscriptionEnded("482910", 0, "unsubscribed", None, False)
    assert phone.subscriber.next_deadline() is None


@pytest.mark.parametrize("answered", [True, False])
def test_unsubscribing_ends_after_32_seconds_without_the_last_notify(answered):
    phone = Phone()
    phone.subscribed()
    phone.events()
    phone.subscriber.unsubscribe("482910", phone.now)
    if answered:
        phone.receive(accept(phone.sent_one(), expires="0"))
    phone.wait_for_deadline()
    assert phone.now == 1032.0
    assert phone.events() == [SubscriptionEnded("482910", 0, "unsubscribed", None, False)]
    assert phone.subscriber.next_deadline() is None


def test_unsubscribing_from_what_is_not_there_yet_or_any_more_is_over_at_once():
    phone = Phone()
    phone.subscribe()
    phone.subscriber.unsubscribe("482910", phone.now)
    assert phone.events() == [SubscriptionEnded("482910", 0, "unsubscribed", None, False)]
    phone.receive(refuse(phone.subscribe(), 503))
    phone.events()
    phone.subscriber.unsubscribe("482910", phone.now)
    phone.subscriber.unsubscribe("nobody", phone.now)
    assert phone.events() == [SubscriptionEnded("482910", 0, "unsubscribed", None, False)]
    assert phone.subscriber.next_deadline() is None


def test_subscribing_again_while_unsubscribing_starts_afresh():
    phone = Phone()
    first = phone.subscribed()
    phone.subscriber.unsubscribe("482910", phone.now)
    phone.sent()
    phone.events()
    fresh = phone.subscribe()
    assert fresh.call_id != first.call_id
    phone.receive(notify(first, state="terminated;reason=timeout"))
    assert phone.sent_one().status == 481
    phone.receive(accept(fresh))
    assert phone.events()[-1] == SubscriptionActive("482910", 300.0)


def test_a_notify_that_was_refused_may_come_again_under_its_number():
    phone = Phone()
    request = phone.subscribed()
    phone.receive(notify(request))
    phone.events()
    phone.receive(notify(request, cseq=2, contact="<<"))
    assert phone.events() == [ProtocolFault("A request with a malformed header was answered 400.")]
    phone.receive(notify(request, cseq=2))
    assert [type(event) for event in phone.events()] == [NotifyReceived]
