"""The SIP connector on a real Asterisk with real phones, over UDP, TCP, TLS and WebSocket; whole lists of events."""

from dataclasses import replace
from typing import Any

import pytest

from cti_django.connectors.base import Credentials
from cti_django.connectors.sip.connector import SIPConnector
from tests.pbx.asterisk import SHARED_FROM, Asterisk, password_of
from tests.pbx.stage import Played, Repertoire

MARIE = "+33123456789 Marie Curie"
LISE = "+4930901820 Lise Meitner"
SERVERS = {
    "udp": "sip:127.0.0.1:{pbx.sip_port}",
    "tcp": "sip:127.0.0.1:{pbx.sip_port};transport=tcp",
    "ws": "ws://127.0.0.1:{pbx.http_port}/ws",
    "tls": "sips:127.0.0.1:{pbx.sip_tls_port}",
    "wss": "wss://127.0.0.1:{pbx.https_port}/ws",
}


def connector(pbx: Asterisk, agent: str, *, transport: str = "udp", **options: Any) -> SIPConnector:
    """One agent's connector, registered beside her phone: so it hears who calls."""
    plan = replace(SIPConnector.number_plan_defaults, region="GB")
    credentials = Credentials(username=agent, password=password_of(agent))
    server = SERVERS[transport].format(pbx=pbx)
    options = {"register": True, "ca_file": str(pbx.certificate), **options}
    return SIPConnector(credentials, {"server": server, **options}, number_plan=plan)


repertoire = Repertoire(connector, first_agent=str(SHARED_FROM))
flow = repertoire.flow


# -- calls that come in -----------------------------------------------------------------------------------------------


@flow
async def inbound_answered(scene):
    """The agent answers on her phone, the caller hangs up."""
    alice, desk_phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await caller.hang_up()
    await alice.hears("HANGUP")
    assert len({event.call.call_id for event in alice.events}) == 1
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def inbound_answered_without_registering(scene):
    """Told by the dialog events alone: Asterisk says there, too, who rings."""
    alice, desk_phone = await scene.agent(register=False)
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await caller.hang_up()
    await alice.hears("HANGUP")
    told = [line.replace(" Marie Curie", "") for line in alice.story]
    number = MARIE.split()[0]
    assert told == [f"RINGING in {number}", f"CONNECTED in {number}", f"HANGUP in {number}: completed"]
    scene.expect(alice, *alice.story)


@flow
async def inbound_given_up(scene):
    """The caller gives up before anybody answers."""
    alice, _phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: missed")


@flow
async def inbound_refused(scene):
    """The agent refuses the call on her phone: the shadow contact alone does not keep it ringing."""
    alice, desk_phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.wait_for("ringing")
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    await caller.over()
    scene.expect(alice, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: missed")


@flow
async def inbound_anonymous(scene):
    """A caller who withholds the number."""
    alice, desk_phone = await scene.agent()
    await scene.outside.ring(alice.agent, anonymous=True)
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    hidden = "withheld Anonymous"
    scene.expect(alice, f"RINGING in {hidden}", f"CONNECTED in {hidden}", f"HANGUP in {hidden}: completed")


@flow
async def inbound_second_call(scene):
    """A second caller rings while the agent talks, and gives up."""
    alice, desk_phone = await scene.agent()
    first = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    second = await scene.outside.ring(alice.agent, LISE.split()[0], "Lise Meitner")
    await alice.hears("RINGING", 2)
    await second.hang_up()
    await alice.hears("HANGUP")
    await first.hang_up()
    await alice.hears("HANGUP", 2)
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"RINGING in {LISE}",
        f"HANGUP in {LISE}: missed",
        f"HANGUP in {MARIE}: completed",
    )


# -- click-to-call ----------------------------------------------------------------------------------------------------


async def dials(scene, **options):
    alice, desk_phone = await scene.agent(**options)
    await alice.does("call", number=scene.number)
    await alice.hears("INITIAL")
    return alice, desk_phone


async def talks(scene, **options):
    """An agent whose click-to-call was answered: her desk, her phone, the far side."""
    alice, desk_phone = await dials(scene, **options)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await far.answer()
    await alice.hears("CONNECTED")
    return alice, desk_phone, far


def steps(scene, *names):
    return [f"{name} out {scene.number}" for name in names]


TO_CONNECTED = ("INITIAL", "ACCEPTED", "RINGING", "CONNECTED")


@flow
async def click_to_call(scene):
    """Her phone rings, she picks up, the number rings, answers and hangs up."""
    alice, _phone, far = await talks(scene)
    assert len({event.call.call_id for event in alice.events}) == 1
    await far.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, *steps(scene, *TO_CONNECTED), f"HANGUP out {scene.number}: completed")


@flow
async def click_to_call_busy(scene):
    """The number is busy."""
    scene.outside.engaged[scene.number] = 486
    alice, desk_phone = await dials(scene)
    await desk_phone.answer()
    await alice.hears("HANGUP")
    scene.expect(alice, *steps(scene, "INITIAL", "ACCEPTED"), f"HANGUP out {scene.number}: busy")


@flow
async def click_to_call_refused(scene):
    """The far side rings, and declines."""
    alice, desk_phone = await dials(scene)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    far.refuse(603)
    await alice.hears("HANGUP")
    scene.expect(alice, *steps(scene, "INITIAL", "ACCEPTED", "RINGING"), f"HANGUP out {scene.number}: rejected")


@flow
async def click_to_call_agent_refuses(scene):
    """She refuses the call on her own phone."""
    alice, desk_phone = await dials(scene)
    await desk_phone.wait_for("ringing")
    await desk_phone.hang_up()
    await alice.hears("CANCEL")
    assert alice.events[-1].call.cause
    scene.expect(alice, *steps(scene, "INITIAL"), f"CANCEL out {scene.number}: cancelled")


@flow
async def click_to_call_agent_no_answer(scene):
    """Her own phone rings for as long as it may."""
    alice, desk_phone = await dials(scene, dial_seconds=1)
    await alice.hears("CANCEL")
    await desk_phone.wait_for("idle")
    assert alice.events[-1].call.cause
    scene.expect(alice, *steps(scene, "INITIAL"), f"CANCEL out {scene.number}: cancelled")


@flow
async def click_to_call_withdrawn_before_the_agent_answers(scene):
    """Her own phone rings; she hangs up from the screen."""
    alice, desk_phone = await dials(scene)
    await desk_phone.wait_for("ringing")
    await alice.does("hangup")
    await alice.hears("CANCEL")
    await desk_phone.wait_for("idle")
    scene.expect(alice, *steps(scene, "INITIAL"), f"CANCEL out {scene.number}: cancelled")


# -- control of calls that were placed with us in the path ------------------------------------------------------------


@flow
async def hang_up(scene):
    """Hung up from the screen."""
    alice, desk_phone, far = await talks(scene, click_to_call="3pcc")
    await alice.does("hangup")
    await far.over()
    await desk_phone.wait_for("idle")
    await alice.hears("HANGUP")
    scene.expect(alice, *steps(scene, *TO_CONNECTED), f"HANGUP out {scene.number}: completed")


@flow
async def hold_and_resume(scene):
    """Held and resumed from the screen; the far side hangs up."""
    alice, _phone, far = await talks(scene, click_to_call="3pcc")
    await alice.does("hold")
    await alice.hears("ON_HOLD")
    await alice.does("resume")
    await alice.hears("CONNECTED", 2)
    await far.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, *steps(scene, *TO_CONNECTED, "ON_HOLD", "CONNECTED"), f"HANGUP out {scene.number}: completed")


@flow
async def transfer(scene):
    """Handed over to a colleague, whose screen shows the far side."""
    alice, desk_phone, far = await talks(scene, click_to_call="3pcc")
    bob, his = await scene.agent()
    await alice.does("transfer", number=bob.agent)
    await his.answer()
    await bob.hears("CONNECTED")
    await alice.hears("HANGUP")
    await desk_phone.wait_for("idle")
    assert not far.is_over
    await far.hang_up()
    await bob.hears("HANGUP")
    scene.expect(alice, *steps(scene, *TO_CONNECTED), f"HANGUP out {scene.number}: transferred")
    scene.expect(
        bob,
        f"RINGING in {scene.number}",
        f"CONNECTED in {scene.number}",
        f"HANGUP in {scene.number}: completed",
    )


@flow
async def attended_transfer(scene):
    """She asks a colleague first, then connects him with the far side."""
    alice, desk_phone, far = await talks(scene, click_to_call="3pcc")
    bob, his = await scene.agent()
    await alice.does("consult", number=bob.agent)
    await his.answer()
    await bob.hears("CONNECTED")
    await alice.until(lambda: alice.call.consult is not None, "whom she asks")
    await alice.does("complete")
    await alice.hears("HANGUP")
    await desk_phone.wait_for("idle")
    assert not far.is_over
    await far.hang_up()
    await bob.hears("HANGUP")
    scene.expect(
        alice,
        *steps(scene, *TO_CONNECTED),
        f"ON_HOLD out {scene.number} asks {bob.agent}",
        f"HANGUP out {scene.number}: transferred",
    )
    her = f"{alice.agent} Agent {alice.agent}"
    scene.expect(bob, f"RINGING in {her}", f"CONNECTED in {her}", f"HANGUP in {her}: completed")


@flow
async def attended_transfer_cancelled(scene):
    """She asks a colleague, and goes back to the far side."""
    alice, desk_phone, far = await talks(scene, click_to_call="3pcc")
    bob, his = await scene.agent()
    await alice.does("consult", number=bob.agent)
    await his.answer()
    await bob.hears("CONNECTED")
    await alice.until(lambda: alice.call.consult is not None, "whom she asks")
    await alice.does("back")
    await bob.hears("HANGUP")
    await alice.hears("CONNECTED", 2)
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    await far.over()
    scene.expect(
        alice,
        *steps(scene, *TO_CONNECTED),
        f"ON_HOLD out {scene.number} asks {bob.agent}",
        f"CONNECTED out {scene.number}",
        f"HANGUP out {scene.number}: completed",
    )
    her = f"{alice.agent} Agent {alice.agent}"
    scene.expect(bob, f"RINGING in {her}", f"CONNECTED in {her}", f"HANGUP in {her}: completed")


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SERVERS)
def played(request: pytest.FixtureRequest) -> Played:
    return repertoire.play(request, transport=request.param)


@pytest.mark.parametrize("name", repertoire.flows)
def test_the_agent_is_told(played, name):
    played.check(name)
