"""What cti_doctor finds on a real Asterisk: every step to it, over TLS, and a call."""

import asyncio

import pytest

from tests.connectors.asterisk.connecting import connector as by_manager
from tests.connectors.sip.test_asterisk import connector as by_sip
from tests.pbx.asterisk import SHARED_FROM
from tests.pbx.phone import phone
from tests.pbx.public_network import public_network

NUMBER = "+33612345670"


async def found(connector, number=""):
    return [finding async for finding in connector.examine(number=number)]


async def test_the_manager_interface_step_by_step_and_a_call(pbx):
    tls = {"port": pbx.ami_tls_port, "tls": True, "ca_file": str(pbx.certificate)}
    async with public_network(pbx) as outside, phone(pbx, "1005", answers_by_itself=True):
        examining = asyncio.create_task(found(by_manager(pbx, "1005", **tls), NUMBER))
        far = await outside.called(NUMBER)
        await far.answer()
        findings = await examining
        await far.over()
    assert [finding for finding in findings if finding.ok is False] == []
    assert [finding.step for finding in findings if finding.ok] == [
        "Find the telephone system",
        "Reach the manager interface",
        "Log in to the manager interface",
        "What the manager may do",
        "Compare the clocks",
        "Find the agent's phone",
        "Find the contexts",
        "Find the queues",
        "Place a test call",
    ]


async def test_a_manager_interface_whose_certificate_nobody_trusts(pbx):
    last = (await found(by_manager(pbx, "1005", port=pbx.ami_tls_port, tls=True)))[-1]
    assert (last.step, last.ok) == ("Reach the manager interface", False)
    assert "ca_file" in last.advice


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws"])
async def test_a_sip_server_step_by_step(pbx, transport):
    findings = await found(by_sip(pbx, str(SHARED_FROM), transport=transport))
    assert {finding.ok for finding in findings} == {True}
    steps = [finding.step.partition(" to ")[0] for finding in findings]
    connects = [f"Connect over {transport.upper()}"] if transport in ("tcp", "tls") else []
    finds = ["Find the server"] if transport != "ws" else []
    assert steps == [*finds, *connects, "Log in", "Watch calls"]


async def test_a_sip_server_whose_certificate_nobody_trusts(pbx):
    last = (await found(by_sip(pbx, str(SHARED_FROM), transport="tls", ca_file="")))[-1]
    assert (last.step.partition(" to ")[0], last.ok) == ("Connect over TLS", False)
    assert "certificate" in last.advice
