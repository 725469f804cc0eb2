"""Whether every browser shows what is true, looked at twenty times a second."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from .browser import Browser
from .journal import Dialog
from .leases import Leases
from .site import Site

__all__ = ["Lag", "Watch"]

LOOK_SECONDS = 0.05
MAX_LOOK_SECONDS = 0.5  # a look that comes later than this tells of a busy machine, not of the site
SHOWN = ("RINGING", "CONNECTED", "ON_HOLD")


@dataclass(slots=True)
class Lag:
    """A browser that showed something else than the truth although its link was up.

    Args:
        since: from when on it had all that it needed.
        seconds: how long it took until it agreed, or was cut off again.
    """

    browser: str
    since: float
    seconds: float
    shown: str
    truth: str


class Watch:
    """Looks at all browsers.

    A browser's link is up while its socket is open and carries data, it reads, its process runs, PostgreSQL, Redis and
    the PBX run, the agent's lease is held, and a process that runs is subscribed for her over a line that carries data.

    Attributes:
        lags: each time that a browser differed although its link was up.
        lineless: extension -> the longest time without such a line while all servers ran.
    """

    def __init__(self, site: Site, browsers: Mapping[str, list[Browser]], leases: Leases) -> None:
        self._site, self._browsers, self._leases = site, browsers, leases
        self.lags: list[Lag] = []
        self.lineless: dict[str, float] = dict.fromkeys(browsers, 0.0)
        self.late_looks = 0
        self._open: dict[str, Lag] = {}
        self._lineless_since: dict[str, float] = {}
        self._up_since: dict[str, float] = {}

    async def follow(self) -> None:
        """Look, again and again, until cancelled."""
        last = time.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.time()
            if now - last > MAX_LOOK_SECONDS:
                self.late_looks += 1
                self._open.clear()
            self.look(now)
            last = time.time()

    def look(self, now: float) -> None:
        """Compare everything once."""
        self._site.journal.read()
        servers_run = not self._site.is_away(now)
        for agent, tabs in self._browsers.items():
            has_line = any(self._carries(dialog) for dialog in self._site.journal.dialogs_of(agent))
            self._note_line(agent, has_line or not servers_run, now)
            is_served = servers_run and has_line and agent in self._leases.live
            truth = self._site.journal.live(agent)
            for browser in tabs:
                self._compare(agent, browser, truth, now, is_up=is_served and self._is_linked(browser))

    def _compare(self, agent: str, browser: Browser, truth: dict[str, str], now: float, *, is_up: bool) -> None:
        if not is_up:
            self._up_since.pop(browser.name, None)
            self._close(browser.name)
            return
        up_since = self._up_since.setdefault(browser.name, now)
        shown = self.shown(browser)
        if shown == truth and browser.session["state"] == "ready":
            self._close(browser.name)
            return
        since = max(up_since, self._site.journal.changed_at.get(agent, 0.0))
        lag = self._open.get(browser.name)
        if lag is None or lag.since < since:
            self._close(browser.name)
            lag = self._open[browser.name] = Lag(browser.name, since, 0.0, "", "")
        lag.seconds = now - lag.since
        lag.shown, lag.truth = f"{browser.session['state']} {shown}", str(truth)

    def _close(self, name: str) -> None:
        lag = self._open.pop(name, None)
        if lag is not None and lag.seconds:
            self.lags.append(lag)

    def finish(self) -> None:
        """The run is over."""
        for name in list(self._open):
            self._close(name)

    def _note_line(self, agent: str, is_well: bool, now: float) -> None:
        if is_well:
            self._lineless_since.pop(agent, None)
        else:
            since = self._lineless_since.setdefault(agent, now)
            self.lineless[agent] = max(self.lineless[agent], now - since)

    def up_seconds(self, browser: Browser) -> float:
        """For how long a browser's link has been up."""
        return time.time() - self._up_since.get(browser.name, time.time())

    @staticmethod
    def shown(browser: Browser) -> dict[str, str]:
        """What a browser shows of the agent's calls: number -> state. A click-to-call without a dialog is left out."""
        return {
            call["number"].removeprefix("+"): call["status"]
            for call in browser.calls.values()
            if call["status"] in SHOWN and not call["node"]
        }

    def _is_linked(self, browser: Browser) -> bool:
        if browser.opened_at is None or not browser.is_reading.is_set():
            return False
        name = next((name for name, front in self._site.fronts.items() if front.port == browser.port), "")
        pipe = self._site.fronts[name].pipe_from(browser.local_port) if name else None
        return pipe is not None and not pipe.is_dead and self._site.programs[name].is_up

    def _carries(self, dialog: Dialog) -> bool:
        program, back = self._site.programs.get(dialog.process), self._site.backs.get(dialog.process)
        if program is None or back is None or not program.is_up:
            return False
        pipe = back.pipe_to(dialog.peer)
        return pipe is not None and not pipe.is_dead

    def has_settled(self) -> bool:
        """Whether every browser shows the truth now."""
        return all(
            browser.session["state"] == "ready" and self.shown(browser) == self._site.journal.live(agent)
            for agent, tabs in self._browsers.items()
            for browser in tabs
        )
