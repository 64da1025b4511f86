"""``python -m benchmarks.hour``: records an operator's hour, and writes it into the docs.

Everything that it starts is its own and is stopped when it ends, by Ctrl-C too. The exit code is 1 when something does
not happen as the page would tell it; then nothing is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import durability, machine, shield
from benchmarks.hour import scenes
from benchmarks.hour.hour import Hour, Scale
from benchmarks.hour.page import Circumstances, render
from benchmarks.hour.terminal import COLUMNS, UnexpectedError
from benchmarks.worker import ROOT

PAGE = ROOT / "docs" / "guides" / "operators-hour.md"
INTERRUPTED = 130


def main() -> int:
    """Record it and give the exit code."""
    options = _options()
    shield.install()
    began = time.monotonic()
    try:
        with Hour(Scale(orders=options.orders, cancelled=options.cancelled)) as hour:
            scenes.play(hour)
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped", file=sys.stderr)
        return INTERRUPTED
    except UnexpectedError as error:
        print(f"\nnot as expected: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    page = render(hour.scenes, _circumstances(seconds))
    options.output.write_text(page, encoding="utf-8")
    print(f"{len(hour.scenes)} scenes in {seconds:.0f} s; written to {options.output}")
    return 0


def _circumstances(seconds: float) -> Circumstances:
    today = datetime.now(UTC)
    server = durability.describe_server()
    name = next(iter(server))
    return Circumstances(
        date=f"{today.day} {today:%B %Y}",
        machine=machine.describe()["processor"],
        server=f"{name} {server[name]}",
        seconds=seconds,
        columns=COLUMNS,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hour", description=__doc__)
    parser.add_argument("--orders", type=_some, default=Scale().orders, help="runs of the first scene", metavar="N")
    parser.add_argument(
        "--cancelled", type=_some, default=Scale().cancelled, help="runs that are cancelled", metavar="N"
    )
    parser.add_argument("--output", type=Path, default=PAGE, help="the page that is written", metavar="FILE")
    return parser.parse_args()


def _some(text: str) -> int:
    if int(text) < 20:
        raise argparse.ArgumentTypeError(f"must be at least 20, not {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
