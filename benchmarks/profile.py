"""``python -m benchmarks.profile``: where the time of a step goes, in the worker's processes and in the server.

While chains of ten steps are run, py-spy looks at a process of the pool and at the worker's main process; what they did
is grouped by what it was for. Only time on a processor counts, unless ``--wall`` asks for waiting too. Then the commands
that the server was given are counted, and what they took.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import shield
from benchmarks.commands import record, script_microseconds
from benchmarks.flows import CHAINS
from benchmarks.measure import burst_seconds
from benchmarks.processor import pool_of
from benchmarks.stacks import Stack, groups, read, top
from benchmarks.stage import Stage

STEPS = 10
_BATCH = 100
_RATE = 250
_SHOWN = 25
Send = Callable[[Sequence[int]], None]


def main() -> int:
    """Profile what the command line asks for and give the exit code."""
    options = _options()
    if importlib.util.find_spec("py_spy") is None and not Path(_py_spy()).exists():
        print("py-spy is not installed; benchmarks/requirements.txt has it", file=sys.stderr)
        return 1
    shield.install()
    try:
        with Stage(pool=options.pool) as stage:
            sends: Mapping[str, Send] = {
                "ours": lambda marked: stage.client.start_many(CHAINS[STEPS], marked),
                "chain": lambda marked: stage.client.canvas.chains(STEPS, marked),
            }
            _profile(stage, sends[options.what], seconds=options.seconds, wall=options.wall)
            _count(stage, sends[options.what])
    except KeyboardInterrupt:
        return 130
    return 0


def _profile(stage: Stage, send: Send, *, seconds: int, wall: bool) -> None:
    burst_seconds(stage.marks, send, count=_BATCH)  # warm
    watched = {f"process {number} of the pool": pid for number, pid in enumerate(pool_of(stage.worker.pid)[:1], 1)}
    watched["the worker's main process"] = stage.worker.pid
    with tempfile.TemporaryDirectory(prefix="hephaestus-bench-") as folder:
        files = {name: Path(folder) / f"{pid}.raw" for name, pid in watched.items()}
        watchers = [_watch(pid, files[name], seconds=seconds, wall=wall) for name, pid in watched.items()]
        steps = took = 0
        try:
            while any(watcher.poll() is None for watcher in watchers):
                took += burst_seconds(stage.marks, send, count=_BATCH)
                steps += _BATCH * STEPS
        finally:
            for watcher in watchers:
                watcher.terminate()
                watcher.wait()
        print(f"{steps} steps in {took:.1f} s: {steps / took:.0f} steps/s, with the profiler attached")
        for name, file in files.items():
            _show(name, read(file))


def _watch(pid: int, file: Path, *, seconds: int, wall: bool) -> subprocess.Popen[bytes]:
    # Nonblocking: a process that is stopped to be looked at has no state of its own to be seen by.
    command = [_py_spy(), "record", "--pid", str(pid), "--format", "raw", "--function", "--full-filenames"]
    command += ["--nonblocking"]
    command += ["--output", str(file), "--rate", str(_RATE), "--duration", str(seconds), *(["--idle"] if wall else [])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _py_spy() -> str:
    return str(Path(sys.executable).with_name("py-spy"))


def _show(name: str, stacks: Sequence[Stack]) -> None:
    total = sum(stack.samples for stack in stacks)
    print(f"\n== {name}: {total} samples ({total / _RATE:.1f} s)")
    for group, parts in groups(stacks).items():
        of_group = sum(parts.values())
        inside = ", ".join(f"{part} {count / total:.1%}" for part, count in parts.most_common(5))
        print(f"  {group:28} {of_group / total:6.1%}   ({inside})")
    for kind, counted in zip(("self", "cumulative"), top(stacks), strict=True):
        print(f"  -- top functions, {kind}")
        for function, count in counted.most_common(_SHOWN):
            print(f"  {count / total:6.1%}  {function}")


def _count(stage: Stage, send: Send) -> None:
    stage.settle()
    stage.server.config_resetstat()
    burst_seconds(stage.marks, send, count=_BATCH)
    stage.settle()
    steps = _BATCH * STEPS
    stats: Mapping[str, Any] = stage.server.info("commandstats")
    print("\n== the server: calls and microseconds per step; those inside scripts are part of evalsha's time")
    for name, found in sorted(stats.items(), key=lambda item: -item[1]["usec"])[:_SHOWN]:
        print(f"  {name.removeprefix('cmdstat_'):24} {found['calls'] / steps:8.2f}  {found['usec'] / steps:8.1f} us")
    print("\n== our scripts: calls per step, and microseconds in the server for each (median)")
    timed = script_microseconds(stage.server, lambda: burst_seconds(stage.marks, send, count=_BATCH))
    for name, durations in timed.items():
        print(f"  {name:24} {len(durations) / steps:8.2f}  {statistics.median(durations):8.1f} us")
    with record(stage.server) as recording:
        burst_seconds(stage.marks, send, count=_BATCH)
    print("\n== commands per step, by who gave them")
    for script, commands in recording.by_script().items():
        counts = ", ".join(f"{name} {count / steps:.2f}" for name, count in commands.most_common(12))
        print(f"  {script:10} {sum(commands.values()) / steps:6.2f}  ({counts})")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="how long py-spy looks")
    parser.add_argument("--what", choices=("ours", "chain"), default="ours")
    parser.add_argument("--pool", choices=("prefork", "threads"), default="prefork")
    parser.add_argument("--wall", action="store_true", help="count waiting too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
