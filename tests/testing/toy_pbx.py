"""The toy PBX: a telephone system that speaks lines of tab-separated fields, as docs/adding-a-connector.md says."""

import asyncio
import re
import time
from dataclasses import dataclass, field

PASSWORD = "toy-secret"
_UNSPEAKABLE = re.compile(r"[\t\r\n]")


@dataclass(eq=False)
class Call:
    call_id: str
    extension: str
    direction: str
    number: str
    name: str
    state: str = "RINGING"
    started: int = field(default_factory=lambda: int(time.time()))

    def line(self) -> str:
        fields = (self.call_id, self.state, self.direction, self.number, str(self.started), self.name)
        return "\t".join(("STATE", *(_UNSPEAKABLE.sub(" ", text)[:600] for text in fields)))


class ToyPBX:
    """Listens on a free port of loopback; everybody has the same password."""

    def __init__(self) -> None:
        self.port = 0
        self.password = PASSWORD
        self.calls: dict[str, Call] = {}
        self.lines: dict[asyncio.StreamWriter, str] = {}  # and whose they are, "" before the log-in
        self._server: asyncio.Server | None = None
        self._next_id = 1

    async def __aenter__(self) -> "ToyPBX":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Whoever is connected loses the line; calls go on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self.lines):
            writer.transport.abort()

    def ring(self, extension: str, number: str, name: str) -> Call:
        return self._begin(extension, "IN", number, name)

    def change(self, call: Call, state: str) -> None:
        call.state = state
        if state == "OVER":
            self.calls.pop(call.call_id, None)
        self._tell(call.extension, call.line())

    def _begin(self, extension: str, direction: str, number: str, name: str = "") -> Call:
        call = Call(str(self._next_id), extension, direction, number, name)
        self._next_id += 1
        self.calls[call.call_id] = call
        self._tell(extension, call.line())
        return call

    def _tell(self, extension: str, *lines: str) -> None:
        for writer, whose in self.lines.items():
            if whose == extension:
                writer.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines[writer] = ""
        try:
            async for line in reader:
                self._obey(writer, line.decode().rstrip("\n").split("\t"))
        except OSError:
            pass
        finally:
            del self.lines[writer]
            writer.close()

    def _obey(self, writer: asyncio.StreamWriter, fields: list[str]) -> None:
        whose = self.lines[writer]
        match fields:
            case ["LOGIN", extension, password] if password == self.password:
                self.lines[writer] = extension
                writer.write(b"WELCOME\n")
                self._list(writer)
            case ["LIST"] if whose:
                self._list(writer)
            case ["CALL", command_id, digits] if whose:
                call = self._begin(whose, "OUT", digits)
                writer.write(f"PICKED_UP\t{command_id}\t{digits}\t{call.call_id}\n".encode())
            case ["ANSWER", call_id] if call_id in self.calls:
                self.change(self.calls[call_id], "TALKING")
            case ["HANGUP", call_id] if call_id in self.calls:
                self.change(self.calls[call_id], "OVER")
            case _:
                writer.write(b"REFUSED\n")

    def _list(self, writer: asyncio.StreamWriter) -> None:
        whose = self.lines[writer]
        listed = [call.line() for call in self.calls.values() if call.extension == whose]
        writer.write("".join(f"{line}\n" for line in (*listed, "END")).encode(errors="replace"))
