"""The match of one number among 100,000, beside Django's own look-up by primary key, in turns."""

import asyncio
import tempfile
import time
from pathlib import Path

from .report import line, percentile
from .world import contact_number, fill_database, use_settings

ROUNDS = 20
LOOK_UPS = 50  # of each kind in a round


async def _measure() -> tuple[list[float], list[float]]:
    from cti_django import contacts
    from cti_django.calls.numbers import classify
    from cti_django.models import ContactNumber

    ours: list[float] = []
    floor: list[float] = []
    for round_number in range(ROUNDS + 1):
        for index in range(LOOK_UPS):
            party = classify(contact_number((round_number * 4_999 + index * 97) % 99_999))
            began = time.perf_counter()
            found = await contacts.amatch(party, 1)
            ours.append((time.perf_counter() - began) * 1e6)
            assert found.kind == "one"
        for index in range(LOOK_UPS):
            pk = 1 + (round_number * 4_999 + index * 97) % 99_999
            began = time.perf_counter()
            await ContactNumber.objects.aget(pk=pk)
            floor.append((time.perf_counter() - began) * 1e6)
        if not round_number:
            ours.clear()
            floor.clear()
    return ours, floor


def main() -> None:
    """Measure, and print two lines."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name:
        use_settings(Path(name))
        fill_database(1)
        ours, floor = asyncio.run(_measure())
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        goal = "ratio <= 1.5" if share == 0.5 else ""
        line(
            f"match_{label}", percentile(ours, share), "us", floor=percentile(floor, share), goal=goal, numbers=100_000
        )


if __name__ == "__main__":
    main()
