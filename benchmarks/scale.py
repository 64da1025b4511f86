"""How much is measured: the whole, for figures to be published, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of all contests. ``seconds`` is when a contest begins no further round."""

    rounds: int
    seconds: float
    latency_runs: int
    """Runs, one after the other, whose median is one figure of a latency."""
    burst_runs: int
    starts: int
    fan_outs: int
    join_width: int
    memory_runs: int
    stored_runs: int
    counted_runs: int
    timed_calls: int
    interpreters: int


FULL = Scale(
    rounds=7,
    seconds=40,
    latency_runs=20,
    burst_runs=200,
    starts=500,
    fan_outs=3,
    join_width=1000,
    memory_runs=200,
    stored_runs=100_000,
    counted_runs=20,
    timed_calls=20_000,
    interpreters=5,
)

QUICK = Scale(
    rounds=3,
    seconds=5,
    latency_runs=6,
    burst_runs=40,
    starts=200,
    fan_outs=1,
    join_width=100,
    memory_runs=50,
    stored_runs=10_000,
    counted_runs=5,
    timed_calls=5_000,
    interpreters=1,
)
