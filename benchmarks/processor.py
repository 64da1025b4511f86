"""The processor time that the processes of a stage have used so far; unlike a pace, hardly touched by other work."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.stage import Stage

_PROC = Path("/proc")
_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Fields of ``/proc/<pid>/stat``, counted after the name of the program."""


def processor_seconds(stage: Stage) -> Mapping[str, float]:
    """By part: the server, the worker's main process, its pool, and the client, which is this process."""
    main, server = stage.worker.pid, stage.server_pid
    return {
        "client": time.process_time(),
        "worker": _seconds(_stat(main)),
        "pool": sum(_seconds(_stat(pid)) for pid in pool_of(main)),
        "server": _seconds(_stat(server)),
    }


def pool_of(main: int) -> list[int]:
    """The processes of a worker's group but its main one."""
    numbers = [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit()]
    return [pid for pid in numbers if pid != main and _group(pid) == main]


def _group(pid: int) -> int | None:
    try:
        return int(_stat(pid)[_GROUP])
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has ended meanwhile


def _seconds(fields: list[str]) -> float:
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    # The name of the program comes before the rest, in brackets, and may hold anything.
    return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
