"""What came of the faults, as a table: one line per fault, its seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

_HEAD = (
    *("Fault", "Seeds", "Strikes", "Runs", "Completed", "Lost", "Committed twice"),
    *("Steps", "Executed again", "Worker crashes", "Recovery"),
)


def render(episodes: Sequence[Any]) -> str:
    """A Markdown table. Recovery: the median and the longest standstill. Crashes: see ``Arena.revive``."""
    by_fault: dict[str, list[Any]] = {}
    for episode in episodes:
        by_fault.setdefault(episode.fault, []).append(episode)
    rows = [_row(fault, played) for fault, played in by_fault.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in (_HEAD, ("---",) * len(_HEAD), *rows))


def _row(fault: str, played: Sequence[Any]) -> tuple[str, ...]:
    verdicts = [episode.verdict for episode in played]

    def total(name: str) -> int:
        return sum(getattr(verdict, name) for verdict in verdicts)

    recoveries = [seconds for verdict in verdicts for seconds in verdict.recoveries] or [0.0]
    crashes = sum(episode.crashes for episode in played)
    return (
        fault,
        ", ".join(str(episode.seed) for episode in played),
        str(sum(len(episode.strikes) for episode in played)),
        *(str(total(name)) for name in ("runs", "completed", "lost", "committed_twice", "steps", "executed_again")),
        str(crashes),
        f"{median(recoveries):.1f} ({max(recoveries):.1f}) s",
    )
