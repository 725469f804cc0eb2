"""One manager connection for all: log-in, sharing, heartbeat, floods, lists, and what is lost together."""

import asyncio
import gc
import shutil
import ssl
import subprocess

import pytest

from cti_django.calls.notifications import Snapshot
from cti_django.calls.states import CallState
from cti_django.connectors.asterisk import manager as manager_module
from cti_django.connectors.asterisk.manager import Manager, Member
from cti_django.connectors.asterisk.options import Options
from cti_django.connectors.stream import NotificationStream
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused
from cti_django.testing.listener import Listener

from ..half_open import Relay
from .fake_calls import FakeCall
from .fake_pbx import MINIMAL, SECRET, FakePBX, error
from .world import AsteriskWorld, options_for


def manager_of(pbx, **options):
    world = AsteriskWorld(pbx)
    return Manager.shared(Options.read(options_for(pbx, **options)), world.connector().number_plan)


@pytest.fixture
async def held():
    """Gives managers that are let go of in the end."""
    managers = []

    def hold(pbx, **options):
        managers.append(manager_of(pbx, **options))
        managers[-1].hold()
        return managers[-1]

    yield hold
    for manager in managers:
        await manager.release()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key.pem"]
    command = ["openssl", "req", "-x509", "-days", "2", *key, *names, "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


# -- logging in -----------------------------------------------------------------------------------------------


async def test_without_tls_the_secret_itself_never_travels(pbx, held):
    await held(pbx).connect()
    (login,) = pbx.named("Login")
    assert login["AuthType"] == "MD5"
    assert SECRET not in str(pbx.asked)


async def test_a_pbx_that_offers_no_challenge_is_sent_the_secret(pbx, held):
    pbx.offers_challenge = False
    await held(pbx).connect()
    assert pbx.named("Login")[0]["Secret"] == SECRET


async def test_over_tls_the_secret_travels_in_the_log_in_and_the_certificate_is_verified(certificate, held):
    context, ca_file = certificate
    async with FakePBX(tls=context) as pbx:
        await held(pbx, tls=True, ca_file=ca_file).connect()
        assert pbx.named("Challenge") == []
        assert pbx.named("Login")[0]["Secret"] == SECRET
        with pytest.raises(ConnectionLost, match="not trusted") as lost:
            await held(pbx, tls=True).connect()
        assert lost.value.code == "certificate"
        assert len(pbx.named("Login")) == 1, "a secret was sent to who knows whom"


async def test_a_wrong_secret_is_refused_and_not_shown(pbx, held):
    pbx.secret = "another one"
    with pytest.raises(LoginRefused) as refused:
        await held(pbx).connect()
    assert SECRET not in str(refused.value)


async def test_a_name_that_is_in_use_is_tried_again_later(pbx, held):
    pbx.replies["Login"] = lambda _: [("Response", "Success"), ("Message", "Login Already In Use")]
    with pytest.raises(ConnectionLost) as lost:
        await held(pbx).connect()
    assert lost.value.code == "in_use"


async def test_settings_without_name_or_secret_are_refused_without_asking_anybody(pbx, held):
    with pytest.raises(LoginRefused) as refused:
        await held(pbx, secret="").connect()
    assert refused.value.code == "no_credentials"
    assert pbx.named("Login") == []


async def test_a_manager_who_may_not_see_calls_is_refused(held):
    async with FakePBX(commands=MINIMAL - {"CoreShowChannels"}) as pbx:
        with pytest.raises(LoginRefused) as refused:
            await held(pbx).connect()
        assert refused.value.code == "missing_rights"


@pytest.mark.parametrize("banner", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x00\x02", b"x" * 500])
async def test_what_is_no_manager_interface_is_said_to_be_none(pbx, held, banner):
    pbx.banner = banner
    with pytest.raises(ConnectionLost):
        await held(pbx, request_seconds=0.2).connect()
    assert pbx.named("Login") == []


async def test_a_host_that_says_nothing_is_given_up(pbx, held):
    pbx.banner = b""
    with pytest.raises(ConnectionLost) as lost:
        await held(pbx, request_seconds=0.1).connect()
    assert lost.value.code == "not_ami"


async def test_a_port_where_nobody_listens_cannot_be_reached(pbx, held):
    await pbx.stop()
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        await held(pbx).connect()


# -- sharing --------------------------------------------------------------------------------------------------


async def test_twenty_agents_share_one_connection_and_one_log_in(pbx):
    world = AsteriskWorld(pbx)
    connectors = [world.agent(str(1001 + each)) for each in range(20)]
    await asyncio.gather(*(connector.open() for connector in connectors))
    assert (len(pbx.lines), pbx.logins, len(pbx.named("CoreShowChannels"))) == (1, 1, 1)
    for connector in connectors[:-1]:
        await connector.close()
    assert len(pbx.lines) == 1, "closed under the last agent's feet"
    await connectors[-1].close()
    await pbx.until(lambda: not pbx.lines)


async def test_another_secret_is_another_connection(pbx, held):
    assert manager_of(pbx) is manager_of(pbx)
    assert manager_of(pbx) is not manager_of(pbx, secret="wrong")
    assert SECRET not in repr(Options.read(options_for(pbx)))


async def test_all_who_wait_for_one_attempt_hear_of_its_failure(pbx, held):
    pbx.secret = "another one"
    manager = held(pbx)
    outcomes = await asyncio.gather(*(manager.connect() for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LoginRefused] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert len(pbx.named("Login")) == 1


async def test_whoever_gives_up_waiting_does_not_stop_the_others(pbx, held):
    manager = held(pbx)
    impatient = asyncio.ensure_future(manager.connect())
    patient = asyncio.ensure_future(manager.connect())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert pbx.logins == 1


async def test_a_refresh_is_run_once_for_all_who_ask_at_once(pbx, held):
    manager = held(pbx)
    await manager.connect()
    await asyncio.gather(*(manager.refresh() for _ in range(5)))
    assert len(pbx.named("CoreShowChannels")) == 2
    assert len(pbx.named("QueueStatus")) == 2


# -- asking ---------------------------------------------------------------------------------------------------


async def test_answers_may_come_in_any_order(pbx, held):
    manager = held(pbx)
    await manager.connect()
    kept = []

    def keep(asked):
        kept.append(dict(asked))
        if len(kept) == 2:
            for action in reversed(kept):
                answer = [("Response", "Success"), ("ActionID", action["ActionID"]), ("Message", action["Channel"])]
                pbx.lines[0].send(answer)

    pbx.replies["Hangup"] = keep
    answers = await asyncio.gather(*(manager.ask("Hangup", [("Channel", name)]) for name in ("first", "second")))
    assert [answer["Message"] for answer in answers] == ["first", "second"]


async def test_an_action_without_answer_times_out_and_the_line_goes_on(pbx, held):
    manager = held(pbx, request_seconds=0.05)
    await manager.connect()
    pbx.replies["Hangup"] = lambda _: None
    with pytest.raises(ConnectionLost) as lost:
        await manager.ask("Hangup")
    assert lost.value.code == "timed_out"
    assert (await manager.ask("CoreStatus"))["Response"] == "Success"


@pytest.mark.parametrize("text", ["a\r\nAction: Originate", "a\nb", "a\rb", "\x00", "\u2028", "\x85"])
async def test_nothing_that_ends_a_line_is_ever_sent(pbx, held, text):
    manager = held(pbx)
    await manager.connect()
    before = len(pbx.asked)
    with pytest.raises(CommandRefused):
        await manager.ask("Hangup", [("Channel", text)])
    await manager.ask("CoreStatus")
    assert [dict(asked)["Action"] for asked in pbx.asked[before:]] == ["CoreStatus"]


async def test_a_list_that_never_ends_ends_the_line(pbx):
    connector = AsteriskWorld(pbx).connector(request_seconds=0.05)
    await connector.open()
    heard = Listener(connector)
    await heard.until_ready()
    pbx.ends_lists = False
    await connector.refresh()
    await heard.until_over()
    assert isinstance(heard.error, ConnectionLost)
    await connector.close()
    with pytest.raises(ConnectionLost):
        await connector.open()
    await connector.close()


async def test_a_list_of_calls_that_is_refused_does_not_say_that_there_are_none(pbx):
    """The manager's rights were changed under way: the calls go on."""
    connector = AsteriskWorld(pbx).connector()
    call = FakeCall(pbx)
    call.ring()
    await connector.open()
    heard = Listener(connector)
    await heard.until_ready()
    pbx.replies["CoreShowChannels"] = lambda asked: error("Permission denied")
    await connector.refresh()
    await heard.until_over()
    assert isinstance(heard.error, ConnectionLost)
    assert [each.state for each in heard.board.calls()] == [CallState.RINGING]
    await connector.close()


async def test_a_list_longer_than_can_be_ends_the_line(pbx, held, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.asterisk.line.MAX_LISTED", 5)
    pbx.members = [{"Queue": f"q{each}", "Location": "PJSIP/1001"} for each in range(10)]
    with pytest.raises(ConnectionLost, match="lists more"):
        await held(pbx).connect()


# -- the line -------------------------------------------------------------------------------------------------


async def test_a_half_open_line_is_found_out(pbx):
    async with Relay(pbx.port) as relay:
        connector = AsteriskWorld(pbx).connector(port=relay.port, ping_seconds=0.05)
        await connector.open()
        heard = Listener(connector)
        await heard.until_ready()
        await pbx.until(lambda: pbx.pings > 1)
        relay.fall_silent()
        await heard.until_over()
        assert isinstance(heard.error, ConnectionLost)
        await connector.close()


def test_by_default_a_half_open_line_is_found_out_within_thirty_seconds():
    assert Options().ping_seconds * 1.8 < 30


async def test_a_pbx_that_answers_no_ping_but_tells_events_is_there(pbx):
    connector = AsteriskWorld(pbx).connector(ping_seconds=0.05)
    await connector.open()
    heard = Listener(connector)
    pbx.answers_pings = False
    for _ in range(20):
        pbx.say({"Event": "PeerStatus"})
        await asyncio.sleep(0.01)
    assert not heard.is_over
    await connector.close()


async def test_a_pbx_that_shuts_down_says_so(pbx):
    connector = AsteriskWorld(pbx).connector()
    await connector.open()
    heard = Listener(connector)
    pbx.say({"Event": "Shutdown", "Shutdown": "Cleanly", "Restart": "True"})
    await heard.until_over()
    assert (type(heard.error), heard.error.code) == (ConnectionLost, "shutdown")
    await connector.close()


async def test_a_pbx_that_was_still_starting_is_asked_again(pbx):
    connector = AsteriskWorld(pbx).connector()
    await connector.open()
    heard = Listener(connector)
    await heard.until_ready()
    FakeCall(pbx)._list()
    pbx.say({"Event": "FullyBooted"})
    await heard.until(lambda heard: heard.names().count("Snapshot") == 2)
    await connector.close()


async def test_after_a_lost_line_the_first_to_come_opens_it_for_all_and_what_ended_is_ended(pbx):
    world = AsteriskWorld(pbx)
    agents = [world.agent("1001"), world.agent("1002")]
    for agent in agents:
        await agent.open()
    heard = [Listener(agent) for agent in agents]
    stays, ends = FakeCall(pbx), FakeCall(pbx, "+4930123456", "Lise Meitner", "1002")
    for call in (stays, ends):
        call.ring()
        call.answer()
    for each in heard:
        await each.until_event("CONNECTED")
    await pbx.stop()
    for each, agent in zip(heard, agents, strict=True):
        await each.until_over()
        assert isinstance(each.error, ConnectionLost)
        await agent.close()
    ends.forget()
    await pbx.start()
    await asyncio.gather(*(agent.open() for agent in agents))
    again = [Listener(agent, before.board) for agent, before in zip(agents, heard, strict=True)]
    assert (await again[1].until_event("HANGUP")).call.source.number == "+4930123456"
    await again[0].until_ready()
    assert again[0].call_events() == [], "her call goes on, and that is no news"
    assert pbx.logins == 2
    for agent in agents:
        await agent.close()


async def test_an_event_that_we_misread_costs_nobody_the_line_and_is_logged_once(pbx, monkeypatch, caplog):
    connector = AsteriskWorld(pbx).connector()
    await connector.open()
    heard = Listener(connector)
    receive = connector._manager.switchboard.receive

    def misread(event):
        if event["Event"] == "Odd":
            raise KeyError("a fault of ours")
        return receive(event)

    monkeypatch.setattr(connector._manager.switchboard, "receive", misread)
    pbx.say({"Event": "Odd"}, {"Event": "Odd"})
    FakeCall(pbx).ring()
    await heard.until_event("RINGING")
    assert len([record for record in caplog.records if record.exc_info]) == 1
    await connector.close()


async def test_what_cannot_be_read_is_skipped_and_logged_once(pbx, caplog):
    connector = AsteriskWorld(pbx).connector()
    await connector.open()
    heard = Listener(connector)
    for _ in range(3):
        pbx.lines[0].send_raw(b"Event: Newchannel\r\nChannel: " + b"x" * 100_000 + b"\r\n\r\n")
    FakeCall(pbx).ring()
    await heard.until_event("RINGING")
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    await connector.close()


async def test_a_connection_is_had_again_after_everybody_has_left_it(pbx):
    connector = AsteriskWorld(pbx).connector()
    for _ in range(2):
        await connector.open()
        await connector.close()
    await pbx.until(lambda: not pbx.lines)
    assert pbx.logins == 2


# -- floods ---------------------------------------------------------------------------------------------------


def test_a_loop_that_is_over_is_not_kept():
    async def live():
        async with FakePBX() as pbx:
            connector = AsteriskWorld(pbx).connector()
            await connector.open()
            await connector.refresh()
            await pbx.stop()
            await Listener(connector).until_over()
            await connector.close()

    gc.collect()
    before = len(Manager._shared)
    asyncio.run(live())
    gc.collect()
    assert len(Manager._shared) <= before


async def test_an_agent_who_takes_nothing_is_let_go_of_and_the_others_hear_everything(pbx, held, monkeypatch):
    monkeypatch.setattr(manager_module, "ROOM_SECONDS", 0.1)
    monkeypatch.setattr("cti_django.connectors.stream.ROOM", 20)
    manager = held(pbx)
    await manager.connect()
    streams = {}
    for extension in ("1001", "1002"):
        stream = streams[extension] = NotificationStream()
        manager.join(Member(f"PJSIP/{extension}", stream.put, stream.fail, stream.room))
    for _ in range(60):
        for agent in ("1001", "1002"):
            call = FakeCall(pbx, agent=agent)
            call.ring()
            call.hang_up()
    last = FakeCall(pbx, number="+4930123456", agent="1002")
    last.ring()
    taken = []
    async with asyncio.timeout(10):
        async for leg in streams["1002"]:
            taken.append(leg)
            if leg.remote.number == "+4930123456":
                break
    assert streams["1001"].is_over
    with pytest.raises(ConnectionLost):
        _ = [said async for said in streams["1001"]]
    assert len({leg.provider_call_id for leg in taken}) == 61


async def test_a_flood_waits_on_the_network_while_an_agent_is_slow(pbx, held, monkeypatch):
    monkeypatch.setattr("cti_django.connectors.stream.ROOM", 20)
    manager = held(pbx)
    await manager.connect()
    stream = NotificationStream()
    manager.join(Member("PJSIP/1001", stream.put, stream.fail, stream.room))
    for _ in range(2_000):
        call = FakeCall(pbx)
        call.ring()
        call.hang_up()
    await asyncio.sleep(0.1)
    waiting = len(stream._waiting)
    assert 20 < waiting < 300, "one chunk of the network at most, beside what there is room for"
    calls, taken = set(), 0
    async with asyncio.timeout(20):
        async for leg in stream:
            calls.add(leg.provider_call_id)
            taken += 1
            if len(calls) == 2_000 and leg.state == "HANGUP":
                break
    assert not stream.is_over


async def test_a_refused_list_of_extensions_only_costs_the_directory(held):
    async with FakePBX(commands=MINIMAL - {"ExtensionStateList"}) as pbx:
        manager = held(pbx)
        await manager.connect()
        stream = NotificationStream()
        manager.join(Member("PJSIP/1001", stream.put, stream.fail, stream.room))
        await manager.refresh()
        assert [type(said) for said in stream._waiting] == [Snapshot]
        assert manager.switchboard.extensions() == {}


async def test_a_pbx_that_refuses_to_list_commands_leaves_nothing_to_do(pbx, held):
    pbx.replies["ListCommands"] = lambda _: error("Permission denied")
    with pytest.raises(LoginRefused):
        await held(pbx).connect()
