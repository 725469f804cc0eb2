"""One JSON line for each figure: what was measured, its floor, their ratio, and the goal."""

import json
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["line", "percentile"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def line(name: str, value: float, unit: str, *, floor: float | None = None, goal: str = "", **facts: Any) -> None:
    """Print one figure."""
    row: dict[str, Any] = {"bench": name, "value": round(value, 3), "unit": unit}
    if floor is not None:
        row |= {"floor": round(floor, 3), "ratio": round(value / floor, 2) if floor else None}
    if goal:
        row["goal"] = goal
    print(json.dumps(row | facts), flush=True)
    print(f"  {name}: {value:.3g} {unit}" + (f" (floor {floor:.3g})" if floor else ""), file=sys.stderr, flush=True)
