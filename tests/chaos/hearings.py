"""Which calls anybody can know of: the protocol tells no history, so what nobody heard nobody can write down."""

from dataclasses import dataclass

from .journal import Hearing, Part
from .processes import Standing
from .site import Site

__all__ = ["Account", "accounts_of"]

WRITE_SECONDS = 1.0  # a process that is killed or stopped so soon may not have written down what it heard
AFTER_OUTAGE_SECONDS = 3.0  # and so long after the database was away
GIVE_UP_SECONDS = 190.0  # a click-to-call whose dialog is never seen
UNRENEWED = 0.8 - 1 / 3  # of a lease's life: an outage that is longer may cost the lease, and with it the right to tell
CONNECT_SECONDS = 3.0  # from a new subscription to what it tells


@dataclass(frozen=True, slots=True)
class Account:
    """One agent's part of a call, and who heard of it.

    Args:
        hearings: by processes that lived on for long enough to write it down.
        known_over_at: when somebody knew at last that it was over (unix time).
    """

    part: Part
    hearings: tuple[Hearing, ...]
    known_over_at: float

    @property
    def was_heard(self) -> bool:
        """Whether it must be in the log."""
        return bool(self.hearings)

    @property
    def is_unheard(self) -> bool:
        """Played to nobody."""
        return not self.part.hearings

    @property
    def was_lost(self) -> bool:
        """Heard only by processes that were killed or stopped at that moment."""
        return bool(self.part.hearings) and not self.hearings

    @property
    def is_awaited(self) -> bool:
        """Whether it is a click-to-call that only the answer to the command told of: it is given up in the end."""
        return self.part.is_outbound and not self.hearings

    @property
    def answer_was_heard(self) -> bool:
        """Whether the log must say that it was answered."""
        return any(hearing.state == "CONNECTED" for hearing in self.hearings)

    @property
    def end_was_heard(self) -> bool:
        """Whether the log must have its end right."""
        return any(hearing.state == "HANGUP" for hearing in self.hearings)


def accounts_of(site: Site) -> dict[tuple[str, str], Account]:
    """Every part of every call, by agent and the PBX's call id."""
    return {key: _account(site, part) for key, part in site.journal.parts.items()}


def _account(site: Site, part: Part) -> Account:
    hearings = tuple(hearing for hearing in part.hearings if _lived_on(site, hearing))
    return Account(part, hearings, _known_over_at(site, part, hearings))


def _lived_on(site: Site, hearing: Hearing) -> bool:
    """Whether the process lived for long enough to write down what it heard."""
    program = site.programs.get(hearing.process)
    if program is None:
        return False
    until = hearing.at + WRITE_SECONDS
    for outage in site.outages:
        if outage.what == "postgres" and outage.covers(hearing.at, until):
            if hearing.at - outage.began_at > site.lease_seconds * UNRENEWED:
                return False
            until = (outage.ended_at or until) + AFTER_OUTAGE_SECONDS
    ends = [at for at, standing in program.history if standing in (Standing.DOWN, Standing.FROZEN)]
    told = [at for at, standing in program.history if standing is Standing.ENDING]  # it had its time
    return not any(hearing.at <= at <= until and not any(hearing.at <= t <= at for t in told) for at in ends)


def _known_over_at(site: Site, part: Part, hearings: tuple[Hearing, ...]) -> float:
    ended_at = part.ended_at or 0.0
    heard = [hearing.at for hearing in hearings if hearing.state == "HANGUP"]
    if heard:
        return heard[0]
    if part.is_outbound and not hearings:
        return part.started_at + GIVE_UP_SECONDS
    later = (dialog.began_at for dialog in site.journal.dialogs if dialog.agent == part.agent)
    return next((at for at in later if at > ended_at), ended_at) + CONNECT_SECONDS
