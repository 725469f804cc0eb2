"""The outbox: what stands between calls that go on and a database that may not.

One entry for each call, the newest; a thread writes them in the order in which the calls were first heard of. While
the database fails the entries stay, newer ones take the place of older ones, and the thread tries again, ever slower.
It is bounded: it says so when it fills, holds up those who can wait (``room``), and only then gives entries up.
"""

import asyncio
import atexit
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, connections

from . import metrics
from .calls.events import Call
from .calls.numbers import same_party
from .calls.states import CallState, EndReason, may_become
from .conf import get_settings

__all__ = ["BACKPRESSURE_SECONDS", "BATCH", "Entry", "Outbox", "Said", "is_newer"]

logger = logging.getLogger("cti_django.calllog")

BATCH = 200  # calls that are written at a time
BACKPRESSURE_SECONDS = 5.0  # how long ``room`` holds up whoever waits for it

_FILLING = 0.8  # how full the outbox is when it first complains
_AT_EXIT = 5.0  # seconds that the process's end waits for the last calls
_GATHER = 0.05  # seconds between two writes, except of a call that nobody has answered: its page is about to open


class Said(NamedTuple):
    """What somebody says of a call: its state, whether its end is only inferred, and under which fence it was said."""

    state: CallState
    is_inferred: bool = False
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """The newest that is known of one call.

    Args:
        agent_id: the user's primary key; None if there is no such user any more.
        call: the call as it is now.
        at: when that was, aware UTC.
        connector: the name of the agent's connector.
        match_object: (content type id, object id) of the record that the call is certainly about.
        fence: the fence of the lease under which it was said; 0: said without a lease.
        serial: rises with each event, so that ``flush`` knows what it waits for.
        waits_since: when the oldest news of the call that is not written came in, on the monotonic clock.
    """

    agent_id: Any
    call: Call
    at: datetime
    connector: str
    match_object: tuple[int, str] | None = None
    fence: int = 0
    serial: int = 0
    waits_since: float = 0.0

    @property
    def said(self) -> Said:
        """What of it decides between this and other news of the call."""
        return Said(self.call.state, self.call.end_reason is EndReason.INFERRED, self.fence)


def is_newer(known: Said, news: Said) -> bool:
    """Whether `news` of a call may be written over what is `known` of it.

    Wider than ``may_become``: the same state again may tell more of the call, and what led to its end may have been
    missed. An end that somebody saw stays. One that was inferred gives way to whoever saw the end, and to a later
    holder of the session who sees the call live. What a later holder says is not overwritten by an earlier one, except
    by an end that it saw.
    """
    if known.state.is_final:
        if not known.is_inferred:
            return False
        return not news.is_inferred if news.state.is_final else news.fence > known.fence
    is_seen_end = news.state.is_final and not news.is_inferred
    if 0 < news.fence < known.fence and not is_seen_end:
        return False
    return news.state is known.state or news.state.is_final or may_become(known.state, news.state)


class Outbox:
    """Entries on their way into the database.

    Args:
        write: writes entries, all or none. OperationalError and InterfaceError mean: try again later.
        first_retry_seconds: the pause after a first failure; it doubles with each further one.
        last_retry_seconds: and grows no longer than this.
    """

    def __init__(
        self,
        write: Callable[[list[Entry]], None],
        *,
        first_retry_seconds: float = 0.1,
        last_retry_seconds: float = 5.0,
    ) -> None:
        self._write = write
        self._first_retry_seconds = first_retry_seconds
        self._last_retry_seconds = last_retry_seconds
        self._changed = threading.Condition()
        self._waiting: dict[str, Entry] = {}
        self._live: dict[str, None] = {}  # which of those are of calls that go on, in the same order
        self._in_hand: dict[str, Entry] = {}
        self._serial = 0
        self._lost = 0
        self._lost_before = 0  # when the outbox was last empty
        self._is_hurried = False
        self._alarm = 0  # 1: it has been said that it fills, 2: that it is full
        self._is_closing = False
        self._in_need: list[asyncio.Future[None]] = []  # of those who wait for room
        self._thread: threading.Thread | None = None

    @property
    def length(self) -> int:
        """How many calls have news that is not written yet."""
        with self._changed:
            return self._length()

    def _length(self) -> int:
        # At most a batch is in hand, so this is quick however full it is.
        return len(self._waiting) + sum(call_id not in self._waiting for call_id in self._in_hand)

    @property
    def fill(self) -> float:
        """How full it is, 0 to 1."""
        return min(self.length / get_settings().outbox_size, 1.0)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest news that is not written has waited; 0 if there is none."""
        with self._changed:
            since = [entry.waits_since for held in (self._in_hand, self._waiting) for entry in held.values()]
        return time.monotonic() - min(since) if since else 0.0

    @property
    def lost(self) -> int:
        """How many entries were given up, ever. If its call was live, the call's next news makes good for it."""
        return self._lost

    def put(self, entry: Entry) -> None:
        """Take in the news of a call. Never waits for the database, never raises."""
        with self._changed:
            self._serial += 1
            self._keep(replace(entry, serial=self._serial, waits_since=time.monotonic()))
            self._make_room()
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _keep(self, entry: Entry) -> None:
        call_id = entry.call.call_id
        older = self._waiting.get(call_id)
        if older is not None:
            entry = _merged(older, entry)
        self._waiting[call_id] = entry
        if entry.call.state.is_final:
            self._live.pop(call_id, None)
        else:
            self._live[call_id] = None

    def _make_room(self) -> None:
        """Say when it fills; give an entry up when there is one too many."""
        size = get_settings().outbox_size
        if len(self._waiting) + len(self._in_hand) < _FILLING * size or (length := self._length()) < _FILLING * size:
            return
        if self._alarm < 1:
            self._alarm = 1
            logger.warning("The call log's outbox is filling: %d of %d calls wait for the database.", length, size)
        if length > size:
            if self._alarm < 2:
                self._alarm = 2
                logger.error("The call log's outbox is full, calls may be lost: %d calls wait for the database.", size)
            # A live call's entry is the one to lose: the call's next news, its end at the latest, says all that is
            # lost with it, and if this process dies before, whoever takes over finds the call with the provider. An
            # end is the last word on its call: without it a call that the log has stays open until it is reaped, and
            # a call that it does not have is missing for good. Only if every call is over does the oldest end go:
            # one is as good as another, and those who wait longest have most likely been seen on the agents' screens.
            given_up = next(iter(self._live or self._waiting))
            self._live.pop(given_up, None)
            del self._waiting[given_up]
            self._lose(1)

    def _lose(self, count: int) -> None:
        self._lost += count
        metrics.outbox_lost_total.inc(count)

    async def room(self, timeout: float) -> bool:
        """Wait while the outbox is full, at most `timeout` seconds; whether there is room."""
        if len(self._waiting) + len(self._in_hand) < get_settings().outbox_size:
            return True
        with self._changed:
            if self._has_room():
                return True
            freed = asyncio.get_running_loop().create_future()
            self._in_need.append(freed)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):  # wait_for may miss that its task is cancelled
                    await freed
        finally:
            with self._changed:
                if freed in self._in_need:
                    self._in_need.remove(freed)
        with self._changed:
            return self._has_room()

    def _has_room(self) -> bool:
        return self._length() < get_settings().outbox_size

    def _tell_room(self) -> None:
        """Wake those who wait for room; from any thread."""
        if self._in_need and self._has_room():
            for freed in self._in_need:
                with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                    freed.get_loop().call_soon_threadsafe(_wake, freed)
            self._in_need.clear()

    def adopt(self, agent_id: Any, fence: int) -> None:
        """This process runs the agent's session again: what it has to say of her calls counts as said under `fence`."""
        with self._changed:
            for entry in [*self._in_hand.values(), *self._waiting.values()]:
                if entry.agent_id == agent_id and entry.fence < fence:
                    self._keep(replace(entry, fence=fence))
            self._changed.notify_all()

    def calls(self, agent_id: Any) -> list[Call]:
        """An agent's calls with news that is not written yet, as they are now."""
        with self._changed:
            entries = {**self._in_hand, **self._waiting}.values()
            return [entry.call for entry in entries if entry.agent_id == agent_id]

    def write_now(self, call_id: str) -> None:
        """Write what is known of one call on the caller's own connection, for something that refers to its row.

        The entry stays in the outbox all the same: the caller's transaction may yet be rolled back.
        """
        with self._changed:
            entry = self._waiting.get(call_id) or self._in_hand.get(call_id)
        if entry is not None:
            self._write([entry])

    def flush(self, timeout: float) -> bool:
        """Wait until everything put in so far is written, at most `timeout` seconds; whether it is."""
        with self._changed:
            target = self._serial
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._is_written(target), timeout)

    def _is_written(self, target: int) -> bool:
        return all(entry.serial > target for held in (self._waiting, self._in_hand) for entry in held.values())

    def close(self, timeout: float = _AT_EXIT) -> None:
        """Write what there is, at most `timeout` seconds long, then end the thread. A later ``put`` starts anew."""
        thread = self._thread
        if thread is None:
            return
        if not self.flush(timeout):
            logger.error("%d calls could not be written to the call log.", self.length)
            self._lose(self.length)
        with self._changed:
            self._is_closing = True
            self._forget()
        thread.join(timeout)

    def discard(self) -> None:
        """Forget everything that is not written yet (for tests)."""
        with self._changed:
            self._forget()

    def _forget(self) -> None:
        self._waiting.clear()
        self._live.clear()
        self._tell_room()
        self._changed.notify_all()

    # -- the thread -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="cti-calllog", daemon=True)
        self._thread.start()
        atexit.unregister(self.close)
        atexit.register(self.close)

    def _run(self) -> None:
        pause = 0.0
        while self._take(pause):
            try:
                self._write_in_hand()
            except (OperationalError, InterfaceError) as error:
                pause = min(max(pause * 2, self._first_retry_seconds), self._last_retry_seconds)
                logger.warning("The call log cannot be written (%s); trying again.", type(error).__name__)
                self._put_back()
            except Exception:
                pause = self._last_retry_seconds
                logger.exception("The call log cannot be written; trying again.")
                self._put_back()
            else:
                pause = _GATHER
                self._done()
        connections.close_all()

    def _take(self, pause: float) -> bool:
        """Wait `pause` seconds and then for work; False when there will be none any more."""
        with self._changed:
            resume_deadline = time.monotonic() + pause
            while not self._is_closing:
                left = resume_deadline - time.monotonic()
                begins = pause == _GATHER and any(not entry.call.connected_at for entry in self._waiting.values())
                if self._waiting and (left <= 0 or self._is_hurried or begins):
                    break
                self._changed.wait(left if self._waiting else None)
            self._is_hurried = False
            taken = list(self._waiting)[:BATCH]
            self._in_hand = {call_id: self._waiting.pop(call_id) for call_id in taken}
            for call_id in taken:
                self._live.pop(call_id, None)
            if not taken:
                self._thread = None
            return bool(taken)

    def _write_in_hand(self) -> None:
        for connection in connections.all(initialized_only=True):
            connection.close_at = None  # this thread's connections are kept until they fail
            connection.close_if_unusable_or_obsolete()
        entries = list(self._in_hand.values())
        try:
            self._write(entries)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            # One entry that can never be written must not keep all others from the log.
            for entry in entries:
                self._write_alone(entry)

    def _write_alone(self, entry: Entry) -> None:
        for agent_id in (entry.agent_id, None):  # the agent may have been deleted meanwhile
            try:
                self._write([replace(entry, agent_id=agent_id)])
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                # Without the error's text: a database quotes the row in it, numbers and all.
                logger.warning("Call %s cannot be written: %s", entry.call.call_id, type(error).__name__)
            else:
                return
        self._lose(1)
        logger.error("Call %s is lost to the call log.", entry.call.call_id)

    def _put_back(self) -> None:
        for connection in connections.all(initialized_only=True):
            connection.close()
        with self._changed:
            newer = self._waiting
            self._waiting, self._live = {}, {}
            for entry in [*self._in_hand.values(), *newer.values()]:
                self._keep(entry)
            self._in_hand = {}

    def _done(self) -> None:
        with self._changed:
            self._in_hand = {}
            self._is_hurried &= bool(self._waiting)  # whoever hurried meanwhile has what she waited for
            if self._alarm and not self._waiting:
                logger.info("The call log's outbox has drained; %d entries were lost.", self._lost - self._lost_before)
                self._alarm = 0
                self._lost_before = self._lost
            self._tell_room()
            self._changed.notify_all()


def _merged(older: Entry, newer: Entry) -> Entry:
    """One entry of two: the newer call, unless it is older news that came late; a contact once known stays with it."""
    latest, other = (newer, older) if is_newer(older.said, newer.said) else (older, newer)
    match_object = latest.match_object
    if match_object is None and same_party(latest.call.remote, other.call.remote):
        match_object = other.match_object
    # A call that the present holder knows is not a former holder's, whatever was heard of it when.
    fence = max(older.fence, newer.fence)
    return replace(latest, match_object=match_object, fence=fence, serial=newer.serial, waits_since=older.waits_since)


def _wake(freed: "asyncio.Future[None]") -> None:
    if not freed.done():
        freed.set_result(None)
