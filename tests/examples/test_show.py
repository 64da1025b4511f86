"""What ``show`` prints of a run in which a worker was killed, as the README has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hephaestus_celery.testing.conformance.conditions import eventually

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SLOW = """

import os, pathlib, time

_execute = reserve.execute
app.conf.hephaestus_lease = 3
app.conf.worker_prefetch_multiplier = 1
app.conf.task_default_queue = app.conf.hephaestus_namespace = "NAMESPACE"


def _held(self, instance, config, context):
    if not pathlib.Path("held").exists():
        pathlib.Path("held").write_text(str(os.getppid()))
        time.sleep(60)
    return _execute(self, instance, config, context)


reserve.execute = _held
"""
VARYING = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "RUN"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)", "TIME"),
    (r"\d\d:\d\d:\d\d", "TIME"),
    (r"\b(\d+(\.\d+)?(ms|s|m))+\b", "LONG"),
    (r" {2,}", "  "),
)


def plain(text):
    """What a page prints, without what differs each time."""
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def block_of(directive):
    """The block of the README under this comment."""
    [found] = re.findall(rf"<!-- {re.escape(directive)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    return found


@pytest.fixture
def shop(tmp_path, redis_url, namespace):
    """A folder with the application of the README, in which a worker can be killed while it reserves."""
    code = block_of("file: shop.py").replace("redis://localhost:6379/0", redis_url) + SLOW.replace(
        "NAMESPACE", namespace
    )
    (tmp_path / "shop.py").write_text(code)
    return tmp_path


def celery(folder, *arguments):
    return [str(Path(sys.executable).with_name("celery")), "-A", "shop", *arguments], {
        "cwd": folder,
        "env": {**os.environ, "C_FORCE_ROOT": "1", "PYTHONWARNINGS": "ignore"},
    }


def test_show_prints_what_the_readme_has(shop):
    workers = []
    try:
        for name in ("w1@host", "w2@host"):
            command, options = celery(shop, "worker", "--hostname", name, "--concurrency", "1", "--loglevel", "INFO")
            with (shop / f"{name}.log").open("wb") as log:
                workers.append(subprocess.Popen(command, **options, stdout=log, stderr=log, start_new_session=True))
        for name in ("w1@host", "w2@host"):
            eventually(lambda name=name: f"{name} ready" in (shop / f"{name}.log").read_text(), timeout=60, what=name)

        def said(*arguments):
            command, options = celery(shop, "hephaestus", *arguments)
            return subprocess.run(command, **options, capture_output=True, text=True, check=True).stdout

        said("start", "OrderFlow", "a1001", '{"items": 3}')
        eventually(lambda: (shop / "held").exists() and (shop / "held").read_text(), timeout=30, what="a step is held")
        killed = int((shop / "held").read_text())
        os.killpg(killed, signal.SIGKILL)
        eventually(lambda: "✓ reserve" in said("show", "orderid::a1001"), timeout=60, what="the other worker")
        shown = re.sub(r"w[12]@host", "w1@host", said("show", "orderid::a1001"))
    finally:
        for worker in workers:
            worker.poll()
            if worker.returncode is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    (shop / "shown").write_text(shown)
    assert plain(shown) == plain(block_of("run by: tests/examples/test_show.py"))
