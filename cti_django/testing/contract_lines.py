"""The contract, first part: being set up, opened, lost, closed and examined."""

import asyncio
import logging
from contextlib import suppress

import pytest

from ..calls.commands import Capability
from ..calls.states import CallState
from ..connectors.base import Connector
from ..exceptions import CommandRefused, ConnectionLost, ConnectorError, LoginRefused
from .contract_ground import CALLER, NAME, ContractGround, commands, unknown_call
from .world import ConnectorWorld

__all__ = ["LineContract"]

_STEPS = 40  # turns of the event loop after which an opening is cancelled, at most


class LineContract(ContractGround):
    """What holds for any line, whatever is told on it."""

    # -- before it is opened ------------------------------------------------------------------------------------

    async def test_it_has_a_name_and_capabilities(self, world: ConnectorWorld) -> None:
        connector = world.connector()
        assert connector.name, "name: as settings and accounts spell it"
        assert len(connector.name) <= 40, "name: at most 40 characters"
        assert isinstance(connector.capabilities, frozenset)
        assert all(isinstance(each, Capability) for each in connector.capabilities)

    async def test_an_option_that_it_does_not_know_is_named(self, world: ConnectorWorld) -> None:
        with pytest.raises(ValueError, match="no_such_option"):
            world.connector(no_such_option="1")

    async def test_secrets_are_not_shown(self, world: ConnectorWorld, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "cti_django")
        async with self.opened(world) as (connector, heard):
            shown = [repr(connector), str(connector), repr(connector.credentials)]
        shown += [*map(repr, heard.said), caplog.text]
        assert not [secret for secret in self.secrets(world, connector) for text in shown if secret in text]

    async def test_what_is_not_open_refuses_commands_and_closes_in_peace(self, world: ConnectorWorld) -> None:
        connector = world.connector()
        for command in commands():
            with pytest.raises((CommandRefused, ConnectionLost)):
                await connector.execute(command, unknown_call())
        await connector.refresh()
        await connector.close()
        await connector.close()

    # -- opening ------------------------------------------------------------------------------------------------

    async def test_opening_says_logged_in_subscribed_ready_and_how_her_calls_stand(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (_, heard):
            wanted = ["LOGGED_IN", "SUBSCRIBED", "READY"] if world.subscribes else ["LOGGED_IN", "READY"]
            assert [name for name in heard.names() if name in wanted] == wanted
            assert heard.names().index("LOGGED_IN") < heard.names().index("Snapshot")
            assert not heard.legs(), "she has no calls"
            assert not heard.call_events()
            self.check_said(heard)

    async def test_a_call_that_rang_while_nobody_listened_is_told(self, world: ConnectorWorld) -> None:
        await world.ring_unheard(CALLER, NAME)
        async with self.opened(world) as (_, heard):
            ringing = await heard.until_event("RINGING")
            assert ringing.call.source.number == CALLER
            self.check_said(heard)

    async def test_a_call_that_ended_while_nobody_listened_is_over_once(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await world.ring(CALLER, NAME)
            await heard.until_event("RINGING")
            await connector.close()
            await heard.until_over()
            await world.hang_up_unheard()
            await connector.open()
            again = self.listener(connector, heard)
            await again.until_ready()
            await again.until_event("HANGUP")
            assert [event.name for event in again.call_events()] == ["HANGUP"]

    async def test_a_call_keeps_its_id_whoever_hears_of_it(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await world.ring(CALLER, NAME)
            before = (await heard.until_event("RINGING")).call
            await connector.close()
            await connector.open()
            same_board, new_board = self.listener(connector, heard), None
            await same_board.until_ready()
            assert not same_board.call_events(), "what is known is no news"
            await same_board.stop()
            await connector.close()
        async with self.opened(world) as (_, new_board):
            after = (await new_board.until_event("RINGING")).call
        assert after.provider_call_id == before.provider_call_id
        assert after.leg_id == before.leg_id
        told = heard.legs(CallState.RINGING)[0].started_at, new_board.legs(CallState.RINGING)[0].started_at
        assert None in told or after.call_id == before.call_id, f"started_at was {told[0]}, then {told[1]}"

    async def test_refused_credentials_are_login_refused(
        self, world: ConnectorWorld, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "cti_django")
        connector = world.connector()
        await world.refuse_login()
        try:
            await connector.open()
            heard = self.listener(connector)
            await heard.until_over()
            error = heard.error
        except LoginRefused as refused:
            error = refused
        finally:
            await connector.close()
        assert isinstance(error, LoginRefused), f"open() and notifications() gave {error!r}"
        assert str(error).strip(), "a sentence for the agent"
        texts = (str(error), caplog.text)
        assert not [secret for secret in self.secrets(world, connector) for text in texts if secret in text]

    # -- the line -----------------------------------------------------------------------------------------------

    async def test_a_lost_line_is_connection_lost_and_the_same_object_opens_again(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await world.ring(CALLER, NAME)
            ringing = await heard.until_event("RINGING")
            await world.lose_line()
            await heard.until_over()
            assert isinstance(heard.error, ConnectionLost), f"notifications() gave {heard.error!r}"
            assert str(heard.error).strip(), "a sentence for the agent"
            await connector.close()
            with pytest.raises(ConnectionLost):
                await self.fail_to_open(connector)
            await connector.close()
            await world.hang_up_unheard()
            await world.restore_line()
            await connector.open()
            again = self.listener(connector, heard)
            await again.until_ready()
            ended = await again.until_event("HANGUP")
            assert ended.call.call_id == ringing.call.call_id

    async def test_closing_ends_the_notifications_and_may_be_done_twice(self, world: ConnectorWorld) -> None:
        async with self.opened(world) as (connector, heard):
            await connector.close()
            await heard.until_over()
            assert heard.error is None, f"notifications() gave {heard.error!r}"
            await connector.close()

    async def test_closing_leaves_nothing_behind(self, world: ConnectorWorld) -> None:
        async with self.leaving_nothing(world):
            for _ in range(3):
                async with self.opened(world):
                    pass

    async def test_an_opening_that_is_cancelled_leaves_nothing_behind(self, world: ConnectorWorld) -> None:
        async with self.leaving_nothing(world):
            for steps in (*range(8), 12, 16, 24, _STEPS):
                connector = world.connector()
                opening = asyncio.ensure_future(connector.open())
                for _ in range(steps):
                    await asyncio.sleep(0)
                opening.cancel()
                with suppress(asyncio.CancelledError, ConnectorError):
                    await opening
                await connector.close()

    async def test_closing_in_the_middle_of_an_opening_leaves_nothing_behind(self, world: ConnectorWorld) -> None:
        async with self.leaving_nothing(world):
            for steps in (1, 2, 3, 5, 8, 16, _STEPS):
                connector = world.connector()
                opening = asyncio.ensure_future(connector.open())
                for _ in range(steps):
                    await asyncio.sleep(0)
                await connector.close()
                with suppress(ConnectorError):
                    async with asyncio.timeout(self.patience_seconds):
                        await opening
                await connector.close()

    # -- the doctor's examination -------------------------------------------------------------------------------

    async def test_an_examination_of_what_works_finds_nothing_and_leaves_nothing(self, world: ConnectorWorld) -> None:
        async with self.leaving_nothing(world):
            connector = world.connector()
            findings = await self.examine(connector)
        self.check_findings(world, connector, findings)
        assert not [finding for finding in findings if finding.ok is False]
        assert any(finding.ok for finding in findings)

    async def test_an_examination_finds_out_that_the_log_in_is_refused(self, world: ConnectorWorld) -> None:
        connector = world.connector()
        await world.refuse_login()
        findings = await self.examine(connector)
        self.check_findings(world, connector, findings)
        assert any(finding.ok is False for finding in findings)

    async def test_an_examination_finds_out_that_the_line_is_broken(self, world: ConnectorWorld) -> None:
        connector = world.connector()
        await world.lose_line()
        findings = await self.examine(connector)
        self.check_findings(world, connector, findings)
        assert any(finding.ok is False for finding in findings)

    # -- what these tests share -----------------------------------------------------------------------------------

    async def fail_to_open(self, connector: Connector) -> None:
        """Open a connector whose system cannot be reached: that may be told by ``open`` or behind it."""
        await connector.open()
        heard = self.listener(connector)
        await heard.until_over()
        if heard.error is not None:
            raise heard.error
