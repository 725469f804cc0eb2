"""A TCP relay in front of a port, whose connections can be cut, or go dead without a word."""

import asyncio
import contextlib
from collections.abc import Callable

__all__ = ["Pipe", "Proxy"]

CHUNK = 64 * 1024


class Pipe:
    """One relayed connection.

    Attributes:
        client_port, server_port: the local ports of the relay's two clients: who came in, and as whom we went on.
        is_dead: half open: both ends believe in it, nothing passes, and an end that closes is not told to the other.
    """

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.client_port: int = client.get_extra_info("peername")[1]
        self.server_port: int = server.get_extra_info("sockname")[1]
        self.is_dead = False

    def cut(self) -> None:
        """Drop it on both sides."""
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Listens on a free loopback port (`port`) and relays to `target_port`.

    Args:
        on_open: is told the port that the server sees as the peer of a new connection.
    """

    def __init__(self, target_port: int, on_open: Callable[[int], None] = lambda _: None) -> None:
        self.target_port, self.port, self._on_open = target_port, 0, on_open
        self.pipes: set[Pipe] = set()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop everything."""
        if self._listener is not None:
            self._listener.close()
        for pipe in list(self.pipes):
            pipe.cut()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)

    def pipe_from(self, client_port: int) -> Pipe | None:
        """The pipe of the client with that local port."""
        return next((pipe for pipe in self.pipes if pipe.client_port == client_port), None)

    def pipe_to(self, server_port: int) -> Pipe | None:
        """The pipe that the server knows by that peer port."""
        return next((pipe for pipe in self.pipes if pipe.server_port == server_port), None)

    async def _relay(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            client.transport.abort()
            return
        pipe = Pipe(client, server)
        self.pipes.add(pipe)
        self._on_open(pipe.server_port)
        try:
            await asyncio.gather(_pump(pipe, from_client, server), _pump(pipe, from_server, client))
        finally:
            self.pipes.discard(pipe)
            pipe.cut()


async def _pump(pipe: Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on; an end is passed on too, unless the pipe is dead."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            if not pipe.is_dead:
                writer.write(data)
                await writer.drain()
    if not pipe.is_dead:
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()
