"""The table from dialogs to legs."""

from datetime import UTC, datetime

import pytest

from cti_django.calls.notifications import Snapshot
from cti_django.calls.numbers import PartyKind
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.connectors.sip_dialogs import own_extension
from cti_django.connectors.voipstudio.translate import provider_call_id, sip_node, translate
from cti_django.wire.dialog_info import parse_dialog_info

from .conftest import PLAN
from .fake_service import dialog, document


def leg(text, node=""):
    (leg,) = translate(parse_dialog_info(document(text, version=1).encode()), node, PLAN)
    return leg


@pytest.mark.parametrize(
    ("dialog_id", "call_id"),
    [
        ("7310025-1", "7310025"),
        ("7310025-1-2", "7310025"),
        ("7310025", "7310025"),
        ("padi-6b03-360f-1", "padi-6b03-360f-1"),
        ("7a-1", "7a-1"),
        ("-1", "-1"),
        ("٧٣-1", "٧٣-1"),
    ],
)
def test_the_call_id_is_in_front_only_if_it_is_a_number(dialog_id, call_id):
    assert provider_call_id(dialog_id) == call_id


@pytest.mark.parametrize(
    ("direction", "target", "extension"),
    [
        ("initiator", "10031", "10031"),
        ("initiator", "10039", "10031"),
        ("receiver", "10031", "10031"),
        ("receiver", "10039", ""),
        ("receiver", "alice", ""),
    ],
)
def test_the_own_extension_is_told_by_outbound_calls_and_by_a_target_that_is_the_same(direction, target, extension):
    text = dialog(direction=direction).replace('target uri="sip:10031@', f'target uri="sip:{target}@')
    (element,) = parse_dialog_info(document(text, version=1).encode()).dialogs
    assert own_extension(element, PLAN) == extension


def test_only_an_id_without_a_call_number_may_come_back_for_another_call():
    assert not leg(dialog(dialog_id="7310025-1")).reuses_ids
    assert leg(dialog(dialog_id="padi-6b03-360f-1")).reuses_ids


@pytest.mark.parametrize(
    ("state", "rendering", "becomes"),
    [
        ("trying", "yes", None),
        ("proceeding", "no", None),
        ("sideways", "yes", None),
        ("early", "no", CallState.RINGING),
        ("confirmed", "yes", CallState.CONNECTED),
        ("confirmed", "NO", CallState.ON_HOLD),
        ("terminated", "no", CallState.HANGUP),
    ],
)
def test_each_state_has_its_row(state, rendering, becomes):
    assert leg(dialog(state=state, rendering=rendering)).state is becomes


def test_hold_on_the_other_side_is_not_our_hold():
    text = dialog(state="confirmed").replace(
        '<target uri="sip:442079460018@sip.example"/>',
        '<target uri="sip:442079460018@sip.example"><param pname="+sip.rendering" pval="no"/></target>',
    )
    assert leg(text).state is CallState.CONNECTED


def test_a_leg_knows_both_parties_and_when_it_began():
    told = leg(dialog(), node="user:10032")
    assert (told.direction, told.node, told.leg_id) == (Direction.INBOUND, "user:10032", "7310025-1")
    assert (told.remote.number, told.remote.name, told.local.extension) == ("+442079460018", "Dana", "10031")
    assert told.started_at == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize("stamp", ["", "0", "-1", "1e9", "99999999999999999999", "１７", "soon"])
def test_a_start_that_is_no_time_is_left_out(stamp):
    assert leg(dialog().replace("1700000000", stamp)).started_at is None


def test_escaped_user_parts_are_read():
    assert leg(dialog(remote="%2B442079460018")).remote.number == "+442079460018"
    assert leg(dialog(remote="%00%ff")).remote.kind in set(PartyKind)


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ("rejected", "486", EndReason.BUSY),
        ("rejected", "603", EndReason.REJECTED),
        ("rejected", "", EndReason.REJECTED),
        ("rejected", "404", None),
        ("replaced", "200", EndReason.TRANSFERRED),
        ("local-bye", "", None),
        ("", "", None),
    ],
)
def test_an_end_may_have_a_reason(event, code, reason):
    text = dialog(state="terminated").replace("<state>", f'<state event="{event}" code="{code}">')
    assert leg(text).end_reason is reason
    assert leg(text.replace("terminated", "early")).end_reason is None


def test_a_full_document_is_a_snapshot():
    info = parse_dialog_info(document(dialog("1-1"), dialog("2-1"), version=1, state="full").encode())
    (snapshot,) = translate(info, "queue:17", PLAN)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.node == "queue:17"
    assert [leg.provider_call_id for leg in snapshot.legs] == ["1", "2"]


@pytest.mark.parametrize(
    ("node", "sip"),
    [("user:10032", "10032"), ("ivr:12", "ivr-12"), ("queue:17", "queue-17"), ("conf:31", "conf-31"),
     ("user:1", ""), ("user:012", ""), ("fax:12", ""), ("user:12\n", ""), ("USER:12", ""), ("user:" + "1" * 99, "")],
)  # fmt: skip
def test_nodes_are_written_as_the_service_wants_them(node, sip):
    assert sip_node(node) == sip
