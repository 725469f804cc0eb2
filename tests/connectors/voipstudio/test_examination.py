"""What cti_doctor finds out about VoIPstudio: every step well and badly, against the sandbox."""

import asyncio
import socket

import pytest

from cti_django.connectors import examination
from cti_django.connectors.base import Credentials
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.sandbox.faults import Fault
from cti_django.sandbox.server import run_sandbox
from cti_django.sandbox.users import Behaviour, Conduct

from .conftest import PLAN

ALICE = "10031"


@pytest.fixture
async def sandbox():
    async with run_sandbox() as sandbox:
        yield sandbox


async def examined(sandbox, *, number="", email="alice@example.com", password="sandbox", **options):
    connector = VoIPstudioConnector(
        Credentials(username=email, password=password),
        {"api_url": sandbox.api_url, "sip_url": sandbox.sip_url, **options},
        number_plan=PLAN,
    )
    async with asyncio.timeout(20):
        return [finding async for finding in connector.examine(number=number)]


def marks(findings):
    return [(finding.step, finding.ok) for finding in findings]


async def test_everything_works(sandbox):
    assert marks(await examined(sandbox)) == [
        ("Find the telephone system", True),
        ("Reach the service", True),
        ("Log in", True),
        ("Open the line", True),
        ("Hear of the agent's calls", True),
    ]
    assert not sandbox.sip.connections_of()
    await sandbox.wait_for(lambda: not sandbox.accounts._tokens)


async def test_a_name_that_nobody_knows(sandbox, monkeypatch):
    async def unknown(*args, **more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    (found,) = await examined(sandbox, api_url="https://voip.example/v1")
    assert (found.ok, found.message) == (False, "The name voip.example is not known.")
    assert "api_url" in found.advice


async def test_a_port_where_nobody_listens(sandbox):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        findings = await examined(sandbox, api_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert marks(findings)[1:] == [("Reach the service", False)]
    assert "firewall" in findings[-1].advice


async def test_no_tls_where_tls_is_wanted(sandbox):
    findings = await examined(sandbox, api_url=sandbox.api_url.replace("http:", "https:"))
    assert marks(findings)[1:] == [("Reach the service", False)]
    assert "ca_file" in findings[-1].advice


@pytest.mark.parametrize("path", ["", "/console", "/v1.2/other"])
async def test_an_address_where_something_else_answers(sandbox, path):
    findings = await examined(sandbox, api_url=sandbox.base_url + path)
    assert marks(findings)[1:] == [("Reach the service", False)]
    assert "api_url" in findings[-1].advice


async def test_refused_credentials(sandbox):
    findings = await examined(sandbox, password="wrong horse")
    assert marks(findings)[2:] == [("Log in", False)]
    assert "web pages" in findings[-1].advice
    assert "wrong horse" not in str(findings)


async def test_no_credentials_at_all(sandbox):
    findings = await examined(sandbox, email="", password="")
    assert marks(findings)[2:] == [("Log in", False)]
    assert "telephone account" in findings[-1].advice


async def test_a_second_factor_is_neither_good_nor_bad(sandbox):
    assert marks(await examined(sandbox, email="dave@example.com"))[2:] == [("Log in", None)]


async def test_a_socket_that_does_not_open(sandbox):
    sandbox.misbehave(Fault.REFUSE_SOCKETS)
    findings = await examined(sandbox)
    assert marks(findings)[2:] == [("Log in", True), ("Open the line", False)]
    assert "WebSockets" in findings[-1].advice


async def test_a_subscription_that_is_refused():
    async with run_sandbox(private_nodes=[ALICE]) as sandbox:
        findings = await examined(sandbox)
    assert marks(findings)[2:] == [("Log in", True), ("Hear of the agent's calls", False)]


async def test_a_line_that_says_nothing_more(sandbox, monkeypatch):
    monkeypatch.setattr(examination, "LINE_SECONDS", 0.2)
    monkeypatch.setattr("cti_django.connectors.sip_watch.Watch.begin", lambda self, line: None)
    findings = await examined(sandbox)
    assert marks(findings)[2:] == [("Log in", True), ("Open the line", False)]


async def test_a_test_call_rings_the_phone_and_is_hung_up_when_somebody_answers(sandbox):
    sandbox.switch.users[ALICE].phone.conduct = Conduct(Behaviour.ANSWERS)
    sandbox.switch.outside["442079460018"] = Conduct(Behaviour.ANSWERS)
    findings = await examined(sandbox, number="+44 20 7946 0018")
    assert marks(findings)[-1] == ("Place a test call", True)
    await sandbox.wait_for(lambda: not sandbox.switch.calls)


async def test_a_test_call_without_a_phone(sandbox):
    sandbox.switch.set_phone(ALICE, registered=False)
    findings = await examined(sandbox, number="+442079460018")
    assert marks(findings)[-1] == ("Place a test call", False)
    assert findings[-1].message == "No phone of yours is registered."


async def test_a_test_call_that_nobody_takes(sandbox):
    sandbox.switch.users[ALICE].phone.conduct = Conduct(Behaviour.ANSWERS)
    sandbox.switch.outside["442079460018"] = Conduct(Behaviour.DECLINES)
    findings = await examined(sandbox, number="+442079460018")
    assert marks(findings)[-1] == ("Place a test call", False)


async def test_a_test_call_to_what_cannot_be_dialled(sandbox):
    findings = await examined(sandbox, number="Dana")
    assert marks(findings)[-1] == ("Place a test call", False)
