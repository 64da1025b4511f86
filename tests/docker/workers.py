"""What a worker of these tests is started with, whether in a container or as a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recorder
from stage import eventually

NAME = "worker"
REVIVALS = 5
"""How often a worker that fails by itself is started again. kombu 5.7 needs that: a connection that is cut while it
cleans up after another ends the worker with an ``AttributeError`` ("'NoneType' object has no attribute 'hostname'").
"""
SOURCES = (Path(recorder.__file__).parent, Path(__file__).parent / "application")
"""The tests' application; found at these paths in containers too, where they are mounted."""


def arguments(hostname: str) -> list[str]:
    """Of `celery`, for a worker that executes one step at a time."""
    return [
        *("-A", "worker_app", "worker", "--include", "side_by_side", "--loglevel", "INFO"),
        *("--hostname", hostname, "--pool", "prefork", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


def environment(
    *, broker: str, state: str, namespace: str, settings: Mapping[str, Any], folder: Path
) -> dict[str, str]:
    """What the tests' application wants to know."""
    return {
        "PYTHONPATH": ":".join(map(str, SOURCES)),
        "HEPHAESTUS_TEST_ROLE": "worker",
        "HEPHAESTUS_TEST_BROKER": broker,
        "HEPHAESTUS_TEST_STATE": state,
        "HEPHAESTUS_TEST_NAMESPACE": namespace,
        "HEPHAESTUS_TEST_SETTINGS": json.dumps(dict(settings)),
        recorder.FOLDER: str(folder),
    }


class Notes:
    """What the workers have noted so far, wherever they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def executions(self) -> list[dict[str, Any]]:
        """Each time that a step's body ran."""
        return self._read("executed")

    def events(self, name: str | None = None, *, run_id: str | None = None) -> list[dict[str, Any]]:
        """The telemetry that handlers in the workers have seen."""
        return [
            record
            for record in self._read("event")
            if name in (None, record["event"]) and run_id in (None, record["metadata"].get("run_id"))
        ]

    def emitted(self, run_id: str, *, last: str = "workflow.stop") -> list[dict[str, Any]]:
        """The telemetry of a run, once its last event is there."""
        eventually(lambda: self.events(last, run_id=run_id), what=f"{last} of {run_id}")
        return sorted(self.events(run_id=run_id), key=lambda record: record["metadata"]["sequence"])

    def _read(self, kind: str) -> list[dict[str, Any]]:
        # A line that is just being written may be seen in part; its end is what comes last.
        lines = [line for file in self.folder.glob("*.jsonl") for line in file.read_text().splitlines(keepends=True)]
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return sorted((record for record in records if record["kind"] == kind), key=lambda record: record["at"])
