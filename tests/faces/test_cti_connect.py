"""``manage.py cti_connect`` as a user runs it: a process with pipes."""

import asyncio
import json
import os
import signal
import sys

import pytest

from cti_django.calls.commands import Answer, Dial, Link, Logout, Subscribe, Transfer, TwoFactorCode, parse_command
from cti_django.calls.notifications import PresenceNotification
from cti_django.connectors.base import Credentials
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.exceptions import InvalidCommand
from cti_django.management.commands import cti_connect
from cti_django.management.commands.cti_connect import parse_line
from cti_django.sessions.session import SessionState
from cti_django.testing import FakeConnector
from tests.connectors.voipstudio.fake_service import TOKEN, FakeService, dialog, document


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("call +44 20 7946 0018\n", Dial(command_id="1", number="+44 20 7946 0018")),
        ("answer", Answer(command_id="1", call_id="")),
        ("answer  abc", Answer(command_id="1", call_id="abc")),
        ("transfer abc 020 7946 0018", Transfer(command_id="1", call_id="abc", number="020 7946 0018")),
        ("subscribe user:10032", Subscribe(command_id="1", node="user:10032")),
        (
            "link abc https://crm.example/1 Dana Scully",
            Link(command_id="1", call_id="abc", url="https://crm.example/1", text="Dana Scully"),
        ),
        ("code 123456", TwoFactorCode(command_id="1", code="123456", nonce="")),
        ("logout", Logout(command_id="1")),
    ],
)
def test_a_line_is_a_command(line, command):
    assert parse_line(line, "1") == command


@pytest.mark.parametrize(
    ("line", "name", "fields"),
    [
        ("consult c1 020 7946 0018", "consult", {"call_id": "c1", "number": "020 7946 0018"}),
        ("complete c1", "complete", {"call_id": "c1"}),
        ("back c1", "back", {"call_id": "c1"}),
        ("dtmf c1 12#", "dtmf", {"call_id": "c1", "digits": "12#"}),
        ("queue_login", "queue_login", {}),
        ("queue_logout support", "queue_logout", {"queue": "support"}),
        ("pause Lunch, back at one", "pause", {"reason": "Lunch, back at one"}),
        ("unpause", "unpause", {}),
        ("dnd on", "dnd", {"state": "on"}),
    ],
)
def test_every_command_of_an_agent_is_a_line(line, name, fields):
    assert parse_line(line, "1") == parse_command({"command": name, "id": "1", **fields})


@pytest.mark.parametrize(
    "line", ["dance", "", "call", "hangup", "hangup a b", "transfer a", "link a", "logout now", "hold"]
)
def test_a_malformed_line_is_no_command(line):
    with pytest.raises(InvalidCommand):
        parse_line(line, "1")


class Process:
    """The command, running; `events` are its JSON lines so far."""

    def __init__(self, process) -> None:
        self.process = process
        self.events: list[dict] = []

    async def until(self, name: str) -> dict:
        while True:
            async with asyncio.timeout(20):
                line = await self.process.stdout.readline()
            assert line, f"ended before {name}: {await self.process.stderr.read()}"
            self.events.append(json.loads(line))
            if self.events[-1]["name"] == name:
                return self.events[-1]

    def say(self, text: str) -> None:
        self.process.stdin.write(text.encode() + b"\n")

    async def end(self) -> int:
        async with asyncio.timeout(20):
            rest = await self.process.stdout.read()
            self.events += [json.loads(line) for line in rest.splitlines()]
            return await self.process.wait()

    def names(self) -> list[str]:
        return [event["name"] for event in self.events]


@pytest.fixture
async def service():
    async with FakeService() as service:
        yield service


@pytest.fixture
async def run(service):
    processes = []

    async def start(*arguments, stdin=asyncio.subprocess.PIPE, **environment):
        options = [f"--option={key}={value}" for key, value in service.options.items()]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "django", "cti_connect", "--connector", "voipstudio", "--region", "GB", *options,
            *(arguments or ("--username", "alice@example.com")),
            stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "CTI_PASSWORD": "sandbox", **environment},
        )  # fmt: skip
        processes.append(process)
        return Process(process)

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_call_on_the_terminal(run, service):
    service.answers["POST", "/calls"] = (404, {})
    terminal = await run()
    await terminal.until("READY")
    assert terminal.names() == ["LOGGED_IN", "SUBSCRIBED", "READY"]
    await service.line.notify("482910", document(dialog(), version=1))
    ringing = await terminal.until("RINGING")
    assert ringing["call"]["source"] == "442079460018"
    service.answers["PATCH", "/calls/7310025"] = (200, {})
    terminal.say(f"answer {ringing['call']['id']}")
    await service.until(lambda: ("PATCH", "/calls/7310025", {"state": "CONNECTED"}, TOKEN) in service.requests)
    terminal.say("gibberish")
    assert (await terminal.until("ERROR"))["code"] == "unknown_command"
    terminal.say("hold no-such-call")
    assert (await terminal.until("INFO"))["code"] == "no_such_call"
    terminal.say("call 10032")
    assert (await terminal.until("CANCEL"))["call"]["cause"] == "No phone of yours is registered."
    terminal.say("logout")
    assert await terminal.end() == 0
    assert terminal.names()[-1] == "LOGGED_OUT"


async def test_commands_from_a_pipe_wait_for_the_line(run, service):
    service.answers["POST", "/login"] = (200, {"nonce": "n-1"})
    terminal = await run()
    terminal.say("code 123456\nsubscribe user:10032\n\xff\xfe\nlogout")
    terminal.process.stdin.write_eof()
    assert await terminal.end() == 0
    assert terminal.names()[:4] == ["TWO_FACTOR_AUTH", "LOGGED_IN", "SUBSCRIBED", "READY"]
    assert ("10032", False) in service.subscribed


async def test_commands_wait_no_longer_than_their_patience_for_a_silent_line(capsys, monkeypatch):
    monkeypatch.setattr(cti_connect, "PATIENCE_SECONDS", 0.01)
    terminal = cti_connect._Terminal(VoIPstudioConnector(Credentials(api_key="key"), {}))
    await terminal._carry_out(Dial(command_id="1", number="10032"))
    assert json.loads(capsys.readouterr().out)["code"] == "not_connected"
    async with asyncio.timeout(5):
        await terminal._carry_out(Logout(command_id="2"))


async def test_a_refused_log_in_is_exit_code_1_and_one_event(run, service):
    service.answers["POST", "/login"] = (401, {"message": "Invalid e-mail or password."})
    terminal = await run(stdin=asyncio.subprocess.DEVNULL)
    assert await terminal.end() == 1
    assert [(event["name"], event["message"]) for event in terminal.events] == [
        ("ERROR", "Invalid e-mail or password.")
    ]


async def test_an_expired_session_is_exit_code_1(run, service):
    service.answers["GET", "/ping"] = (401, {})
    service.options["ping_seconds"] = 0.05
    terminal = await run(stdin=asyncio.subprocess.DEVNULL)
    assert await terminal.end() == 1
    assert terminal.names()[-1] == "LOGGED_OUT"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(run, service, number):
    terminal = await run(stdin=asyncio.subprocess.DEVNULL)
    await terminal.until("READY")
    terminal.process.send_signal(number)
    assert await terminal.end() == 0
    assert await terminal.process.stderr.read() == b""


async def test_an_api_key_needs_no_username(run, service):
    terminal = await run("--verbosity", "1", CTI_API_KEY="482910:key")
    await terminal.until("READY")
    assert service.requests[0] == ("GET", "/me", None, "482910:key")
    terminal.say("logout")
    assert await terminal.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--username", "a", "--option", "api_uri=x"), b"no option api_uri"),
        (("--username", "a", "--option", "sip_url=x"), b"sip_url"),
        (("--username", "a", "--connector", "other"), b"other"),
        (("--username", "a", "--mask"), b"--record"),
        (("--username", "a", "--record", "/"), b"file of that name"),
        (("--replay", "/no/such/file"), b"No such file"),
        (("--replay", __file__), b"recording"),
        (("--verbosity", "1"), b"--username"),
    ],
)
async def test_what_is_wrong_with_the_command_line_is_said_on_stderr(run, arguments, said):
    terminal = await run(*arguments, stdin=asyncio.subprocess.DEVNULL)
    assert await terminal.end() == 2
    assert terminal.events == []
    stderr = await terminal.process.stderr.read()
    assert said in stderr
    assert b"Traceback" not in stderr


async def test_what_is_recorded_on_the_terminal_is_replayed_there(run, service, tmp_path):
    path = tmp_path / "call.jsonl"
    terminal = await run("--username", "alice@example.com", "--record", str(path), "--mask")
    await terminal.until("READY")
    await service.line.notify("482910", document(dialog(), version=1))
    await terminal.until("RINGING")
    terminal.say("logout")
    assert await terminal.end() == 0
    assert "2079460018" not in path.read_text()
    again = await run("--replay", str(path), "--pace", "0", stdin=asyncio.subprocess.DEVNULL)
    assert await again.end() == 0, (await again.process.stderr.read(), path.read_text())
    assert again.names() == terminal.names()


async def test_a_connector_whose_accounts_have_no_password_asks_for_none(run):
    settings = f"{__name__.rpartition('.')[0]}.phone_only_settings"
    terminal = await run(
        "--username", "1001", "--connector", "phone_only", CTI_PASSWORD="", DJANGO_SETTINGS_MODULE=settings
    )
    await terminal.until("READY")
    terminal.say("logout")
    assert await terminal.end() == 0


async def test_without_a_name_the_connector_is_that_of_the_settings(run):
    settings = f"{__name__.rpartition('.')[0]}.phone_only_settings"
    terminal = await run("--username", "1001", "--connector", "", CTI_PASSWORD="", DJANGO_SETTINGS_MODULE=settings)
    await terminal.until("READY")
    terminal.say("logout")
    assert await terminal.end() == 0


async def test_how_the_agent_stands_with_the_queues_is_said_once_for_each_change(capsys):
    terminal = cti_connect._Terminal(FakeConnector(Credentials(), {}))
    in_queue = PresenceNotification(queues={"support": True, "sales": False}, is_dnd=True)
    for presence in (in_queue, in_queue, PresenceNotification(is_paused=True), PresenceNotification()):
        await terminal._tell(SessionState(presence=presence))
    assert capsys.readouterr().err.splitlines() == [
        "Queues: not sales, support. Do not disturb.",
        "Paused.",
        "Takes calls.",
    ]
