"""The Asterisk connector's commands, from what an agent asks for to what the PBX is asked, and what she is told."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

import pytest

from cti_django.calls import commands
from cti_django.calls.commands import Capability
from cti_django.calls.notifications import DialStage, PresenceNotification
from cti_django.connectors.asterisk import call_control, dialler
from cti_django.connectors.base import Credentials
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused, NotCapable
from cti_django.testing.listener import Listener

from .fake_calls import FakeCall
from .fake_pbx import MINIMAL, SECRET, FakePBX, error
from .world import AsteriskWorld

FULL = {
    "hold_context": "park",
    "answer": "redirect",
    "answer_context": "auto",
    "queues": ["sales", "support"],
    "dnd_family": "DND",
    "directory": {"1001": "Ada Lovelace", "1002": "Blaise Pascal"},
    "answer_seconds": 0.2,
}


@asynccontextmanager
async def online(pbx, **options):
    """Agent 1001, connected, and what she is told."""
    connector = AsteriskWorld(pbx).connector(**{**FULL, **options})
    await connector.open()
    heard = Listener(connector)
    await heard.until_ready()
    yield connector, heard
    await connector.close()
    await heard.until_over()


@asynccontextmanager
async def talking(pbx, **options):
    """The same in a call with somebody outside."""
    async with online(pbx, **options) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        call.answer()
        await heard.until_event("CONNECTED")
        yield connector, heard, call


def the_call(heard):
    (call,) = heard.board.calls()
    return call


async def give(connector, heard, kind, **fields):
    command = kind(command_id=f"c{len(heard.said)}", call_id="", **fields)
    await connector.execute(command, the_call(heard))


# -- opening --------------------------------------------------------------------------------------------------


async def test_the_order_of_the_first_words_is_that_of_the_contract(pbx):
    async with online(pbx) as (_, heard):
        assert heard.names()[:4] == ["LOGGED_IN", "SUBSCRIBED", "Snapshot", "READY"]
        assert heard.said[1].uri == "user:1001"


@pytest.mark.parametrize("username", ["", "10 01", "1001&1002", "/^PJSIP.*/", "1001\r\nAction: Logoff", "x" * 41])
async def test_an_extension_that_is_no_plain_one_is_refused_before_anything_is_asked(pbx, username):
    world = AsteriskWorld(pbx)
    with pytest.raises(LoginRefused) as refused:
        await world.agent(username).open()
    assert refused.value.code == "no_extension"
    assert pbx.lines == []


def test_an_agent_cannot_say_by_typing_whose_phone_is_hers(pbx):
    assert AsteriskWorld(pbx).connector().takes_typed_credentials is False


async def test_the_secret_is_neither_in_the_options_nor_in_any_repr(pbx):
    connector = AsteriskWorld(pbx).connector()
    assert SECRET not in repr(vars(connector))


async def test_capabilities_are_those_of_the_managers_rights():
    async with FakePBX(commands=MINIMAL) as pbx, online(pbx) as (connector, _):
        assert connector.capabilities.isdisjoint({Capability.QUEUES, Capability.PAUSE, Capability.DND})
        assert {Capability.DIAL, Capability.HOLD, Capability.CONSULT, Capability.ANSWER} <= connector.capabilities
        with pytest.raises(NotCapable):
            await connector.execute(commands.Pause(command_id="p", reason=""))


# -- dialling -------------------------------------------------------------------------------------------------


async def test_a_dial_is_started_before_anything_is_sent_and_accepted_when_her_phone_answers(pbx):
    async with online(pbx, auto_answer=True) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        assert len(pbx.named("Originate")) == 0
        asked = await pbx.next("Originate")
        assert asked["CallerID"] == '"Blaise Pascal" <1002>'
        assert asked["Channel"] == "PJSIP/1001"
        assert asked["ChannelId"].startswith("cti-")
        assert asked["Variable"].startswith("PJSIP_HEADER(add,Call-Info)=")
        pbx.say({"Event": "OriginateResponse", "Response": "Success", "Reason": "4", "Uniqueid": asked["ChannelId"]})
        await heard.until_event("ACCEPTED")
        assert [event.name for event in heard.call_events()] == ["INITIAL", "ACCEPTED"]
        assert the_call(heard).destination.name == "Blaise Pascal"


async def test_two_clicks_at_once_ring_her_phone_once(pbx):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d1", number="1002"))
        with pytest.raises(CommandRefused) as refused:
            await connector.execute(commands.Dial(command_id="d2", number="1003"))
        assert (refused.value.code, refused.value.event_name) == ("dialling", "INFO")
        await heard.until_event("INITIAL")
        await pbx.next("Originate")
        await connector._manager.ask("Ping")
        assert [each["Exten"] for each in pbx.named("Originate")] == ["1002"]


async def test_a_phone_that_does_not_answer_cancels_the_dial(pbx):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        asked = await pbx.next("Originate")
        pbx.say({"Event": "OriginateResponse", "Response": "Failure", "Reason": "3", "Uniqueid": asked["ChannelId"]})
        ended = await heard.until_event("CANCEL")
        assert ended.call.cause == "Your phone did not answer."


async def test_an_originate_that_is_refused_cancels_the_dial_with_a_sentence(pbx):
    pbx.replies["Originate"] = lambda _: error("Permission denied")
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        ended = await heard.until_event("CANCEL")
        assert ended.call.cause == "The telephone system does not let this program do that."
        await heard.until_said("ERROR")


async def test_a_number_that_the_dialplan_does_not_know_rings_nobodys_phone(pbx):
    pbx.replies["ShowDialPlan"] = lambda asked: error("Did not find extension 1002@from-agents")
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        ended = await heard.until_event("CANCEL")
        assert ended.call.cause == "The telephone system does not know that number."
        assert pbx.named("Originate") == []
        asked = pbx.named("ShowDialPlan")[0]
        assert (asked["Context"], asked["Extension"]) == ("from-agents", "1002")


async def test_a_dialplan_that_is_not_to_be_asked_is_not_asked(pbx):
    pbx.replies["ShowDialPlan"] = lambda asked: error("Did not find extension 1002@from-agents")
    async with online(pbx, check_numbers=False) as (connector, _):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        await pbx.next("Originate")
        assert pbx.named("ShowDialPlan") == []


async def test_a_line_that_is_lost_while_a_dial_waits_leaves_it_in_doubt(pbx):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        await pbx.next("Originate")
        await pbx.stop()
        await heard.until_over()
        dials = [said.stage for said in heard.said if hasattr(said, "stage")]
        assert dials == [DialStage.STARTED, DialStage.DOUBTFUL]
        assert isinstance(heard.error, ConnectionLost)


@pytest.mark.parametrize("rings_on", [True, False])
async def test_what_became_of_a_dial_in_doubt_is_told_by_the_next_line(pbx, rings_on):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        channel_id = (await pbx.next("Originate"))["ChannelId"]
        await pbx.stop()
        await heard.until_over()
        await connector.close()
        if rings_on:
            row = {"Channel": "PJSIP/1001-00000001", "Uniqueid": channel_id, "Linkedid": channel_id}
            pbx.channels.append(row | {"ChannelStateDesc": "Ringing", "Application": "AppDial2"})
        await pbx.start()
        await connector.open()
        again = Listener(connector, heard.board)
        await again.until_ready()
        if rings_on:
            pbx.say({"Event": "OriginateResponse", "Response": "Success", "Uniqueid": channel_id})
            await again.until_event("ACCEPTED")
        else:
            assert (await again.until_event("CANCEL")).call.cause == dialler.LOST
        await connector.close()


async def test_an_originate_without_answer_leaves_the_dial_in_doubt(pbx):
    pbx.replies["Originate"] = lambda _: None
    async with online(pbx, request_seconds=0.05) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        await heard.until_said("DOUBTFUL")
        assert [said.message for said in heard.said if getattr(said, "code", "") == "in_doubt"] == [dialler.IN_DOUBT]
        assert not heard.is_over


async def test_logging_out_gives_up_a_dial_that_waits(pbx):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        await connector.execute(commands.Logout(command_id="l"))
        await heard.until_over()
        assert heard.call_events("CANCEL")[0].call.cause == "You have logged out."
        await connector.open()
        again = Listener(connector)
        await again.until_over()
        assert again.names() == ["LOGGED_OUT"]


async def test_a_dial_can_be_withdrawn_while_her_own_phone_rings(pbx):
    async with online(pbx) as (connector, heard):
        await connector.execute(commands.Dial(command_id="d", number="1002"))
        channel_id = (await pbx.next("Originate"))["ChannelId"]
        headers = {"Channel": "PJSIP/1001-00000001", "Uniqueid": channel_id, "Linkedid": channel_id}
        pbx.say({"Event": "Newchannel", "ChannelStateDesc": "Ringing", **headers})
        pbx.say({"Event": "UserEvent"})
        manager = connector._manager
        assert await manager.until(lambda: manager.switchboard.leg("PJSIP/1001", channel_id) is not None, 5)
        await give(connector, heard, commands.HangUp)
        assert pbx.named("Hangup")[0]["Channel"] == "PJSIP/1001-00000001"


# -- calls ----------------------------------------------------------------------------------------------------


async def test_a_ringing_call_is_refused_as_busy_and_a_connected_one_is_cleared(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")
        await give(connector, heard, commands.HangUp)
        call.answer()
        await heard.until_event("CONNECTED")
        await give(connector, heard, commands.HangUp)
        asked = [(each["Channel"], each["Cause"]) for each in pbx.named("Hangup")]
        assert asked == [(call.phone, "17"), (call.phone, "16")]


async def test_a_call_that_rings_on_two_phones_is_refused_on_both(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        second = {"Channel": "PJSIP/1001-000000ff", "Uniqueid": "1795390000.999", "Linkedid": call.caller_id}
        dialled = {f"Dest{name}": value for name, value in second.items()}
        pbx.say({"Event": "DialBegin", "DestChannelStateDesc": "Ringing", **dict(call.side(call.caller)), **dialled})
        await heard.until_event("RINGING")
        await connector._manager.ask("Ping")  # what was said before is known by then
        await give(connector, heard, commands.HangUp)
        asked = pbx.named("Hangup")
        assert {each["Channel"] for each in asked} == {call.phone, second["Channel"]}
        assert {each["Cause"] for each in asked} == {"17"}


@pytest.mark.parametrize("kind", [commands.Answer, commands.Transfer])
async def test_whoever_is_asked_before_a_transfer_leads_nobody_away_from_a_call_of_theirs(pbx, kind):
    """A Local channel rings her for a colleague: that is answered or sent on, not the colleague."""
    async with online(pbx) as (connector, heard):
        call = "1795390000.1"
        colleague, *ends, hers = (
            {"Channel": name, "Uniqueid": f"1795390000.{number}", "Linkedid": call}
            for number, name in enumerate(("PJSIP/1002-9", "Local/1001@x-1;1", "Local/1001@x-1;2", "PJSIP/1001-8"), 2)
        )
        for each in (colleague, *ends):
            pbx.say({"Event": "Newchannel", "ChannelStateDesc": "Up", **each})
        for each in (colleague, ends[0]):
            pbx.say({"Event": "BridgeEnter", "BridgeUniqueid": "ask", **each})
        dialled = {f"Dest{name}": value for name, value in hers.items()}
        pbx.say({"Event": "DialBegin", "DestChannelStateDesc": "Ringing", **ends[1], **dialled})
        await heard.until_event("RINGING")
        with contextlib.suppress(CommandRefused):  # nobody answers here
            await give(connector, heard, kind, **({"number": "1003"} if kind is commands.Transfer else {}))
        assert [each["Channel"] for each in pbx.named("Redirect")] == ["Local/1001@x-1;2"]


async def test_an_answer_by_redirect_is_done_when_her_phone_is_up_again(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")

        async def ring_again(asked):
            call.end(call.phone)
            again = FakeCall(pbx, serial=call.serial + 500)
            again.states = {again.phone: "Down"}
            own = dict(again.side(again.phone)) | {"Linkedid": call.caller_id}
            dest = {f"Dest{name}": value for name, value in own.items()}
            pbx.say({"Event": "DialBegin", **dict(call.side(call.caller)), **dest})
            pbx.say({"Event": "Newstate", **own, "ChannelStateDesc": "Up"})

        pbx.hooks["Redirect"] = ring_again
        await give(connector, heard, commands.Answer)
        asked = pbx.named("Redirect")[0]
        assert (asked["Channel"], asked["Context"], asked["Exten"]) == (call.caller, "auto", "1001")


@pytest.mark.parametrize("answer", ["redirect", "talk"])
async def test_a_phone_that_does_not_answer_by_itself_is_reported(pbx, answer):
    async with online(pbx, answer=answer) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")
        with pytest.raises(CommandRefused, match="did not answer by itself"):
            await give(connector, heard, commands.Answer)
        assert Capability.ANSWER in connector.capabilities


async def test_an_answer_by_notify_is_done_when_the_phone_is_up(pbx):
    async with online(pbx, answer="talk") as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")

        async def answer(asked):
            call.answer()

        pbx.hooks["PJSIPNotify"] = answer
        await give(connector, heard, commands.Answer)
        assert pbx.named("PJSIPNotify") == [pbx.named("PJSIPNotify")[0] | {"Variable": "Event=talk"}]
        await heard.until_event("CONNECTED")


async def test_a_phone_that_loses_the_call_for_a_notify_is_never_sent_one_again(pbx):
    async with online(pbx, answer="talk") as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")

        async def refuse(asked):
            call.end(call.phone, "127")

        pbx.hooks["PJSIPNotify"] = refuse
        with pytest.raises(CommandRefused) as refused:
            await give(connector, heard, commands.Answer)
        assert refused.value.code == "call_lost"
        assert Capability.ANSWER not in connector.capabilities


async def test_a_hold_parks_both_and_a_resume_joins_them(pbx):
    async with talking(pbx) as (connector, heard, call):

        async def park(asked):
            call.park()

        pbx.hooks["Redirect"] = park
        await give(connector, heard, commands.Hold)
        await heard.until_event("ON_HOLD")
        asked = pbx.named("Redirect")[0]
        assert (asked["Channel"], asked["ExtraChannel"]) == (call.caller, call.phone)

        async def join(asked):
            call.join("again")

        pbx.hooks["Bridge"] = join
        await give(connector, heard, commands.Resume)
        asked = pbx.named("Bridge")[0]
        assert (asked["Channel1"], asked["Channel2"]) == (call.caller, call.phone)
        await heard.until_event("CONNECTED", 2)


@pytest.mark.parametrize("kind", [commands.Hold, commands.Resume])
async def test_pressed_twice_it_is_done_once(pbx, kind):
    async with talking(pbx) as (connector, heard, call):
        name = "Redirect" if kind is commands.Hold else "Bridge"
        if kind is commands.Resume:
            call.park()
            await heard.until_event("ON_HOLD")

        async def do_it(asked):
            call.park() if kind is commands.Hold else call.join("again")

        pbx.hooks[name] = do_it
        first, second = await asyncio.gather(
            give(connector, heard, kind), give(connector, heard, kind), return_exceptions=True
        )
        assert first is None
        assert (second.code, second.event_name) == ("not_now", "INFO")
        await heard.until_event("ON_HOLD" if kind is commands.Hold else "CONNECTED", 1 + (kind is commands.Resume))
        assert len(pbx.named(name)) == 1


async def test_a_call_with_several_others_is_not_torn_apart_by_a_hold(pbx):
    async with talking(pbx) as (connector, heard, call):
        FakeCall(pbx).join(call.bridge)
        await connector.refresh()
        with pytest.raises(CommandRefused) as refused:
            await give(connector, heard, commands.Hold)
        assert refused.value.code == "conference"
        assert pbx.named("Redirect") == []


async def test_a_hold_waits_until_the_two_are_connected(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        call.pick_up()
        await heard.until_event("CONNECTED")

        async def park(asked):
            call.park()

        pbx.hooks["Redirect"] = park
        holding = asyncio.ensure_future(give(connector, heard, commands.Hold))
        await connector.refresh()
        assert pbx.named("Redirect") == []
        call.join("bridge")
        await holding
        assert len(pbx.named("Redirect")) == 1


async def test_a_hold_that_does_not_come_about_is_reported(pbx, monkeypatch):
    monkeypatch.setattr(call_control, "TOGETHER_SECONDS", 0.05)
    async with talking(pbx) as (connector, heard, _):
        with pytest.raises(CommandRefused, match="did not put the call on hold"):
            await give(connector, heard, commands.Hold)


async def test_a_call_that_her_phone_holds_is_resumed_there(pbx):
    async with talking(pbx) as (connector, heard, call):
        call.hold()
        await heard.until_event("ON_HOLD")
        with pytest.raises(CommandRefused) as refused:
            await give(connector, heard, commands.Resume)
        assert (refused.value.code, refused.value.event_name) == ("held_by_phone", "INFO")
        assert pbx.named("Bridge") == []


async def test_a_held_call_that_is_hung_up_leaves_nobody_with_the_music(pbx):
    async with talking(pbx) as (connector, heard, call):
        call.park()
        await heard.until_event("ON_HOLD")
        await give(connector, heard, commands.HangUp)
        assert [each["Channel"] for each in pbx.named("Hangup")] == [call.caller, call.phone]


async def test_when_the_other_side_does_not_wait_her_phone_is_hung_up_too(pbx):
    async with talking(pbx) as (connector, heard, call):

        async def park(asked):
            call.park()

        pbx.hooks["Redirect"] = park
        await give(connector, heard, commands.Hold)
        call.end(call.caller)
        asked = await pbx.next("Hangup")
        assert (asked["Channel"], asked["Cause"]) == (call.phone, "16")


@pytest.mark.parametrize("is_handed_over", [False, True])
async def test_a_caller_whose_agent_hangs_up_her_phone_does_not_wait_for_ever(pbx, monkeypatch, is_handed_over):
    monkeypatch.setattr(call_control, "TOGETHER_SECONDS", 0.1)
    async with talking(pbx) as (connector, heard, call):

        async def park(asked):
            call.park()

        pbx.hooks["Redirect"] = park
        await give(connector, heard, commands.Hold)
        if is_handed_over:
            call.send_on("from-agents", "700")
        call.end(call.phone)
        await heard.until_event("HANGUP")
        await asyncio.gather(*connector._chores)
        assert [each["Channel"] for each in pbx.named("Hangup")] == ([] if is_handed_over else [call.caller])


async def test_that_is_so_for_a_call_that_was_held_before_the_line_was_there(pbx):
    async with talking(pbx) as (connector, heard, call):
        call.park()
        await heard.until_event("ON_HOLD")
        await connector.close()
        await connector.open()
        call.end(call.caller)
        assert (await pbx.next("Hangup"))["Channel"] == call.phone


async def test_a_call_that_is_not_held_any_more_is_left_alone(pbx):
    async with talking(pbx) as (connector, heard, call):

        async def park(asked):
            call.park()

        pbx.hooks["Redirect"] = park
        await give(connector, heard, commands.Hold)
        call.join("again")
        await heard.until_event("CONNECTED", 2)
        call.hang_up()
        await heard.until_event("HANGUP")
        assert connector._chores == set()
        assert pbx.named("Hangup") == []


async def test_a_connected_call_is_transferred_from_her_channel(pbx):
    async with talking(pbx) as (connector, heard, call):
        await give(connector, heard, commands.Transfer, number="1002")
        asked = pbx.named("BlindTransfer")[0]
        assert (asked["Channel"], asked["Exten"], asked["Context"]) == (call.phone, "1002", "from-agents")


async def test_a_parked_call_is_transferred_by_its_other_side_and_her_channel_ends(pbx):
    async with talking(pbx) as (connector, heard, call):
        call.park()
        await heard.until_event("ON_HOLD")
        await give(connector, heard, commands.Transfer, number="+44 20 7946 0018")
        asked = pbx.named("Redirect")[0]
        assert (asked["Channel"], asked["Exten"]) == (call.caller, "+442079460018")
        assert [each["Channel"] for each in pbx.named("Hangup")] == [call.phone]


async def test_a_ringing_call_is_deflected_by_its_other_side(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx)
        call.ring()
        await heard.until_event("RINGING")
        await give(connector, heard, commands.Transfer, number="1002")
        assert pbx.named("Redirect")[0]["Channel"] == call.caller
        assert pbx.named("Hangup") == []


@pytest.mark.parametrize("kind", [commands.Transfer, commands.Consult])
async def test_nobody_is_sent_to_a_number_that_there_is_not(pbx, kind):
    pbx.replies["ShowDialPlan"] = lambda asked: error("Did not find extension 1999@from-agents")
    async with talking(pbx) as (connector, heard, _):
        for number in ("1999", "1001", "Dana", "1002\r\nAction: Logoff"):
            with pytest.raises(CommandRefused):
                await give(connector, heard, kind, number=number)
        assert [pbx.named(name) for name in ("BlindTransfer", "Redirect", "Atxfer")] == [[], [], []]


async def test_a_consultation_is_begun_with_keys_completed_by_leaving_and_cancelled(pbx):
    async with talking(pbx) as (connector, heard, call):

        async def ask(asked):
            call.hold()
            call.ask("442079460018")

        pbx.hooks["Atxfer"] = ask
        await give(connector, heard, commands.Consult, number="+44 20 7946 0018")
        assert pbx.named("Atxfer")[0]["Exten"] == "442079460018", "a keypad has no plus sign"
        await heard.until(lambda heard: the_call(heard).consult is not None)
        await give(connector, heard, commands.CancelTransfer)
        assert pbx.named("CancelAtxfer")[0]["Channel"] == call.phone
        await give(connector, heard, commands.CompleteTransfer)
        assert pbx.named("Hangup")[0]["Channel"] == call.phone


async def test_a_consultation_that_is_over_at_once_has_begun(pbx):
    """Whoever is asked is busy: it begins and ends in one breath."""
    async with talking(pbx) as (connector, heard, call):

        async def ask(asked):
            call.hold()
            bridge = call.bridge
            call.ask("1002")
            call.join(bridge)

        pbx.hooks["Atxfer"] = ask
        await give(connector, heard, commands.Consult, number="1002")
        await heard.until_event("CONNECTED", 2)


async def test_a_consultation_that_does_not_begin_is_reported(pbx, monkeypatch):
    monkeypatch.setattr(call_control, "CONSULT_SECONDS", 0.05)
    async with talking(pbx) as (connector, heard, _):
        with pytest.raises(CommandRefused, match="did not begin"):
            await give(connector, heard, commands.Consult, number="1002")


async def test_keys_are_pressed_for_the_other_side_one_after_the_other(pbx, monkeypatch):
    monkeypatch.setattr(call_control, "KEY_SECONDS", 0.0)
    async with talking(pbx) as (connector, heard, call):
        await give(connector, heard, commands.SendDTMF, digits="1#d")
        assert [(each["Channel"], each["Digit"]) for each in pbx.named("PlayDTMF")] == [
            (call.caller, "1"),
            (call.caller, "#"),
            (call.caller, "D"),
        ]


async def test_a_call_that_has_just_ended_is_said_to_be_over(pbx):
    pbx.replies["Hangup"] = lambda _: error("No such channel")
    async with talking(pbx) as (connector, heard, _):
        with pytest.raises(CommandRefused) as refused:
            await give(connector, heard, commands.HangUp)
        assert (refused.value.code, refused.value.event_name) == ("no_such_call", "INFO")


async def test_a_callers_name_that_would_be_a_command_is_only_a_name(pbx):
    async with online(pbx) as (connector, heard):
        call = FakeCall(pbx, name="Eve\rAction: Originate\x0bChannel: PJSIP/1\u2028\x85")
        call.ring()
        event = await heard.until_event("RINGING")
        assert event.call.remote.name == "EveAction: OriginateChannel: PJSIP/1"
        await give(connector, heard, commands.HangUp)
        assert {dict(asked)["Action"] for asked in pbx.asked} & {"Originate"} == set()


# -- queues, pause, do not disturb ----------------------------------------------------------------------------


def standing(heard):
    return [said for said in heard.said if isinstance(said, PresenceNotification)][-1]


async def test_her_queues_are_those_of_the_settings_and_what_the_pbx_tells(pbx):
    pbx.members = [{"Queue": "support", "Name": "Ada", "Location": "PJSIP/1001", "Paused": "1"}]
    async with online(pbx) as (_, heard):
        await heard.until_said("PresenceNotification")
        assert standing(heard) == PresenceNotification(
            queues={"sales": False, "support": True}, is_paused=True, is_dnd=False
        )
        pbx.say({"Event": "QueueMemberAdded", "Queue": "sales", "Interface": "PJSIP/1001", "Paused": "0"})
        await heard.until(lambda heard: standing(heard).queues["sales"])
        assert not standing(heard).is_paused


async def test_she_logs_in_to_all_her_queues_or_to_one(pbx):
    async with online(pbx) as (connector, _):
        await connector.execute(commands.QueueLogin(command_id="1", queue=""))
        await connector.execute(commands.QueueLogout(command_id="2", queue="sales"))
        added, removed = pbx.named("QueueAdd"), pbx.named("QueueRemove")
        assert [(each["Queue"], each["Interface"], each["MemberName"]) for each in added] == [
            ("sales", "PJSIP/1001", "Ada Lovelace"),
            ("support", "PJSIP/1001", "Ada Lovelace"),
        ]
        assert [each["Queue"] for each in removed] == ["sales"]


async def test_a_queue_that_is_not_hers_is_refused_and_one_that_she_is_in_is_no_error(pbx):
    pbx.replies["QueueAdd"] = lambda _: error("Unable to add interface: Already there")
    async with online(pbx) as (connector, _):
        await connector.execute(commands.QueueLogin(command_id="1", queue="sales"))
        with pytest.raises(CommandRefused) as refused:
            await connector.execute(commands.QueueLogin(command_id="2", queue="board"))
        assert refused.value.code == "no_such_queue"


async def test_a_pause_has_its_reason(pbx):
    async with online(pbx) as (connector, _):
        await connector.execute(commands.Pause(command_id="1", reason="lunch"))
        await connector.execute(commands.Unpause(command_id="2"))
        asked = pbx.named("QueuePause")
        assert [(each["Paused"], each.get("Reason")) for each in asked] == [("true", "lunch"), ("false", None)]


async def test_do_not_disturb_is_written_read_and_told(pbx):
    pbx.database["DND", "1001"] = "YES"
    async with online(pbx) as (connector, heard):
        await heard.until(lambda heard: "PresenceNotification" in heard.names() and standing(heard).is_dnd)
        await connector.execute(commands.DoNotDisturb(command_id="1", state="off"))
        await heard.until(lambda heard: standing(heard).is_dnd is False)
        assert pbx.database == {}
        await connector.execute(commands.DoNotDisturb(command_id="2", state="off"))
        await connector.execute(commands.DoNotDisturb(command_id="3", state="on"))
        assert pbx.database == {("DND", "1001"): "YES"}


# -- colleagues -----------------------------------------------------------------------------------------------


async def test_the_directory_has_all_hints_and_how_they_stand(pbx):
    async with online(pbx) as (connector, _):
        pbx.say({"Event": "ExtensionStatus", "Exten": "1002", "Context": "hints", "Hint": "PJSIP/1002", "Status": "8"})
        await asyncio.wait_for(connector._manager.ask("CoreStatus"), 5)
        (colleague,) = await connector.directory()
        expected = {"number": "1002", "name": "Blaise Pascal", "node": "user:1002", "presence": "ringing"}
        assert colleague == expected


async def test_the_directory_may_be_one_context_of_hints(pbx):
    async with online(pbx, hint_context="elsewhere") as (connector, _):
        assert await connector.directory() == []


def test_a_connector_needs_no_loop_to_be_made():
    from cti_django.connectors.asterisk.connector import AsteriskConnector

    assert AsteriskConnector(Credentials(username="1001"), {}).capabilities
