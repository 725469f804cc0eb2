"""The contract tests find out what they are there for: each fault of a connector fails the test that names it."""

import asyncio
from dataclasses import replace

import pytest

from cti_django.calls.commands import Dial, HangUp
from cti_django.calls.notifications import LegNotification, SessionNotification, Snapshot
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import Direction
from cti_django.connectors.base import Finding
from cti_django.exceptions import ConnectionLost, LoginRefused
from cti_django.testing.contract import ConnectorContractTests
from cti_django.testing.contract_calls import HOSTILE_NAMES
from tests.testing import toy_connector
from tests.testing.test_toy_connector import ToyWorld
from tests.testing.toy_connector import ToyConnector
from tests.testing.toy_pbx import PASSWORD, ToyPBX


class Quick(ConnectorContractTests):
    __test__ = False
    patience_seconds = 0.5


class FaultyWorld(ToyWorld):
    """The toy PBX, with a connector that has a fault."""

    def __init__(self, pbx, connector_class):
        super().__init__(pbx)
        self._class = connector_class

    def _connector(self, extension, options):
        credentials = super()._connector(extension, {}).credentials
        plan = ToyConnector.number_plan_defaults
        return self._class(credentials, {"port": self.pbx.port, **options}, number_plan=plan)


async def findings(connector_class, test, *arguments):
    """Whether `test` finds a fault in the connector."""
    async with ToyPBX() as pbx:
        world = FaultyWorld(pbx, connector_class)
        try:
            await getattr(Quick(), test)(world, *arguments)
        except (AssertionError, pytest.fail.Exception, TimeoutError):
            return True
        except Exception as error:
            return repr(error)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)
    return False


class TakesAnything(ToyConnector):
    def __init__(self, credentials, options, **more):
        super().__init__(credentials, {key: options[key] for key in ("host", "port") if key in options}, **more)


class ShowsSecrets(ToyConnector):
    def __repr__(self):
        return f"<ToyConnector {self.credentials.password}>"


class ForgetsReady(ToyConnector):
    def _say(self, notification):
        if getattr(notification, "name", "") != "READY":
            super()._say(notification)


class ForgetsSnapshot(ToyConnector):
    def _say(self, notification):
        if not isinstance(notification, Snapshot):
            super()._say(notification)


class EmptySnapshot(ToyConnector):
    def _say(self, notification):
        super()._say(Snapshot() if isinstance(notification, Snapshot) else notification)


class ReadyFirst(ToyConnector):
    def _say(self, notification):
        if getattr(notification, "name", "") == "LOGGED_IN":
            super()._say(SessionNotification(name="READY"))
        if getattr(notification, "name", "") != "READY":
            super()._say(notification)


class Legs(ToyConnector):
    """Says legs in another way."""

    def _say(self, notification):
        if isinstance(notification, LegNotification):
            notification = self.leg(notification)
        elif isinstance(notification, Snapshot):
            notification = replace(notification, legs=tuple(map(self.leg, notification.legs)))
        super()._say(notification)

    def leg(self, leg):
        return leg


class NewIds(Legs):
    number = 0

    def leg(self, leg):
        type(self).number += 1
        return replace(leg, provider_call_id=str(self.number))


class NewStarts(Legs):
    number = 0

    def leg(self, leg):
        type(self).number += 1
        return replace(leg, started_at=leg.started_at.replace(year=2000 + self.number))


class Unclassified(Legs):
    def leg(self, leg):
        raw = Party(kind=PartyKind.ALPHANUMERIC, number_raw=leg.remote.number_raw)
        return replace(leg, remote=raw)


class Backwards(Legs):
    def leg(self, leg):
        return replace(leg, direction=Direction.OUTBOUND)


class Nameless(Legs):
    def leg(self, leg):
        return replace(leg, remote=replace(leg.remote, name=""))


class RawNames(ToyConnector):
    def _hear_leg(self, leg):
        super()._hear_leg(replace(leg, remote=replace(leg.remote, name=leg.remote.name * 50 + "\x1b")))


class LosesSilently(ToyConnector):
    async def _read(self, reader, stream):
        try:
            await super()._read(reader, stream)
        finally:
            stream.end()

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self._stream.fail = lambda error: None

    async def open(self):
        await super().open()
        self._stream = _Deaf(self._stream)


class _Deaf:
    """A stream whose failure is only an end."""

    def __init__(self, stream):
        self._inner = stream

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def __aiter__(self):
        try:
            async for each in self._inner:
                yield each
        except ConnectionLost:
            return


class NeverEnds(ToyConnector):
    async def close(self):
        stream, self._stream = self._stream, toy_connector.NotificationStream()
        await super().close()
        self._stream = stream


class LeavesItsTask(ToyConnector):
    async def close(self):
        self._stream.end()
        self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def open(self):
        await super().open()
        self.__class__.kept.append(asyncio.ensure_future(asyncio.Event().wait()))

    kept = []


class LeavesItsSocket(ToyConnector):
    kept = []

    async def close(self):
        if self._writer is not None:
            self.kept.append(self._writer)
            self._writer = None
        await super().close()


class LeavesItsSocketWhenCancelled(ToyConnector):
    kept = []

    async def open(self):
        _, writer = await asyncio.open_connection(self._host, self._port)
        self.kept.append(writer)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writer.close()
        await super().open()


class CrashesWhenClosedTwice(ToyConnector):
    is_closed = False

    async def close(self):
        await super().close()
        assert not self.is_closed, "closed twice"
        self.is_closed = self._stream.is_over and self.opened

    opened = False

    async def open(self):
        self.is_closed = False
        await super().open()
        self.opened = True


class RaisesWhatItLikes(ToyConnector):
    async def execute(self, command, call=None):
        if isinstance(command, HangUp):
            raise KeyError("no such call")
        await super().execute(command, call)


class TakesEverything(ToyConnector):
    async def execute(self, command, call=None):
        if not hasattr(command, "call_id"):
            await super().execute(command, call)


class StartsLate(ToyConnector):
    async def execute(self, command, call=None):
        if isinstance(command, Dial):
            await asyncio.sleep(0.1)
        await super().execute(command, call)


class DialsAnything(ToyConnector):
    def _dial(self, command):
        return


class LogsOutSilently(ToyConnector):
    async def execute(self, command, call=None):
        self._stream.end()


class RefusesLate(ToyConnector):
    async def open(self):
        try:
            await super().open()
        except LoginRefused:
            raise ConnectionLost("Refused.") from None


class HearsEverybody(ToyConnector):
    heard = []

    def _hear_leg(self, leg):
        for each in self.heard:
            ToyConnector._hear_leg(each, leg)

    async def open(self):
        await super().open()
        self.heard.append(self)


class ExaminesBadly(ToyConnector):
    async def examine(self, *, number=""):
        yield Finding(step="Log in", ok=False, message=f"Refused: {PASSWORD}")


class ExaminesNothing(ToyConnector):
    async def examine(self, *, number=""):
        yield Finding(step="Look", ok=True, message="All is well.")


class ExaminesWithACrash(ToyConnector):
    async def examine(self, *, number=""):
        await self.open()
        yield Finding(step="Log in", ok=True, message="Well.")
        await self.close()


class StrangeColleagues(ToyConnector):
    async def directory(self):
        return [{"number": "102", "colour": "red"}]


@pytest.mark.parametrize(
    ("connector_class", "test", "arguments"),
    [
        (TakesAnything, "test_an_option_that_it_does_not_know_is_named", ()),
        (ForgetsReady, "test_opening_says_logged_in_subscribed_ready_and_how_her_calls_stand", ()),
        (ForgetsSnapshot, "test_opening_says_logged_in_subscribed_ready_and_how_her_calls_stand", ()),
        (ReadyFirst, "test_opening_says_logged_in_subscribed_ready_and_how_her_calls_stand", ()),
        (EmptySnapshot, "test_a_call_that_rang_while_nobody_listened_is_told", ()),
        (ForgetsSnapshot, "test_a_call_that_ended_while_nobody_listened_is_over_once", ()),
        (NewIds, "test_a_call_keeps_its_id_whoever_hears_of_it", ()),
        (NewStarts, "test_a_call_keeps_its_id_whoever_hears_of_it", ()),
        (Unclassified, "test_a_call_that_rings_is_told_with_who_calls", ()),
        (Backwards, "test_a_call_that_rings_is_told_with_who_calls", ()),
        (Nameless, "test_a_call_that_rings_is_told_with_who_calls", ()),
        (NewIds, "test_a_call_is_answered_and_hung_up", ()),
        (Backwards, "test_a_call_that_nobody_answers_is_missed", ()),
        (RawNames, "test_a_hostile_name_is_only_a_name", (HOSTILE_NAMES[0],)),
        (HearsEverybody, "test_agents_side_by_side_do_not_hear_each_others_calls", ()),
        (LosesSilently, "test_a_lost_line_is_connection_lost_and_the_same_object_opens_again", ()),
        (NeverEnds, "test_closing_ends_the_notifications_and_may_be_done_twice", ()),
        (CrashesWhenClosedTwice, "test_closing_ends_the_notifications_and_may_be_done_twice", ()),
        (LeavesItsTask, "test_closing_leaves_nothing_behind", ()),
        (LeavesItsSocket, "test_closing_leaves_nothing_behind", ()),
        (LeavesItsSocketWhenCancelled, "test_an_opening_that_is_cancelled_leaves_nothing_behind", ()),
        (LeavesItsTask, "test_closing_in_the_middle_of_an_opening_leaves_nothing_behind", ()),
        (RaisesWhatItLikes, "test_what_is_not_open_refuses_commands_and_closes_in_peace", ()),
        (RaisesWhatItLikes, "test_what_it_cannot_do_and_calls_that_it_does_not_know_are_refused", ()),
        (TakesEverything, "test_what_it_cannot_do_and_calls_that_it_does_not_know_are_refused", ()),
        (StartsLate, "test_a_dial_is_started_at_once", ()),
        (DialsAnything, "test_what_cannot_be_dialled_is_refused", ()),
        (LogsOutSilently, "test_logging_out_ends_the_notifications", ()),
        (StrangeColleagues, "test_the_directory_lists_colleagues", ()),
        (ExaminesBadly, "test_an_examination_of_what_works_finds_nothing_and_leaves_nothing", ()),
        (ExaminesNothing, "test_an_examination_finds_out_that_the_log_in_is_refused", ()),
        (ExaminesNothing, "test_an_examination_finds_out_that_the_line_is_broken", ()),
        (ExaminesWithACrash, "test_an_examination_finds_out_that_the_line_is_broken", ()),
    ],
)
async def test_a_fault_is_found(connector_class, test, arguments):
    assert await findings(connector_class, test, *arguments)
    assert await findings(ToyConnector, test, *arguments) is False, "the test fails without a fault, too"


@pytest.mark.parametrize(
    ("connector_class", "test"),
    [
        (ShowsSecrets, "test_secrets_are_not_shown"),
        (RefusesLate, "test_refused_credentials_are_login_refused"),
    ],
)
async def test_a_fault_that_shows_a_secret_or_hides_a_refusal_is_found(connector_class, test, caplog):
    assert await findings(connector_class, test, caplog)
    assert await findings(ToyConnector, test, caplog) is False
