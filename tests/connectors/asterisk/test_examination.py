"""What cti_doctor finds out about an Asterisk, step by step."""

import pytest

from cti_django.connectors import examination
from cti_django.connectors.asterisk.examination import CLOCK_SECONDS
from cti_django.management.commands import cti_doctor

from .fake_calls import FakeCall
from .fake_pbx import ALL, MINIMAL, SECRET, FakePBX, error
from .world import AsteriskWorld


async def findings(pbx, number="", **options):
    connector = AsteriskWorld(pbx).connector(**options)
    return [finding async for finding in connector.examine(number=number)]


async def failed(pbx, number="", **options):
    """The findings that are bad news: each has a sentence and advice."""
    found = [finding for finding in await findings(pbx, number, **options) if finding.ok is False]
    assert all(finding.message.endswith(".") for finding in found)
    return found


async def test_where_all_is_well_every_step_says_so_and_nothing_is_left_open(pbx):
    pbx.members = [{"Queue": "sales", "Location": "PJSIP/1001"}]
    found = await findings(pbx, queues=["sales"], hold_context="park", answer="redirect", answer_context="auto")
    assert {finding.ok for finding in found} <= {True, None}
    assert [finding.step for finding in found if finding.ok] == [
        "Find the telephone system",
        "Reach the manager interface",
        "Log in to the manager interface",
        "What the manager may do",
        "Find the agent's phone",
        "Find the contexts",
        "Find the queues",
    ]
    await pbx.until(lambda: not pbx.lines)
    asked = {(each["Context"], each.get("Extension")) for each in pbx.named("ShowDialPlan")}
    assert asked == {("from-agents", None), ("park", "caller"), ("park", "agent"), ("auto", None)}


async def test_a_host_that_nobody_knows(pbx):
    (found,) = await failed(pbx, host="no..host")
    assert "no..host" in found.message
    assert "option host" in found.advice


async def test_a_port_where_nobody_listens(pbx):
    await pbx.stop()
    (found,) = await failed(pbx)
    assert "manager.conf" in found.advice


async def test_a_port_where_something_else_listens(pbx):
    pbx.banner = b"HTTP/1.1 200 OK\r\n\r\n"
    (found,) = await failed(pbx)
    assert "options port and tls" in found.advice


async def test_a_server_without_tls_where_tls_is_wanted(pbx):
    (found,) = await failed(pbx, tls=True)
    assert "options port and tls" in found.advice


async def test_a_wrong_secret_and_it_is_not_shown(pbx):
    pbx.secret = "another one"
    (found,) = await failed(pbx)
    assert "[cti]" in found.advice
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("missing", "capability", "right"),
    [
        ("Originate", "dial", "originate"),
        ("Atxfer", "consult", "call"),
        ("QueuePause", "pause", "agent"),
        ("DBPut", "dnd", "system"),
    ],
)
async def test_a_right_that_is_missing_is_named_with_what_it_costs(missing, capability, right):
    async with FakePBX(commands=ALL - {missing}) as pbx:
        pbx.members = [{"Queue": "sales", "Location": "PJSIP/1001"}]
        (found,) = await failed(pbx, dnd_family="DND", queues=["sales"])
        assert f"“{capability}”" in found.message
        assert missing in found.message
        assert f"Add {right} to `write`" in found.advice


async def test_without_queues_nobody_misses_the_pause():
    async with FakePBX(commands=ALL - {"QueuePause"}) as pbx:
        assert await failed(pbx) == []


async def test_a_manager_without_reporting_is_told_so():
    async with FakePBX(commands=ALL - {"CoreShowChannels"}) as pbx:
        assert "reporting" in (await failed(pbx))[0].advice


async def test_what_is_off_is_neither_good_nor_bad():
    async with FakePBX(commands=MINIMAL - {"ShowDialPlan"}) as pbx:
        found = await findings(pbx)
        off = [finding for finding in found if finding.ok is None]
        assert any("hold_context" in finding.message for finding in off)
        assert any("may not look at the dialplan" in finding.message for finding in off)


async def test_clocks_that_do_not_agree(pbx):
    pbx.replies["Ping"] = lambda _: [("Response", "Success"), ("Timestamp", f"{CLOCK_SECONDS}")]
    (found,) = await failed(pbx)
    assert "NTP" in found.advice


async def test_an_extension_without_hint(pbx):
    connector = AsteriskWorld(pbx).agent("1077")
    found = [finding async for finding in connector.examine() if finding.ok is False]
    assert [finding.advice for finding in found] == ["Add `exten => 1077,hint,PJSIP/1077` to the context of the hints."]


async def test_a_hint_in_another_context_than_the_one_of_the_settings(pbx):
    (found,) = await failed(pbx, hint_context="other-hints")
    assert found.message == "There is no hint for extension 1001."
    assert "to the context other-hints." in found.advice


async def test_a_hint_that_names_another_phone(pbx):
    assert "does not name SIP/1001" in (await failed(pbx, channel="SIP/{extension}"))[0].message


async def test_a_phone_that_is_not_registered(pbx):
    connector = AsteriskWorld(pbx).connector()
    pbx.extensions[0] |= {"Status": "4", "StatusText": "Unavailable"}
    found = [finding async for finding in connector.examine() if finding.ok is False]
    assert [finding.message for finding in found] == ["No phone of extension 1001 is registered."]


async def test_a_context_that_there_is_not(pbx):
    pbx.replies["ShowDialPlan"] = lambda asked: error("Did not find context park")
    found = await failed(pbx, hold_context="park")
    assert found[0].message == "The dialplan lacks from-agents, caller@park, agent@park."


async def test_a_queue_that_there_is_not(pbx):
    assert (await failed(pbx, queues=["sales"]))[0].message == "There is no queue sales."


async def test_a_pbx_that_stops_answering_half_way(pbx):
    pbx.replies["ListCommands"] = lambda _: None
    found = await failed(pbx, request_seconds=0.05)
    assert [finding.step for finding in found] == ["Ask the telephone system"]


# -- the test call --------------------------------------------------------------------------------------------


async def test_a_test_call_rings_the_agents_phone_and_is_hung_up_when_it_is_answered(pbx):
    async def connect(asked):
        asked = dict(reversed(asked))
        mine = {"Channel": "PJSIP/1001-00000001", "Uniqueid": asked["ChannelId"], "Linkedid": asked["ChannelId"]}
        call = FakeCall(pbx, number="1002")
        theirs = dict(call.side(call.caller)) | {"Linkedid": asked["ChannelId"]}
        pbx.say({"Event": "Newchannel", "ChannelStateDesc": "Down", **mine})
        pbx.say({"Event": "DialBegin", **{f"Dest{name}": value for name, value in mine.items()}})
        pbx.say({"Event": "Newstate", "ChannelStateDesc": "Up", **mine})
        pbx.say({"Event": "OriginateResponse", "Response": "Success", "Uniqueid": asked["ChannelId"]})
        dest = {f"Dest{name}": value for name, value in theirs.items()}
        pbx.say({"Event": "DialBegin", **mine, **dest}, {"Event": "DialEnd", "DialStatus": "ANSWER", **mine, **dest})

    pbx.hooks["Originate"] = connect
    found = await findings(pbx, number="1002")
    assert (found[-1].step, found[-1].ok) == ("Place a test call", True)
    assert pbx.named("Hangup")[0]["Channel"] == "PJSIP/1001-00000001"
    await pbx.until(lambda: not pbx.lines)


async def test_a_test_call_that_fails_says_why(pbx):
    async def fail(asked):
        channel_id = dict(asked)["ChannelId"]
        pbx.say({"Event": "OriginateResponse", "Response": "Failure", "Reason": "0", "Uniqueid": channel_id})

    pbx.hooks["Originate"] = fail
    assert (await failed(pbx, number="1002"))[0].message == "Your phone is not registered with the telephone system."
    assert (await failed(pbx, number="Dana"))[0].step == "Place a test call"


async def test_a_test_call_of_which_nothing_is_told_is_given_up_in_time_to_name_the_right(pbx, monkeypatch):
    assert examination.CALL_SECONDS < cti_doctor.STEP_SECONDS + cti_doctor.CALL_SECONDS
    monkeypatch.setattr(examination, "CALL_SECONDS", 0.05)
    (found,) = await failed(pbx, number="1002")
    assert "`read`" in found.advice
