"""Figures, each beside a floor that is measured in the same run. ``python -m tests.bench`` prints JSON lines."""
