"""What Asterisk does not do, played by SIPp: challenges, refusals, redirections, routes, forks, a lossy network."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from cti_django.calls.commands import Dial
from cti_django.exceptions import LoginRefused

from .desk import Desk, at_desk
from .sipp import playing

NUMBER = "+442079460018"


@pytest.mark.parametrize(
    ("scenario", "calls", "options"),
    [("challenge_407", 2, {}), ("register_423", 3, {"register": True}), ("subscribe_503", 3, {})],
)
async def test_what_a_server_wants_before_it_tells(scenario, calls, options, tmp_path: Path):
    async with playing(scenario, tmp_path, calls=calls) as port, at_desk(port, **options) as desk:
        await desk.until_so(lambda: desk.snapshots)
        assert [name for name in desk.story if name not in ("ERROR", "INFO")] == ["LOGGED_IN", "SUBSCRIBED", "READY"]


async def test_a_subscription_that_the_server_has_forgotten_is_made_anew(tmp_path: Path):
    async with playing("subscribe_481", tmp_path, calls=3) as port, at_desk(port) as desk:
        await desk.until_so(lambda: desk.snapshots == 2)
        assert desk.story == ["LOGGED_IN", "SUBSCRIBED", "READY"]


async def test_a_server_without_dialog_events_is_refused(tmp_path: Path):
    async with playing("subscribe_489", tmp_path, calls=2) as port:
        desk = Desk(port)
        await desk.open()
        assert isinstance(await desk.until_failed(), LoginRefused)
        await desk.close()


@pytest.mark.parametrize("scenario", ["redirect_302", "record_routes", "forked_200"])
async def test_a_call_finds_its_way(scenario, tmp_path: Path):
    async with playing(scenario, tmp_path, calls=3) as port, at_desk(port, click_to_call="refer") as desk:
        await desk.until_so(lambda: desk.snapshots)
        await desk.connector.execute(Dial(command_id="d", number=NUMBER))
        await desk.until("CONNECTED", "HANGUP")
        assert [name for name, _ in desk.calls][:4] == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED"]


class LossyRelay(asyncio.DatagramProtocol):
    """A network between an agent and her server: of a hundred datagrams it loses ten, and sends ten twice."""

    def __init__(self, server: tuple[str, int], seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._agent: Any = None
        self.lost = self.doubled = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        to = self._agent if addr == self._server else self._server
        if addr != self._server:
            self._agent = addr
        fate = self._random.random()
        self.lost += fate < 0.1
        self.doubled += fate >= 0.9
        for _ in range(0 if fate < 0.1 else 2 if fate >= 0.9 else 1):
            self._transport.sendto(data, to)


@pytest.mark.parametrize("seed", [1, 2])
async def test_calls_come_through_a_network_that_loses_and_doubles_a_tenth(seed, tmp_path: Path):
    async with playing("phone_that_refers", tmp_path, calls=6, to_its_end=False) as port:
        loop = asyncio.get_running_loop()
        transport, relay = await loop.create_datagram_endpoint(
            lambda: LossyRelay(("127.0.0.1", port), seed), local_addr=("127.0.0.1", 0)
        )
        relayed = transport.get_extra_info("sockname")[1]
        async with at_desk(relayed, click_to_call="refer") as desk:
            for number in range(1, 5):
                await desk.connector.execute(Dial(command_id=f"d{number}", number=NUMBER))
                await desk.until_so(lambda n=number: [name for name, _ in desk.calls].count("HANGUP") == n, 30)
        transport.close()
        assert relay.lost
        assert relay.doubled
        names = [name for name, _ in desk.calls]
        assert [names.count(name) for name in ("INITIAL", "ACCEPTED", "CONNECTED", "HANGUP")] == [4, 4, 4, 4]
