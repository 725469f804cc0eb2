"""The channel layer as the bus: group names, and the whole way over a real Redis."""

import asyncio
import re
import socket
import subprocess
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
from tests.programs import program

START_SECONDS = 10.0


@pytest.mark.parametrize(
    "agent_id", [7, "alice@example.com", "ämne", UUID("a6b1f4de-0000-4000-8000-000000000001"), "x" * 300]
)
def test_every_agent_id_gives_a_group_name_that_channel_layers_accept(agent_id):
    assert re.fullmatch(r"[A-Za-z0-9\-_.]{1,99}", bus.agent_group(agent_id))


def test_two_agents_never_share_a_group():
    ids = [1, "1.", "a b", "a.20b", "a.2", "x" * 300, "x" * 301, "é", "e"]
    assert len({bus.agent_group(agent_id) for agent_id in ids}) == len(ids)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _accepts(port):
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@pytest.fixture
async def redis_layer(settings, fake_telephone_system):  # noqa: F811
    port = _free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220  nothing waits for it to start
    try:
        await _accepts(port)
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}"]},
            }
        }
        channel_layers.backends.clear()
        yield get_channel_layer()
        await get_channel_layer().flush()
    finally:
        channel_layers.backends.clear()
        server.terminate()
        server.wait(START_SECONDS)


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
