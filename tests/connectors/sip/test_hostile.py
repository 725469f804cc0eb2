"""Phones and servers that do what nobody expects, at the moment that suits least."""

import asyncio
from collections.abc import Callable

import pytest

from cti_django.calls import commands
from cti_django.calls.states import CallState
from cti_django.connectors.sip import bridge, leg
from cti_django.connectors.sip.joining import MAX_DIALOGS
from cti_django.exceptions import CommandRefused
from cti_django.wire.sip_grammar import parse_params
from cti_django.wire.sip_uri import parse_name_addr

from .desk import Desk, at_desk
from .fake_server import FakePhone, FakeServer, document, running_server
from .test_dialling import ask, dial, talking


class Together:
    """Keeps what a server sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append(data)


def at_once(server: FakeServer, desk: Desk, act: Callable[[], object]) -> None:
    """What the server sends in `act` arrives before anybody can do anything about the first of it."""
    transport, server._transport = server._transport, Together()
    act()
    together, server._transport = server._transport.sent, transport
    for data in together:
        desk.connector._line.agent.receive_data(data, asyncio.get_running_loop().time())
    desk.connector._line.sip.flush()


async def test_an_own_phone_that_is_put_down_as_it_is_picked_up_ends_the_call():
    async with running_server() as server, at_desk(server.port) as desk:
        phone = server.phones["1006"] = FakePhone(answers=0)
        await desk.connector.execute(dial())
        await server.until(lambda: phone.invite)
        at_once(server, desk, lambda: (server.answer(phone), server.hang_up(phone)))
        await desk.until("CANCEL", seconds=3)


async def test_whoever_is_consulted_and_is_gone_at_once_brings_the_call_back():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        await talking(server, desk)
        third = server.phones["1007"] = FakePhone(answers=0)
        await ask(commands.Consult, desk, number="1007")
        await server.until(lambda: third.invite)
        at_once(server, desk, lambda: (server.answer(third), server.hang_up(third)))
        await desk.until_so(lambda: (desk.call.state, desk.call.consult) == (CallState.CONNECTED, None), seconds=3)


@pytest.mark.parametrize("status", [408, 481])
async def test_a_phone_that_knows_the_call_no_more_ends_it(status):
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        far.reinvites = status
        with pytest.raises(CommandRefused):
            await ask(commands.Hold, desk)
        await desk.until("HANGUP", seconds=3)
        await server.until(lambda: "BYE" in phone.methods() and "BYE" in far.methods())


async def test_an_answer_of_ours_that_is_never_acknowledged_ends_the_call_and_settles_no_question():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        phone, far = await talking(server, desk)
        server.offer(far, "sendonly")
        await server.until(lambda: [r.status for r in server.responses if r.cseq.method == "INVITE"] == [100, 200])
        server.statuses["INVITE"] = [100]
        holding = asyncio.create_task(ask(commands.Hold, desk))
        await server.until(lambda: not server.statuses["INVITE"])
        server.notify(document(1))  # once that is answered, the 100 before it was heard
        await server.until(lambda: [r.cseq.method for r in server.responses].count("NOTIFY") == 2)
        line = desk.connector._line
        line.agent.handle_timeout(asyncio.get_running_loop().time() + 33)
        line.sip.flush()
        await desk.until("HANGUP")
        await server.until(lambda: "BYE" in phone.methods() and "BYE" in far.methods())
        assert not holding.done()
        holding.cancel()


async def test_an_answer_that_comes_late_is_not_taken_for_that_to_the_next_question(monkeypatch):
    monkeypatch.setattr(leg, "ANSWER_SECONDS", 0.1)
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        await talking(server, desk)
        server.statuses["INFO"] = [100, 100]
        with pytest.raises(CommandRefused, match="408"):
            await ask(commands.SendDTMF, desk, digits="1")
        monkeypatch.setattr(leg, "ANSWER_SECONDS", 5)
        second = asyncio.create_task(ask(commands.SendDTMF, desk, digits="2"))
        await server.until(lambda: not server.statuses["INFO"])
        one, two = [request for request in server.requests if request.method == "INFO"]
        server._reply(one, 200)
        server._reply(two, 415)
        with pytest.raises(CommandRefused, match="415"):
            await second


async def test_what_outlives_a_line_does_not_disturb_the_next_one(monkeypatch):
    monkeypatch.setattr(bridge, "TRANSFERRED_SECONDS", 0.2)
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        _, far = await talking(server, desk)
        far.refers, far.progress = 202, ()
        await ask(commands.Transfer, desk, number="1007")
        chores = {task for task in asyncio.all_tasks() if "_end_behind" in str(task.get_coro())}
        old = desk.connector._line
        await desk.close()
        await desk.open()
        await asyncio.wait(chores)
        assert old.sip._timer is None or old.sip._timer.cancelled()
        server.first_document = None
        await desk.connector.execute(commands.Subscribe(command_id="s", node="1007"))
        await desk.until_so(lambda: desk.story.count("SUBSCRIBED") == 3)


@pytest.mark.parametrize(
    "number",
    [
        "+44?Replaces=a%3Bto-tag%3D1",
        "+442079460018;phone-context=x",
        "+4420794600%0d%0aVia: x",
        "+442079460018\r\nX: y",
        "1007@evil.example",
        "sip:1007@evil.example",
        "1007:password",
        "tel:+442079460018;ext=3",
        "*21*0900#",
    ],
)
async def test_what_is_no_number_is_never_dialled(number):
    async with running_server() as server, at_desk(server.port) as desk:
        with pytest.raises(CommandRefused):
            await desk.connector.execute(dial(number))
        assert {request.method for request in server.requests} == {"OPTIONS", "SUBSCRIBE"}


async def test_a_server_that_invents_dialogs_all_day_fills_no_memory():
    async with running_server() as server, at_desk(server.port) as desk:
        for number in range(1, 5):
            dialogs = (f'<dialog id="{number}-{each}"><state>confirmed</state></dialog>' for each in range(190))
            server.notify(document(number, *dialogs, state="partial"))
            await server.until(lambda: len([r for r in server.responses if r.cseq.method == "NOTIFY"]) > number)  # noqa: B023
        assert len(desk.connector._joiner._by_dialog) == len(desk.connector._joiner._calls) == MAX_DIALOGS


async def test_a_tag_says_no_more_than_a_tag_may_when_it_is_written_into_replaces():
    async with running_server() as server, at_desk(server.port, click_to_call="3pcc") as desk:
        await talking(server, desk)
        (placed,) = desk.connector._dialling._placed.values()
        far = placed.bridge._far
        far._dialog.remote = parse_name_addr('<sip:far@pbx.example>;tag="x;early-only"')
        call_id, params = parse_params(far.replaces)
        assert (call_id, set(params)) == (far._dialog.call_id, {"to-tag", "from-tag"})
        far._dialog.remote = parse_name_addr("<sip:far@pbx.example>;tag=server")
