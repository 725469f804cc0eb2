"""Click-to-call by REFER and by third-party control, and what can be done with such calls."""

import pytest

from cti_django.calls import commands
from cti_django.calls.commands import Capability
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.exceptions import CommandRefused, NotCapable

from .desk import Desk, at_desk
from .fake_server import FakePhone, FakeServer, document, running_server

NUMBER = "+442079460018"


def dial(number: str = NUMBER) -> commands.Dial:
    return commands.Dial(command_id="dial-1", number=number)


def ask(command: type, desk: Desk, **fields: str):
    """Give `command` for the newest call."""
    call = desk.call
    return desk.connector.execute(command(command_id="ask", call_id=call.call_id, **fields), call)


async def talking(server: FakeServer, desk: Desk) -> tuple[FakePhone, FakePhone]:
    """A call that goes through us: the agent's phone and the other one."""
    server.phones["1006"], server.phones[NUMBER] = phone, far = FakePhone(), FakePhone()
    await desk.connector.execute(dial())
    await desk.until("CONNECTED")
    return phone, far


async def test_a_phone_that_takes_refer_dials_by_itself_and_its_progress_is_the_calls():
    async with running_server() as server, at_desk(server.port) as desk:
        phone = server.phones["1006"] = FakePhone(refers=202)
        await desk.connector.execute(dial())
        await desk.until("CONNECTED")
        assert [name for name, _ in desk.calls] == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED"]
        await server.until(lambda: "BYE" in phone.methods())
        (refer,) = [request for request in phone.heard if request.method == "REFER"]
        assert refer.headers["Refer-To"] == f"<sip:{NUMBER}@pbx.example>"
        assert desk.call.direction is Direction.OUTBOUND
        assert Capability.HOLD not in desk.connector.capabilities


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        (486, EndReason.BUSY, "The line is busy."),
        (603, EndReason.REJECTED, "The call was declined."),
        (404, EndReason.NO_ANSWER, "There is no such number."),
        (503, EndReason.NO_ANSWER, "The call did not come about (status 503)."),
    ],
)
async def test_a_referred_call_that_fails_says_why(status, reason, cause):
    async with running_server() as server, at_desk(server.port) as desk:
        server.phones["1006"] = FakePhone(refers=202, progress=(100, status))
        await desk.connector.execute(dial())
        await desk.until("HANGUP")
        assert (desk.call.end_reason, desk.call.cause) == (reason, cause)


@pytest.mark.parametrize("status", [405, 501, 403, 603])
async def test_where_the_phone_refuses_refer_we_call_the_number_ourselves_with_the_phones_offer(status):
    async with running_server() as server, at_desk(server.port) as desk:
        server.phones["1006"] = phone = FakePhone(refers=status)
        far = server.phones[NUMBER] = FakePhone()
        await desk.connector.execute(dial())
        await desk.until("CONNECTED")
        assert [name for name, _ in desk.calls] == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED"]
        assert b"a=inactive" in phone.offers[0]
        assert f"m=audio {phone.port} ".encode() in far.offers[0]
        assert b"a=sendrecv" in far.offers[0]
        assert f"m=audio {far.port} ".encode() in phone.offers[1]
        assert Capability.HOLD in desk.connector.capabilities
        await ask(commands.HangUp, desk)
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.COMPLETED
        await server.until(lambda: "BYE" in phone.methods() and "BYE" in far.methods())


async def test_a_server_that_answers_in_the_phones_place_is_not_asked_to_dial():
    async with running_server() as server, at_desk(server.port) as desk:
        server.is_proxy = False
        server.phones["1006"], server.phones[NUMBER] = phone, far = FakePhone(refers=202), FakePhone()
        await desk.connector.execute(dial())
        await desk.until("CONNECTED")
        assert "REFER" not in phone.methods()
        assert far.methods()[0] == "INVITE"


async def test_told_to_refer_only_a_refusal_ends_the_call():
    async with running_server() as server, at_desk(server.port, click_to_call="refer") as desk:
        phone = server.phones["1006"] = FakePhone(refers=405)
        server.phones[NUMBER] = FakePhone()
        await desk.connector.execute(dial())
        await desk.until("HANGUP")
        await server.until(lambda: "BYE" in phone.methods())
        assert server.phones[NUMBER].heard == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [(486, "Your phone is busy, or you declined."), (404, "No phone of yours is registered."), (500, "status 500")],
)
async def test_an_own_phone_that_does_not_take_the_call_cancels_it(status, cause):
    async with running_server() as server, at_desk(server.port) as desk:
        server.phones["1006"] = FakePhone(answers=status)
        await desk.connector.execute(dial())
        await desk.until("CANCEL")
        assert cause in desk.call.cause


async def test_an_own_phone_that_nobody_picks_up_is_given_up():
    async with running_server() as server, at_desk(server.port, dial_seconds=0.2) as desk:
        server.phones["1006"] = FakePhone(answers=0)
        await desk.connector.execute(dial())
        await desk.until("CANCEL")
        assert desk.call.cause == "Your phone did not answer."
        await server.until(lambda: any(request.method == "CANCEL" for request in server.requests))


async def test_a_click_to_call_is_withdrawn_while_the_own_phone_rings():
    async with running_server() as server, at_desk(server.port) as desk:
        server.phones["1006"] = FakePhone(answers=0)
        await desk.connector.execute(dial())
        await desk.until("INITIAL")
        await server.until(lambda: server.phones["1006"].invite)
        await ask(commands.HangUp, desk)
        await desk.until("CANCEL")
        assert desk.call.cause == "The call was withdrawn."


async def test_a_click_to_call_is_withdrawn_while_the_other_side_rings():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        server.phones["1006"], server.phones[NUMBER] = phone, far = FakePhone(), FakePhone(answers=0)
        await desk.connector.execute(dial())
        await desk.until("RINGING")
        await ask(commands.HangUp, desk)
        await desk.until("HANGUP")
        await server.until(lambda: "BYE" in phone.methods())
        await server.until(lambda: any(request.method == "CANCEL" for request in server.requests))
        assert far.methods()[:1] == ["INVITE"]


async def test_a_busy_number_ends_the_call_and_hangs_up_the_own_phone():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone = server.phones["1006"] = FakePhone()
        server.phones[NUMBER] = FakePhone(answers=486)
        await desk.connector.execute(dial())
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.BUSY
        await server.until(lambda: "BYE" in phone.methods())


async def test_either_side_hangs_up_and_the_other_is_hung_up():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        server.hang_up(far)
        await desk.until("HANGUP")
        await server.until(lambda: "BYE" in phone.methods())
        assert desk.call.end_reason is EndReason.COMPLETED


async def test_hold_and_resume_stop_and_start_both_sides():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        await ask(commands.Hold, desk)
        await desk.until("ON_HOLD")
        assert b"a=inactive" in far.offers[-1]
        assert b"a=inactive" in phone.offers[-1]
        await ask(commands.Resume, desk)
        assert b"a=sendrecv" in far.offers[-1]
        assert b"a=sendrecv" in phone.offers[-1]
        await desk.until_so(lambda: [name for name, _ in desk.calls][-2:] == ["ON_HOLD", "CONNECTED"])
        versions = [line.split()[2] for offer in far.offers for line in offer.splitlines() if line.startswith(b"o=")]
        assert versions == sorted(set(versions))


async def test_a_hold_that_is_refused_is_told_and_changes_nothing():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        _, far = await talking(server, desk)
        far.reinvites = 488
        with pytest.raises(CommandRefused, match="status 488"):
            await ask(commands.Hold, desk)
        assert desk.call.state is CallState.CONNECTED


async def test_the_phones_own_hold_key_is_passed_on_and_seen():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        server.offer(phone, "sendonly")
        await desk.until("ON_HOLD")
        assert b"a=sendonly" in far.offers[-1]
        await server.until(lambda: [r.status for r in server.responses if r.cseq.method == "INVITE"] == [100, 200])


async def test_a_blind_transfer_sends_the_far_side_away():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        far.refers = 202
        await ask(commands.Transfer, desk, number="1007")
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.TRANSFERRED
        await server.until(lambda: "BYE" in phone.methods() and "BYE" in far.methods())
        (refer,) = [request for request in far.heard if request.method == "REFER"]
        assert refer.headers["Refer-To"] == "<sip:1007@pbx.example>"


async def test_a_blind_transfer_that_is_refused_leaves_the_call():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        await talking(server, desk)
        with pytest.raises(CommandRefused):
            await ask(commands.Transfer, desk, number="1007")
        assert desk.call.state is CallState.CONNECTED


@pytest.mark.parametrize("refers", [202, 405])
async def test_an_attended_transfer_replaces_our_leg_or_is_joined_by_us(refers):
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        third = server.phones["1007"] = FakePhone()
        far.refers, far.progress = refers, (100, 200)
        await ask(commands.Consult, desk, number="1007")
        await desk.until("ON_HOLD")
        await server.until(lambda: len(phone.offers) > 2)
        assert desk.call.consult is not None
        assert desk.call.consult.extension == "1007"
        assert f"m=audio {third.port} ".encode() in phone.offers[-1]
        await ask(commands.CompleteTransfer, desk)
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.TRANSFERRED
        (refer,) = [request for request in far.heard if request.method == "REFER"]
        assert "Replaces=" in refer.headers["Refer-To"]
        await server.until(lambda: "BYE" in phone.methods())
        if refers == 405:
            assert f"m=audio {far.port} ".encode() in third.offers[-1]
            assert f"m=audio {third.port} ".encode() in far.offers[-1]
            assert "BYE" not in far.methods()
            server.hang_up(third)
        await server.until(lambda: "BYE" in far.methods())


async def test_an_attended_transfer_is_taken_back():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        third = server.phones["1007"] = FakePhone()
        await ask(commands.Consult, desk, number="1007")
        await server.until(lambda: len(phone.offers) > 2)
        await desk.until("ON_HOLD")
        await ask(commands.CancelTransfer, desk)
        await server.until(lambda: "BYE" in third.methods())
        await desk.until_so(lambda: (desk.call.state, desk.call.consult) == (CallState.CONNECTED, None))
        assert f"m=audio {far.port} ".encode() in phone.offers[-1]


async def test_whoever_is_consulted_in_vain_brings_the_call_back_by_itself():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        await talking(server, desk)
        server.phones["1007"] = FakePhone(answers=486)
        await ask(commands.Consult, desk, number="1007")
        await desk.until("ON_HOLD", "INFO")
        await desk.until_so(lambda: (desk.call.state, desk.call.consult) == (CallState.CONNECTED, None))


async def test_keys_go_to_the_far_side():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        _, far = await talking(server, desk)
        await ask(commands.SendDTMF, desk, digits="1#")
        assert [r.body for r in far.heard if r.method == "INFO"] == [
            b"Signal=1\r\nDuration=160\r\n",
            b"Signal=#\r\nDuration=160\r\n",
        ]


async def test_a_call_that_is_only_watched_is_the_phones():
    early = (
        '<dialog id="7" direction="recipient"><state>early</state>'
        "<remote><identity>sip:+4930123456@pbx.example</identity></remote></dialog>"
    )
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        server.notify(document(1, early))
        await desk.until("RINGING")
        with pytest.raises(NotCapable, match="use its keys"):
            await ask(commands.HangUp, desk)


async def test_who_talks_goes_on_talking_when_the_line_is_closed_and_what_rings_does_not():
    async with running_server() as server:
        async with at_desk(server.port, click_to_call="3pcc") as desk:
            phone, far = await talking(server, desk)
            server.phones["1006"] = second = FakePhone(answers=0)
            await desk.connector.execute(commands.Dial(command_id="dial-2", number="1007"))
            await server.until(lambda: second.invite)
            await desk.connector.execute(commands.Subscribe(command_id="s", node="1007"))
            await desk.until_so(lambda: desk.story.count("SUBSCRIBED") == 2)  # so its 180 is heard, too
        await server.until(lambda: any(request.method == "CANCEL" for request in server.requests))
        assert "BYE" not in phone.methods() + far.methods()


async def test_who_talks_is_connected_without_us_when_the_line_is_closed():
    async with running_server() as server:
        async with at_desk(server.port, click_to_call="3pcc") as desk:
            _, far = await talking(server, desk)
            far.refers = 202
        (refer,) = [request for request in far.heard if request.method == "REFER"]
        assert "Replaces=" in refer.headers["Refer-To"]
        await server.until(lambda: "BYE" in far.methods())


async def test_forty_clicks_are_not_forty_calls():
    async with running_server() as server, at_desk(server.port) as desk:
        server.phones["1006"] = FakePhone(answers=0)
        for number in range(4):
            await desk.connector.execute(commands.Dial(command_id=f"dial-{number}", number=NUMBER))
        with pytest.raises(CommandRefused, match="Too many"):
            await desk.connector.execute(commands.Dial(command_id="dial-5", number=NUMBER))
