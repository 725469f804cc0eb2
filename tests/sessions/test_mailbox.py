"""A process's address on the bus: who is there, who is not, and what must not disturb it."""

import asyncio
from uuid import uuid4

import pytest
from channels.layers import channel_layers, get_channel_layer

from cti_django.sessions import bus, mailbox
from cti_django.sessions.mailbox import Mailbox
from tests.faces.test_hostile_tabs import until


class Process:
    """One mailbox, and what it tells."""

    def __init__(self, name):
        self.heard, self.gone, self.back, self.vacancies = [], [], [], 0
        self.mailbox = Mailbox(name, self._hear, self._lose, self._return, self._look)

    async def _hear(self, message):
        self.heard.append(message)

    async def _lose(self, name):
        self.gone.append(name)

    async def _return(self, name):
        self.back.append(name)

    def _look(self):
        self.vacancies += 1


@pytest.fixture
async def one(redis_server, settings, monkeypatch):
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_server.url]},
    }
    settings.CHANNEL_LAYERS = {"default": layer}
    channel_layers.backends.clear()
    monkeypatch.setattr(mailbox, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(mailbox, "SILENT_SECONDS", 0.5)
    one = Process("one")
    await one.mailbox.start()
    await one.mailbox.join(7)
    yield one
    await one.mailbox.stop()
    await get_channel_layer().flush()
    channel_layers.backends.clear()


NONSENSE = [
    None,
    7,
    "cti.beat",
    [],
    ["cti.beat"],
    {},
    {"type": "cti.beat"},
    {"type": ["cti.beat"]},
    {"type": "cti.beat", "host": {}},
    {"type": "cti.answer", "ask": [], "answer": 1},
    {"type": "cti.answer", "ask": 1},
    {"type": "cti.desk"},
    {"type": "cti.desk", "from": None, "agent": {}, "verb": []},
    {"type": "cti.missed", "of": "one"},
    {"type": "cti.beat", "host": "x" * 1_000_000},
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda nonsense: repr(nonsense)[:40])
async def test_nonsense_on_the_bus_stops_no_reading(one, nonsense):
    await get_channel_layer().group_send(bus.HOSTS, nonsense)
    await bus.tell(bus.desk_group(7), {"type": "cti.desk", "from": "two", "verb": "well"})
    await until(lambda: any(message.get("verb") == "well" for message in one.heard))
    assert one.mailbox.is_heard


async def test_a_process_that_said_something_and_never_beat_is_missed_all_the_same(one):
    await bus.tell(bus.desk_group(7), {"type": "cti.desk", "from": "two", "verb": "sit"})
    await until(lambda: one.heard)
    await until(lambda: one.gone == ["two"])


async def test_a_process_that_was_given_up_and_is_heard_again_is_told_that_it_was_missed(one):
    two = Process("two")
    await two.mailbox.start()
    await until(lambda: one.mailbox.hears("two") and two.back == ["one"])
    for message, expected in ((None, ["two"]), ({"type": "cti.beat", "host": "two"}, ["two"])):
        if message is None:
            await one.mailbox._on_gone("two")
            one.mailbox._dropped.append("two")
            del one.mailbox._heard_at["two"]  # as after a silence that nobody else noticed
        else:
            await bus.tell(bus.HOSTS, message)
        assert one.gone == expected
    await until(lambda: two.back == ["one", "one"])
    await two.mailbox.stop()


async def test_ten_thousand_messages_are_heard_and_leave_nothing(one):
    for number in range(10_000):
        await bus.tell(bus.desk_group(7), {"type": "cti.desk", "from": "two", "verb": "note", "number": number})
    await until(lambda: len(one.heard) == 10_000, seconds=30)
    assert [message["number"] for message in one.heard] == list(range(10_000))
    await until(lambda: one.gone == ["two"])
    assert len(asyncio.all_tasks()) < 12


async def test_agents_ids_may_be_of_any_kind(one):
    agent_id = uuid4()
    await one.mailbox.join(agent_id)
    two = Process("two")
    await two.mailbox.start()
    asking = asyncio.ensure_future(two.mailbox.ask(agent_id, "act", 5.0, message={"fence": 7}))
    await until(lambda: one.heard)
    assert one.heard[0]["agent"] == str(agent_id)
    await one.mailbox.answer(one.heard[0], {"ok": True})
    assert await asking == {"ok": True}
    await two.mailbox.stop()


async def test_a_process_that_is_held_up_again_and_again_comes_back_once_at_a_time(one):
    times, go = [], asyncio.Event()

    async def _return(name):
        times.append(name)
        await go.wait()

    one.mailbox._on_back = _return
    for _ in range(5):
        one.mailbox._listen_for_silence(asyncio.get_running_loop().time(), overslept=10.0)
        await asyncio.sleep(0)
    assert times == ["one"]
    go.set()
    await until(lambda: times == ["one", "one"])
    await asyncio.sleep(0.1)
    assert times == ["one", "one"]
