"""Every call flow on a real Asterisk with real phones, each compared as the whole list of what each agent was told."""

import asyncio

import pytest

from tests.pbx.stage import Played, Repertoire
from tests.pbx.talk_phone import talk_phone

from .connecting import connector

repertoire = Repertoire(connector)
flow = repertoire.flow

MARIE = "+33123456789 Marie Curie"
LISE = "+4930901820 Lise Meitner"


async def talks(scene, *, traits=None, **others):
    """An agent who has answered a caller from outside: her desk, her phone, the caller."""
    alice, desk_phone = await scene.agent(traits=traits or {}, **others)
    caller = await scene.outside.ring(alice.agent)
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await caller.answered()
    return alice, desk_phone, caller


# -- calls that come in -----------------------------------------------------------------------------------------------


@flow
async def inbound_answered(scene):
    """The agent answers on her phone, the caller hangs up."""
    alice, _phone, caller = await talks(scene)
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def inbound_answered_over_tls(scene):
    """The same, as the manager interface tells it over TLS, with a certificate that is verified."""
    pbx = scene.pbx
    tls = {"port": pbx.ami_tls_port, "tls": True, "ca_file": str(pbx.certificate)}
    alice, _phone, caller = await talks(scene, **tls)
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


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
async def inbound_busy(scene):
    """The agent refuses the call on her phone."""
    alice, desk_phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.hang_up()
    await caller.over()
    await alice.hears("HANGUP")
    assert caller.code == 486
    scene.expect(alice, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: rejected")


@flow
async def inbound_second_call(scene):
    """A second caller rings while the agent talks, and gives up; both calls are told apart."""
    alice, desk_phone, _caller = await talks(scene)
    first = alice.call
    second = await scene.outside.ring(alice.agent, LISE.split()[0], "Lise Meitner")
    await alice.hears("RINGING", 2)
    await second.hang_up()
    await alice.hears("HANGUP")
    await desk_phone.hang_up()
    await alice.hears("HANGUP", 2)
    ids = [event.call.call_id == first.call_id for event in alice.events]
    assert ids == [True, True, False, False, True]
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"RINGING in {LISE}",
        f"HANGUP in {LISE}: missed",
        f"HANGUP in {MARIE}: completed",
    )


@flow
async def inbound_anonymous(scene):
    """A caller who withholds the number; the agent hangs up."""
    alice, desk_phone = await scene.agent()
    await scene.outside.ring(alice.agent, anonymous=True)
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    hidden = "withheld Anonymous"
    scene.expect(alice, f"RINGING in {hidden}", f"CONNECTED in {hidden}", f"HANGUP in {hidden}: completed")


@flow
async def inbound_on_several_phones(scene):
    """Two phones of one agent ring, one answers: it is one call, and it was not missed."""
    alice, desk_phone = await scene.agent()
    await scene.phone(alice.agent)
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def internal_call(scene):
    """A colleague calls from her phone and hangs up: each has her own view of it."""
    alice, hers = await scene.agent()
    bob, his = await scene.agent()
    await his.dial(alice.agent)
    await hers.answer()
    await bob.hears("CONNECTED")
    await alice.hears("CONNECTED")
    await his.hang_up()
    await alice.hears("HANGUP")
    await bob.hears("HANGUP")
    other, her = f"{bob.agent} Agent {bob.agent}", f"{alice.agent} Agent {alice.agent}"
    scene.expect(alice, f"RINGING in {other}", f"CONNECTED in {other}", f"HANGUP in {other}: completed")
    scene.expect(bob, f"RINGING out {her}", f"CONNECTED out {her}", f"HANGUP out {her}: completed")


@flow
async def queue_call(scene):
    """Both members of the queue ring, one answers; for the other it was answered elsewhere."""
    alice, hers = await scene.agent("1003")
    bob, _his = await scene.agent("1004")
    caller = await scene.outside.ring("700")
    await alice.hears("RINGING")
    await bob.hears("RINGING")
    await hers.answer()
    await bob.hears("HANGUP")
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")
    scene.expect(bob, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: elsewhere")


@flow
async def queue_call_of_an_agent_who_logged_in(scene):
    """She logs in to a queue, takes its call, pauses, and logs out."""
    alice, hers = await scene.agent()
    await alice.until(lambda: alice.session.state.presence is not None, "how she stands with the queues")
    await alice.does("queue_login", queue="sales")
    await alice.until(lambda: alice.session.state.presence.queues == {"sales": True}, "that she is logged in")
    caller = await scene.outside.ring("701")
    await hers.answer()
    await alice.hears("CONNECTED")
    await caller.hang_up()
    await alice.hears("HANGUP")
    await alice.does("pause", reason="lunch")
    await alice.until(lambda: alice.session.state.presence.is_paused, "that she pauses")
    await alice.does("unpause")
    await alice.until(lambda: not alice.session.state.presence.is_paused, "that she is back")
    await alice.does("queue_logout", queue="sales")
    await alice.until(lambda: alice.session.state.presence.queues == {"sales": False}, "that she is logged out")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def do_not_disturb(scene):
    """She is not to be disturbed: Asterisk's database has it, and her next session knows it."""
    rights = {"username": "cti-notify", "dnd_family": "DND"}
    alice, _phone = await scene.agent(**rights)
    await alice.until(lambda: alice.session.state.presence is not None, "how she stands")
    assert alice.session.state.presence.is_dnd is False
    await alice.does("dnd", state="on")
    again = await scene.desk(alice.agent, **rights)
    await again.until(lambda: again.session.state.presence is not None, "how she stands")
    assert again.session.state.presence.is_dnd is True
    await alice.does("dnd", state="off")
    await alice.until(lambda: alice.session.state.presence.is_dnd is False, "that she may be disturbed again")
    scene.expect(alice)


# -- calls dialled on the phone ---------------------------------------------------------------------------------------


@flow
async def outbound_from_phone(scene):
    """Dialled on the phone; the far side answers, the agent hangs up."""
    alice, desk_phone = await scene.agent()
    await desk_phone.dial(scene.number)
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await far.answer()
    await alice.hears("CONNECTED")
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    far_side = scene.number
    scene.expect(alice, f"RINGING out {far_side}", f"CONNECTED out {far_side}", f"HANGUP out {far_side}: completed")


@flow
async def outbound_from_phone_busy(scene):
    """Dialled on the phone; the far side is busy, and does not ring."""
    alice, desk_phone = await scene.agent()
    scene.outside.engaged[scene.number] = 486
    await desk_phone.dial(scene.number)
    await alice.hears("HANGUP")
    scene.expect(alice, f"HANGUP out {scene.number}: busy")


@flow
async def outbound_from_phone_given_up(scene):
    """Dialled on the phone; nobody answers, and the agent gives up."""
    alice, desk_phone = await scene.agent()
    await desk_phone.dial(scene.number)
    await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await desk_phone.wait_for("hearing it ring")
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING out {scene.number}", f"HANGUP out {scene.number}: no_answer")


# -- click-to-call ----------------------------------------------------------------------------------------------------


async def dials(scene, *, traits=None, **others):
    """An agent whose phone rings because she has clicked a number."""
    alice, desk_phone = await scene.agent(traits=traits or {}, **others)
    await alice.does("call", number=scene.number)
    await alice.hears("INITIAL")
    return alice, desk_phone


@flow
async def click_to_call(scene):
    """Her phone rings, she picks up, the number rings, answers and hangs up."""
    alice, desk_phone = await dials(scene)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await far.answer()
    await alice.hears("CONNECTED")
    assert far.shown == f"+4420794600{alice.agent[2:]}"
    assert len({event.call.call_id for event in alice.events}) == 1
    await far.hang_up()
    await alice.hears("HANGUP")
    steps = ("INITIAL", "ACCEPTED", "RINGING", "CONNECTED")
    scene.expect(alice, *(f"{name} out {scene.number}" for name in steps), f"HANGUP out {scene.number}: completed")


@flow
async def click_to_call_auto_answer(scene):
    """Her phone answers by itself, as the connector asks it to; she hangs up from the screen."""
    alice, _phone = await dials(scene, auto_answer=True)
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await far.answer()
    await alice.hears("CONNECTED")
    await alice.does("hangup")
    await far.over()
    await alice.hears("HANGUP")
    steps = ("INITIAL", "ACCEPTED", "RINGING", "CONNECTED")
    scene.expect(alice, *(f"{name} out {scene.number}" for name in steps), f"HANGUP out {scene.number}: completed")


@flow
async def click_to_call_busy(scene):
    """The number is busy."""
    scene.outside.engaged[scene.number] = 486
    alice, desk_phone = await dials(scene)
    await desk_phone.wait_for("ringing")
    await desk_phone.answer()
    await alice.hears("HANGUP")
    number = scene.number
    scene.expect(alice, f"INITIAL out {number}", f"ACCEPTED out {number}", f"HANGUP out {number}: busy")


@flow
async def click_to_call_declined(scene):
    """The far side rings, and declines."""
    alice, desk_phone = await dials(scene)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    far.refuse(603)
    await alice.hears("HANGUP")
    number = scene.number
    steps = ("INITIAL", "ACCEPTED", "RINGING")
    scene.expect(alice, *(f"{name} out {number}" for name in steps), f"HANGUP out {number}: rejected")


@flow
async def click_to_call_withdrawn(scene):
    """The far side rings; she hangs up from the screen before anybody answers."""
    alice, desk_phone = await dials(scene)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await alice.hears("RINGING")
    await alice.does("hangup")
    await far.over()
    await alice.hears("HANGUP")
    number = scene.number
    steps = ("INITIAL", "ACCEPTED", "RINGING")
    scene.expect(alice, *(f"{name} out {number}" for name in steps), f"HANGUP out {number}: no_answer")


@flow
async def click_to_call_withdrawn_before_the_agent_answers(scene):
    """Her own phone rings; she hangs up from the screen."""
    alice, desk_phone = await dials(scene)
    await desk_phone.wait_for("ringing")
    await alice.does("hangup")
    await alice.hears("CANCEL")
    await desk_phone.wait_for("idle")
    scene.expect(alice, f"INITIAL out {scene.number}", f"CANCEL out {scene.number}: cancelled")


@flow
async def click_to_call_agent_refuses(scene):
    """She refuses the call on her own phone."""
    alice, desk_phone = await dials(scene)
    await desk_phone.wait_for("ringing")
    await desk_phone.hang_up()
    await alice.hears("CANCEL")
    scene.expect(alice, f"INITIAL out {scene.number}", f"CANCEL out {scene.number}: cancelled")
    assert alice.events[-1].call.cause


@flow
async def click_to_call_agent_no_answer(scene):
    """Her own phone rings for as long as it may."""
    alice, _phone = await dials(scene, dial_seconds=1)
    await alice.hears("CANCEL")
    scene.expect(alice, f"INITIAL out {scene.number}", f"CANCEL out {scene.number}: cancelled")
    assert alice.events[-1].call.cause


@flow
async def click_to_call_agent_offline(scene):
    """She has no phone."""
    alice = await scene.desk()
    await alice.does("call", number=scene.number)
    await alice.hears("CANCEL")
    scene.expect(alice, f"INITIAL out {scene.number}", f"CANCEL out {scene.number}: cancelled")
    assert alice.events[-1].call.cause


@flow
async def click_to_call_a_colleague(scene):
    """The number is a colleague's: she has her view of it, too."""
    alice, hers = await scene.agent()
    bob, his = await scene.agent()
    await alice.does("call", number=bob.agent)
    await hers.answer()
    await his.answer()
    await alice.hears("CONNECTED")
    await bob.hears("CONNECTED")
    await his.hang_up()
    await alice.hears("HANGUP")
    await bob.hears("HANGUP")
    him = f"{bob.agent} Agent {bob.agent}"
    scene.expect(
        alice,
        f"INITIAL out {bob.agent}",
        f"ACCEPTED out {bob.agent}",
        f"RINGING out {him}",
        f"CONNECTED out {him}",
        f"HANGUP out {him}: completed",
    )
    other = f"{alice.agent} Agent {alice.agent}"
    scene.expect(bob, f"RINGING in {other}", f"CONNECTED in {other}", f"HANGUP in {other}: completed")


# -- answering, refusing, hanging up from the screen ------------------------------------------------------------------


@flow
async def remote_answer_by_redirect(scene):
    """Answered from the screen: her phone is called again, and answers by itself."""
    alice, desk_phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await alice.does("answer")
    await alice.hears("CONNECTED")
    await caller.answered()
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def remote_answer_by_talk(scene):
    """Answered from the screen: a phone that knows the talk event is told to."""
    alice = await scene.desk(username="cti-notify", answer="talk")
    desk_phone = await scene.stack.enter_async_context(talk_phone(scene.pbx, alice.agent))
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await alice.does("answer")
    await alice.hears("CONNECTED")
    await caller.answered()
    await caller.hang_up()
    await alice.hears("HANGUP")
    assert desk_phone.agent == alice.agent
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def remote_answer_by_notify(scene):
    """A phone that does not know the talk event says that there is no such call, and Asterisk believes it."""
    alice, desk_phone = await scene.agent(username="cti-notify", answer="talk")
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    answer = await alice.command("answer")
    assert (answer.ok, answer.code) == (False, "call_lost")
    await caller.over()
    await desk_phone.wait_for("idle")
    await alice.hears("HANGUP")
    assert sorted(alice.story[1:]) == ["ERROR call_lost", f"HANGUP in {MARIE}: missed"]  # either comes first
    scene.expect(alice, f"RINGING in {MARIE}", *alice.story[1:])


@flow
async def remote_answer_that_the_phone_does_not_obey(scene):
    """Answered from the screen, but the phone does not answer by itself: she is told, and may still answer there."""
    alice, desk_phone = await scene.agent(answer_seconds=1, traits={"obeys": False})
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    answer = await alice.command("answer")
    assert (answer.ok, answer.code) == (False, "phone_did_not_answer")
    await desk_phone.answer()
    await alice.hears("CONNECTED")
    await caller.hang_up()
    await alice.hears("HANGUP")
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        "ERROR phone_did_not_answer",
        f"CONNECTED in {MARIE}",
        f"HANGUP in {MARIE}: completed",
    )


@flow
async def refuse_by_ami(scene):
    """Refused from the screen."""
    alice, desk_phone = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await alice.does("hangup")
    await caller.over()
    await desk_phone.wait_for("idle")
    await alice.hears("HANGUP")
    assert caller.code == 486
    scene.expect(alice, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: rejected")


@flow
async def hangup_by_ami(scene):
    """Hung up from the screen."""
    alice, desk_phone, caller = await talks(scene)
    await alice.does("hangup")
    await caller.over()
    await desk_phone.wait_for("idle")
    await alice.hears("HANGUP")
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def dtmf(scene):
    """Keys from the screen reach the far side."""
    alice, desk_phone = await scene.agent()
    await desk_phone.dial(scene.number)
    far = await scene.outside.called(scene.number)
    await far.answer()
    await alice.hears("CONNECTED")
    await alice.does("dtmf", digits="12#")
    await far.pressed("12#")
    await far.hang_up()
    await alice.hears("HANGUP")
    far_side = scene.number
    scene.expect(alice, f"RINGING out {far_side}", f"CONNECTED out {far_side}", f"HANGUP out {far_side}: completed")


# -- hold -------------------------------------------------------------------------------------------------------------


@flow
async def hold_unhold(scene):
    """Held and resumed on the phone."""
    alice, desk_phone, _caller = await talks(scene)
    await desk_phone.hold()
    await alice.hears("ON_HOLD")
    await desk_phone.resume()
    await alice.hears("CONNECTED", 2)
    await desk_phone.hang_up()
    await alice.hears("HANGUP")
    steps = ("RINGING", "CONNECTED", "ON_HOLD", "CONNECTED")
    scene.expect(alice, *(f"{name} in {MARIE}" for name in steps), f"HANGUP in {MARIE}: completed")


@flow
async def hold_by_ami(scene):
    """Held and resumed from the screen, without the phone's help; the caller hangs up."""
    alice, _phone, caller = await talks(scene)
    await alice.does("hold")
    await alice.hears("ON_HOLD")
    await alice.does("resume")
    await alice.hears("CONNECTED", 2)
    await caller.hang_up()
    await alice.hears("HANGUP")
    steps = ("RINGING", "CONNECTED", "ON_HOLD", "CONNECTED")
    scene.expect(alice, *(f"{name} in {MARIE}" for name in steps), f"HANGUP in {MARIE}: completed")


@flow
async def hold_by_ami_and_the_caller_hangs_up(scene):
    """Held from the screen; the caller does not wait."""
    alice, desk_phone, caller = await talks(scene)
    await alice.does("hold")
    await alice.hears("ON_HOLD")
    await caller.hang_up()
    await alice.hears("HANGUP")
    await desk_phone.wait_for("idle")
    steps = ("RINGING", "CONNECTED", "ON_HOLD")
    scene.expect(alice, *(f"{name} in {MARIE}" for name in steps), f"HANGUP in {MARIE}: completed")


# -- transfers --------------------------------------------------------------------------------------------------------


async def takes_over(bob, his, caller):
    """The colleague answers what was handed to him, and hangs up."""
    await his.answer()
    await bob.hears("CONNECTED")
    await his.hang_up()
    await bob.hears("HANGUP")
    await caller.over()


def handed_over(scene, alice, bob, *between):
    """What both must have been told: for each the caller was the other side."""
    ended = f"HANGUP in {MARIE}: transferred"
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", *between, ended)
    scene.expect(bob, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


@flow
async def blind_transfer(scene):
    """Handed over from the screen; the colleague sees the caller, not the agent."""
    alice, _phone, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("transfer", number=bob.agent)
    await alice.hears("HANGUP")
    await takes_over(bob, his, caller)
    handed_over(scene, alice, bob)


@flow
async def blind_transfer_refused(scene):
    """Handed over from the screen; the colleague refuses."""
    alice, _phone, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("transfer", number=bob.agent)
    await bob.hears("RINGING")
    await his.hang_up()
    await bob.hears("HANGUP")
    await alice.hears("HANGUP")
    await caller.over()
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: transferred")
    scene.expect(bob, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: rejected")


@flow
async def blind_transfer_outside(scene):
    """Handed over from the screen to a number outside."""
    alice, _phone, caller = await talks(scene)
    await alice.does("transfer", number=scene.number)
    far = await scene.outside.called(scene.number)
    await alice.hears("HANGUP")
    await far.answer()
    await far.hang_up()
    await caller.over()
    scene.expect(alice, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: transferred")


@flow
async def blind_transfer_by_phone(scene):
    """Handed over on the phone (REFER)."""
    alice, hers, caller = await talks(scene)
    bob, his = await scene.agent()
    await hers.transfer(bob.agent)
    await alice.hears("HANGUP")
    await takes_over(bob, his, caller)
    handed_over(scene, alice, bob)


@flow
async def transfer_of_a_held_call(scene):
    """Held from the screen, then handed over."""
    alice, _phone, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("hold")
    await alice.hears("ON_HOLD")
    await alice.does("transfer", number=bob.agent)
    await alice.hears("HANGUP")
    await takes_over(bob, his, caller)
    handed_over(scene, alice, bob, f"ON_HOLD in {MARIE}")


@flow
async def redirect_while_ringing(scene):
    """Sent on to a colleague from the screen before she has answered."""
    alice, _phone = await scene.agent()
    bob, his = await scene.agent()
    caller = await scene.outside.ring(alice.agent)
    await alice.hears("RINGING")
    await alice.does("transfer", number=bob.agent)
    await alice.hears("HANGUP")
    await takes_over(bob, his, caller)
    scene.expect(alice, f"RINGING in {MARIE}", f"HANGUP in {MARIE}: transferred")
    scene.expect(bob, f"RINGING in {MARIE}", f"CONNECTED in {MARIE}", f"HANGUP in {MARIE}: completed")


def asked_by(scene, alice, bob):
    """What both are told when she asks him, and hands the caller over."""
    asks = f"asks {bob.agent}"
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"ON_HOLD in {MARIE}",
        f"UPDATED in {MARIE} {asks}",
        f"HANGUP in {MARIE}: transferred",
    )
    her = f"{alice.agent} Agent {alice.agent}"
    scene.expect(
        bob, f"RINGING in {her}", f"CONNECTED in {her}", f"UPDATED in {MARIE}", f"HANGUP in {MARIE}: completed"
    )


@flow
async def attended_transfer(scene):
    """She asks a colleague first, then connects him with the caller."""
    alice, _phone, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("consult", number=bob.agent)
    await his.answer()
    await bob.hears("CONNECTED")
    await alice.does("complete")
    await alice.hears("HANGUP")
    await bob.hears("UPDATED")
    await his.hang_up()
    await bob.hears("HANGUP")
    await caller.over()
    asked_by(scene, alice, bob)


@flow
async def attended_transfer_by_phone(scene):
    """She asks a colleague first, and hands the caller over by hanging up, all with the keys of her phone."""
    alice, hers, caller = await talks(scene)
    bob, his = await scene.agent()
    await hers.press(f"*2{bob.agent}")
    await his.answer()
    await bob.hears("CONNECTED")
    await alice.hears(f"UPDATED in {MARIE} asks {bob.agent}")
    await hers.hang_up()
    await alice.hears("HANGUP")
    await bob.hears("UPDATED")
    await his.hang_up()
    await bob.hears("HANGUP")
    await caller.over()
    asked_by(scene, alice, bob)


@flow
async def attended_transfer_external(scene):
    """The same with somebody outside: two others stay connected when she leaves."""
    alice, _phone, caller = await talks(scene)
    await alice.does("consult", number=scene.number)
    far = await scene.outside.called(scene.number)
    await far.answer()
    await alice.hears("ON_HOLD")
    await alice.until(lambda: alice.call.consult is not None, "whom she asks")
    await alice.does("complete")
    await alice.hears("HANGUP")
    assert not caller.is_over
    await caller.hang_up()
    await far.over()
    asks = f"asks {scene.number}"
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"ON_HOLD in {MARIE}",
        f"UPDATED in {MARIE} {asks}",
        f"HANGUP in {MARIE}: transferred",
    )


@flow
async def attended_transfer_cancelled(scene):
    """She goes back to the caller while the colleague's phone rings."""
    alice, hers, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("consult", number=bob.agent)
    await bob.hears("RINGING")
    await alice.hears("UPDATED")
    await alice.does("back")
    await bob.hears("HANGUP")
    await alice.hears("CONNECTED", 2)
    await his.wait_for("idle")
    await hers.hang_up()
    await alice.hears("HANGUP")
    await caller.over()
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"ON_HOLD in {MARIE}",
        f"UPDATED in {MARIE} asks {bob.agent}",
        f"CONNECTED in {MARIE}",
        f"HANGUP in {MARIE}: completed",
    )
    her = f"{alice.agent} Agent {alice.agent}"
    scene.expect(bob, f"RINGING in {her}", f"HANGUP in {her}: missed")


@flow
async def attended_transfer_given_back(scene):
    """The colleague answers, says no, and hangs up: she has the caller again."""
    alice, hers, caller = await talks(scene)
    bob, his = await scene.agent()
    await alice.does("consult", number=bob.agent)
    await his.answer()
    await bob.hears("CONNECTED")
    await his.hang_up()
    await alice.hears("CONNECTED", 2)
    await hers.hang_up()
    await alice.hears("HANGUP")
    await caller.over()
    scene.expect(
        alice,
        f"RINGING in {MARIE}",
        f"CONNECTED in {MARIE}",
        f"ON_HOLD in {MARIE}",
        f"UPDATED in {MARIE} asks {bob.agent}",
        f"CONNECTED in {MARIE}",
        f"HANGUP in {MARIE}: completed",
    )
    her = f"{alice.agent} Agent {alice.agent}"
    scene.expect(bob, f"RINGING in {her}", f"CONNECTED in {her}", f"HANGUP in {her}: completed")


# -- what other programs do -------------------------------------------------------------------------------------------


@flow
async def originated_by_another_program(scene):
    """Somebody else's click-to-call rings her phone."""
    alice, desk_phone = await scene.agent()
    command = f"channel originate PJSIP/{alice.agent} extension {scene.number}@from-agents"
    await asyncio.to_thread(scene.pbx.cli, command)
    await desk_phone.answer()
    far = await scene.outside.called(scene.number)
    await far.answer()
    await alice.hears("CONNECTED")
    await far.hang_up()
    await alice.hears("HANGUP")
    scene.expect(alice, *alice.story)
    assert alice.story[-2:] == [f"CONNECTED out {scene.number}", f"HANGUP out {scene.number}: completed"]


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Played:
    return repertoire.play(request)


@pytest.mark.parametrize("name", repertoire.flows)
def test_each_agent_is_told(played, name):
    played.check(name)
