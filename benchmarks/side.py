"""One of two code bases that are compared: measures what it is asked for. Started by ``benchmarks.against``.

It is executed by its path, and imports the benchmarks and the package of the checkout that stands in ``PYTHONPATH``: so
each side is measured by benchmarks that fit it. Requests and replies are lines of JSON.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

THEIRS = (
    *("chain", "chord", "bare", "asking", "ten bare", "ten asking", "pushing", "celery.app", "Celery on Redis"),
    *("dramatiq", "taskiq", "dbos"),
)
"""What the names of contestants begin with that are not ours: they are the same on both sides."""


class Side:
    """Replies to requests; one row is open at a time."""

    def __init__(self, bench: Any, rows: Mapping[str, Any]) -> None:
        self._bench, self._rows = bench, rows
        self._row = ExitStack()
        self._contest: Any = None

    def reply(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a request comes to; one that fails is replied to as well."""
        try:
            match request:
                case {"open": str() as name}:
                    return self._open(name)
                case {"measure": str() as contestant}:
                    return {"figures": self._measure(contestant)}
                case _:
                    self.close()
                    return {}
        except Exception as error:  # noqa: BLE001 - the other rows can still be measured
            traceback.print_exc()
            return {"failure": f"{type(error).__name__}: {error}"}

    def close(self) -> None:
        """Take down the row that is open."""
        self._row.close()

    def _open(self, name: str) -> Mapping[str, Any]:
        if name not in self._rows:
            return {"failure": "there is no such row"}
        self._contest = self._row.enter_context(self._rows[name](self._bench))
        return {
            "title": self._contest.title,
            "unit": self._contest.unit,
            "contestants": [name for name in self._contest.contestants if not name.startswith(THEIRS)],
            "most_rounds": self._contest.most_rounds,
        }

    def _measure(self, contestant: str) -> Mapping[str, float]:
        gc.collect()
        measured = self._contest.contestants[contestant]()
        self._contest.settle()
        if isinstance(measured, Mapping):
            return {f"{contestant}: {detail}": figure for detail, figure in measured.items()}
        return {contestant: measured}


def main() -> None:
    """Reply until there are no more requests."""
    replies = _replies()
    checkout, sizes = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])

    import hephaestus_celery
    from benchmarks.bench import Bench
    from benchmarks.rows import ROWS
    from benchmarks.scale import FULL

    if checkout not in Path(hephaestus_celery.__file__).resolve().parents:
        raise SystemExit(f"{hephaestus_celery.__file__} is not of {checkout}")
    known = {field.name for field in dataclasses.fields(FULL)}
    scale = dataclasses.replace(FULL, **{name: size for name, size in sizes.items() if name in known})
    with Bench(scale) as bench:
        side = Side(bench, ROWS)
        try:
            for line in sys.stdin:
                print(json.dumps(side.reply(json.loads(line))), file=replies, flush=True)
        finally:
            side.close()


def _replies() -> TextIO:
    # Whatever else is printed goes where errors go.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    main()
