"""Everything that was seen in one list in the order of time, to find out how something came about."""

import time
from collections.abc import Iterable

from .verdict import Evidence

__all__ = ["timeline"]


def timeline(evidence: Evidence) -> str:
    """One line for each thing that happened: UTC, the agent or "-", what."""
    happened = [*_of_site(evidence), *_of_calls(evidence), *_of_browsers(evidence)]
    happened.sort()
    return "".join(f"{_clock(at)} {agent:<8} {what}\n" for at, agent, what in happened)


def _clock(at: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03} ({at:.2f})"


def _of_site(evidence: Evidence) -> Iterable[tuple[float, str, str]]:
    site = evidence.site
    for program in (*site.programs.values(), site.pbx):
        for at, standing in program.history:
            yield at, "-", f"{program.name} {standing.value}"
    for outage in site.outages:
        yield outage.began_at, "-", f"{outage.what} away"
        if outage.ended_at is not None:
            yield outage.ended_at, "-", f"{outage.what} back"
    for fault in evidence.faults:
        yield fault.began_at, "-", f"fault: {fault.kind.value} {fault.target}"
    for agent, tenures in evidence.leases.history.items():
        for tenure in tenures:
            yield tenure.at, agent, f"lease {tenure.process or 'vacant'}, fence {tenure.fence}"
    for dialog in site.journal.dialogs:
        yield dialog.began_at, dialog.agent, f"subscribed by {dialog.process}"
        if dialog.ended_at is not None:
            yield dialog.ended_at, dialog.agent, f"subscription of {dialog.process} over"
    for order in site.journal.orders:
        yield order.at, order.agent, f"{order.process} commands {order.what}"


def _of_calls(evidence: Evidence) -> Iterable[tuple[float, str, str]]:
    for part in evidence.site.journal.parts.values():
        whose = f"call {part.call_id} {part.number}"
        yield part.started_at, part.agent, f"{whose} begins"
        if part.connected_at is not None:
            yield part.connected_at, part.agent, f"{whose} connected"
        if part.ended_at is not None:
            yield part.ended_at, part.agent, f"{whose} over"
        for hearing in part.hearings:
            yield hearing.at, part.agent, f"{whose} {hearing.state} heard by {hearing.process}"
    for agent, write in evidence.writes:
        yield write.at.timestamp(), agent, f"{write.writer} writes {write.call_id} {write.state}"


def _of_browsers(evidence: Evidence) -> Iterable[tuple[float, str, str]]:
    names = {front.port: name for name, front in evidence.site.fronts.items()}
    for browser in evidence.browsers:
        agent, _, tab = browser.name.partition("/")
        for at, what in browser.diary:
            yield at, agent, f"tab {tab} {what}"
        for stay in browser.stays:
            yield stay.began_at, agent, f"tab {tab} opens a socket to {names[stay.port]}"
            if stay.ended_at is not None:
                yield stay.ended_at, agent, f"tab {tab} has lost its socket"
        for grant in browser.grants:
            yield grant.at, agent, f"tab {tab} pops {grant.call_id}"
    for lag in evidence.watch.lags:
        if lag.seconds > 1.0:
            agent, _, tab = lag.browser.partition("/")
            yield lag.since, agent, f"tab {tab} untrue for {lag.seconds:.2f} s: shows {lag.shown}, true is {lag.truth}"
