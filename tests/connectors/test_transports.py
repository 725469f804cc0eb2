"""The network clients against servers on the loopback: what goes wrong, in plain words."""

import asyncio
import math
import shutil
import ssl
import subprocess

import pytest
from aiohttp import web

from cti_django.connectors.transports import HEARTBEAT_SECONDS, MAX_BODY, MAX_FRAME, Network
from cti_django.exceptions import ConnectionLost, RESTError

from .half_open import Relay


async def serve(handler, ssl_context=None):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def network():
    network = Network()
    network.hold()
    yield network
    await network.release()


@pytest.fixture
async def server():
    runners = []

    async def start(handler, ssl_context=None):
        runner, port = await serve(handler, ssl_context)
        runners.append(runner)
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


async def get(network, url, seconds=2.0, **headers):
    return await network.request("GET", url, headers=headers, body=b"", timeout_seconds=seconds)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return str(cert), context


async def test_an_answer_is_given_whole_and_cookies_are_not_kept(network, server):
    seen = []

    async def handler(request):
        seen.append((request.cookies.get("session"), request.headers["Accept-Encoding"]))
        return web.json_response({"a": 1}, headers={"Set-Cookie": "session=another-agents; Path=/"})

    port = await server(handler)
    for _ in range(2):
        answer = await get(network, f"http://localhost:{port}/x")
    assert (answer.status, answer.content_type, answer.body) == (200, "application/json; charset=utf-8", b'{"a": 1}')
    assert seen == [(None, "identity")] * 2


async def test_redirects_are_not_followed(network, server):
    async def handler(_request):
        raise web.HTTPFound("http://127.0.0.1:1/elsewhere")

    port = await server(handler)
    assert (await get(network, f"http://127.0.0.1:{port}/", **{"X-Auth-Token": "t"})).status == 302


async def test_an_answer_without_end_is_cut_off(network, server):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(MAX_BODY // 65_536 + 4):
            await response.write(b"x" * 65_536)
        return response

    port = await server(handler)
    with pytest.raises(RESTError, match="too large"):
        await get(network, f"http://127.0.0.1:{port}/")


async def test_a_slow_server_and_a_closed_door_are_told_apart(network, server):
    async def handler(_request):
        await asyncio.Event().wait()

    port = await server(handler)
    with pytest.raises(ConnectionLost, match=f"^127.0.0.1:{port} did not answer in time") as slow:
        await get(network, f"http://127.0.0.1:{port}/secret?token=secret", seconds=0.1)
    assert slow.value.code == "timed_out"
    with pytest.raises(ConnectionLost, match=r"^127\.0\.0\.1:1 cannot be reached\.$"):
        await get(network, "http://user:secret@127.0.0.1:1/secret")


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[x/", "http://127.0.0.1:99999/"])
async def test_what_is_no_url_is_said_to_be_none(network, url):
    with pytest.raises(ConnectionLost, match="not a URL"):
        await get(network, url)


async def test_an_untrusted_certificate_is_refused_and_named(server, network, certificate):
    ca_file, context = certificate

    async def handler(_request):
        return web.json_response({})

    port = await server(handler, context)
    with pytest.raises(ConnectionLost, match=f"certificate of localhost:{port} is not trusted") as lost:
        await get(network, f"https://localhost:{port}/")
    assert lost.value.code == "certificate"
    with pytest.raises(ConnectionLost, match="is not trusted"):
        await network.connect(f"wss://localhost:{port}/", subprotocol="sip")

    trusting = Network(ca_file)
    trusting.hold()
    try:
        assert (await get(trusting, f"https://localhost:{port}/")).status == 200
        with pytest.raises(ConnectionLost, match="is not trusted"):  # the name does not match
            await get(trusting, f"https://127.0.0.1:{port}/")
    finally:
        await trusting.release()


async def test_a_ca_file_that_is_not_there_is_named(server):
    network = Network("/no/such/file.pem")
    with pytest.raises(ConnectionLost, match=r"/no/such/file\.pem cannot be read"):
        await get(network, "https://127.0.0.1:1/")


async def test_frames_come_as_bytes_whatever_their_kind(network, server):
    async def handler(request):
        socket = web.WebSocketResponse(protocols=("sip",))
        await socket.prepare(request)
        await socket.send_str("täxt")
        await socket.send_bytes(b"\xff")
        first, second = await socket.receive(), await socket.receive()
        await socket.send_str(f"{first.type.name} {second.type.name}")
        return socket

    port = await server(handler)
    socket = await network.connect(f"ws://127.0.0.1:{port}/", subprotocol="sip")
    assert await socket.receive() == "täxt".encode()
    assert await socket.receive() == b"\xff"
    await socket.send(b"text")
    await socket.send(b"\xff")
    assert await socket.receive() == b"TEXT BINARY"
    with pytest.raises(ConnectionLost, match="was lost"):
        await socket.receive()
    with pytest.raises(ConnectionLost, match="was lost"):
        await socket.send(b"more")
    await socket.close()


async def test_a_server_of_another_kind_is_not_spoken_to(network, server):
    async def no_subprotocol(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    async def no_websocket(_request):
        return web.Response(status=403)

    port = await server(no_subprotocol)
    with pytest.raises(ConnectionLost, match="does not speak “sip”"):
        await network.connect(f"ws://127.0.0.1:{port}/", subprotocol="sip")
    port = await server(no_websocket)
    with pytest.raises(ConnectionLost, match="status 403"):
        await network.connect(f"ws://127.0.0.1:{port}/", subprotocol="sip")


async def test_a_frame_beyond_all_bounds_ends_the_line(network, server):
    async def handler(request):
        socket = web.WebSocketResponse(protocols=("sip",))
        await socket.prepare(request)
        await socket.send_bytes(b"x" * (MAX_FRAME + 1))
        await socket.receive()
        return socket

    port = await server(handler)
    socket = await network.connect(f"ws://127.0.0.1:{port}/", subprotocol="sip")
    with pytest.raises(ConnectionLost, match="too large"):
        await socket.receive()
    await socket.close()


async def test_a_silent_line_is_found_out(network, server, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.transports.HEARTBEAT_SECONDS", 0.1)

    async def handler(request):
        socket = web.WebSocketResponse(protocols=("sip",), autoping=False)
        await socket.prepare(request)
        await asyncio.Event().wait()
        return socket

    port = await server(handler)
    socket = await network.connect(f"ws://127.0.0.1:{port}/", subprotocol="sip")
    with pytest.raises(ConnectionLost, match="was lost"):
        async with asyncio.timeout(5):
            await socket.receive()
    await socket.close()


def test_a_line_that_falls_silent_is_found_out_within_half_a_minute():
    assert math.ceil(HEARTBEAT_SECONDS + 1) + math.ceil(HEARTBEAT_SECONDS / 2) <= 30


async def test_a_half_open_line_is_found_out(network, server, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.transports.HEARTBEAT_SECONDS", 0.2)

    async def handler(request):
        socket = web.WebSocketResponse(protocols=("sip",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    port = await server(handler)
    async with Relay(port) as relay:
        socket = await network.connect(f"ws://127.0.0.1:{relay.port}/", subprotocol="sip")
        receiving = asyncio.create_task(socket.receive())
        done, _ = await asyncio.wait({receiving}, timeout=1.0)  # a quiet line that lives is not given up
        assert not done
        await socket.send(b"echo")
        assert await receiving == b"echo"
        relay.fall_silent()
        await socket.send(b"echo")
        with pytest.raises(ConnectionLost, match="was lost"):
            async with asyncio.timeout(5):
                await socket.receive()
        await socket.close()


async def test_only_so_many_have_their_turn_at_one_system_and_none_waits_for_another_system(network, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.transports.AT_ONCE", 2)
    inside, go_on = asyncio.Queue(), asyncio.Event()

    async def log_in(host):
        async with network.turn(f"https://{host}/api"):
            inside.put_nowait(host)
            await go_on.wait()

    slow = [asyncio.create_task(log_in("slow.example")) for _ in range(5)]
    assert [await inside.get() for _ in range(2)] == ["slow.example"] * 2
    other = asyncio.create_task(log_in("other.example"))
    assert await asyncio.wait_for(inside.get(), 5) == "other.example"
    assert inside.empty()
    slow[-1].cancel()  # whoever stops waiting takes no turn with her
    go_on.set()
    await asyncio.gather(*slow[:-1], other)
    assert inside.qsize() == 2


async def test_a_turn_at_what_is_no_url_is_refused(network):
    with pytest.raises(ConnectionLost, match="not a URL"):
        network.turn("nonsense")


async def test_a_network_is_shared_by_all_and_closed_with_the_last():
    one, other = Network.shared(), Network.shared()
    assert one is other
    assert Network.shared("/other.pem") is not one
    one.hold()
    other.hold()
    with pytest.raises(ConnectionLost):
        await get(one, "http://127.0.0.1:1/")
    await one.release()
    assert one._session is not None
    await other.release()
    assert one._session is None
