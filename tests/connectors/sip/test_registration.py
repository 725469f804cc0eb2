"""Taking a binding back, whenever the line closes."""

import pytest

from .desk import at_desk
from .fake_server import FakeServer, running_server


def expiries(server: FakeServer) -> list[str | None]:
    return [each.headers.get("Expires") for each in server.requests if each.method == "REGISTER"]


async def test_a_binding_that_the_server_has_not_confirmed_yet_is_taken_back_all_the_same():
    async with running_server() as server:
        server.statuses["REGISTER"] = [100]  # it binds, and its answer comes too late
        async with at_desk(server.port, register=True):
            await server.until(lambda: expiries(server) == ["300"])
        await server.until(lambda: expiries(server) == ["300", "0"])


@pytest.mark.parametrize("status", [302, 501])
async def test_a_binding_that_was_refused_is_not_taken_back(status):
    async with running_server() as server:
        server.statuses["REGISTER"] = [status]
        async with at_desk(server.port, register=True) as desk:
            await desk.until_so(lambda: "ERROR" in str(desk.story))
        assert expiries(server) == ["300"]
