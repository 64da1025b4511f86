"""The long chaos run: `python tests/chaos/run.py --seeds 5 --runs 200` prints the scorecard as Markdown.

``--fault`` (repeatable) limits it to some faults, ``--plain`` lets the same faults strike chains and chords of plain
Celery instead. Exits with 1 where a law was broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "support")]

import episode  # noqa: E402 - found by the path above
import plain  # noqa: E402
import scorecard  # noqa: E402
from faults import FAULTS  # noqa: E402


def note(what: str, played: episode.Episode) -> None:
    """A line on stderr with what the scorecard has no room for, and a line for every law that was broken."""
    verdict = played.verdict
    more = f"{verdict.rescues} rescues, {verdict.missing} events missing, {verdict.doubtful} starts raised yet stored"
    said = "; ".join(strike.said for strike in played.strikes)
    for line in (f"{what}, {more} ({said})", *(f"  {problem}" for problem in verdict.problems)):
        print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=200, help="runs for each fault and seed")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="this fault only; may be repeated")
    parser.add_argument("--plain", action="store_true", help="plain Celery instead")
    options = parser.parse_args()
    play = plain.play if options.plain else episode.play
    played = []
    for name in options.fault or FAULTS:
        for seed in range(options.first, options.first + options.seeds):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
                result = play(FAULTS[name], seed=seed, runs=options.runs, folder=Path(folder))
            played.append(result)
            note(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", result)
    print(scorecard.render(played))
    return 1 if not options.plain and any(result.verdict.problems for result in played) else 0


if __name__ == "__main__":
    sys.exit(main())
