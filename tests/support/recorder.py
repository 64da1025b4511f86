"""What worker processes note for the tests to read: one file per process, one JSON line per thing that happened."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from hephaestus_celery.telemetry.labels import reason_label

FOLDER = "HEPHAESTUS_TEST_FOLDER"


def note(kind: str, **fields: Any) -> None:
    """Append a line; one write, so that lines of several threads stay whole."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    line = json.dumps({"kind": kind, "pid": os.getpid(), "at": time.time_ns(), **fields}, default=_plain) + "\n"
    descriptor = os.open(Path(folder) / f"{os.getpid()}.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def on_event(event: Any, measurements: Any, metadata: Any, config: Any) -> None:
    """A telemetry handler that notes every event."""
    note("event", event=".".join(event[1:]), measurements=dict(measurements), metadata=dict(metadata))


def read(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All lines of a kind that were written so far."""
    found: list[dict[str, Any]] = []
    for file in folder.glob("*.jsonl"):
        whole, _, _ = file.read_text().rpartition("\n")  # another process may be writing the last line
        for line in whole.splitlines():
            record = json.loads(line)
            if record["kind"] == kind:
                found.append(record)
    return sorted(found, key=lambda record: record["at"])


def wait_for_gate(path: str) -> None:
    """Hold the caller until the file exists; a minute at most, so that a failed test ends."""
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def _plain(value: Any) -> Any:
    if issubclass(type(value), BaseException):  # isinstance() asks the exception, which may be any that a step raises
        return reason_label(value)
    if isinstance(value, type):
        return getattr(value, "key", None) or getattr(value, "name", None) or value.__qualname__
    return str(value)
