"""The channel layer as the bus: group names, and the whole way over a real Redis."""

import asyncio
import contextlib
import re
from uuid import UUID

import pytest
from channels.layers import channel_layers, get_channel_layer

from cti_django.calls.states import CallState
from cti_django.sessions import bus
from tests.faces.test_consumers import (  # noqa: F401  (a fixture)
    agent,
    connected,
    fake_telephone_system,
    ready,
)


@pytest.mark.parametrize(
    "agent_id", [7, "alice@example.com", "ämne", UUID("a6b1f4de-0000-4000-8000-000000000001"), "x" * 300]
)
def test_every_agent_id_gives_a_group_name_that_channel_layers_accept(agent_id):
    assert re.fullmatch(r"[A-Za-z0-9\-_.]{1,99}", bus.agent_group(agent_id))


def test_two_agents_never_share_a_group():
    ids = [1, "1.", "a b", "a.20b", "a.2", "x" * 300, "x" * 301, "é", "e"]
    assert len({bus.agent_group(agent_id) for agent_id in ids}) == len(ids)


@pytest.fixture
async def redis_layer(redis_server, settings, fake_telephone_system):  # noqa: F811
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_server.url]},
        }
    }
    channel_layers.backends.clear()
    try:
        yield get_channel_layer()
        await get_channel_layer().flush()
    finally:
        channel_layers.backends.clear()


@pytest.mark.django_db(transaction=True)
async def test_two_tabs_follow_a_call_over_a_real_redis(redis_layer):
    _, key = await agent()
    async with ready(key) as (first, pbx), connected(key, tab="tab-00000002") as second:
        for state in (CallState.RINGING, CallState.CONNECTED, CallState.HANGUP):
            pbx.leg(state)
        for tab in (first, second):
            events = [await tab.hear_event(name) for name in ("RINGING", "CONNECTED", "HANGUP")]
            assert len({event["call"]["id"] for event in events}) == 1
        assert (await second.answer("1", type="command", command="call", number="10032"))["ok"]


async def test_a_layer_that_swallows_a_cancellation_keeps_no_session_alive(monkeypatch):
    begun = asyncio.Event()

    class _Layer:
        async def group_send(self, group, message):
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(bus, "get_channel_layer", _Layer)
    telling = asyncio.ensure_future(bus.tell("group", {}))
    await begun.wait()
    telling.cancel()
    await asyncio.wait({telling})
    assert telling.cancelled()
