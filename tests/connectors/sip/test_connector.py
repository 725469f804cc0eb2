"""Logging in, watching, registering, and what goes wrong there, against a scripted server."""

import asyncio

import pytest

from cti_django.calls import commands
from cti_django.calls.commands import Capability
from cti_django.calls.states import EndReason
from cti_django.exceptions import CommandRefused, ConnectionLost, LoginRefused

from .desk import Desk, at_desk
from .fake_server import FakePhone, document, running_server

MARIE = '"Marie Curie" <sip:+33123456789@pbx.example>'
EARLY = (
    '<dialog id="1006" direction="recipient"><state>early</state>'
    "<remote><identity>sip:+33123456789@pbx.example</identity></remote></dialog>"
)
CHALLENGE = (("WWW-Authenticate", 'Digest realm="pbx", nonce="abc", qop="auth"'),)
ELSEWHERE = ("Reason", 'SIP;cause=200;text="Call completed elsewhere"')


async def test_the_agent_is_told_that_she_is_logged_in_watched_and_ready():
    async with running_server() as server, at_desk(server.port, expires_seconds=120) as desk:
        assert desk.story == ["LOGGED_IN", "SUBSCRIBED", "READY"]
        assert desk.events[1].uri == "user:1006"
        subscribe = server.requests[-1]
        assert (subscribe.method, subscribe.uri) == ("SUBSCRIBE", "sip:1006@pbx.example")
        assert (subscribe.headers["Event"], subscribe.headers["Expires"]) == ("dialog", "120")
    await server.until(lambda: server.requests[-1].headers.get("Expires") == "0", 2)


async def test_another_node_may_be_the_agents_own():
    async with running_server() as server, at_desk(server.port, watch="line-6"):
        assert server.requests[-1].uri == "sip:line-6@pbx.example"


async def test_a_wrong_password_is_refused_when_the_line_opens():
    async with running_server() as server:
        server.statuses["OPTIONS"] = [401, 401]
        server.headers[401] = CHALLENGE
        with pytest.raises(LoginRefused, match="user name or password"):
            await Desk(server.port).open()


@pytest.mark.parametrize("credentials", [{"user": ""}, {"password": ""}])
async def test_without_credentials_nobody_is_asked(credentials):
    async with running_server() as server:
        with pytest.raises(LoginRefused):
            await Desk(server.port, **credentials).open()
        assert server.requests == []


async def test_a_name_that_can_be_nobodys_is_refused():
    async with running_server() as server:
        with pytest.raises(LoginRefused):
            await Desk(server.port, user="1006@no host").open()


async def test_a_server_that_is_out_of_service_says_when_to_come_back():
    async with running_server() as server:
        server.statuses["OPTIONS"] = [503]
        server.headers[503] = (("Retry-After", "17"),)
        with pytest.raises(ConnectionLost, match="in 17 seconds"):
            await Desk(server.port).open()


async def test_a_server_that_is_not_there_is_lost_at_once():
    async with running_server() as server:
        port = server.port
    with pytest.raises(ConnectionLost):
        await Desk(port).open()


async def test_a_server_without_dialog_events_is_a_refusal_that_says_what_helps():
    async with running_server() as server:
        server.statuses["SUBSCRIBE"] = [489]
        desk = Desk(server.port)
        await desk.open()
        error = await desk.until_failed()
        await desk.close()
        assert isinstance(error, LoginRefused)
        assert "Switch on its dialog events" in str(error)


async def test_with_a_shadow_contact_a_server_without_dialog_events_is_good_enough():
    async with running_server() as server:
        server.statuses["SUBSCRIBE"] = [489]
        async with at_desk(server.port, register=True) as desk:
            assert "INFO" in desk.story
            server.ring_shadow("a", MARIE)
            await desk.until(("RINGING", "+33123456789"))
            server.cancel_shadow("a", MARIE, ELSEWHERE)
            await desk.until("HANGUP")
            assert desk.call.end_reason is EndReason.ELSEWHERE
            await desk.connector.refresh()


async def test_the_shadow_contact_never_takes_a_call_from_the_real_phone():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        server.ring_shadow("a", MARIE)
        await desk.until("RINGING")
        server.cancel_shadow("a", MARIE)
        await desk.until("HANGUP")
        await server.until(lambda: [r.status for r in server.responses if r.cseq.method == "INVITE"] == [100, 487])


async def test_a_call_that_the_agent_has_refused_on_her_phone_does_not_go_on_at_her_shadow():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        server.ring_shadow("a", MARIE)
        server.notify(document(1, EARLY))
        await desk.until("RINGING")
        server.notify(document(2, EARLY.replace("early", "terminated")))
        await server.until(lambda: [r.status for r in server.responses if r.cseq.method == "INVITE"] == [100, 480])
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.MISSED


async def test_the_shadow_contact_is_the_caller_whom_the_documents_do_not_name():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        server.ring_shadow("a", MARIE)
        await desk.until("RINGING")
        server.notify(document(1, EARLY))
        server.cancel_shadow("a", MARIE, ELSEWHERE)
        server.notify(document(2, '<dialog id="1006"><state>confirmed</state></dialog>'))
        await desk.until("CONNECTED")
        server.notify(document(3, '<dialog id="1006"><state>terminated</state></dialog>'))
        await desk.until("HANGUP")
        assert [name for name, _ in desk.calls] == ["RINGING", "CONNECTED", "HANGUP"]
        assert desk.call.source.name == "Marie Curie"


async def test_whom_the_server_vouches_for_is_the_caller_and_a_hidden_one_stays_hidden():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        vouched = ("P-Asserted-Identity", "<sip:+4930123456@pbx.example>")
        server.ring_shadow("a", MARIE, vouched)
        await desk.until(("RINGING", "+4930123456"))
        assert desk.call.source.name == "Marie Curie"
        server.ring_shadow("b", '"Anonymous" <sip:anonymous@anonymous.invalid>', vouched)
        await desk.until(("RINGING", "anonymous"))


async def test_a_diverted_call_says_whom_the_caller_had_dialled():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        server.ring_shadow("a", MARIE, ("Diversion", "<sip:+442079460000@pbx.example>;reason=unconditional"))
        await desk.until("RINGING")
        assert desk.call.destination.number == "+442079460000"


async def test_our_own_click_to_call_does_not_ring_at_our_shadow():
    async with running_server() as server, at_desk(server.port, register=True) as desk:
        server.phones["1006"] = FakePhone(answers=0)
        await desk.connector.execute(commands.Dial(command_id="d", number="1007"))
        await server.until(lambda: server.phones["1006"].invite)
        server.ring_shadow("a", "<sip:1006@pbx.example>")
        await server.until(lambda: [r.status for r in server.responses if r.cseq.method == "INVITE"][-1:] == [480])
        assert desk.calls == [("INITIAL", "1007")]


async def test_closing_takes_the_registration_back():
    async with running_server() as server:
        async with at_desk(server.port, register=True):
            pass
        await server.until(lambda: [r.headers["Expires"] for r in server.requests if r.method == "REGISTER"][-1] == "0")


async def test_a_registration_that_is_too_brief_is_asked_for_longer_and_one_that_must_wait_waits():
    async with running_server() as server:
        server.statuses["REGISTER"] = [423]
        server.headers[423] = (("Min-Expires", "600"),)
        async with at_desk(server.port, register=True, register_seconds=60):
            await server.until(lambda: len([r for r in server.requests if r.method == "REGISTER"]) == 2)
            assert [r.headers["Expires"] for r in server.requests if r.method == "REGISTER"] == ["60", "600"]


@pytest.mark.parametrize(("status", "told"), [(503, "in 1 seconds"), (302, "status 302"), (405, "status 405")])
async def test_a_registration_that_fails_is_told_and_the_watching_goes_on(status, told):
    async with running_server() as server:
        server.statuses["REGISTER"] = [status]
        server.headers[503] = (("Retry-After", "1"),)
        async with at_desk(server.port, register=True) as desk:
            await desk.until("ERROR")
            (error,) = [event for event in desk.events if event.name == "ERROR"]
            assert told in error.message
            if status == 503:
                await server.until(lambda: len([r for r in server.requests if r.method == "REGISTER"]) == 2)


async def test_a_registration_that_is_forbidden_is_a_refusal():
    async with running_server() as server:
        server.statuses["REGISTER"] = [403]
        desk = Desk(server.port, register=True)
        await desk.open()
        assert isinstance(await desk.until_failed(), LoginRefused)
        await desk.close()


async def test_a_line_that_is_lost_is_told_and_opened_again_the_call_goes_on():
    async with running_server() as server, at_desk(server.port) as desk:
        server.notify(document(1, EARLY))
        await desk.until("RINGING")
        await desk.close()
        await desk.open()
        await desk.until_so(lambda: desk.story.count("READY") == 2)
        await desk.until("HANGUP")
        assert desk.call.end_reason is EndReason.INFERRED


async def test_a_further_node_is_watched_and_one_that_is_none_is_refused():
    async with running_server() as server, at_desk(server.port, directory={"1007": "Grace Hopper"}) as desk:
        await desk.connector.execute(commands.Subscribe(command_id="s", node="user:1007"))
        await desk.until_so(lambda: desk.story.count("SUBSCRIBED") == 2)
        assert server.requests[-1].uri == "sip:1007@pbx.example"
        with pytest.raises(CommandRefused, match="no node"):
            await desk.connector.execute(commands.Subscribe(command_id="s", node="<script>"))
        assert await desk.connector.directory() == [{"number": "1007", "name": "Grace Hopper", "node": "user:1007"}]
        assert Capability.DIRECTORY in desk.connector.capabilities


async def test_numbers_are_dialled_as_the_server_wants_them():
    async with running_server() as server, at_desk(server.port, dial_prefix="900", phone="desk-6") as desk:
        server.phones["desk-6"] = phone = FakePhone(refers=202)
        await desk.connector.execute(commands.Dial(command_id="d", number="020 7946 0018"))
        await desk.until("CONNECTED")
        (refer,) = [request for request in phone.heard if request.method == "REFER"]
        assert refer.headers["Refer-To"] == "<sip:900442079460018@pbx.example>"
        with pytest.raises(CommandRefused):
            await desk.connector.execute(commands.Dial(command_id="e", number="sip:mallory@evil.example"))


async def test_whoever_has_logged_out_stays_so():
    async with running_server() as server:
        desk = Desk(server.port)
        await desk.open()
        await desk.until("READY")
        await desk.connector.execute(commands.Logout(command_id="x"))
        await desk.until("LOGGED_OUT")
        with pytest.raises(CommandRefused):
            await desk.connector.execute(commands.Dial(command_id="d", number="1007"))
        await desk.close()
        await desk.open()
        await asyncio.wait_for(desk.until_so(lambda: desk.story.count("LOGGED_OUT") == 2), 5)
        await desk.close()


@pytest.mark.parametrize("rubbish", [b"\x00", b"INVITE sip:x SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"\r\n" * 50])
async def test_rubbish_on_the_line_leaves_it_as_it_is(rubbish):
    async with running_server() as server, at_desk(server.port) as desk:
        server.send_raw(rubbish)
        server.notify(document(1, EARLY))
        await desk.until("RINGING")


async def test_the_password_is_in_no_repr_and_no_error():
    async with running_server() as server, at_desk(server.port, password="pssst") as desk:
        told = [repr(desk.connector.credentials), repr(vars(desk.connector)), *map(repr, desk.events)]
        assert not any("pssst" in each for each in told)


async def test_an_examination_says_what_works_step_by_step():
    async with running_server() as server:
        server.phones["1006"] = FakePhone(refers=202)
        findings = [each async for each in Desk(server.port).connector.examine(number="1007")]
        assert [(each.step, each.ok) for each in findings] == [
            ("Find the server", True),
            ("Log in", True),
            ("Watch calls", True),
            ("Place a test call", True),
        ]
        assert findings[-1].message.endswith("Hang up there: this program cannot.")


async def test_an_examinations_call_is_hung_up_when_it_was_answered():
    async with running_server() as server:
        server.phones["1006"], server.phones["1007"] = phone, far = FakePhone(), FakePhone()
        findings = [each async for each in Desk(server.port).connector.examine(number="1007")]
        assert findings[-1].message == "The agent's phone rang, and the number answered."
        assert "BYE" in phone.methods()
        assert "BYE" in far.methods()


async def test_an_examinations_call_that_nobody_answers_is_no_success():
    async with running_server() as server:
        server.phones["1006"], server.phones["1007"] = FakePhone(), FakePhone(answers=486)
        findings = [each async for each in Desk(server.port).connector.examine(number="1007")]
        assert (findings[-1].ok, findings[-1].message) == (False, "The line is busy.")


@pytest.mark.parametrize(
    ("method", "statuses", "step", "advice"),
    [
        ("OPTIONS", [401, 401], "Log in", "auth_username"),
        ("OPTIONS", [503], "Log in", "firewalls"),
        ("SUBSCRIBE", [489], "Watch calls", "subscribe_context"),
        ("INVITE", [404], "Place a test call", "the option phone"),
    ],
)
async def test_an_examination_advises_where_it_stops(method, statuses, step, advice):
    async with running_server() as server:
        server.statuses[method] = statuses
        server.headers[401] = CHALLENGE
        findings = [each async for each in Desk(server.port).connector.examine(number="1007")]
        assert (findings[-1].step, findings[-1].ok) == (step, False)
        assert advice in findings[-1].advice
