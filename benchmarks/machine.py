"""On what the figures were taken."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGES = (
    *("hephaestus-celery", "celery", "kombu", "billiard", "redis", "hiredis"),
    *("dramatiq", "taskiq", "taskiq-redis", "taskiq-pipelines", "dbos"),
)


def describe() -> Mapping[str, str]:
    """The machine: processor, operating system, Python, and how busy it was with other things."""
    return {
        "processor": f"{_processor()}, {len(_cores())} cores",
        "system": f"{_system()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> Mapping[str, str]:
    """The packages that take part; those that are not installed are left out."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cores() -> Sequence[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return list(affinity(0)) if affinity is not None else list(range(os.cpu_count() or 1))


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return model.strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.system()} {platform.release()}"
    except (OSError, KeyError):
        return platform.platform(terse=True)
