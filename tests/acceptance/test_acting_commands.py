"""The commands that act: on one run, on all that match filters, and on whole workflows; what they say, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import flows
import pytest
from flows import Linear, Payment
from pseudo_terminal import celery_on_a_terminal
from shell import Shell

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.testing.conformance.conditions import eventually

pytestmark = pytest.mark.only_on("redis", why="no command cares which broker there is")

HOSTILE = "\x1b[2J\x07\u202e東京\n" + "x" * 10_000


@pytest.fixture
def shell(stage):
    """``shell("list", "--json")``: a command on the application of the stage, and how it ended."""
    return Shell(stage.app)


def on_a_terminal(stage, columns, *arguments, at="", typed="", **environment):
    """The exit code of a command, and all that a terminal is sent; ``typed`` is typed once ``at`` was sent."""
    command = ("-A", "worker_app", "hephaestus", *arguments)
    with celery_on_a_terminal(stage, *command, columns=columns, lines=40, **environment) as terminal:
        if typed:
            eventually(lambda: at.encode() in terminal.raw, what=f"{at!r} on the terminal", timeout=60)
            terminal.type(typed)
        return terminal.wait(), terminal.raw.decode()


def started(stage, count, flow=Linear):
    """Runs that no worker takes."""
    return stage.hephaestus.start_many(flow, ((f"n{number}", {}) for number in range(count)))


def failed_by_a_bug(stage, count):
    """Runs that have failed by a bug of workers that are gone."""
    stage.switches["HEPHAESTUS_TEST_BUG"] = "1"
    [worker] = stage.start_workers()
    handles = [flows.Mended.start(f"x{number}", {"value": number}) for number in range(count)]
    assert {handle.wait(60).status for handle in handles} == {Status.FAILED}
    worker.stop()
    del stage.switches["HEPHAESTUS_TEST_BUG"]
    return handles


def test_runs_that_a_bug_has_failed_are_retried_and_a_part_of_one_is_forked(stage, shell):
    first, second, third = failed_by_a_bug(stage, 3)
    one = shell("retry", "mended::x0", "--by", "ada", "--context", '{"value": 7}', "--json").document
    assert one == {"id": "mended::x0", "run_id": first.get().retried_as, "forked_from": first.run_id}
    stage.start_workers()
    again = stage.hephaestus.wait(one["run_id"], 60)
    assert (again.status, again.context.initial) == ("completed", {"value": 7})
    assert stage.hephaestus.history(one["run_id"])[0].by == "ada"

    many = shell("retry", "--workflow", "Mended", "--status", "failed", "--yes")
    assert (many.code, many.lines) == (0, ["retried 2 runs"])
    assert {stage.hephaestus.wait(handle.get().retried_as, 60).status for handle in (second, third)} == {"completed"}
    assert shell("retry", "--workflow", "Mended", "--status", "failed", "--yes").lines == [
        "no runs match: nothing was done"
    ]

    forked = shell("fork", "mended::x1", "mended", "--value", "copy")
    [copy] = stage.hephaestus.list(id="mended::copy")
    newest = second.get().retried_as
    assert forked.lines == [f"forked {newest}: mended::copy goes on as run {copy.run_id}"]
    assert stage.hephaestus.wait(copy.run_id, 60).status == "completed"
    assert shell("fork", newest, "d", "-q").lines == [stage.hephaestus.get("mended::x1").run_id]


def test_a_retry_that_is_not_possible_is_refused(stage, shell):
    [handle] = started(stage, 1)
    active = shell("retry", "linear::n0")
    assert (active.code, active.output) == (4, "")
    handle.cancel()
    assert shell("retry", "linear::n0", "-q").lines == [handle.get().retried_as]
    second = shell("retry", handle.run_id)
    assert (second.code, handle.get().retried_as in second.errors) == (4, True)
    unknown = shell("fork", handle.run_id, "nonsense")
    assert (unknown.code, "linear has no step 'nonsense'" in unknown.errors) == (2, True)


def test_runs_that_match_are_cancelled_and_others_are_left(stage, shell):
    handles = started(stage, 120)
    [other] = started(stage, 1, Payment)
    ended = shell("cancel", "--workflow", "Linear", "--reason", HOSTILE, "--by", "ada", "--yes")
    assert (ended.code, ended.lines, ended.errors) == (0, ["cancelled 120 runs"], "")
    assert {handle.status for handle in handles} == {"cancelled"}
    assert (handles[7].get().cancel_reason, handles[7].history()[-1].by) == (HOSTILE, "ada")
    assert other.status == "pending"


def test_what_is_refused_is_told_with_its_reasons(stage, shell):
    handles = started(stage, 4)
    handles[0].cancel()
    ended = shell("cancel", "--workflow", "linear", "--yes", "--json")
    assert (ended.code, ended.document["done"]) == (4, 3)
    assert list(ended.document["refused"]) == [handles[0].run_id]
    assert "it has ended already (cancelled)" in ended.document["refused"][handles[0].run_id]
    again = shell("cancel", "--workflow", "linear", "--yes")
    assert again.code == 4
    assert again.lines == [
        "cancelled 0 runs, 4 refused",
        f"  {handles[3].run_id} and 3 more: it has ended already (cancelled); only an active run can be cancelled",
    ]
    assert (shell("cancel", "--id", "linear::n0", "--yes", "-q").lines) == ["0"]


def test_ended_runs_are_deleted_and_active_ones_refused(stage, shell):
    handles = started(stage, 3)
    refused = shell("delete", "linear::n0")
    assert (refused.code, "is active (pending)" in refused.errors) == (4, True)
    handles[0].cancel()
    newest = stage.hephaestus.start_instance(Linear, id="n0")
    newest.cancel()
    assert shell("delete", "linear::n0", "--json").document == {"run_id": newest.run_id, "deleted": True}
    assert shell("delete", handles[0].run_id[:-1]).lines == [f"deleted {handles[0].run_id}"]
    assert shell("show", "linear::n0").code == 3
    handles[1].cancel()
    many = shell("delete", "--workflow", "linear", "--yes", "--json")
    assert (many.code, many.document["done"], list(many.document["refused"])) == (4, 1, [handles[2].run_id])


def test_runs_are_paused_and_go_on(stage, shell):
    handle, other = started(stage, 2)
    assert shell("pause", "linear::n0", "--by", "ada").lines == [f"paused {handle.run_id}"]
    assert handle.get().pauses[0].by == "ada"
    assert shell("pause", "linear::n0").lines == [f"{handle.run_id} was paused already"]
    assert shell("list", "--paused", "-q").lines == [handle.run_id]
    many = shell("pause", "--workflow", "linear", "--yes", "--json")
    assert (many.code, many.document["done"], list(many.document["refused"])) == (4, 1, [handle.run_id])
    assert shell("unpause", "--workflow", "linear", "--id", "linear::n1", "--by", "bob", "--yes").lines == [
        "unpaused 1 run"
    ]
    assert (other.get().paused, other.history()[-1].kind, other.history()[-1].by) == (False, "unpause", "bob")
    assert shell("unpause", "--id", "linear::n1", "--yes").lines == ["no runs match: nothing was done"]
    refused = shell("unpause", "--id", "linear::n1", "--not-paused", "--yes")
    assert (refused.code, "is not paused itself" in refused.output) == (4, True)
    document = {"run_id": handle.run_id, "paused": False, "changed": True}
    assert shell("unpause", "linear::n0", "--json").document == document
    assert shell("unpause", "linear::n0").lines == [f"{handle.run_id} was not paused"]
    other.cancel()
    assert shell("pause", "linear::n1").code == 4


def test_a_whole_workflow_is_paused_with_what_is_started_later(stage, shell):
    [handle] = started(stage, 1)
    assert shell("pause", "--whole", "Linear", "--by", "ada", "--yes").lines == ["paused all of linear"]
    assert shell("pause", "--whole", "linear", "--yes", "--json").document == {
        "workflow": "linear",
        "paused": True,
        "changed": False,
    }
    later = stage.hephaestus.start_instance(Linear, id="later")
    assert [each["workflow"] for each in shell("workflows", "--json").document if each["paused"]] == ["linear"]
    assert any(re.match(r"linear +1  current  paused +2 ", line) for line in shell("workflows").lines)
    assert {handle.get().paused, later.get().paused} == {True}
    assert shell("unpause", "linear::later").lines == [
        f"{later.run_id} was not paused itself, but its workflow is: unpause --whole linear lets it go on"
    ]
    stage.start_workers()
    assert "paused as a whole: linear" in shell("stats").lines
    assert shell("unpause", "--whole", "linear", "--yes").lines == ["unpaused all of linear"]
    assert {handle.wait(60).status, later.wait(60).status} == {"completed"}


@pytest.mark.parametrize("name", ["track", "Track", "TrackV1"])
def test_a_whole_workflow_is_named_by_itself_or_by_a_version(shell, name):
    assert shell("pause", "--whole", name, "--yes", "-q").lines == ["track"]


def test_the_runs_of_one_version_are_named_by_its_class(stage, shell):
    for version in (1, 2):
        stage.hephaestus.start_instance(flows.Track, {"value": 1}, id=f"x{version}", version=version)
    assert [row["id"] for row in shell("list", "--workflow", "TrackV1", "--json").document] == ["track::x1"]
    assert shell("cancel", "--workflow", "TrackV1", "--yes").lines == ["cancelled 1 run"]


@pytest.mark.parametrize("command", ["pause", "unpause"])
def test_a_whole_workflow_that_is_not_there_is_not_found(stage, shell, command):
    ended = shell(command, "--whole", "Liniar", "--yes")
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors == "Error: this application has no workflow 'Liniar'; did you mean Linear?\n"
    assert not stage.hephaestus.storage.paused_workflows()


def test_a_whole_workflow_that_only_others_define_is_named_as_it_is_stored(stage, shell):
    foreign = type("Foreign", (flows.Linear,), {"name": f"foreign_{stage.namespace[-6:].replace('-', '_')}"})
    name = foreign.name
    stage.hephaestus.start_instance(foreign, id="1")
    WORKFLOWS.discard(foreign)
    assert shell("pause", "--whole", name, "--yes").lines == [f"paused all of {name}"]
    [row] = shell("list", "--workflow-family", name, "--json").document
    assert (row["paused"], row["pauses"][0]["reason"]) == (True, "workflow")
    shell("cancel", "--workflow-family", name, "--yes")
    assert shell("delete", "--workflow-family", name, "--yes").lines == ["deleted 1 run"]
    assert shell("unpause", "--whole", name, "--yes").lines == [f"unpaused all of {name}"]
    assert shell("unpause", "--whole", name, "--yes").code == 3


COMMANDS = ["cancel", "retry", "pause", "unpause", "delete"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_about_many_is_not_done_without_an_answer(stage, shell, command):
    [handle] = started(stage, 1)
    ended = shell(command, "--workflow", "linear", "--status", "pending")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == (
        f"Error: nothing was done: {command} --workflow linear --status pending needs --yes where no terminal can be "
        "asked\n"
    )
    assert (handle.status, handle.get().paused, stage.hephaestus.count()) == ("pending", False, 1)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "name a RUN, or give filters"),
        (["--yes"], "name a RUN, or give filters"),
        (["linear::n0", "--workflow", "linear", "--yes"], "name a RUN or give filters, not both"),
        (["linear::n0", "--by", "a\nb"], "by must be a string of 1 to 200 printable characters"),
        (["--workflow", "linear", "--by", "\u202e", "--yes"], "by must be a string of 1 to 200 printable characters"),
        (["--id", "\x1b", "--yes"], "id has at most 1000 characters, all of them printable"),
    ],
)
def test_misuse_of_commands_that_act(stage, shell, command, arguments, error):
    if command == "delete" and "--by" in arguments:
        arguments, error = ["--by", "ada"], "No such option '--by'"
    [handle] = started(stage, 1)
    ended = shell(command, *arguments)
    assert (ended.code, ended.output) == (2, "")
    assert error in ended.errors.replace("\n", " ")
    assert "\x1b" not in ended.errors
    assert (handle.status, handle.get().paused) == ("pending", False)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["cancel", "--status", "pending", "--terminate", "--yes"], "--terminate is for one RUN"),
        (["cancel", "--status", "pending", "--compensate", "--yes"], "--compensate is for one RUN"),
        (["retry", "--status", "failed", "--context", "{}", "--yes"], "--context is for one RUN"),
        (["retry", "linear::n0", "--context", "[]"], "it must be a JSON object"),
        (["pause", "--whole", "linear", "--status", "pending", "--yes"], "neither a RUN nor filters"),
        (["pause", "--whole", "linear", "linear::n0", "--yes"], "neither a RUN nor filters"),
        (["pause", "--whole", "linear"], "nothing was done: pause --whole linear needs --yes"),
        (["unpause", "--whole", "linear"], "nothing was done: unpause --whole linear needs --yes"),
        (["unpause", "--whole", "linear", "--paused"], "neither a RUN nor filters"),
        (["fork", "linear::n0"], "Missing argument 'STEP'"),
    ],
)
def test_misuse_of_one_command(stage, shell, arguments, error):
    [handle] = started(stage, 1)
    ended = shell(*arguments)
    assert (ended.code, ended.output) == (2, "")
    assert error in ended.errors
    assert (handle.status, handle.get().paused) == ("pending", False)


ONE = [["cancel"], ["retry"], ["fork", "a"], ["pause"], ["unpause"], ["delete"]]


def about(arguments, run):
    command, *rest = arguments
    return [command, run, *rest]


@pytest.mark.parametrize("arguments", ONE, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("run", ["linear::none", "0199c0de-0000", "0199c0de-0000-7000-8000-000000000000"])
def test_a_run_that_is_not_there_is_not_found(shell, arguments, run):
    ended = shell(*about(arguments, run))
    assert (ended.code, ended.output, len(ended.errors.splitlines())) == (3, "", 1)


@pytest.mark.parametrize("arguments", ONE, ids=lambda arguments: arguments[0])
def test_an_ambiguous_beginning_is_refused_with_ten_that_it_may_be(stage, shell, arguments):
    handles = started(stage, 12)
    ended = shell(*about(arguments, handles[0].run_id[:8]))
    assert (ended.code, ended.output) == (4, "")
    assert sum(handle.run_id in ended.errors for handle in handles) == 10
    assert {(handle.status, handle.get().paused) for handle in handles} == {("pending", False)}


def test_a_run_that_has_ended_is_refused_by_what_is_for_active_ones(stage, shell):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Linear, id="n0")
    handle.wait(60)
    for command in ("cancel", "retry", "pause"):
        ended = shell(command, "linear::n0")
        assert (command, ended.code, ended.output) == (command, 4, "")
    assert shell("fork", "linear::n0", "b", "--json").document["forked_from"] == handle.run_id


def test_the_history_says_who_made_a_call(stage, shell):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(Payment, id="n0")
    eventually(lambda: handle.status == "waiting", what="the run waits")
    for command in (["pause"], ["unpause"], ["resume", "paid"]):
        assert shell(*about(command, "payment::n0"), "--by", "ada").code == 0
    assert handle.wait(60).status == "completed"
    copy = shell("fork", "payment::n0", "a", "--by", "bob", "-q").output.strip()
    told = [re.sub(r" {2,}", "|", line) for line in shell("history", handle.run_id).lines]
    assert sum(line.count("|ada") for line in told) == 3
    fork = shell("history", copy).lines[1]
    assert re.search(rf" fork .* bob +{handle.run_id}$", fork), fork
    assert shell("history", copy, "--json").document[0]["run_id"] == handle.run_id


OF_ONE = [about(arguments, "linear::n0") for arguments in ONE]
OF_MANY = [[command, "--status", "failed", "--yes"] for command in COMMANDS]
OF_A_WORKFLOW = [[command, "--whole", "linear", "--yes"] for command in ("pause", "unpause")]


@pytest.mark.parametrize("arguments", [*OF_ONE, *OF_MANY, *OF_A_WORKFLOW], ids=" ".join)
def test_a_store_out_of_reach_has_its_code(open_stage, tmp_path, arguments):
    gone = f"redis+socket://{tmp_path}/none.sock"
    stage = open_stage(broker=gone, state=gone)
    ended = Shell(stage.app)(*arguments)
    assert (ended.code, ended.output, len(ended.errors.splitlines())) == (5, "", 1)
    assert ended.errors.startswith("Error: the state store")


def test_a_store_that_freezes_on_the_way_leaves_what_was_done_and_a_repeat_goes_on(private_server, open_stage):
    stage = open_stage(broker=private_server.url, state=private_server.url)
    count, gate = 3_000, stage.folder / "gate"
    started(stage, count)
    program = [str(Path(sys.executable).with_name("celery")), "-A", "worker_app", "hephaestus"]
    command = subprocess.Popen(
        [*program, "cancel", "--workflow", "linear", "--status", "pending", "--yes", "--json"],
        env={**stage.environment("client"), "PYTHONWARNINGS": "ignore", "HEPHAESTUS_TEST_HOLD": str(gate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually((stage.folder / "held").exists, timeout=60, what="some are cancelled")
        assert stage.hephaestus.count(status="cancelled") > 100
        os.kill(private_server.pid, signal.SIGSTOP)
        gate.touch()
        output, errors = command.communicate(timeout=60)
    finally:
        os.kill(private_server.pid, signal.SIGCONT)
    assert command.returncode == 5, (output, errors)
    assert len(errors.splitlines()) == 1
    done = int(re.search(r'"done": (\d+)', output)[1])
    assert 0 < done < count
    assert f"cancelled {done:,} runs before that; what was done stays: repeat the command to go on" in errors
    again = Shell(stage.app)("cancel", "--workflow", "linear", "--status", "pending", "--yes")
    assert again.code == 0
    assert stage.hephaestus.count(status="cancelled") == count


def test_a_frozen_server_is_not_waited_for(private_server, open_stage):
    stage = open_stage(broker=private_server.url, state=private_server.url)
    os.kill(private_server.pid, signal.SIGSTOP)
    try:
        ended = Shell(stage.app)("start", "linear", "1", '{"value": 1}')
        many = Shell(stage.app)("cancel", "--status", "pending", "--yes")
    finally:
        os.kill(private_server.pid, signal.SIGCONT)
    assert (many.code, many.errors.endswith("; nothing was done before that\n")) == (5, True)
    assert (ended.code, ended.output) == (5, "")
    assert ended.errors.startswith("Error: the state store did not answer")


def test_a_terminal_is_asked_with_how_many_and_which_filters(stage):
    handles = started(stage, 12)
    filters = ["--workflow", "Linear", "--status-in", "pending", "--status-in", "running", "--not-paused"]
    question = (
        "Cancel 12 runs that match --workflow Linear --status-in pending --status-in running --not-paused? [y/N]: "
    )
    code, shown = on_a_terminal(stage, 200, "cancel", *filters, at="[y/N]", typed="n\n")
    assert (code, question in shown, shown.splitlines()[-1]) == (1, True, "nothing was done")
    assert {handle.status for handle in handles} == {"pending"}
    code, shown = on_a_terminal(stage, 200, "cancel", *filters, at="[y/N]", typed="y\n")
    assert (code, shown.splitlines()[-1].rpartition("\x1b[K")[2]) == (0, "cancelled 12 runs")
    assert re.search(r"\r\x1b\[K12 of 12 runs\r\x1b\[K", shown)
    code, shown = on_a_terminal(stage, 200, "cancel", *filters)
    assert (code, shown.splitlines()[-1]) == (0, "no runs match: nothing was done")
    code, shown = on_a_terminal(stage, 80, "pause", "--whole", "Linear", at="[y/N]", typed="\n")
    assert (
        code,
        "Pause all of linear, in all of its versions: 0 active runs, and those that are started later? [y/N]: "
        in shown,
    ) == (1, True)


def test_an_interrupted_command_says_what_was_done(stage):
    started(stage, 3_000)
    stage.switches["HEPHAESTUS_TEST_HOLD"] = str(stage.folder / "never")
    code, shown = on_a_terminal(stage, 80, "cancel", "--workflow", "linear", "--yes", at=" of 3,000 runs", typed="\x03")
    found = re.search(r"interrupted after ([0-9,]+) runs; what was done stays: repeat the command to go on", shown)
    assert (code, found is not None) == (1, True), shown
    assert 0 < int(found[1].replace(",", "")) <= stage.hephaestus.count(status="cancelled") < 3_000


def test_what_runs_hold_can_not_disturb_a_terminal(stage, shell):
    handle = stage.hephaestus.start_instance(Linear, {"value": HOSTILE}, id="x" * 200)
    handle.cancel(HOSTILE)
    code, shown = on_a_terminal(stage, 80, "retry", handle.run_id, "--by", "東京", NO_COLOR="1")
    assert (code, all(line.isprintable() for line in shown.splitlines())) == (0, True)
    retried = stage.hephaestus.get(handle.get().retried_as)
    assert stage.hephaestus.history(retried.run_id)[0].by == "東京"
    for command in ("show", "history"):
        for about_run in (handle.run_id, retried.run_id):
            ended = shell(command, about_run)
            assert (ended.code, all(line.isprintable() for line in ended.lines)) == (0, True)
    unknown = shell("fork", retried.run_id, HOSTILE)
    assert (unknown.code, all(line.isprintable() for line in unknown.errors.splitlines())) == (2, True)
    assert len(unknown.errors) < 3_000


def test_a_refusal_names_its_run_once_and_a_list_says_what_its_times_are(stage, shell):
    [handle] = started(stage, 1)
    refused = shell("delete", "--workflow", "linear", "--yes").lines[1]
    assert (refused.count(handle.run_id), ": this run is active (pending)" in refused) == (1, True)
    code, shown = on_a_terminal(stage, 100, "list")
    assert (code, bool(re.search(r"a: \w+ for \S+ \S+ old", shown))) == (0, True)


def test_a_run_that_was_made_of_another_says_how_and_by_whom(stage, shell):
    [handle] = started(stage, 1)
    forked = shell("fork", handle.run_id, "A", "--value", "f", "--by", "ada", "-q").lines[0]
    assert f"fork of run {handle.run_id}, by ada" in shell("show", forked).lines
    handle.cancel()
    retried = shell("retry", handle.run_id, "-q").lines[0]
    assert f"retry of run {handle.run_id}" in shell("show", retried).lines


def test_a_fork_onto_another_version_says_which(stage, shell):
    run = stage.hephaestus.start_instance(flows.Track, {"value": 1}, id="x1", version=1)
    shown = shell("fork", run.run_id, "A", "--value", "f", "--version", "2").lines[0]
    assert shown.endswith(" of version 2")
