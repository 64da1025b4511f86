"""DBOS as a rival: its workflows run in the process that calls them, and are kept in SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dbos import DBOS, DBOSConfig

from benchmarks import marks
from benchmarks.others.postgres import postgres
from benchmarks.others.protocol import STEPS, serve


@DBOS.step()
def _step(previous: int) -> int:
    return previous


@DBOS.step()
def _last(previous: int, mark: int | None) -> int:
    if mark is not None:
        marks.set_mark(mark)
    return previous


@DBOS.workflow()
def _chain(mark: int | None) -> int:
    value = 1
    for _ in range(STEPS - 1):
        value = _step(value)
    return _last(value, mark)


def _send(marked: Sequence[int]) -> None:
    for mark in marked:
        DBOS.start_workflow(_chain, mark)


@contextmanager
def _database(kind: str) -> Generator[str]:
    with contextlib.ExitStack() as stack:
        if kind == "postgresql":
            yield stack.enter_context(postgres(database="dbos"))
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-bench-"))
            yield f"sqlite:///{Path(folder) / 'dbos.sqlite'}"


if __name__ == "__main__":
    with _database(sys.argv[1]) as url:
        DBOS(config=DBOSConfig(name="bench", system_database_url=url, log_level="WARNING", enable_otlp=False))
        DBOS.launch()
        try:
            serve(play=lambda: _chain(None), send=_send)
        finally:
            DBOS.destroy(workflow_completion_timeout_sec=0)
