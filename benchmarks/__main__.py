"""``python -m benchmarks``: runs the contests, prints what they found and writes it into a folder.

Everything that it starts is its own and is stopped when it ends, by Ctrl-C too. The exit code is 0 when every contest
could be held; whether the budgets are kept changes it with ``--strict`` only, since a busy machine says little.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import against, chart, machine, shield
from benchmarks.bench import Bench, Row
from benchmarks.contest import Result, hold
from benchmarks.durability import describe_server
from benchmarks.report import Report, as_json, as_markdown, as_text
from benchmarks.rows import ROWS
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.worker import ROOT

OUTPUT, PUBLISHED = ROOT / "build" / "benchmarks", ROOT / "docs" / "performance"
INTERRUPTED = 130
AGAINST_ROUNDS = 15


def main() -> int:
    """Run what the command line asks for and give the exit code."""
    options = _options()
    shield.install()
    if options.against is not None:
        return _compare(options)
    try:
        report = _run(_chosen(options.only), _scale(options))
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped", file=sys.stderr)
        return INTERRUPTED
    _write(report, options.output)
    if options.publish:
        _publish(report)
    return _conclude(report, strict=options.strict)


def _compare(options: argparse.Namespace) -> int:
    rows = [name for name in _chosen(options.only) if options.only or not name.startswith("others-")]
    try:
        worse = against.compare(options.against, rows, _scale(options), output=options.output)
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped", file=sys.stderr)
        return INTERRUPTED
    return 1 if worse and options.strict else 0


def _run(rows: Mapping[str, Row], scale: Scale) -> Report:
    described = machine.describe()
    with Bench(scale) as bench:
        report = Report(
            machine=described,
            versions=machine.versions(),
            server=describe_server(),
            scale="quick" if scale.stored_runs < FULL.stored_runs else "full",
            results=[],
        )
        print(report.setting, end="\n\n", flush=True)
        results: list[Result] = []
        for name, row in rows.items():
            results.append(_hold(name, row, bench))
            print(as_text(results[-1]), end="\n\n", flush=True)
    return dataclasses.replace(report, results=results)


def _hold(name: str, row: Row, bench: Bench) -> Result:
    title = name
    began = time.monotonic()
    try:
        with row(bench) as contest:
            title = contest.title
            return hold(name, contest, rounds=bench.scale.rounds, seconds=bench.scale.seconds)
    except Exception as error:  # noqa: BLE001 - the other contests can still be held
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"
        return Result(name=name, title=title, unit="", seconds=time.monotonic() - began, failure=failure)


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(as_json(report), encoding="utf-8")
    (folder / "benchmarks.md").write_text(as_markdown(report), encoding="utf-8")
    (folder / "benchmarks.svg").write_text(chart.draw(report.results), encoding="utf-8")
    print(f"Written to {folder}: results.json, benchmarks.md, benchmarks.svg")


def _publish(report: Report) -> None:
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    (PUBLISHED / "benchmarks.md").write_text(as_markdown(report), encoding="utf-8")
    (PUBLISHED / "benchmarks.svg").write_text(chart.draw(report.results), encoding="utf-8")


def _conclude(report: Report, *, strict: bool) -> int:
    verdicts = [found.met for result in report.results for found in result.compared() if found.met is not None]
    failed = [result.name for result in report.results if result.failure is not None]
    print(f"{sum(verdicts)} of {len(verdicts)} budgets are met.")
    if failed:
        print(f"Could not be held: {', '.join(failed)}.")
    return 1 if failed or (strict and not all(verdicts)) else 0


def _chosen(only: Sequence[str]) -> Mapping[str, Row]:
    return {name: row for name, row in ROWS.items() if not only or any(fnmatch.fnmatch(name, each) for each in only)}


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else FULL
    if options.against is not None:
        # Four servers are filled, and both sides share the time of a row.
        scale = dataclasses.replace(
            scale, stored_runs=QUICK.stored_runs, rounds=AGAINST_ROUNDS, seconds=2 * scale.seconds
        )
    return scale if options.rounds is None else dataclasses.replace(scale, rounds=options.rounds)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if not fnmatch.filter(ROWS, name)]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} names no row; there are {', '.join(ROWS)}")
    return names


def _checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "benchmarks" / "rows").is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no checkout of this project with its benchmarks")
    return path


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look in two minutes, with sizes that prove nothing")
    parser.add_argument("--only", type=_names, default=[], metavar="NAMES", help=f"of {', '.join(ROWS)}; * is allowed")
    parser.add_argument(
        "--against", type=_checkout, metavar="PATH", help="another checkout: measure both in turn, print the ratios"
    )
    parser.add_argument("--rounds", type=_positive, help="how many rounds each contest has at most")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder that results are written to")
    parser.add_argument("--publish", action="store_true", help="write table and chart into docs/performance as well")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 when a budget is missed, or a row is worse than before"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
