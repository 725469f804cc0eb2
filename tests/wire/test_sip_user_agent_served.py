"""What a user agent does with requests of the peer."""

import pytest

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_message import Headers, SIPRequest
from cti_django.wire.sip_served import MAX_SERVED

from .sip_peers import Agent


def from_peer(method="NOTIFY", *, branch="z9hG4bKp1", to_tag="", call_id="theirs", cseq=1, extra=(), from_tag="p"):
    headers = Headers([("Via", f"SIP/2.0/UDP peer.example:5060;branch={branch}"), ("Max-Forwards", "70")])
    headers.add("From", f"<sip:bob@example.com>;tag={from_tag}")
    headers.add("To", "<sip:alice@example.com>" + (f";tag={to_tag}" if to_tag else ""))
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{cseq} {method}")
    for name, value in extra:
        headers.add(name, value)
    return SIPRequest(method, "sip:alice@alice.example.com:5062", headers)


def test_a_repeated_request_is_told_once_and_answered_alike_each_time():
    alice = Agent()
    alice.agent.attach("theirs", alice)
    notify = from_peer(to_tag="a")
    alice.receive(notify)
    alice.agent.respond(notify, 200, alice.now)
    first = alice.sent_one()
    alice.receive(notify)
    assert alice.sent_one() == first
    assert alice.said() == ["NOTIFY"]
    while alice.agent.next_deadline() is not None:
        alice.wait_for_deadline()
    assert alice.now == 1032.0
    assert not alice.agent._served


def test_a_request_may_be_answered_later_and_a_late_answer_to_nothing_harms_no_one():
    alice = Agent()
    alice.agent.attach("theirs", alice)
    notify = from_peer(to_tag="a")
    alice.receive(notify)
    alice.receive(notify)
    assert alice.sent() == []
    alice.agent.respond(notify, 202, alice.now + 5)
    alice.agent.respond(notify, 500, alice.now + 6)
    assert [message.status for message in alice.sent()] == [202]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (from_peer("BYE", to_tag="a"), 481),
        (from_peer("NOTIFY", to_tag="a"), 481),
        (from_peer("OPTIONS", to_tag="a"), 481),
        (from_peer("NOTIFY"), 481),
        (from_peer("CANCEL"), 481),
        (from_peer("INVITE"), 480),
        (from_peer("OPTIONS"), 200),
        (from_peer("MESSAGE"), 405),
        (from_peer("FOO"), 405),
        (from_peer("INVITE", extra=[("Require", "100rel, replaces")]), 420),
    ],
    ids=lambda value: value.method if isinstance(value, SIPRequest) else value,
)
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_request_that_belongs_to_nothing_is_refused(request_, status, transport):
    alice = Agent(transport=transport, supported=("replaces",), accept="application/sdp")
    alice.receive(request_)
    response = alice.sent_one()
    assert response.status == status
    assert response.to.tag
    if status in (200, 405):
        assert "INVITE" in response.headers.get_all("Allow")
    if status == 200:
        assert response.headers["Accept"] == "application/sdp"
    if status == 420:
        assert response.headers["Unsupported"] == "100rel"


def test_an_ack_is_never_answered():
    alice = Agent()
    alice.agent.attach("theirs", alice)
    alice.receive(from_peer("ACK", to_tag="a"))
    alice.receive(bytes(from_peer("ACK")).replace(b"Max-Forwards: 70", b"Max-Forwards: \xff"))
    assert (alice.sent(), alice.said()) == ([], [])


def test_whoever_wants_a_strange_request_gets_it_and_all_that_follow():
    alice = Agent()
    alice.agent.on_request = lambda request, now: alice if request.method == "INVITE" else None
    invite = from_peer("INVITE", extra=[("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")])
    alice.receive(invite)
    assert alice.sent_one().status == 100
    ringing = alice.agent.respond(invite, 180, alice.now)
    accepted = alice.agent.respond(invite, 200, alice.now, body=b"v=0", content_type="application/sdp")
    assert ringing.to == accepted.to
    assert accepted.headers.get_all("Record-Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert accepted.headers["Contact"] == "<sip:alice@alice.example.com:5062>"
    assert [message.status for message in alice.sent()] == [180, 200]
    ack = from_peer("ACK", branch="z9hG4bKother", to_tag=accepted.to.tag)
    alice.receive(ack)
    alice.receive(ack)
    alice.receive(from_peer("BYE", branch="z9hG4bKbye", to_tag=accepted.to.tag, cseq=2))
    assert alice.said() == ["INVITE", "ACK", "BYE"]


def test_a_2xx_is_repeated_until_the_ack_and_its_absence_is_told():
    alice = Agent(transport="TCP")
    alice.agent.on_request = lambda request, now: alice
    invite = from_peer("INVITE")
    alice.receive(invite)
    alice.agent.respond(invite, 200, alice.now)
    alice.sent()
    times = 0
    while alice.agent.next_deadline() is not None:
        alice.wait_for_deadline()
        times += len(alice.sent())
    assert times == 10
    assert alice.now == 1032.0
    assert alice.said() == ["INVITE", "408 INVITE"]


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_cancel_answers_the_invite_487_and_tells_its_user(transport):
    alice = Agent(transport=transport)
    alice.agent.on_request = lambda request, now: alice
    alice.receive(from_peer("INVITE"))
    alice.sent()
    alice.receive(from_peer("CANCEL"))
    to_cancel, to_invite = alice.sent()
    assert (to_cancel.status, to_cancel.cseq.method) == (200, "CANCEL")
    assert (to_invite.status, to_invite.cseq.method, to_invite.to) == (487, "INVITE", to_cancel.to)
    assert alice.said() == ["INVITE", "CANCEL"]
    alice.receive(from_peer("ACK", to_tag=to_invite.to.tag))
    assert alice.said() == []
    if transport == "TCP":
        assert not alice.agent._served


def test_a_cancel_that_comes_too_late_changes_nothing():
    alice = Agent()
    alice.agent.on_request = lambda request, now: alice
    invite = from_peer("INVITE")
    alice.receive(invite)
    alice.agent.respond(invite, 200, alice.now)
    alice.sent()
    alice.receive(from_peer("CANCEL"))
    assert [(message.status, message.cseq.method) for message in alice.sent()] == [(200, "CANCEL")]
    assert alice.said() == ["INVITE"]


def test_a_request_that_came_two_ways_is_answered_482():
    alice = Agent()
    alice.agent.on_request = lambda request, now: alice
    alice.receive(from_peer("INVITE"))
    alice.sent()
    alice.receive(from_peer("INVITE", branch="z9hG4bKother"))
    assert [message.status for message in alice.sent()] == [482]
    assert alice.said() == ["INVITE"]


def test_an_ack_of_the_old_kind_finds_its_invite_by_number():
    alice = Agent()
    invite = from_peer("INVITE", branch="1")
    alice.receive(invite)
    refusal = alice.sent_one()
    ack = from_peer("ACK", branch="1", to_tag=refusal.to.tag)
    alice.receive(ack)
    alice.now += 4
    alice.agent.handle_timeout(alice.now)
    assert alice.sent() == []


def test_what_a_usage_finds_malformed_is_answered_400_and_only_once():
    alice = Agent()

    class Picky(Agent):
        def receive_request(self, request, now):
            if request.method == "INFO":
                alice.agent.respond(request, 200, now)
            raise SIPMessageError("no")

    alice.agent.allow += ("INFO",)
    alice.agent.attach("theirs", Picky())
    alice.receive(from_peer("BYE", to_tag="a"))
    alice.receive(from_peer("INFO", to_tag="a", branch="z9hG4bKp2"))
    assert [message.status for message in alice.sent()] == [400, 200]


def test_a_flood_of_requests_leaves_no_more_than_so_many_behind():
    alice = Agent()
    alice.agent.on_request = lambda request, now: alice
    for number in range(3 * MAX_SERVED):
        alice.receive(from_peer("OPTIONS", branch=f"z9hG4bK{number}", call_id=f"c{number}"))
    assert len(alice.agent._served) == MAX_SERVED
    alice = Agent()
    for number in range(3 * MAX_SERVED):
        alice.receive(from_peer("INVITE", branch=f"z9hG4bK{number}", call_id=f"c{number}"))
    assert len(alice.agent._served) == MAX_SERVED
    alice.agent.on_request = lambda request, now: alice
    for number in range(3 * MAX_SERVED):
        alice.sent()
        alice.receive(from_peer("INVITE", branch=f"z9hG4bKu{number}", call_id=f"d{number}"))
    assert len(alice.agent._served) == MAX_SERVED
    assert alice.sent_one().status == 503
