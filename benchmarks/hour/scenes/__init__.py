"""The scenes of the hour, in their order. Each plays, and fails where something is not as it tells."""

from __future__ import annotations

from benchmarks.hour.hour import Hour
from benchmarks.hour.scenes import holding, orders, stuck


def play(hour: Hour) -> None:
    """All scenes."""
    orders.play(hour)
    holding.play(hour)
    stuck.play(hour)
