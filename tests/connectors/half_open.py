"""A relay between a client and a server that can fall silent, as a router that has lost its power does."""

import asyncio
import contextlib

__all__ = ["Relay"]


class Relay:
    """Forwards TCP to `port` on loopback; while ``silent``, lines stay open and nothing gets through either way."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._forwards = asyncio.Event()
        self._forwards.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def fall_silent(self) -> None:
        self._forwards.clear()

    def come_back(self) -> None:
        """New lines are served again; those that were open stay silent, as their state is lost."""
        self._forwards = asyncio.Event()
        self._forwards.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(asyncio.current_task())
        there = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        forwards = self._forwards
        try:
            while data := await source.read(65_536):
                await forwards.wait()
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()
