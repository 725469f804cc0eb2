"""A line: a machine on a socket of whole messages."""

import asyncio

import pytest

from cti_django.connectors.sip_line import SIPLine, Subscriptions
from cti_django.exceptions import ConnectionLost
from cti_django.wire.sip_message import parse_message
from cti_django.wire.sip_subscriber import ProtocolFault, Subscriber
from cti_django.wire.sip_user_agent import FlowFailed, UserAgent


class Pipe:
    """A socket whose other end is the test."""

    def __init__(self):
        self.incoming = asyncio.Queue()
        self.outgoing = asyncio.Queue()
        self.is_closed = False

    async def receive(self):
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message):
        if self.is_closed:
            raise ConnectionLost("closed")
        self.outgoing.put_nowait(message)

    async def close(self):
        self.is_closed = True


class Desk:
    def __init__(self, machine, pipe):
        self.pipe = pipe
        self.heard = asyncio.Queue()
        self.lost = asyncio.Queue()
        self.line = SIPLine(
            pipe, machine, on_event=self.heard.put_nowait, on_lost=self.lost.put_nowait, room=lambda: asyncio.sleep(0)
        )

    async def sent(self):
        async with asyncio.timeout(5):
            return await self.pipe.outgoing.get()


def an_agent(**options):
    return UserAgent(
        address="sip:1001@example.com",
        username="1001",
        password="x",
        transport=options.pop("transport", "TCP"),
        sent_by="192.0.2.1:5062",
        **options,
    )


@pytest.fixture
async def pipe():
    return Pipe()


async def test_what_comes_in_is_answered_and_told(pipe):
    desk = Desk(an_agent(), pipe)
    pipe.incoming.put_nowait(b"\r\n\r\n")
    pipe.incoming.put_nowait(b"rubbish")
    assert await desk.sent() == b"\r\n"
    assert isinstance(await desk.heard.get(), ProtocolFault)
    await desk.line.close()
    await desk.line.close()
    assert pipe.is_closed
    assert desk.lost.empty()


async def test_subscriptions_of_a_line_are_sent_at_once(pipe):
    subscriber = Subscriber(an_agent())
    desk = Desk(subscriber, pipe)
    subscriptions = Subscriptions(desk.line, subscriber)
    subscriptions.subscribe("1002")
    request = parse_message(await desk.sent())
    assert (request.method, request.uri) == ("SUBSCRIBE", "sip:1002@example.com")
    response = request.reply(200, to_tag="s")
    response.headers.add("Contact", "<sip:1002@example.com>")
    pipe.incoming.put_nowait(bytes(response))
    assert (await desk.heard.get()).node == "1002"
    subscriptions.refresh("1002")
    assert parse_message(await desk.sent()).to.tag == "s"
    await desk.line.close()


async def test_a_machine_is_woken_in_time(pipe):
    agent = an_agent(transport="UDP")
    desk = Desk(agent, pipe)
    agent.keep_alive(0.01, desk.line.now())
    desk.line.flush()
    assert await desk.sent() == b"\r\n\r\n"
    assert await desk.sent() == b"\r\n\r\n"
    await desk.line.close()


async def test_a_lost_socket_and_a_silent_peer_are_told_as_a_lost_line(pipe):
    desk = Desk(an_agent(), pipe)
    pipe.incoming.put_nowait(ConnectionLost("gone"))
    assert str(await desk.lost.get()) == "gone"
    await desk.line.close()

    class Silent(UserAgent):
        def events_received(self):
            return [FlowFailed()]

    agent = Silent(address="sip:1@e.com", username="1", password="x", transport="TCP", sent_by="192.0.2.1")
    desk = Desk(agent, Pipe())
    desk.line.flush()
    assert (await desk.lost.get()).code == "timed_out"
    await desk.line.close()


async def test_a_fault_of_ours_ends_in_a_sentence(pipe, caplog):
    class Broken(UserAgent):
        def receive_data(self, data, now):
            raise RuntimeError("a fault")

    agent = Broken(address="sip:1@e.com", username="1", password="x", transport="TCP", sent_by="192.0.2.1")
    desk = Desk(agent, pipe)
    pipe.incoming.put_nowait(b"anything")
    assert (await desk.lost.get()).code == "internal_error"
    assert "Reading a telephone line failed" in caplog.text
    await desk.line.close()


async def test_a_flood_leaves_the_others_their_turn(pipe):
    async def room():
        pass

    lost = asyncio.get_running_loop().create_future()
    line = SIPLine(pipe, an_agent(), on_event=lambda event: None, on_lost=lost.set_result, room=room)
    for _ in range(100):
        pipe.incoming.put_nowait(b"\r\n\r\n")
    pipe.incoming.put_nowait(ConnectionLost("gone"))
    turns = 0
    while not lost.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    await line.close()


async def test_a_closed_line_has_no_timer_whoever_flushes_it(pipe):
    agent = an_agent(transport="UDP")
    desk = Desk(agent, pipe)
    agent.keep_alive(0.01, desk.line.now())
    await desk.line.close()
    desk.line.flush()
    assert desk.line._timer is None
    assert desk.line._sending is None
