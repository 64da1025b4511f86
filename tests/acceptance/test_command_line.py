"""``celery -A shop hephaestus``: what each command prints and how it ends, on real workers and a real server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from flows import Approval, Diamond, Gated, Linear, Refunds, failing
from flows import Raises as RaisesStep
from shell import Shell

from hephaestus_celery.reports.text import columns as width
from hephaestus_celery.testing.conformance.conditions import eventually

pytestmark = pytest.mark.only_on("redis", why="no command cares which broker there is")

FailingRaises = failing(RaisesStep)
HOSTILE = "\x1b[2J\x07東京\u202e" + "x" * 100_000


@pytest.fixture
def shell(stage):
    """``shell("list", "--json")``: a command on the application of the stage, and how it ended."""
    return Shell(stage.app)


@pytest.fixture
def working(stage):
    """The stage, with a worker."""
    stage.start_workers()
    return stage


def test_a_run_is_started_and_followed_to_its_end(working, shell):
    ended = shell("start", "diamond", "1", '{"value": 7}', "--wait")
    assert ended.code == 0
    run_id = working.hephaestus.get("diamond::1").run_id
    assert ended.lines[0] == f"started diamond::1 as run {run_id}"
    assert re.search(r"Z d, attempt 1 completed with done after [\d.]+m?s", ended.output)
    assert ended.lines[-1].startswith("diamond::1 completed after ")
    assert shell("start", "Diamond", "2", "-q").lines == [working.hephaestus.get("diamond::2").run_id]
    assert shell("wait", "diamond::2", "--json").document["status"] == "completed"


def test_a_wait_ends_as_its_run_does(working, shell):
    failed = shell("start", FailingRaises.name, "1", "--wait")
    assert (failed.code, "RuntimeError: it broke" in failed.output) == (10, True)
    assert shell("start", "approval", "1").code == 0
    eventually(lambda: working.hephaestus.get("approval::1").waiting_steps, what="the question")
    late = shell("wait", "approval::1", "--timeout", "1s")
    assert late.code == 12
    assert "the time is over: approval::1 is waiting (ask: waiting for approved or declined" in late.errors
    threading.Timer(1, lambda: working.hephaestus.cancel("approval::1", "enough")).start()
    cancelled = shell("wait", "approval::1")
    assert (cancelled.code, cancelled.lines[-1].endswith(": enough")) == (11, True)


def test_a_run_is_listed_shown_resumed_and_its_history_told(working, shell):
    handle = working.hephaestus.start_instance(Approval, {"value": HOSTILE}, id="1")
    eventually(lambda: handle.get().waiting_steps, what="the question")
    [row] = shell("list", "--waiting-for", "approved", "--json").document
    assert (row["id"], row["run_id"], row["status"]) == ("approval::1", handle.run_id, "waiting")
    assert (row["waiting_steps"], row["current_step"], row["workflow"]) == (["ask"], "ask", "approval")
    assert row["steps"]["ask"]["accepts"] is not None
    assert "ask: waiting for approved or declined" in shell("list").output
    shown = shell("show", handle.run_id[:-1])
    assert shown.code == 0
    assert all(line.isprintable() for line in shown.lines)
    assert max(map(len, shown.lines)) < 400
    assert "◆ ask" in shown.output
    assert "x" * 100_000 in shell("show", handle.run_id, "--full").output
    delivered = shell("resume", "approval::1", "approved", "-", stdin='{"by": "Ada"}')
    assert delivered.lines == [f"delivered 'approved' to {handle.run_id}"]
    assert handle.wait(60).context.steps["ask"] == {"by": "Ada"}
    again = shell("resume", "approval::1", "approved")
    assert (again.code, again.output) == (4, "")
    assert again.errors.startswith("Error: approval::1 has ended (completed)")
    entries = shell("history", handle.run_id, "--json").document
    assert [entry["kind"] for entry in entries] == [entry.kind for entry in handle.history()]
    assert entries[0]["started_at"].endswith("Z")
    assert len(shell("history", handle.run_id).lines) == len(entries) + 1


def test_what_a_run_holds_is_in_its_document(working, shell):
    handle = working.hephaestus.start_instance(FailingRaises, {"value": HOSTILE}, id="1")
    handle.wait(60)
    found = shell("show", handle.run_id, "--json")
    assert found.output.isascii()
    assert found.document["context"]["initial"] == {"value": HOSTILE}
    assert found.document["failure"]["type"] == "RuntimeError"
    assert found.document["failed_step"] == "raises"
    assert [entry["outcome"] for entry in found.document["history"]] == ["failed"]
    shown = shell("show", handle.run_id).output
    assert "✗ raises" in shown
    assert 'raise RuntimeError("it broke")' in shown


def test_a_run_is_cancelled(stage, shell):
    handle = stage.hephaestus.start_instance(Linear, id="1")
    assert shell("cancel", "linear::1", "--reason", "twice").lines == [f"cancelled {handle.run_id}"]
    assert handle.get().cancel_reason == "twice"
    again = shell("cancel", "linear::1")
    assert again.code == 4
    assert "has ended already (cancelled)" in again.errors
    assert "cancelled: twice" in shell("show", "linear::1").output


def test_workflows_and_their_graphs_are_told(stage, shell):
    stage.hephaestus.start_instance(Linear, id="1")
    known = {each["workflow"]: each for each in shell("workflows", "--json").document}
    assert known["linear"]["active"] == 1
    assert (known["linear"]["version"], known["linear"]["steps"]) == (1, ["a", "b", "done"])
    assert known["diamond"]["active"] == 0
    assert [each["version"] for each in shell("workflows", "--json").document if each["family"] == "track"] == [1, 2]
    assert shell("graph", "Diamond").output == Diamond.to_text()
    assert shell("graph", "diamond", "--mermaid").output == Diamond.to_mermaid()
    edges = shell("graph", "diamond", "--json").document["edges"]
    assert edges[0] == {"source": "a", "event": "done", "target": "b", "dynamic": False}
    assert shell("graph", "race", "--json").document["joins"] == {"c": 1}
    assert "c joins 1 of 3" in shell("graph", "race").output


def test_a_graph_is_printed_as_a_picture(stage, shell):
    drawn = shell("graph", "race", "--svg")
    assert drawn.code == 0
    picture = ET.fromstring(drawn.output)
    assert picture.get("class") == "hephaestus-picture graph"
    assert "1 of 3" in {"".join(each.itertext()) for each in picture.iter() if each.get("class") == "badge"}
    assert picture.find("{http://www.w3.org/2000/svg}style") is not None
    assert shell("graph", "race", "--svg", "--full").output == drawn.output
    for wrong in (["--svg", "--mermaid"], ["--svg", "--json"], ["--full"], ["--run", "race::1"]):
        refused = shell("graph", "race", *wrong)
        assert (refused.code, refused.output) == (2, "")


def test_a_run_is_printed_as_pictures_of_its_graph_and_its_history(working, shell):
    handle = working.hephaestus.start_instance(Approval, id="pictured")
    eventually(lambda: handle.get().waiting_steps, what="the question")
    shown = ET.fromstring(shell("graph", "approval", "--svg", "--run", "approval::pictured").output)
    classes = [each.get("class") for each in shown.iter()]
    assert ("step s-waiting" in classes, "step s-not-reached" in classes) == (True, True)
    history = shell("history", "approval::pictured", "--svg")
    assert history.code == 0
    drawn = {each.get("class") for each in ET.fromstring(history.output).iter()}
    assert {"row", "bar waiting", "goes-on waiting"} <= drawn
    other = shell("graph", "linear", "--svg", "--run", "approval::pictured")
    assert (other.code, other.output) == (2, "")
    assert "approval::pictured is a run of approval, version 1, and not of linear" in other.errors
    assert shell("history", "approval::pictured", "--svg", "--json").code == 2


def test_a_failure_that_a_transition_took_is_told_as_one(stage, shell):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(Refunds, {"way": "raise"}, id="1")
    handle.wait(30)
    [line] = [line for line in shell("show", "refunds::1").lines if "failed, went on" in line]
    assert "charge" in line
    assert "@failed" in line
    assert any("@failed" in line and "ValueError: declined" in line for line in shell("history", "refunds::1").lines)
    document = shell("show", "refunds::1", "--json").document
    assert (document["failed_step"], document["steps"]["charge"]["event"]) == (None, "@failed")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["show", "linear::none"], 3, "no instance linear::none"),
        (["show", "0199c0de-0000"], 3, "no run id begins with 0199c0de-0000"),
        (["show", "0199c0de-0000-7000-8000-000000000000"], 3, "no instance 0199c0de"),
        (["history", "nonsense"], 3, "no instance nonsense"),
        (["start", "Liniar", "1"], 3, "has no workflow 'Liniar'; did you mean Linear?"),
        (["graph", "linear", "--version", "7"], 3, "linear has no version 7; it has 1"),
        (["start", "linear", "a b"], 2, "the value of an instance id must be"),
        (["start", "linear", "1", "[1]"], 2, "it must be a JSON object"),
        (["start", "linear", "1", "{"], 2, "it is no JSON"),
        (["start", "linear", "1", "--timeout", "5"], 2, "--timeout is for --wait"),
        (["list", "--started-after", "soon"], 2, "'soon' is no moment"),
        (["list", "--cursor", "nonsense"], 2, "cursor must be the next_cursor of a page"),
        (["list", "--status", "odd"], 2, "is not one of"),
        (["list", "--nonsense"], 2, "No such option"),
        (["wait", "linear::none", "--timeout", "x"], 2, "'x' is no duration"),
        (["--runtime", "other", "list"], 2, "say which one"),
    ],
)
def test_what_can_not_be_done_has_its_code_and_a_sentence(shell, arguments, code, error):
    ended = shell(*arguments)
    assert (ended.code, ended.output) == (code, "")
    assert error in ended.errors
    assert "Traceback" not in ended.errors


def test_a_start_of_an_active_id_is_refused(stage, shell):
    assert shell("start", "linear", "1").code == 0
    again = shell("start", "linear", "1")
    assert again.code == 4
    assert "linear::1" in again.errors


def test_a_store_out_of_reach_has_its_code(open_stage, tmp_path):
    gone = f"redis+socket://{tmp_path}/none.sock"
    stage = open_stage(broker=gone, state=gone)
    ended = Shell(stage.app)("list")
    assert ended.code == 5
    assert ended.errors.startswith("Error: the state store")
    assert len(ended.errors.splitlines()) == 1


def test_the_beginning_of_a_run_id_that_several_have_is_refused_with_their_ids(stage, shell):
    handles = []

    def of_the_same_minute():  # a run id begins with the time, and its first eight digits change each minute
        handles.append(stage.hephaestus.start_instance(Linear, id=str(len(handles))))
        return sum(handle.run_id[:8] == handles[-1].run_id[:8] for handle in handles) == 12

    eventually(of_the_same_minute, what="twelve run ids have a common beginning")
    ended = shell("show", handles[-1].run_id[:8])
    assert ended.code == 4
    assert sum(handle.run_id in ended.errors for handle in handles) == 10
    assert "and more: give more of the run id" in ended.errors


def test_a_list_goes_by_its_filters_and_in_pages(stage, shell):
    ids = [stage.hephaestus.start_instance(Linear, id=str(number)).run_id for number in range(5)]
    stage.hephaestus.cancel(ids[0])
    other = stage.hephaestus.start_instance(Gated, {"gate": "none"}, id="1").run_id
    assert shell("list", "-q").lines == [other, *reversed(ids)]
    assert shell("list", "-q", "--status", "cancelled").lines == [ids[0]]
    assert shell("list", "-q", "--status-in", "cancelled", "--status-in", "pending", "--workflow", "Linear").lines == [
        *reversed(ids)
    ]
    assert shell("list", "-q", "--id", ids[2]).lines == [ids[2]]
    assert shell("list", "-q", "--started-after", "1h", "--limit", "1").lines == [other]
    assert shell("list", "-q", "--started-before", (datetime.now(UTC) - timedelta(hours=1)).isoformat()).lines == []
    first = shell("list", "-q", "--limit", "4")
    cursor = re.search(r"--cursor (\S+)", first.errors)[1]
    assert shell("list", "-q", "--limit", "4", "--cursor", cursor).lines == [ids[1], ids[0]]
    assert shell("list", "-q", environment={"CELERY_HEPHAESTUS_LIST_LIMIT": "2"}).lines == [other, ids[4]]


def test_every_command_explains_itself_with_an_example(shell):
    names = re.findall(r"^  ([a-z]+) ", shell("--help").output.partition("Commands:")[2], re.MULTILINE)
    assert {"list", "show", "start", "wait", "history", "resume", "cancel", "graph", "workflows"} <= set(names)
    for name in names:
        help_text = shell(name, "--help")
        assert help_text.code == 0
        assert re.search(rf"Example:\n +celery -A shop hephaestus {name}", help_text.output), name


def celery(stage, *arguments, **environment):
    return subprocess.run(
        [str(Path(sys.executable).with_name("celery")), *arguments],
        env={**stage.environment("client"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_is_a_process_like_any_other(stage):
    started = celery(stage, "-A", "worker_app", "hephaestus", "start", "linear", "1", "--json")
    assert started.returncode == 0, started.stderr
    run_id = json.loads(started.stdout)["run_id"]
    shown = celery(stage, "-A", "worker_app", "hephaestus", "show", run_id)
    assert (shown.returncode, run_id in shown.stdout, "\x1b" in shown.stdout) == (0, True, False)


def test_without_an_application_a_command_says_so(stage):
    ended = celery(stage, "hephaestus", "list")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: no application is given: name its module, as in celery -A shop")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", ["celery -A worker_app hephaestus st", "celery -A worker_app hephaestus start lin"])
def test_shells_complete_commands_and_workflows(stage, words):
    parts = words.split()
    ended = celery(
        stage,
        _CELERY_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(parts) - 1),
        PYTHONWARNINGS="ignore",
    )
    assert {"plain,start", "plain,linear"} & set(ended.stdout.split()), ended


def test_nothing_of_the_commands_is_loaded_before_one_is_called():
    code = (
        "import sys, celery.bin.celery as c\n"
        "found = [name for name in sys.modules if name.startswith('hephaestus_celery')]\n"
        "print(*sorted(found))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("hephaestus_celery.cli.")] == [
        "hephaestus_celery.cli.command_group",
        "hephaestus_celery.cli.plugin",
    ]
    assert not [name for name in loaded if name.startswith("hephaestus_celery.storage.redis")]


def on_a_terminal(stage, columns, *arguments, **environment):
    """What a command shows on a terminal of so many columns."""
    program = str(Path(sys.executable).with_name("celery"))
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        variables = {**stage.environment("client"), "PYTHONWARNINGS": "ignore", **environment}
        os.execve(program, [program, "-A", "worker_app", "hephaestus", *arguments], variables)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last program
        while True:
            shown += os.read(screen, 65_536)
    os.close(screen)
    os.waitpid(pid, 0)
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("command", ["show", "list", "history", "workflows"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_what_a_terminal_shows_fits_it(working, columns, command):
    handle = working.hephaestus.start_instance(FailingRaises, {"value": HOSTILE}, id="x" * 150)
    handle.wait(60)
    about = [handle.run_id] if command in ("show", "history") else []
    shown = on_a_terminal(working, columns, command, *about)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert shown != plain
    assert max(map(width, plain.splitlines())) <= columns
    assert {"show": "✗ raises", "list": "failed", "history": "it broke"}.get(command, "linear") in plain
    assert "\x1b" not in on_a_terminal(working, columns, command, *about, NO_COLOR="1")
