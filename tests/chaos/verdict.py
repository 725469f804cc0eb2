"""What must hold, checked when all is over: the PBX's truth beside the call log and what every browser was told."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from .browser import Browser
from .faults import Fault, Kind
from .hearings import Account, accounts_of
from .leases import Leases
from .site import Site
from .watch import Watch

__all__ = ["Evidence", "Row", "Verdict", "Write", "judge", "read_rows", "read_writes"]

TAKEOVER_SECONDS = 2.0  # beyond the life of a lease after a crash; after SIGTERM that is all
CONVERGE_SECONDS = 2.0
END_SECONDS = 2.0  # between the end of a call that was heard and what the log says
LINELESS_SECONDS = 40.0  # a half-open line is found within 30 s, and then tried again
SEEN_LATE_SECONDS = 0.5  # a lease's new holder is seen at the next look
OPEN_STATES = ("INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "ON_HOLD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the call log."""

    agent_id: int
    call_id: str
    provider_call_id: str
    direction: str
    state: str
    number: str
    end_reason: str
    started_at: datetime
    connected_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A process wrote a row."""

    at: datetime
    writer: str
    call_id: str
    agent_id: int
    state: str


@dataclass(slots=True)
class Evidence:
    """All that was seen. `rows` and `writes` go with the extension of their agent."""

    site: Site
    browsers: list[Browser]
    leases: Leases
    watch: Watch
    faults: list[Fault]
    rows: list[tuple[str, Row]]
    writes: list[tuple[str, Write]]
    commands: int
    turned_away: list[str]
    has_settled: bool


@dataclass(slots=True)
class Verdict:
    """The table, and what should not have happened, one sentence each."""

    table: list[tuple[str, str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def line(self, what: str, figure: object, limit: str = "") -> None:
        """One line of the table."""
        self.table.append((what, f"{figure:.2f} s" if isinstance(figure, float) else str(figure), limit))

    def must_be_none(self, what: str, found: Iterable[str]) -> None:
        """A line that counts what should not have happened."""
        found = list(found)
        self.line(what, len(found), "0")
        self.violations += [f"{what}: {each}" for each in found]

    def must_not_exceed(self, what: str, taken: list[tuple[float, str]], limit: float) -> None:
        """A line with the number of times that something was measured and the worst of them."""
        worst = max((seconds for seconds, _ in taken), default=0.0)
        self.line(f"{what} ({len(taken)} times), worst", worst, f"<= {limit:.2f} s")
        self.violations += [f"{what}: {seconds:.2f} s, {whose}" for seconds, whose in taken if seconds > limit]

    def __str__(self) -> str:
        widths = [max(len(row[column]) for row in self.table) for column in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in self.table]
        verdict = [f"{len(self.violations)} violations", *self.violations] if self.violations else ["All of it holds."]
        return "\n".join([*(line.rstrip() for line in lines), "", *verdict])


def read_rows(url: str, extensions: dict[int, str]) -> list[tuple[str, Row]]:
    """The call log."""
    columns = ", ".join(Row.__dataclass_fields__)
    with psycopg.connect(url) as connection, connection.cursor(row_factory=class_row(Row)) as cursor:
        rows = cursor.execute(f"SELECT {columns} FROM cti_django_callrecord ORDER BY started_at").fetchall()
    return [(extensions[row.agent_id], row) for row in rows]


def read_writes(url: str, extensions: dict[int, str]) -> list[tuple[str, Write]]:
    """Who wrote what when."""
    columns = ", ".join(Write.__dataclass_fields__)
    with psycopg.connect(url) as connection, connection.cursor(row_factory=class_row(Write)) as cursor:
        writes = cursor.execute(f"SELECT {columns} FROM chaos_write ORDER BY at").fetchall()
    return [(extensions[write.agent_id], write) for write in writes]


def judge(evidence: Evidence) -> Verdict:
    """Check everything."""
    verdict = Verdict()
    kinds = Counter(fault.kind for fault in evidence.faults)
    for kind in Kind:
        verdict.line(f"fault: {kind.value}", kinds[kind])
    checks: list[Callable[[Evidence, Verdict], None]] = [_log, _pops, _dialogs, _takeovers, _stale, _browsers]
    for check in checks:
        check(evidence, verdict)
    return verdict


# -- the call log -----------------------------------------------------------------------------------------------------


def _log(evidence: Evidence, verdict: Verdict) -> None:
    accounts = accounts_of(evidence.site)
    rows: dict[tuple[str, str], list[Row]] = {}
    by_number: dict[tuple[str, str], list[Row]] = {}
    for agent, row in evidence.rows:
        rows.setdefault((agent, row.provider_call_id), []).append(row)
        by_number.setdefault((agent, row.number.removeprefix("+")), []).append(row)
    found = {
        key: rows.get(key) or by_number.get((key[0], account.part.number), []) for key, account in accounts.items()
    }
    heard = {key: account for key, account in accounts.items() if account.was_heard}
    verdict.line("calls, by agent", len(accounts))
    verdict.line("  played to nobody: no process was subscribed", sum(each.is_unheard for each in accounts.values()))
    verdict.line(
        "  heard only by a process that was killed or stopped then", sum(each.was_lost for each in accounts.values())
    )
    verdict.must_be_none("calls missing from the log", (str(heard[key].part) for key in heard if not found[key]))
    verdict.must_be_none(
        "calls duplicated in the log",
        (f"{key} {[row.call_id for row in same]}" for key, same in _same(rows, by_number).items()),
    )
    numbers = {(account.part.agent, account.part.number) for account in accounts.values()}
    verdict.must_be_none(
        "rows that no call stands behind",
        (
            str(row)
            for agent, row in evidence.rows
            if (agent, row.provider_call_id) not in accounts
            and (agent, row.number.removeprefix("+")) not in numbers
            and not (row.direction == "OUTBOUND" and not row.provider_call_id)  # a dial that the PBX never began
        ),
    )
    disagreements: list[str] = []
    ends: list[tuple[float, str]] = []
    for key, account in accounts.items():
        for row in found[key][:1]:
            disagreements += _disagreements(account, row)
            if account.end_was_heard and row.ended_at and account.part.ended_at:
                ends.append((abs(row.ended_at.timestamp() - account.part.ended_at), f"{account.part} {row}"))
    verdict.must_be_none("rows that disagree with the PBX", disagreements)
    verdict.must_not_exceed("end in the log from the end that was heard", ends, END_SECONDS)
    dialled = Counter(part.number for part in evidence.site.journal.parts.values() if part.is_outbound)
    verdict.must_be_none("numbers dialled twice", (number for number, times in dialled.items() if times > 1))


def _same(*indexes: dict[tuple[str, str], list[Row]]) -> dict[tuple[str, str], list[Row]]:
    """The rows that several have in common what only one may have."""
    return {key: rows for index in indexes for key, rows in index.items() if key[1] and len(rows) > 1}


def _disagreements(account: Account, row: Row) -> list[str]:
    part, found = account.part, []
    if row.direction != ("OUTBOUND" if part.is_outbound else "INBOUND"):
        found.append("direction")
    if row.number.removeprefix("+") != part.number:
        found.append("number")
    if bool(row.connected_at) != bool(part.connected_at) and (row.connected_at or account.answer_was_heard):
        found.append("answered")
    if account.is_awaited and row.state in ("INITIAL", "ACCEPTED"):
        pass  # a click-to-call whose dialog nobody saw is given up after a while
    elif row.state in OPEN_STATES or row.ended_at is None:
        found.append("not ended")
    elif part.ended_at is not None:
        ended_at = row.ended_at.timestamp()
        # An end that nobody saw may be put at the last that was heard.
        is_seen = row.end_reason != "inferred" or not part.hearings
        lasted_until = part.ended_at if is_seen else min(part.ended_at, part.hearings[-1].at)
        if not lasted_until - END_SECONDS <= ended_at <= account.known_over_at + END_SECONDS:
            found.append(f"ended at {ended_at:.2f}, which is not in {lasted_until:.2f} .. {account.known_over_at:.2f}")
    return [f"{', '.join(found)}: {part} {row}"] if found else []


# -- pops, dialogs, takeovers -----------------------------------------------------------------------------------------


def _pops(evidence: Evidence, verdict: Verdict) -> None:
    grants: dict[str, list[str]] = {}
    for browser in evidence.browsers:
        for grant in browser.grants:
            grants.setdefault(grant.call_id, []).append(f"{browser.name} at {grant.at:.2f}")
    verdict.line("pops granted", len(grants))
    verdict.must_be_none(
        "calls that popped twice", (f"{call_id}: {where}" for call_id, where in grants.items() if len(where) > 1)
    )


def _dialogs(evidence: Evidence, verdict: Verdict) -> None:
    changes: dict[str, list[tuple[float, int]]] = {}
    for dialog in evidence.site.journal.dialogs:
        changes.setdefault(dialog.agent, []).append((dialog.began_at, 1))
        if dialog.ended_at is not None:
            changes[dialog.agent].append((dialog.ended_at, -1))
    overlaps = []
    for agent, moments in changes.items():
        living, since = 0, 0.0
        for at, change in sorted(moments):
            if living > 1:
                overlaps.append((at - since, f"agent {agent} at {since:.2f}"))
            living, since = living + change, at if living + change <= 2 or change < 0 else since
    verdict.line("SUBSCRIBE dialogs begun", len(evidence.site.journal.dialogs))
    verdict.must_not_exceed("two live SUBSCRIBE dialogs for one agent", overlaps, evidence.site.lease_seconds)


def _takeovers(evidence: Evidence, verdict: Verdict) -> None:
    crash_seconds = evidence.site.lease_seconds + TAKEOVER_SECONDS
    kept: list[tuple[float, str]] = []
    for kind, limit in ((Kind.KILL, crash_seconds), (Kind.FREEZE, crash_seconds), (Kind.DEPLOY, TAKEOVER_SECONDS)):
        taken: list[tuple[float, str]] = []
        for fault in evidence.faults:
            for agent in fault.held if fault.kind is kind else ():
                has_tab = _has_tab_elsewhere(evidence, fault, agent, fault.began_at + limit / 2)
                took = _takeover(evidence, fault, agent, limit, has_tab=has_tab)
                # Without a tab anywhere else it is cti_host that may come, or the stopped process itself.
                (taken if has_tab else kept).extend([took] if took else [])
        verdict.must_not_exceed(f"takeover after {kind.value}", taken, limit)
    verdict.must_not_exceed("  without a tab on another process", kept, crash_seconds)
    ends = [fault.took for fault in evidence.faults if fault.kind is Kind.DEPLOY]
    verdict.line("  a process's end after SIGTERM, worst", max(ends, default=0.0))


def _takeover(evidence: Evidence, fault: Fault, agent: str, limit: float, *, has_tab: bool) -> tuple[float, str] | None:
    """How long it took until somebody was subscribed again; None if nobody could have, or nothing was lost."""
    site, began_at = evidence.site, fault.began_at
    dialogs = [dialog for dialog in site.journal.dialogs if dialog.agent == agent]
    was_live = any(d.began_at < began_at and (d.ended_at or began_at) >= began_at for d in dialogs)
    if not has_tab and not _is_kept_elsewhere(site, fault, agent):
        if fault.kind is not Kind.FREEZE or fault.ended_at is None:
            return None
        began_at = fault.ended_at  # all her tabs hung on the stopped process
    if not was_live or site.is_away(fault.began_at - 1.0, began_at + limit):
        return None
    later = [dialog.began_at for dialog in dialogs if dialog.began_at > fault.began_at]
    took = later[0] - began_at if later else float("inf")
    return max(0.0, took), f"agent {agent}, {fault.target} at {fault.began_at:.2f}"


def _has_tab_elsewhere(evidence: Evidence, fault: Fault, agent: str, at: float) -> bool:
    """Whether another process had a tab of hers then."""
    others = {front.port for name, front in evidence.site.fronts.items() if name != fault.target}
    stays = (stay for browser in evidence.browsers if browser.name.startswith(agent) for stay in browser.stays)
    return any(
        stay.port in others and stay.began_at < at and (stay.ended_at is None or stay.ended_at > at) for stay in stays
    )


def _is_kept_elsewhere(site: Site, fault: Fault, agent: str) -> bool:
    """Whether her session is to be kept open, and a ``cti_host`` ran."""
    hosts = [program for program in site.programs.values() if program.name not in site.fronts]
    runs = any(host.name != fault.target and host.standing_at(fault.began_at) == "up" for host in hosts)
    return runs and agent in site.kept


# -- what is stale ----------------------------------------------------------------------------------------------------


def _stale(evidence: Evidence, verdict: Verdict) -> None:
    verdict.must_be_none(
        "envelopes with a lower fence than the browser had",
        (f"{browser.name}: {stale}" for browser in evidence.browsers for stale in browser.stale),
    )
    journal = evidence.site.journal
    verdict.must_be_none(
        "commands to the PBX from a process without the lease",
        (str(order) for order in journal.orders if _is_stale(evidence, order.agent, order.process, order.at)),
    )
    thawed = {(fault.target, fault.ended_at) for fault in evidence.faults if fault.kind is Kind.FREEZE}
    verdict.must_be_none(
        "rows written by a stopped holder that lost its lease",
        (
            str(write)
            for agent, write in evidence.writes
            if any(name == write.writer and at and at <= write.at.timestamp() < at + 10 for name, at in thawed)
            and _is_stale(evidence, agent, write.writer, write.at.timestamp())
        ),
    )


def _is_stale(evidence: Evidence, agent: str, process: str, at: float) -> bool:
    tenure = evidence.leases.tenure_at(agent, at - SEEN_LATE_SECONDS)
    now = evidence.leases.tenure_at(agent, at + SEEN_LATE_SECONDS)
    return bool(tenure and now and tenure.process and process and process not in (tenure.process, now.process))


# -- browsers ---------------------------------------------------------------------------------------------------------


def _browsers(evidence: Evidence, verdict: Verdict) -> None:
    site, watch = evidence.site, evidence.watch
    lags = [
        (lag.seconds, f"{lag.browser} at {lag.since:.2f} showed {lag.shown}, true was {lag.truth}")
        for lag in watch.lags
    ]
    verdict.line("sockets opened by browsers", sum(browser.sockets for browser in evidence.browsers))
    verdict.must_not_exceed("browser not true though its link was up", lags, CONVERGE_SECONDS)
    without = [(seconds, f"agent {agent}") for agent, seconds in watch.lineless.items()]
    verdict.must_not_exceed("agent without a line while all servers ran", without, LINELESS_SECONDS)
    refusals = Counter(refusal for browser in evidence.browsers for refusal in browser.refusals)
    verdict.line("commands given by browsers", evidence.commands)
    verdict.line("  refused", sum(refusals.values()))
    for refusal, times in refusals.most_common(12):
        verdict.line(f"    {refusal}", times)
    verdict.must_be_none("commands out of reach though the link was up", evidence.turned_away)
    verdict.must_be_none(
        "log-ins that a page gave up",
        (f"{b.name} at {at:.2f} {why}" for b in evidence.browsers for at, why in b.given_up),
    )
    verdict.must_be_none(
        "questions never answered on an open socket",
        (
            f"{browser.name} at {at:.2f} {question}"
            for browser in evidence.browsers
            for at, question in browser.unanswered
            if not _was_cut_off(site, at)
        ),
    )
    codes = Counter(code for browser in evidence.browsers for code in browser.close_codes if 4000 <= code < 5000)
    verdict.must_be_none("sockets closed as forbidden or malformed", (f"{code}: {n}" for code, n in codes.items()))
    verdict.must_be_none("agents not settled in the end", [] if evidence.has_settled else _unsettled(evidence))
    verdict.line("looks that came late (a busy machine)", watch.late_looks)


def _was_cut_off(site: Site, at: float) -> bool:
    """Whether a process was stopped while a question asked then waited for its answer."""
    looks = [at + seconds for seconds in range(0, 16, 3)]
    return any(program.standing_at(look) != "up" for program in site.programs.values() for look in looks)


def _unsettled(evidence: Evidence) -> list[str]:
    journal, watch = evidence.site.journal, evidence.watch
    return [
        f"{browser.name}: {browser.session['state']} {watch.shown(browser)}, true was {journal.live(agent)}"
        for browser in evidence.browsers
        if (agent := browser.name.partition("/")[0])
        and not (browser.session["state"] == "ready" and watch.shown(browser) == journal.live(agent))
    ]
