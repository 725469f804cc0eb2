import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_dialog import Arrival, Dialog, routed
from cti_django.wire.sip_message import Headers, SIPRequest, SIPResponse, parse_message
from cti_django.wire.sip_uri import NameAddr, Via

VIA = Via("WSS", "pc.invalid", params={"branch": "z9hG4bK1"})


def headers(*extra, method="SUBSCRIBE", cseq=1, from_tag="a", to_tag=None):
    tag = f";tag={to_tag}" if to_tag else ""
    return Headers(
        [
            ("Via", "SIP/2.0/WSS pc.invalid;branch=z9hG4bK1"),
            ("From", f'"Alice" <sip:alice@example.com>;tag={from_tag};x=1'),
            ("To", f"<sip:bob@example.com>{tag}"),
            ("Call-ID", "one"),
            ("CSeq", f"{cseq} {method}"),
            *extra,
        ]
    )


def subscribe():
    return SIPRequest("SUBSCRIBE", "sip:bob@example.com", headers())


def accepted(*extra):
    return SIPResponse(200, "OK", headers(*extra, to_tag="b"))


def from_peer(*extra, method="NOTIFY", cseq=1, from_tag="b", to_tag="a"):
    return SIPRequest(
        method, "sip:alice@pc.invalid", headers(*extra, method=method, cseq=cseq, from_tag=from_tag, to_tag=to_tag)
    )


def a_dialog(*extra):
    return Dialog.from_response(subscribe(), accepted(("Contact", "<sip:bob@host:5066>"), *extra))


def test_a_2xx_makes_a_dialog_with_the_reversed_record_route():
    dialog = a_dialog(("Record-Route", "<sip:p1.example;lr>, <sip:p2.example;lr>"), ("Record-Route", "<sip:p3;lr>"))
    assert (dialog.call_id, dialog.local.tag, dialog.remote.tag) == ("one", "a", "b")
    assert dialog.remote_target == "sip:bob@host:5066"
    assert dialog.route_set == ("<sip:p3;lr>", "<sip:p2.example;lr>", "<sip:p1.example;lr>")
    assert (dialog.local_seq, dialog.remote_seq) == (1, None)


def test_a_request_makes_a_dialog_with_the_record_route_in_order():
    request = from_peer(("Contact", "<sip:bob@host>"), ("Record-Route", "<sip:p1;lr>, <sip:p2;lr>"), cseq=9)
    dialog = Dialog.from_request(request, NameAddr("sip:alice@example.com", params={"tag": "a"}), local_seq=4)
    assert dialog.route_set == ("<sip:p1;lr>", "<sip:p2;lr>")
    assert (dialog.local_seq, dialog.remote_seq, dialog.remote.tag) == (4, 9, "b")
    assert dialog.matches(request)


def test_a_request_in_the_dialog_goes_to_the_contact_along_loose_routes():
    dialog = a_dialog(("Record-Route", "<sip:p1;lr>, <sip:p2;lr>"))
    request = parse_message(bytes(dialog.new_request("SUBSCRIBE", VIA)))
    assert request.uri == "sip:bob@host:5066"
    assert request.headers.get_all("Route") == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert request.cseq.number == 2
    assert request.call_id == "one"
    assert (request.from_.uri, request.from_.tag) == ("sip:alice@example.com", "a")
    assert (request.to.uri, request.to.tag) == ("sip:bob@example.com", "b")


def test_a_strict_router_takes_the_request_uri_and_the_contact_comes_last():
    dialog = a_dialog(("Record-Route", "<sip:p1;lr>, <sip:old.example;method=INVITE?Subject=x>"))
    request = dialog.new_request("SUBSCRIBE", VIA)
    assert request.uri == "sip:old.example"
    assert request.headers.get_all("Route") == ["<sip:p1;lr>", "<sip:bob@host:5066>"]


def test_without_a_route_the_request_goes_straight_to_the_contact():
    assert routed("sip:bob@host", ()) == ("sip:bob@host", ())


def test_what_no_request_uri_may_hold_is_left_out_of_it():
    assert routed("sip:bob@host;method=INVITE;transport=ws?Subject=x", ()) == ("sip:bob@host;transport=ws", ())


def test_each_request_of_ours_has_the_next_number():
    dialog = a_dialog()
    assert [dialog.new_request("SUBSCRIBE", VIA).cseq.number for _ in range(3)] == [2, 3, 4]


def test_a_2xx_without_a_contact_leaves_the_request_uri_as_the_target():
    assert Dialog.from_response(subscribe(), accepted()).remote_target == "sip:bob@example.com"


@pytest.mark.parametrize(
    "extra",
    [
        ("Contact", "*"),
        ("Contact", "<mailto:bob@host>"),
        ("Contact", "<sip:>"),
        ("Record-Route", "nonsense"),
        ("Record-Route", "<tel>"),
        ("Record-Route", ", ".join(["<sip:p;lr>"] * 33)),
    ],
)
def test_a_malformed_contact_or_record_route_makes_no_dialog(extra):
    with pytest.raises(SIPMessageError):
        Dialog.from_response(subscribe(), accepted(extra))


def test_a_request_without_a_contact_makes_no_dialog():
    with pytest.raises(SIPMessageError):
        Dialog.from_request(from_peer(), NameAddr("sip:alice@example.com", params={"tag": "a"}))


def test_a_target_refresh_moves_the_target_and_leaves_the_route():
    dialog = a_dialog(("Record-Route", "<sip:p1;lr>"))
    dialog.refresh_target(from_peer(("Contact", "<sip:bob@moved>"), ("Record-Route", "<sip:p9;lr>")))
    assert dialog.remote_target == "sip:bob@moved"
    assert dialog.route_set == ("<sip:p1;lr>",)
    dialog.refresh_target(from_peer())
    assert dialog.remote_target == "sip:bob@moved"


def test_a_malformed_target_refresh_leaves_the_target():
    dialog = a_dialog()
    with pytest.raises(SIPMessageError):
        dialog.refresh_target(from_peer(("Contact", "<sip:>")))
    assert dialog.remote_target == "sip:bob@host:5066"


def test_a_request_belongs_to_the_dialog_with_its_call_id_and_both_tags():
    dialog = a_dialog()
    assert dialog.matches(from_peer())
    assert not dialog.matches(from_peer(from_tag="c"))
    assert not dialog.matches(from_peer(to_tag="c"))
    assert not dialog.matches(from_peer(to_tag=None))


def test_the_cseq_tells_new_repeated_and_late_requests():
    dialog = a_dialog()
    heard = [dialog.receive_request(from_peer(cseq=number)) for number in (5, 5, 7, 6, 7, 8)]
    assert heard == [
        Arrival.NEXT,
        Arrival.REPEATED,
        Arrival.NEXT,
        Arrival.LATE,
        Arrival.REPEATED,
        Arrival.NEXT,
    ]


@given(st.lists(st.integers(0, 50)))
def test_whatever_the_order_a_number_is_new_at_most_once_and_only_upwards(numbers):
    dialog = a_dialog()
    served = [n for n in numbers if dialog.receive_request(from_peer(cseq=n)) is Arrival.NEXT]
    assert served == sorted(set(served))
    assert not numbers or served[-1] == max(numbers)


def test_an_ack_bears_the_number_of_its_invite_and_counts_for_nothing():
    dialog = a_dialog(("Record-Route", "<sip:p1;lr>"))
    ack = dialog.new_ack(1)
    assert (str(ack.cseq), ack.uri, ack.to.tag) == ("1 ACK", "sip:bob@host:5066", "b")
    assert ack.headers.get_all("Route") == ["<sip:p1;lr>"]
    assert "Via" not in ack.headers
    assert str(dialog.new_request("BYE").cseq) == "2 BYE"
