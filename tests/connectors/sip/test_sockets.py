"""UDP, TCP and TLS as the connector uses them: whole messages, plain words for what fails, the next machine then."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cti_django.connectors.sip.locate import SRVRecord, Target
from cti_django.connectors.sip.options import Server
from cti_django.connectors.sip.sockets import MAX_WAITING, connect
from cti_django.exceptions import ConnectionLost
from tests.programs import program

from .desk import Desk
from .fake_server import running_server

MESSAGE = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A self-signed certificate for "localhost", and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    command = [
        program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-out", str(files[0]), "-keyout", str(files[1]), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return files


@asynccontextmanager
async def stream_server(*chunks: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that sends `chunks`, one after the other, and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def tcp(port: int) -> tuple[Target, Server]:
    return Target("TCP", "127.0.0.1", port), Server("TCP", "pbx.example", port)


async def test_a_stream_is_cut_into_messages_wherever_its_chunks_end():
    async with stream_server(MESSAGE[:10], MESSAGE[10:] + b"\r\n\r\n" + MESSAGE) as port:
        flow = await connect(*tcp(port), "")
        assert [await flow.socket.receive() for _ in range(3)] == [MESSAGE, b"\r\n\r\n", MESSAGE]
        assert flow.sent_by.startswith("127.0.0.1:")
        with pytest.raises(ConnectionLost, match="was lost"):
            await flow.socket.receive()
        await flow.socket.close()
        await flow.socket.close()


async def test_a_stream_of_something_else_is_given_up():
    async with stream_server(b"220 mail.example ESMTP\r\n\r\n") as port:
        flow = await connect(*tcp(port), "")
        with pytest.raises(ConnectionLost, match="no SIP"):
            await flow.socket.receive()


async def test_nobody_at_a_port_is_said_plainly():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionLost, match=r"pbx\.example cannot be reached over TCP"):
        await connect(*tcp(port), "")
    flow = await connect(Target("UDP", "127.0.0.1", port), Server("UDP", "pbx.example", port), "")
    await flow.socket.send(MESSAGE)
    with pytest.raises(ConnectionLost, match="Nobody answers"):
        await flow.socket.receive()
    await flow.socket.close()
    with pytest.raises(ConnectionLost):
        await flow.socket.send(MESSAGE)


@pytest.mark.parametrize(
    ("host", "is_trusted", "words"),
    [("localhost", True, ""), ("localhost", False, "not trusted"), ("pbx.example", True, "not trusted")],
)
async def test_tls_is_for_the_host_that_was_named_and_for_authorities_that_are_trusted(
    certificate, host, is_trusted, words
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with stream_server(MESSAGE, context=context) as port:
        opening = connect(
            Target("TLS", "127.0.0.1", port), Server("TLS", host, port), str(certificate[0]) if is_trusted else ""
        )
        if words:
            with pytest.raises(ConnectionLost, match=words):
                await opening
            return
        flow = await opening
        assert await flow.socket.receive() == MESSAGE
        await flow.socket.close()


async def test_tls_with_a_server_that_speaks_none_is_said_plainly():
    async with stream_server(b"hello there, this is no TLS\r\n") as port:
        target, server = Target("TLS", "127.0.0.1", port), Server("TLS", "localhost", port)
        with pytest.raises(ConnectionLost) as told:
            await connect(target, server, "")
    assert told.value.code == "certificate"


async def test_a_flood_of_datagrams_takes_no_more_room_than_a_few():
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        flow = await connect(Target("UDP", "127.0.0.1", port), Server("UDP", "pbx.example", port), "")
        await flow.socket.send(b"here I am")
        own = peer.recvfrom(100)[1]
        for _ in range(MAX_WAITING + 50):
            peer.sendto(MESSAGE, own)
            await asyncio.sleep(0)
        assert await flow.socket.receive() == MESSAGE
        assert len(flow.socket._waiting) < MAX_WAITING
        await flow.socket.close()


async def test_a_message_too_large_for_a_datagram_costs_nobody_the_line():
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        flow = await connect(Target("UDP", "127.0.0.1", port), Server("UDP", "pbx.example", port), "")
        await flow.socket.send(b"x" * 66_000)
        await flow.socket.send(b"here I am")
        own = peer.recvfrom(100)[1]
        for _ in range(2):
            peer.sendto(MESSAGE, own)
            assert await flow.socket.receive() == MESSAGE
        await flow.socket.close()


class Zone:
    """A domain with two machines, the first of which is not there."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports

    async def services(self, name: str) -> list[SRVRecord]:
        return [SRVRecord(place, 1, port, f"m{place}.pbx.example.") for place, port in enumerate(self._ports)]

    async def addresses(self, host: str) -> list[str]:
        return ["127.0.0.1"]


@pytest.mark.parametrize("fault", ["silent port", "out of service"])
async def test_the_next_machine_is_tried_when_one_fails(fault):
    async with running_server() as bad, running_server() as good:
        bad.statuses["OPTIONS"] = [503]
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            nobody = free.getsockname()[1]
        first = nobody if fault == "silent port" else bad.port
        desk = Desk(0, server="sip:pbx.example")
        desk.connector._resolver = Zone(first, good.port)
        await desk.open()
        await desk.until("READY")
        await desk.close()
        assert good.requests[0].method == "OPTIONS"
