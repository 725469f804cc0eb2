"""The outbox: what stands between calls that go on and a database that may not.

One entry for each call, the newest; a thread writes them in the order in which the calls were first heard of. While
the database fails the entries stay, newer ones take the place of older ones, and the thread tries again, ever slower.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, connections

from .calls.events import Call
from .calls.states import CallState, may_become
from .conf import get_settings

__all__ = ["BATCH", "Entry", "Outbox", "is_newer"]

logger = logging.getLogger("cti_django.calllog")

BATCH = 200
"""Calls that are written at a time."""

_AT_EXIT = 5.0  # seconds that the process's end waits for the last calls


@dataclass(frozen=True, slots=True)
class Entry:
    """The newest that is known of one call.

    Args:
        agent_id: the user's primary key; None if there is no such user any more.
        call: the call as it is now.
        at: when that was, aware UTC.
        connector: the name of the agent's connector.
        match_object: (content type id, object id) of the record that the call is certainly about.
        serial: rises with each event, so that ``flush`` knows what it waits for.
    """

    agent_id: Any
    call: Call
    at: datetime
    connector: str
    match_object: tuple[int, str] | None = None
    serial: int = 0


def is_newer(current: CallState, news: CallState) -> bool:
    """Whether a call that was seen in state `news` may be written over what was seen in state `current`.

    Wider than ``may_become``: the same state again may tell more of the call, and what led to its end may have been
    missed. What is final stays.
    """
    if current.is_final:
        return False
    return news is current or news.is_final or may_become(current, news)


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
        self._in_hand: dict[str, Entry] = {}
        self._serial = 0
        self._is_hurried = False
        self._is_full = False
        self._is_closing = False
        self._thread: threading.Thread | None = None

    @property
    def length(self) -> int:
        """How many calls have news that is not written yet."""
        with self._changed:
            return len(self._waiting.keys() | self._in_hand.keys())

    def put(self, entry: Entry) -> None:
        """Take in the news of a call. Never waits for the database, never raises."""
        with self._changed:
            self._serial += 1
            self._keep(replace(entry, serial=self._serial))
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _keep(self, entry: Entry) -> None:
        call_id = entry.call.call_id
        older = self._waiting.get(call_id)
        if older is not None:
            entry = _merged(older, entry)
        elif len(self._waiting) >= get_settings().outbox_size:
            self._waiting.pop(next(iter(self._waiting)))
            if not self._is_full:
                logger.error("The call log's outbox is full: the oldest calls are being lost.")
            self._is_full = True
        self._waiting[call_id] = entry

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
        with self._changed:
            self._is_closing = True
            self._waiting.clear()
            self._changed.notify_all()
        thread.join(timeout)

    def discard(self) -> None:
        """Forget everything that is not written yet (for tests)."""
        with self._changed:
            self._waiting.clear()
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
                pause = 0.0
                self._done()
        connections.close_all()

    def _take(self, pause: float) -> bool:
        """Wait `pause` seconds and then for work; False when there will be none any more."""
        with self._changed:
            resume_deadline = time.monotonic() + pause
            while not self._is_closing:
                left = resume_deadline - time.monotonic()
                if self._waiting and (left <= 0 or self._is_hurried):
                    break
                self._changed.wait(left if self._waiting else None)
            self._is_hurried = False
            taken = list(self._waiting)[:BATCH]
            self._in_hand = {call_id: self._waiting.pop(call_id) for call_id in taken}
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
        logger.error("Call %s is lost to the call log.", entry.call.call_id)

    def _put_back(self) -> None:
        for connection in connections.all(initialized_only=True):
            connection.close()
        with self._changed:
            newer = self._waiting
            self._waiting = self._in_hand
            self._in_hand = {}
            for entry in newer.values():
                self._keep(entry)

    def _done(self) -> None:
        with self._changed:
            self._in_hand = {}
            self._is_full = False
            self._changed.notify_all()


def _merged(older: Entry, newer: Entry) -> Entry:
    """One entry of two: the newer call, unless it is older news that came late; and a contact once known stays."""
    latest = newer if is_newer(older.call.state, newer.call.state) else older
    return replace(latest, match_object=newer.match_object or older.match_object, serial=newer.serial)
