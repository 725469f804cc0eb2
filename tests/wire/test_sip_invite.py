"""INVITE transactions, each run against the table of RFC 3261 17.1.1, 17.2.1 and RFC 6026."""

import pytest

from cti_django.wire.sip_invite import InviteClientTransaction, InviteServerTransaction
from cti_django.wire.sip_message import Headers, SIPRequest, parse_message
from cti_django.wire.sip_transaction import T1, T4, TransactionState

WAIT = 64 * T1


def an_invite():
    headers = Headers(
        [
            ("Via", "SIP/2.0/UDP pc.example:5062;branch=z9hG4bK1;rport"),
            ("Route", "<sip:p1.example;lr>"),
            ("Route", "<sip:p2.example;lr>"),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@example.com>;tag=a"),
            ("To", "<sip:bob@example.com>"),
            ("Call-ID", "one"),
            ("CSeq", "7 INVITE"),
            ("Contact", "<sip:alice@pc.example:5062>"),
        ]
    )
    return SIPRequest("INVITE", "sip:bob@example.com", headers, b"v=0\r\n")


def a_client(*, reliable=False):
    client = InviteClientTransaction(an_invite(), 100.0, reliable=reliable)
    assert client.data_to_send() == [bytes(an_invite())]
    return client


def a_server(*, reliable=False):
    return InviteServerTransaction(reliable=reliable)


def run_until(machine, until):
    """The moments at which something was sent again, by a shell that wakes up exactly on time."""
    moments = []
    while (deadline := machine.next_deadline()) is not None and deadline <= until:
        machine.handle_timeout(deadline)
        moments += [deadline] * len(machine.data_to_send())
    return moments


# Client.


def test_over_udp_the_invite_is_sent_again_at_doubling_intervals_until_it_is_given_up():
    client = a_client()
    assert run_until(client, 200.0) == [100.5, 101.5, 103.5, 107.5, 115.5, 131.5]
    assert client.timed_out
    assert client.state is TransactionState.TERMINATED
    assert client.next_deadline() is None


def test_over_tcp_the_invite_is_sent_once_and_given_up_just_the_same():
    client = a_client(reliable=True)
    assert run_until(client, 131.9) == []
    assert not client.timed_out
    client.handle_timeout(132.0)
    assert client.timed_out


def test_after_a_provisional_response_people_may_take_as_long_as_they_like():
    client = a_client()
    assert client.receive_response(an_invite().reply(180), 101.0)
    assert client.receive_response(an_invite().reply(180), 102.0)
    assert client.next_deadline() is None
    assert client.state is TransactionState.PROCEEDING


def test_a_refusal_is_told_once_and_acknowledged_as_often_as_it_comes():
    client = a_client()
    refusal = an_invite().reply(486, to_tag="b")
    assert client.receive_response(refusal, 101.0)
    assert not client.receive_response(refusal, 101.5)
    assert not client.receive_response(an_invite().reply(180), 101.6)
    first, again = client.data_to_send()
    assert first == again
    ack = parse_message(first)
    assert (ack.method, ack.uri, str(ack.cseq)) == ("ACK", "sip:bob@example.com", "7 ACK")
    assert ack.headers.get_all("Via") == an_invite().headers.get_all("Via")
    assert ack.headers.get_all("Route") == ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]
    assert (ack.to.tag, ack.from_.tag, ack.body) == ("b", "a", b"")
    assert client.next_deadline() == 101.0 + WAIT
    client.handle_timeout(101.0 + WAIT)
    assert (client.state, client.timed_out) == (TransactionState.TERMINATED, False)


def test_over_tcp_a_refusal_ends_it_at_once():
    client = a_client(reliable=True)
    assert client.receive_response(an_invite().reply(404, to_tag="b"), 101.0)
    assert len(client.data_to_send()) == 1
    assert client.state is TransactionState.TERMINATED
    assert not client.receive_response(an_invite().reply(404, to_tag="b"), 101.0)


@pytest.mark.parametrize("reliable", [True, False])
def test_each_2xx_is_told_because_each_wants_its_ack_and_none_is_sent_here(reliable):
    client = a_client(reliable=reliable)
    for tag in ("b", "b", "fork"):
        assert client.receive_response(an_invite().reply(200, to_tag=tag), 101.0)
    assert not client.receive_response(an_invite().reply(180), 101.0)
    assert not client.receive_response(an_invite().reply(486), 101.0)
    assert client.data_to_send() == []
    assert client.next_deadline() == 101.0 + WAIT
    client.handle_timeout(101.0 + WAIT)
    assert (client.state, client.timed_out) == (TransactionState.TERMINATED, False)


def test_a_cancel_must_wait_for_a_provisional_response():
    client = a_client()
    assert client.cancel(101.0) is None
    client.receive_response(an_invite().reply(100), 101.0)
    cancel = client.cancel(102.0)
    assert (cancel.method, cancel.uri, str(cancel.cseq), cancel.to.tag) == (
        "CANCEL",
        "sip:bob@example.com",
        "7 CANCEL",
        "",
    )
    assert cancel.headers.get_all("Via") == an_invite().headers.get_all("Via")
    assert cancel.headers.get_all("Route") == an_invite().headers.get_all("Route")
    assert "Contact" not in cancel.headers


def test_a_cancelled_invite_that_is_never_refused_is_given_up():
    client = a_client()
    client.receive_response(an_invite().reply(180), 101.0)
    client.cancel(102.0)
    assert run_until(client, 200.0) == []
    assert client.timed_out


def test_what_is_answered_cannot_be_cancelled():
    client = a_client()
    client.receive_response(an_invite().reply(200, to_tag="b"), 101.0)
    assert client.cancel(102.0) is None


# Server.


def test_a_refusal_is_sent_again_over_udp_until_it_is_acknowledged():
    server = a_server()
    server.respond(an_invite().reply(180, to_tag="b"), 100.0)
    server.respond(an_invite().reply(486, to_tag="b"), 101.0)
    assert len(server.data_to_send()) == 2
    assert run_until(server, 110.0) == [101.5, 102.5, 104.5, 108.5]
    server.receive_ack(111.0)
    assert server.state is TransactionState.CONFIRMED
    assert server.next_deadline() == 111.0 + T4
    server.receive_request()
    assert server.data_to_send() == []
    server.handle_timeout(111.0 + T4)
    assert (server.state, server.timed_out) == (TransactionState.TERMINATED, False)


def test_over_tcp_a_refusal_is_sent_once_and_its_ack_ends_it():
    server = a_server(reliable=True)
    server.respond(an_invite().reply(486, to_tag="b"), 101.0)
    server.data_to_send()
    assert run_until(server, 110.0) == []
    server.receive_ack(111.0)
    assert server.state is TransactionState.TERMINATED


def test_a_refusal_that_nobody_acknowledges_is_given_up():
    server = a_server()
    server.respond(an_invite().reply(486, to_tag="b"), 100.0)
    server.data_to_send()
    assert run_until(server, 200.0)[-1] == 131.5
    assert (server.state, server.timed_out) == (TransactionState.TERMINATED, True)


@pytest.mark.parametrize("reliable", [True, False])
def test_a_2xx_is_sent_again_over_every_transport_until_it_is_acknowledged(reliable):
    server = a_server(reliable=reliable)
    server.respond(an_invite().reply(200, to_tag="b"), 100.0)
    server.respond(an_invite().reply(486, to_tag="b"), 100.0)
    assert len(server.data_to_send()) == 1
    assert run_until(server, 104.0) == [100.5, 101.5, 103.5]
    server.receive_request()
    assert server.data_to_send() == []
    assert server.acknowledge()
    assert not server.acknowledge()
    assert run_until(server, 131.9) == []
    server.handle_timeout(132.0)
    assert (server.state, server.timed_out) == (TransactionState.TERMINATED, False)


def test_a_2xx_that_nobody_acknowledges_times_out():
    server = a_server()
    server.respond(an_invite().reply(200, to_tag="b"), 100.0)
    run_until(server, 200.0)
    assert server.timed_out


def test_a_repeated_invite_gets_the_latest_answer_again():
    server = a_server()
    server.receive_request()
    assert server.data_to_send() == []
    server.respond(an_invite().reply(100), 100.0)
    server.respond(an_invite().reply(180, to_tag="b"), 100.0)
    server.data_to_send()
    server.receive_request()
    assert [parse_message(data).status for data in server.data_to_send()] == [180]
    server.respond(an_invite().reply(486, to_tag="b"), 100.0)
    server.data_to_send()
    server.receive_request()
    assert [parse_message(data).status for data in server.data_to_send()] == [486]


def test_an_ack_out_of_place_does_nothing():
    server = a_server()
    server.receive_ack(100.0)
    assert not server.acknowledge()
    assert server.state is TransactionState.PROCEEDING
