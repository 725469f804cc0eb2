"""Recorded flows: every event of every agent is compared, also when Asterisk says it twice or in another order."""

from random import Random

import pytest

from cti_django.connectors.asterisk.switchboard import Switchboard

from .story import AGENTS, FLOWS, PLAN, Office, expectation, messages_of, play

ORDERS = 25
ANYWHERE = {"ExtensionStatus", "DeviceStateChange", "QueueMemberStatus", "OriginateResponse"}
"""Events that come on ways of their own, so that no order between them and the channels' events is fixed."""


@pytest.mark.parametrize("flow", FLOWS)
def test_every_event_of_a_recorded_flow(flow):
    assert play(flow).told() == expectation(flow)["events"]


@pytest.mark.parametrize("flow", FLOWS)
def test_nothing_is_kept_of_a_flow_that_is_over(flow):
    channels = vars(play(flow).switchboard._channels)
    assert {name: kept for name, kept in channels.items() if name != "_gone" and kept} == {}


@pytest.mark.parametrize("flow", FLOWS)
def test_events_told_twice_change_nothing(flow):
    doubled = [message for message in messages_of(flow) for _ in range(2)]
    assert play(flow, doubled).told() == expectation(flow)["events"]


@pytest.mark.parametrize("flow", FLOWS)
def test_other_orders_change_nothing(flow):
    for seed in range(ORDERS):
        random = Random(f"{flow} {seed}")
        assert play(flow, reordered(messages_of(flow), random)).told() == expectation(flow)["events"], seed


def reordered(messages, random):
    """The same events in another order that Asterisk might have told them in."""
    messages = list(messages)
    for _ in range(3):
        for at in range(len(messages) - 1):
            if random.random() < 0.5 and _are_independent(messages[at], messages[at + 1]):
                messages[at], messages[at + 1] = messages[at + 1], messages[at]
    return messages


def _are_independent(one, other):
    names = {one.get("Event", ""), other.get("Event", "")}
    if names & ANYWHERE:
        return True
    if names == {"Hangup"}:
        return True
    if names in ({"Newstate", "DialBegin"}, {"Newstate", "DialState"}):
        newstate, dial = sorted((one, other), key=lambda message: message["Event"] != "Newstate")
        return newstate["ChannelStateDesc"] == "Ringing" and newstate["Uniqueid"] == dial["DestUniqueid"]
    return names == {"BridgeEnter"} and one["BridgeUniqueid"] == other["BridgeUniqueid"]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_list_of_the_channels_at_any_moment_changes_nothing(flow):
    office = Office()
    for dial in expectation(flow)["dials"]:
        office.dial(**dial)
    channels: dict[str, dict[str, str]] = {}
    has_begun = not expectation(flow)["dials"]
    for message in messages_of(flow):
        office.tell(message)
        note(channels, message)
        has_begun = has_begun or bool(channels)
        if has_begun:  # before its first channel nobody can know a click-to-call
            tell_list(office, channels.values())
    assert office.told() == expectation(flow)["events"]


@pytest.mark.parametrize("flow", FLOWS)
def test_another_process_takes_the_calls_over_at_any_moment(flow):
    """Who has heard nothing so far must end nothing that lives, and end everything that does not."""
    messages = messages_of(flow)
    for at in range(0, len(messages), 3):
        office = Office()
        channels: dict[str, dict[str, str]] = {}
        for message in messages[:at]:
            office.tell(message)
            note(channels, message)
        live = {agent: [(c.call_id, c.leg_id) for c in board.calls()] for agent, board in office.boards.items()}
        office.switchboard = Switchboard(PLAN)
        for agent in AGENTS:
            office.switchboard.watch(f"PJSIP/{agent}")
        tell_list(office, channels.values())
        for agent, board in office.boards.items():
            after = [call.call_id for call in board.calls()]
            assert [call_id for call_id, leg_id in live[agent] if leg_id in channels and call_id not in after] == []
        office.tell(*messages[at:])
        assert not [call for board in office.boards.values() for call in board.calls()]


MAY_BE_LOST = {
    "Newstate": set(),
    "DialState": set(),
    "NewCallerid": set(),
    "SoftHangupRequest": set(),
    "BridgeLeave": {"hold-by-ami", "redirect"},
    "BridgeEnter": {"attended-transfer", "attended-transfer-cancelled", "attended-transfer-external"}
    | {"hold-by-ami", "redirect"},
    "DialBegin": {"redirect-while-ringing"},
    "DialEnd": {"redirect-while-ringing", "remote-answer-by-redirect"},
    "OriginateResponse": {"click-to-call-agent-offline"},
}
"""Events that others make good, and the flows of which they alone tell something."""


@pytest.mark.parametrize("lost", MAY_BE_LOST)
def test_an_event_that_is_missing_is_made_good_by_others(lost):
    different = {
        flow
        for flow in FLOWS
        if play(flow, [message for message in messages_of(flow) if message.get("Event") != lost]).told()
        != expectation(flow)["events"]
    }
    assert different == MAY_BE_LOST[lost]


def test_a_consultation_survives_the_change_to_another_process():
    flow = "attended-transfer-cancelled"
    messages = messages_of(flow)
    begun = next(at for at, message in enumerate(messages) if message.get("DialStatus") == "RINGING" and at > 20)
    office, channels = Office(), {}
    for message in messages[:begun]:
        office.tell(message)
        note(channels, message)
    office.switchboard = Switchboard(PLAN)
    office.switchboard.watch("PJSIP/1001")
    tell_list(office, channels.values())
    office.tell(*messages[begun:])
    assert office.told()["1001"] == expectation(flow)["events"]["1001"]


@pytest.mark.parametrize("flow", FLOWS)
def test_ends_that_were_never_heard_of_are_mended_by_the_next_list(flow):
    office = play(flow, [message for message in messages_of(flow) if message.get("Event") != "Hangup"])
    tell_list(office, [])
    office.now = office.now.replace(year=2027)
    assert not [call for board in office.boards.values() for call in board.calls()]


def note(channels, message):
    """Keep the rows that CoreShowChannels would give now."""
    name, uniqueid = message.get("Event"), message.get("Uniqueid", "")
    if name == "Hangup":
        channels.pop(uniqueid, None)
        return
    for prefix in ("", "Dest"):
        uniqueid = message.get(prefix + "Uniqueid", "")
        if uniqueid and (uniqueid in channels or name == "Newchannel"):
            fields = {key.removeprefix(prefix): value for key, value in message.items() if key.startswith(prefix)}
            row = channels.setdefault(uniqueid, {"BridgeId": ""})
            row.update({key: value for key, value in fields.items() if not key.startswith(("Bridge", "Dest"))})
    row = channels.get(message.get("Uniqueid", ""), {})
    if name == "BridgeEnter":
        row.update(BridgeId=message["BridgeUniqueid"])
    elif name == "BridgeLeave":
        row.update(BridgeId="")
    elif name in ("MusicOnHoldStart", "MusicOnHoldStop") and not row.get("BridgeId"):
        row.update(Application="MusicOnHold" if name == "MusicOnHoldStart" else "")
    elif name == "DialBegin" and "Uniqueid" in message:
        row.update(Application="Dial")


def tell_list(office, rows):
    office.switchboard.begin_snapshot()
    for row in rows:
        office.tell({**row, "Event": "CoreShowChannel"})
    office.take(office.switchboard.end_snapshot())


def test_every_flow_that_matters_is_recorded():
    assert len(FLOWS) >= 33
