"""What the Asterisk connector's tests share: a fake PBX, and a world around it."""

from collections.abc import AsyncIterator

import pytest

from .fake_pbx import FakePBX
from .world import AsteriskWorld


@pytest.fixture
async def pbx() -> AsyncIterator[FakePBX]:
    async with FakePBX() as pbx:
        yield pbx


@pytest.fixture
def world(pbx: FakePBX) -> AsteriskWorld:
    return AsteriskWorld(pbx)
