"""``watch``, and what follows a run: on a terminal, in a pipe, as JSON, and while the store comes and goes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import flows
import pytest
from pseudo_terminal import ENTER, LEAVE, celery_on_a_terminal
from stage import eventually

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.reports.text import columns as width

pytestmark = pytest.mark.only_on("redis", why="it reads the store, and the length of queues")

SIZES = [(80, 24), (200, 50)]
HOSTILE = "東京" * 20
OURS = ("-A", "worker_app", "hephaestus")
FailingRaises = flows.failing(flows.Raises)


def piped(stage, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "celery", *OURS, *words],
        env=stage.environment("client"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server():
    with EmbeddedServer() as started:
        yield started


def fits(terminal, columns, lines):
    assert len(terminal.screen_lines) <= lines
    assert max(map(width, terminal.screen_lines)) <= columns


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_a_run_is_drawn_in_place_until_it_ends_and_its_last_frame_stays(stage, columns, lines):
    handle = stage.hephaestus.start_instance(flows.Approval, {"value": HOSTILE}, id="1")
    with celery_on_a_terminal(stage, *OURS, "watch", handle.id, columns=columns, lines=lines) as terminal:
        eventually(lambda: "a worker started with -Q" in terminal.text, what="it says why nothing moves")
        assert terminal.is_alternate()
        stage.start_workers(1)
        eventually(lambda: "waiting for approved" in terminal.text or "◆ ask" in terminal.text, what="it waits")
        fits(terminal, columns, lines)
        handle.resume("approved", {"by": "Ada"})
        assert terminal.wait() == 0
        assert not terminal.is_alternate()
        assert "✓ ask" in terminal.text
        assert terminal.screen_lines[terminal.screen.cursor.y - 1].startswith("approval::1 completed after ")
        raw = terminal.raw.decode()
    assert (raw.count(ENTER), raw.count(LEAVE)) == (1, 1)
    assert raw.rpartition("\x1b[?25h")[2].count("\x1b[?25l") == 0  # the cursor is there again


@pytest.mark.parametrize(
    ("flow", "code", "said"), [(FailingRaises, 10, "RuntimeError: it broke"), (flows.Approval, 11, "enough")]
)
@pytest.mark.parametrize("how", ["terminal", "pipe", "json"])
def test_it_ends_as_the_run_does(stage, flow, code, said, how):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(flow, {"value": 1}, id="1")
    if code == 11:
        eventually(lambda: handle.status == "waiting", what="it waits")
        handle.cancel("enough")
    if how == "terminal":
        with celery_on_a_terminal(stage, *OURS, "watch", handle.run_id) as terminal:
            assert terminal.wait() == code
            assert said in terminal.text
        return
    process = piped(stage, "watch", handle.run_id, *(["--json"] if how == "json" else []))
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert said in shown
    if how == "json":
        assert json.loads(shown.splitlines()[-1])["status"] == {10: "failed", 11: "cancelled"}[code]


def test_in_a_pipe_each_change_is_a_line_and_with_json_a_document(stage):
    handle = stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="1")
    lines, documents = piped(stage, "watch", "approval::1"), piped(stage, "watch", "approval::1", "--json")
    assert json.loads(documents.stdout.readline())["status"] == "pending"
    stage.start_workers(1)
    assert " a, attempt 1 completed with done" in lines.stdout.readline()
    assert " ask, attempt 1 waiting" in lines.stdout.readline()
    handle.resume("approved")
    shown = [json.loads(line) for line in documents.communicate(timeout=60)[0].splitlines()]
    assert [shown[-1]["status"], documents.returncode] == ["completed", 0]
    assert [entry["kind"] for each in shown for entry in each["history"]] == [entry.kind for entry in handle.history()]
    assert "\x1b" not in lines.communicate(timeout=60)[0]


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_all_runs_are_drawn_in_place_until_ctrl_c(make_stage, columns, lines):
    stage = make_stage()
    stage.start_workers(1)
    for number in range(60):
        stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id=f"{HOSTILE}{number}")
    eventually(lambda: stage.hephaestus.count(status="waiting") == 60, what="all wait")
    with celery_on_a_terminal(stage, *OURS, "watch", columns=columns, lines=lines) as terminal:
        eventually(lambda: "waiting 60" in terminal.text and "steps/s" in terminal.text, what="two looks")
        fits(terminal, columns, lines)
        assert "59" in terminal.text
        stage.hephaestus.resume(f"approval::{HOSTILE}3", "approved")
        eventually(lambda: "completed 1" in terminal.text, what="the change is shown")
        terminal.resize(100, 12)
        eventually(lambda: "waiting 59" in terminal.text, what="it is drawn anew")
        fits(terminal, 100, 12)
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert not terminal.is_alternate()
        assert terminal.text in ("", "^C")
        # A frame is one write, which begins at the top and clears nothing before it draws.
        assert terminal.raw.count(b"\x1b[2J") == 1
        frames = terminal.raw.split(b"\x1b[H")[2:]
        assert len(frames) >= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(stage, number):
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1")
    with celery_on_a_terminal(stage, *OURS, "watch", handle.run_id) as terminal:
        eventually(lambda: "queued" in terminal.text, timeout=60, what="it is drawn")
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert not terminal.is_alternate()
        assert terminal.raw.decode().rpartition("\x1b[?25l")[2].count("\x1b[?25h") == 1


def test_a_stopped_watch_lets_go_of_the_terminal_and_goes_on_when_it_is_wanted(stage):
    stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1")
    with celery_on_a_terminal(stage, *OURS, "watch") as terminal:
        eventually(lambda: "pending 1" in terminal.text, timeout=60, what="it is drawn")
        terminal.type("\x1a")
        eventually(lambda: not terminal.is_alternate(), what="the terminal is given back")
        look = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        eventually(lambda: os.waitid(os.P_PID, terminal.process.pid, look), what="it stands still")
        terminal.process.send_signal(signal.SIGCONT)
        eventually(lambda: terminal.is_alternate() and "pending 1" in terminal.text, what="it is drawn again")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 143


@pytest.mark.parametrize("run", [True, False])
def test_a_frozen_store_is_told_in_a_line_and_the_watch_goes_on(open_stage, server, run):
    stage = open_stage(broker=server.url, state=server.url)
    handle = stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="1")
    words = ["watch", *([handle.run_id] if run else [])]
    with celery_on_a_terminal(stage, *OURS, *words) as terminal, piped(stage, *words, "--json") as process:
        eventually(lambda: "approval::1" in terminal.text, timeout=60, what="it is drawn")
        assert "pending" in process.stdout.readline()
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            eventually(lambda: "out of reach" in terminal.text and "approval::1" in terminal.text, what="it says so")
            fits(terminal, 80, 24)
            assert "out of reach" in process.stderr.readline()
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        eventually(lambda: "out of reach" not in terminal.text, what="it is over")
        assert "answers again" in process.stderr.readline()
        handle.cancel("enough")
        eventually(lambda: "cancelled" in terminal.text, what="it goes on")
        assert "cancelled" in process.stdout.readline()
        process.kill()


def test_a_store_that_is_frozen_does_not_keep_ctrl_c_waiting(open_stage, server):
    stage = open_stage(broker=server.url, state=server.url, state_timeout=60)
    stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="1")
    with celery_on_a_terminal(stage, *OURS, "watch") as terminal:
        eventually(lambda: "pending 1" in terminal.text, timeout=60, what="it is drawn")
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            terminal.type("\x03")
            assert terminal.wait(30) == 0  # well within the time that the store may take to answer
            assert not terminal.is_alternate()
        finally:
            os.kill(server._process.pid, signal.SIGCONT)


def test_a_dumb_terminal_gets_lines_without_escapes(stage):
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1")
    stage.start_workers(1)
    handle.wait(60)
    with celery_on_a_terminal(stage, *OURS, "watch", handle.run_id, TERM="dumb") as terminal:
        assert terminal.wait() == 0
        assert b"\x1b" not in terminal.raw
        assert " a, attempt 1 completed with done" in terminal.text


@pytest.mark.parametrize("stream", [0, 10_000])
def test_the_pace_is_that_of_the_steps(make_stage, stream):
    stage = make_stage(event_stream=stream)
    stage.start_workers(1, concurrency=2)
    process = piped(stage, "watch", "--json")
    seen = [json.loads(process.stdout.readline())]
    for number in range(600):
        stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id=str(number))
    while seen[-1]["counts"]["completed"] < 600:
        seen.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    times = [datetime.fromisoformat(each["at"]) for each in seen]
    lasted = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    steps = sum(each["steps_per_second"] * seconds for each, seconds in zip(seen[1:], lasted, strict=True))
    assert 1200 * 0.6 < steps < 1200 * 1.5, (stream, [each["steps_per_second"] for each in seen], lasted)
