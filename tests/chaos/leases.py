"""Who held which agent's lease when, looked up five times a second."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

__all__ = ["Leases", "Tenure"]

LOOK_SECONDS = 0.2
QUERY = "SELECT agent_id, holder, fence, expires_at > now() FROM cti_django_agentlease"


@dataclass(frozen=True, slots=True)
class Tenure:
    """From then on that process was seen as the holder; "" is nobody."""

    at: float
    process: str
    fence: int


class Leases:
    """The history of all leases.

    Args:
        url: of the database.
        extensions: primary key -> extension.
        process_of_holder: a lease's holder -> the name of its process.
    """

    def __init__(self, url: str, extensions: dict[int, str], process_of_holder: Callable[[str], str]) -> None:
        self._url, self._extensions, self._process_of_holder = url, extensions, process_of_holder
        self.history: dict[str, list[Tenure]] = {extension: [] for extension in extensions.values()}
        self.live: set[str] = set()

    async def follow(self) -> None:
        """Look, again and again, until cancelled."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=2, application_name="leases"
                ) as connection:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(LOOK_SECONDS)
            except (psycopg.Error, OSError):
                self.live = set()
                await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, connection: psycopg.AsyncConnection[tuple[int, str, int, bool | None]]) -> None:
        rows = await (await connection.execute(QUERY)).fetchall()
        self.live = {self._extensions[agent_id] for agent_id, holder, _, is_live in rows if holder and is_live}
        for agent_id, holder, fence, _ in rows:
            history = self.history[self._extensions[agent_id]]
            process = self._process_of_holder(holder) if holder else ""
            if not history or (history[-1].process, history[-1].fence) != (process, fence):
                history.append(Tenure(time.time(), process, fence))

    def holders(self) -> dict[str, str]:
        """Who holds each lease now: extension -> process."""
        return {agent: history[-1].process for agent, history in self.history.items() if history and agent in self.live}

    def tenure_at(self, agent: str, moment: float) -> Tenure | None:
        """Whose lease it was then, as far as was seen."""
        return next((tenure for tenure in reversed(self.history[agent]) if tenure.at <= moment), None)
