"""``celery -A app hephaestus scheduler``: what is due is done by a process that executes no steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import flows
import pytest
from stage import eventually

from hephaestus_celery.testing.conformance.driven_values import DURATIONS

DEADLINE = 90
BARE_APP = "from celery import Celery\napp = Celery('bare', broker='redis://localhost:1/0')\n"
EAGER_APP = f"{BARE_APP}app.conf.task_always_eager = True\nfrom hephaestus_celery import Hephaestus\nHephaestus(app)\n"


@pytest.fixture
def stage(make_stage):
    """A stage whose dispatches run out soon, without workers."""
    return make_stage(lease=2.0, dispatch_timeout=1.0)


class SchedulerProcess:
    """One standalone scheduler, with what it wrote to standard error."""

    def __init__(self, stage, number):
        self.log = stage.folder / f"scheduler{number}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", "scheduler"],
                env=stage.environment("worker"),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def wait_for(self, text):
        def said():
            assert self.process.poll() is None, self.log.read_text()
            return text in self.log.read_text()

        eventually(said, timeout=DEADLINE, what=f"the scheduler says {text!r}")


@pytest.fixture
def start_scheduler(stage):
    started = []

    def start():
        started.append(SchedulerProcess(stage, len(started)))
        return started[-1]

    yield start
    for scheduler in started:
        scheduler.process.kill()
        scheduler.process.wait()
        print(scheduler.log.read_text())


def command(folder, app, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", app, "hephaestus", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_it_sends_a_lost_message_again_without_any_worker(stage, start_scheduler):
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    stage.drop_messages(at_least=1)
    assert stage.waiting_messages() == 0
    start_scheduler()
    eventually(lambda: stage.waiting_messages() == 1, timeout=DEADLINE, what="the message is in the queue again")
    [rescue] = handle.history()
    assert (rescue.kind, rescue.step, rescue.worker.partition("@")[0]) == ("rescue", "a", "scheduler")
    assert stage.executions() == []


@pytest.mark.only_on("redis", why="handlers know of no broker")
def test_what_it_has_rescued_it_tells_to_the_handlers_of_the_application(stage, start_scheduler):
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    stage.drop_messages(at_least=1)
    start_scheduler()
    [rescue] = eventually(lambda: stage.events("step.rescue"), timeout=DEADLINE, what="the rescue is emitted")
    assert rescue["metadata"]["run_id"] == handle.run_id


@pytest.mark.only_on("redis", why="the lock is in the store")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_the_lock_to_others_at_once(stage, start_scheduler, number):
    scheduler = start_scheduler()
    scheduler.wait_for("the scheduler holds the lock")
    assert not stage.hephaestus.storage.tick(0, owner="another", worker="", seize=False, durations=DURATIONS).held
    scheduler.process.send_signal(number)
    assert scheduler.process.wait(60) == 0
    assert stage.hephaestus.storage.tick(0, owner="another", worker="", seize=False, durations=DURATIONS).held
    log = scheduler.log.read_text()
    assert "the scheduler of hephaestus:acceptance runs" in log
    assert "the scheduler of hephaestus:acceptance has stopped" in log
    assert "Traceback" not in log


@pytest.mark.only_on("redis", why="the lock is in the store")
def test_a_second_one_waits_until_the_first_is_killed(start_scheduler):
    first = start_scheduler()
    first.wait_for("the scheduler holds the lock")
    second = start_scheduler()
    second.wait_for("another scheduler holds the lock")
    first.process.kill()
    second.wait_for("the scheduler holds the lock")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (BARE_APP, "Error: the application 'bare' has no Hephaestus; create one, Hephaestus(app), in a module"),
        (EAGER_APP, "Error: hephaestus:bare does not run its steps on workers"),
    ],
)
def test_an_application_that_has_nothing_to_schedule_gets_told_so(tmp_path, code, error):
    (tmp_path / "bare.py").write_text(code)
    ended = command(tmp_path, "bare", "scheduler")
    assert ended.returncode == 2
    assert error in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_group_explains_its_commands(tmp_path):
    (tmp_path / "bare.py").write_text(BARE_APP)
    ended = command(tmp_path, "bare", "--help")
    assert ended.returncode == 0
    assert "scheduler  Do what is due" in ended.stdout
