import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.wire.sip_message import Headers, SIPRequest, SIPResponse
from cti_django.wire.sip_transaction import (
    T1,
    T2,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    TransactionState,
    client_key,
    salvage_request,
    server_key,
)


def a_request(*, method="SUBSCRIBE", branch="z9hG4bK1", host="pc.invalid", cseq=7):
    headers = Headers(
        [
            ("Via", f"SIP/2.0/UDP {host};branch={branch}"),
            ("From", "<sip:alice@example.com>;tag=a"),
            ("To", "<sip:bob@example.com>"),
            ("Call-ID", "one"),
            ("CSeq", f"{cseq} {method}"),
        ]
    )
    return SIPRequest(method, "sip:bob@example.com", headers)


def a_client(*, reliable):
    return NonInviteClientTransaction(a_request(), 100.0, reliable=reliable)


def run_until_quiet(machine, until):
    """(moment, what was sent) as a shell would do it that always wakes up exactly on time."""
    sent = []
    while (deadline := machine.next_deadline()) is not None and deadline <= until:
        machine.handle_timeout(deadline)
        sent += [(deadline, data) for data in machine.data_to_send()]
    return sent


def test_a_request_is_sent_at_once_and_once_over_a_reliable_transport():
    client = a_client(reliable=True)
    assert client.data_to_send() == [bytes(a_request())]
    assert run_until_quiet(client, 1000.0) == []
    assert client.state is TransactionState.TERMINATED


def test_a_request_without_an_answer_times_out_after_64_t1():
    for reliable in (True, False):
        client = a_client(reliable=reliable)
        run_until_quiet(client, 100.0 + 64 * T1 - 0.01)
        assert not client.timed_out
        client.handle_timeout(100.0 + 64 * T1)
        assert client.timed_out
        assert client.next_deadline() is None


def test_over_udp_the_request_is_sent_again_at_doubling_intervals_up_to_t2():
    client = a_client(reliable=False)
    client.data_to_send()
    moments = [moment - 100.0 for moment, _ in run_until_quiet(client, 120.0)]
    assert moments == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5]


def test_over_udp_a_provisional_answer_slows_the_copies_down_to_t2():
    client = a_client(reliable=False)
    client.data_to_send()
    assert client.receive_response(a_request().reply(100), 100.1)
    assert client.state is TransactionState.PROCEEDING
    moments = [moment for moment, _ in run_until_quiet(client, 110.0)]
    assert moments == [100.5, 100.5 + T2, 100.5 + 2 * T2]


def test_a_final_answer_ends_it_at_once_over_a_reliable_transport():
    client = a_client(reliable=True)
    assert client.receive_response(a_request().reply(200), 100.1)
    assert client.state is TransactionState.TERMINATED
    assert client.next_deadline() is None
    assert not client.timed_out


def test_over_udp_copies_of_the_final_answer_are_swallowed_until_timer_k():
    client = a_client(reliable=False)
    assert client.receive_response(a_request().reply(401), 101.0)
    assert client.state is TransactionState.COMPLETED
    assert not client.receive_response(a_request().reply(401), 101.5)
    assert client.next_deadline() == 106.0
    client.handle_timeout(106.0)
    assert client.state is TransactionState.TERMINATED
    assert not client.timed_out


def test_provisional_answers_are_all_told_but_nothing_after_the_final_one():
    client = a_client(reliable=True)
    heard = [client.receive_response(a_request().reply(status), 100.1) for status in (100, 183, 200, 100, 200)]
    assert heard == [True, True, True, False, False]


def test_a_provisional_answer_does_not_stop_timer_f():
    client = a_client(reliable=True)
    client.receive_response(a_request().reply(100), 100.1)
    assert client.next_deadline() == 132.0
    client.handle_timeout(132.0)
    assert client.timed_out


def test_an_answer_belongs_to_the_request_with_its_branch_and_method():
    client = a_client(reliable=True)
    assert client.key == client_key(a_request().reply(200))
    assert client.key != client_key(a_request(branch="z9hG4bK2").reply(200))
    assert client.key != client_key(a_request(method="OPTIONS").reply(200))


def test_a_handled_timeout_that_is_not_due_does_nothing():
    client = a_client(reliable=False)
    client.data_to_send()
    client.handle_timeout(100.2)
    assert client.data_to_send() == []
    assert client.state is TransactionState.TRYING


def test_a_repeated_request_gets_the_same_answer_again_over_udp():
    server = NonInviteServerTransaction(reliable=False)
    server.receive_request()
    assert server.data_to_send() == []
    answer = a_request().reply(200, to_tag="b")
    server.respond(answer, 10.0)
    server.receive_request()
    server.receive_request()
    assert server.data_to_send() == [bytes(answer)] * 3
    assert server.next_deadline() == 10.0 + 64 * T1
    server.handle_timeout(server.next_deadline())
    assert server.state is TransactionState.TERMINATED
    server.receive_request()
    assert server.data_to_send() == []


def test_a_repeated_request_gets_the_provisional_answer_while_there_is_no_other():
    server = NonInviteServerTransaction(reliable=False)
    trying = a_request().reply(100)
    server.respond(trying, 10.0)
    server.receive_request()
    assert server.state is TransactionState.PROCEEDING
    assert server.data_to_send() == [bytes(trying)] * 2


def test_a_second_final_answer_is_dropped():
    server = NonInviteServerTransaction(reliable=False)
    server.respond(a_request().reply(200), 10.0)
    server.data_to_send()
    server.respond(a_request().reply(500), 11.0)
    server.receive_request()
    assert server.data_to_send() == [bytes(a_request().reply(200))]


def test_over_a_reliable_transport_an_answered_request_is_over():
    server = NonInviteServerTransaction(reliable=True)
    server.respond(a_request().reply(200), 10.0)
    assert server.state is TransactionState.TERMINATED
    assert server.next_deadline() is None
    assert len(server.data_to_send()) == 1


def test_copies_of_a_request_have_one_key_and_other_requests_have_others():
    assert server_key(a_request()) == server_key(a_request())
    others = [a_request(branch="z9hG4bK2"), a_request(method="OPTIONS"), a_request(host="other.invalid")]
    assert len({server_key(request) for request in [a_request(), *others]}) == 4


def test_a_branch_without_the_magic_cookie_is_no_key_by_itself():
    assert server_key(a_request(branch="1")) == server_key(a_request(branch="1"))
    assert server_key(a_request(branch="1", cseq=7)) != server_key(a_request(branch="1", cseq=8))


def test_what_an_answer_repeats_is_salvaged_from_a_malformed_request():
    good = bytes(a_request())
    bad = good.replace(b"Content-Length: 0", b"Content-Length: -1\r\nX\xff: \x01") + b"x" * 100_000
    assert server_key(salvage_request(b"\r\n" + bad)) == server_key(a_request())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"NOTIFY",
        bytes(a_request(method="ACK")),
        bytes(a_request().reply(200)),
        bytes(a_request()).replace(b"From", b"X"),
        bytes(a_request()).replace(b"CSeq: 7 SUBSCRIBE", b"CSeq: 7 NOTIFY"),
        bytes(a_request()).replace(b"Call-ID: one", b"Call-ID: one\r\nCall-ID: two"),
    ],
)
def test_nothing_is_salvaged_from_what_cannot_or_may_not_be_answered(data):
    assert salvage_request(data) is None


@given(
    reliable=st.booleans(),
    steps=st.lists(st.tuples(st.floats(0, 8), st.sampled_from([0, 100, 183, 200, 404])), max_size=30),
)
def test_whatever_happens_one_final_outcome_is_told_and_every_transaction_ends(reliable, steps):
    client = a_client(reliable=reliable)
    now, finals = 100.0, 0
    for pause, status in steps:
        now += pause
        client.handle_timeout(now)
        if status and client.receive_response(SIPResponse(status, "", a_request().reply(200).headers), now):
            finals += status >= 200
    run_until_quiet(client, now + 1000.0)
    assert client.state is TransactionState.TERMINATED
    assert finals + client.timed_out == 1
