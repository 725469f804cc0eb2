"""The contract, second part: calls, and what an agent asks for."""

import asyncio

import pytest

from ..calls.commands import Capability, Dial, Logout
from ..calls.numbers import PartyKind
from ..calls.states import CallState, Direction, EndReason
from ..exceptions import CommandRefused
from .contract_ground import CALLER, NAME, ContractGround, commands, unknown_call
from .world import ConnectorWorld

__all__ = ["CallContract"]

HOSTILE_NAMES = (
    "<img src=x onerror=alert(1)> & 'Co' \"Ltd\"",
    "Dana\r\nAction: Originate\r\nChannel: PJSIP/1\r\n\r\n",
    "\u202eanaD\u200b\u2028 \x1b[31m",
    "x" * 5_000,
)
HOSTILE_NUMBERS = ("sip:<script>@[::1", "+44207946001\r\n8", "9" * 5_000, "'; DROP TABLE calls; --")


class CallContract(ContractGround):
    """What holds for calls and commands."""

    # -- calls --------------------------------------------------------------------------------------------------

    async def test_a_call_that_rings_is_told_with_who_calls(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard):
            await world.ring(CALLER, NAME)
            event = await heard.until_event("RINGING")
            (leg, *_) = heard.legs(CallState.RINGING)
            assert (leg.direction, leg.node, event.call.is_own) == (Direction.INBOUND, "", True)
            assert leg.provider_call_id, "provider_call_id: without it no command can name the call"
            assert leg.leg_id
            assert (leg.remote.kind, leg.remote.number) == (PartyKind.NUMBER, CALLER)
            assert event.call.remote.name == (NAME if world.sends_names else "")
            assert leg.started_at is None or leg.started_at.tzinfo is not None, "started_at: aware UTC"
            self.check_said(heard)

    async def test_a_call_is_answered_and_hung_up(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard):
            await world.ring(CALLER, NAME)
            await heard.until_event("RINGING")
            await world.answer()
            await heard.until_event("CONNECTED")
            await world.hang_up()
            ended = await heard.until_event("HANGUP")
            assert [event.name for event in heard.call_events()] == ["RINGING", "CONNECTED", "HANGUP"]
            assert len({event.call.call_id for event in heard.call_events()}) == 1
            assert ended.call.end_reason is EndReason.COMPLETED
            assert heard.board.calls() == []
            self.check_said(heard)

    async def test_a_call_that_nobody_answers_is_missed(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard):
            await world.ring(CALLER, NAME)
            await heard.until_event("RINGING")
            await world.hang_up()
            ended = await heard.until_event("HANGUP")
            assert [event.name for event in heard.call_events()] == ["RINGING", "HANGUP"]
            assert ended.call.end_reason is EndReason.MISSED

    async def test_two_calls_one_after_the_other_are_two(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard):
            for times in (1, 2):
                await world.ring(CALLER, NAME)
                await heard.until_event("RINGING", times)
                await world.hang_up()
                await heard.until_event("HANGUP", times)
            assert len({event.call.call_id for event in heard.call_events()}) == 2

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=("html", "lines", "invisible", "long"))
    async def test_a_hostile_name_is_only_a_name(self, world: ConnectorWorld, name: str) -> None:
        async with self.opened(world) as (connector, heard):
            await world.ring(CALLER, name)
            event = await heard.until_event("RINGING")
            assert event.call.remote.number == CALLER
            await connector.refresh()
            await world.hang_up()
            await heard.until_event("HANGUP")
            self.check_said(heard)

    @pytest.mark.parametrize("number", HOSTILE_NUMBERS, ids=("uri", "lines", "long", "sql"))
    async def test_a_hostile_number_does_not_end_the_line(self, world: ConnectorWorld, number: str) -> None:
        async with self.opened(world) as (_, heard):
            await world.ring(number, NAME)
            await heard.until_event("RINGING")
            await world.hang_up()
            await heard.until_event("HANGUP")
            self.check_said(heard)

    async def test_agents_side_by_side_do_not_hear_each_others_calls(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard), self.opened(world, world.colleague()) as (_, colleague):
            await world.ring(CALLER, NAME)
            await heard.until_event("RINGING")
            await world.hang_up()
            await heard.until_event("HANGUP")
            own = [leg for leg in colleague.legs() if not leg.node]
            assert not own, "the colleague has heard of the agent's call"

    # -- commands -----------------------------------------------------------------------------------------------

    async def test_what_it_cannot_do_and_calls_that_it_does_not_know_are_refused(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            for command in commands():
                if command.capability not in connector.capabilities:
                    with pytest.raises(CommandRefused):
                        await connector.execute(command, unknown_call())
                elif hasattr(command, "call_id"):
                    with self.refused(command):
                        await connector.execute(command, unknown_call())
                    with self.refused(command):
                        await connector.execute(command, None)
            assert heard.error is None
            assert not heard.is_over, "a refused command ended the line"

    async def test_a_dial_is_started_at_once(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            if Capability.DIAL not in connector.capabilities:
                pytest.skip("this connector cannot dial")
            dialling = asyncio.ensure_future(connector.execute(Dial(command_id="d1", number=world.dialled)))
            for _ in range(5):  # more than from a task to the listener, less than any answer takes
                await asyncio.sleep(0)
            assert "STARTED" in heard.names(), "STARTED must be said before the first await"
            assert heard.call_events("INITIAL")[0].call.destination.number == world.dialled
            async with asyncio.timeout(self.patience_seconds):
                await dialling

    async def test_what_cannot_be_dialled_is_refused(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            for number in ("", "Dana", "+44 20 7946 0018\r\nAction: Originate", "9" * 500):
                with pytest.raises(CommandRefused):
                    await connector.execute(Dial(command_id=f"d{number}", number=number))
            assert not heard.call_events()

    async def test_logging_out_ends_the_notifications(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await connector.execute(Logout(command_id="l1"))
            await heard.until_over()
            assert heard.error is None, f"notifications() gave {heard.error!r}"
            assert heard.names()[-1] == "LOGGED_OUT"

    async def test_the_calls_are_told_anew_when_asked_for(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await world.ring(CALLER, NAME)
            await heard.until_event("RINGING")
            await connector.refresh()
            await world.hang_up()
            await heard.until_event("HANGUP")
            assert [event.name for event in heard.call_events()] == ["RINGING", "HANGUP"]

    async def test_the_directory_lists_colleagues(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, _):
            colleagues = await connector.directory()
            assert Capability.DIRECTORY in connector.capabilities or not colleagues
            for colleague in colleagues:
                assert {"number", "name", "node"} <= set(colleague) <= {"number", "name", "node", "presence"}
                assert all(isinstance(text, str) for text in colleague.values())
                assert colleague.get("presence", "idle") in {"idle", "ringing", "busy", "hold", "offline"}
