"""Stacks that py-spy has seen, grouped by what they were for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What a stack is for: the first of its frames, from the outside in, that is one of these (function, end of the file).
_PURPOSES: Mapping[tuple[str, str], str] = {
    ("claim", "runners/driver.py"): "claim",
    ("execute", "runners/driver.py"): "execute",
    ("commit", "runners/driver.py"): "commit",
    ("emit_start", "runners/attempt.py"): "emit",
    ("emit", "runners/after_commit.py"): "emit",
    ("dispatch", "celery/runner.py"): "publish",
    ("hold", "runners/leases.py"): "leases",
    ("_run", "runners/leases.py"): "leases",
    ("run", "runners/scheduler.py"): "scheduler",
    ("apply_async", "celery/canvas.py"): "publish",
    ("store_result", "celery/backends/base.py"): "result",
    ("mark_as_done", "celery/backends/base.py"): "result",
    ("on_readable", "kombu/transport/redis.py"): "receive",
    ("on_task_received", "worker/consumer/consumer.py"): "receive",
    ("ack", "kombu/message.py"): "acknowledge",
    ("ack_log_error", "kombu/message.py"): "acknowledge",
    ("poll", "kombu/utils/eventio.py"): "event loop",
}
# Between parts of the pool, whose frames come first: only where nothing further in says more.
_OUTER: Mapping[str, str] = {
    "billiard/": "pool: pipes and processes",
    "celery/concurrency/asynpool.py": "pool: pipes and processes",
    "kombu/asynchronous/": "event loop",
    "celery/app/trace.py": "celery: tracing a task",
    "celery/": "celery: other",
    "kombu/": "celery: other",
}
_PACKAGES = ("hephaestus_celery", "redis", "kombu", "celery", "billiard", "vine", "json")
_COMMON = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Functions from the outside in, as ``name (file)``, and how often they were seen so."""

    frames: Sequence[str]
    samples: int


def read(file: Path) -> list[Stack]:
    """What ``py-spy record --format raw`` has written."""
    return list(_stacks(file.read_text(encoding="utf-8", errors="replace")))


def groups(stacks: Sequence[Stack]) -> Mapping[str, Counter[str]]:
    """Samples by purpose, the largest first; and within one by the package whose code ran."""
    found: dict[str, Counter[str]] = {}
    for stack in stacks:
        found.setdefault(_purpose(stack), Counter())[_package(stack.frames[-1])] += stack.samples
    return dict(sorted(found.items(), key=lambda item: -item[1].total()))


def top(stacks: Sequence[Stack]) -> tuple[Counter[str], Counter[str]]:
    """Samples by function: as the innermost, and anywhere; what nearly all stacks have in common is left out of that."""
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for stack in stacks:
        own[_short(stack.frames[-1])] += stack.samples
        for frame in {_short(frame) for frame in stack.frames}:
            cumulative[frame] += stack.samples
    common = _COMMON * sum(stack.samples for stack in stacks)
    return own, Counter({frame: count for frame, count in cumulative.items() if count < common})


def _stacks(text: str) -> Iterator[Stack]:
    for line in text.splitlines():
        frames, _, samples = line.rpartition(" ")
        if frames:
            yield Stack(frames=frames.split(";"), samples=int(samples))


def _purpose(stack: Stack) -> str:
    ours = False
    for frame in stack.frames:
        name, file = _parts(frame)
        for (function, end), purpose in _PURPOSES.items():
            if name.rpartition(".")[2] == function and file.endswith(end):
                return purpose
        ours = ours or "/hephaestus_celery/" in file
    if ours:
        return "ours: other"
    for part, purpose in _OUTER.items():
        if any(f"/{part}" in frame for frame in reversed(stack.frames)):
            return purpose
    return "other"


def _package(frame: str) -> str:
    for package in _PACKAGES:
        if f"/{package}/" in frame:
            return package
    return "other"


def _short(frame: str) -> str:
    name, file = _parts(frame)
    return f"{name} ({'/'.join(file.split('/')[-3:])})"


def _parts(frame: str) -> tuple[str, str]:
    """The function and its file, out of ``function (file:line)``."""
    name, _, place = frame.removesuffix(")").partition(" (")
    return name, place.rpartition(":")[0]
