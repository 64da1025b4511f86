"""The nodes themselves: which kind is chosen, and that a process ends and comes back as a container does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import choice
import pytest
import workers
from processes import SupervisedProcess
from stage import eventually

NOWHERE = "unix:///nonexistent/docker.sock"


@pytest.mark.parametrize(
    ("asked", "ci", "engine", "kinds"),
    [
        ("auto", False, False, ("processes",)),
        ("auto", False, True, ("containers",)),
        ("auto", True, False, ("processes",)),
        ("auto", True, True, ("containers", "processes")),
        ("containers", True, False, ("containers",)),
        ("processes", True, True, ("processes",)),
        ("both", False, False, ("containers", "processes")),
    ],
)
def test_the_kinds_of_nodes_follow_from_what_is_asked_and_there(asked, ci, engine, kinds):
    assert choice.choose(asked, ci=ci, engine=engine) == kinds


def test_an_unknown_kind_of_nodes_is_refused():
    with pytest.raises(pytest.UsageError, match="'boxes'"):
        choice.choose("boxes", ci=False, engine=True)


@pytest.mark.parametrize(
    ("host", "reason"),
    [(NOWHERE, "no Docker engine answers"), ("tcp://192.0.2.1:2375", "of this machine"), ("nonsense", "nonsense")],
)
def test_an_engine_that_can_not_be_used_is_told(monkeypatch, host, reason):
    monkeypatch.setenv("DOCKER_HOST", host)
    assert reason in choice.why_no_engine()


def test_containers_without_an_engine_fail_and_say_why():
    tests = Path(__file__).with_name("test_workers.py")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            tests,
            "--nodes=containers",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "two_workers",
        ],
        env={**os.environ, "DOCKER_HOST": NOWHERE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"--nodes=containers wants containers, and no Docker engine answers at {NOWHERE}" in result.stdout


@pytest.fixture
def run(tmp_path):
    """Start a supervised shell script that says `started` first."""
    started = []

    def run(script):
        command = ["sh", "-c", f"echo started; cd {tmp_path}; {script}"]
        started.append(SupervisedProcess(command, environment=os.environ, log=tmp_path / "log"))
        return started[-1]

    yield run
    for process in started:
        process.kill()


def starts(process):
    return process.logs().count("started")


def test_a_process_that_fails_is_started_again(run):
    process = run("test -e failed || { touch failed; exit 1; }; exec sleep 60")
    # The log says of a start that it is about to be.
    eventually(lambda: starts(process) == 2 and process.status == "running", what="the second start")


def test_a_process_that_always_fails_is_given_up(run):
    process = run("exit 1")
    eventually(lambda: process.status == "exited", what="no more starts")
    assert starts(process) == 1 + workers.REVIVALS


def test_a_process_that_has_done_its_work_stays_ended(run):
    process = run("exit 0")
    eventually(lambda: process.status == "exited")
    assert starts(process) == 1


def test_a_killed_process_stays_ended_until_it_is_restarted(run):
    process = run("exec sleep 60")
    eventually(lambda: starts(process) == 1)
    process.kill()
    assert (process.status, starts(process)) == ("exited", 1)
    process.restart()
    eventually(lambda: starts(process) == 2)
    assert process.status == "running"
