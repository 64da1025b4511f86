"""``celery -A shop hephaestus worker``: what it sets, what it passes on, what a kill costs, and when it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import flows
import pytest
import recorder
from redis import Redis
from stage import eventually

from hephaestus_celery.embedded import EmbeddedServer

pytestmark = pytest.mark.only_on("redis", why="the list is one of kombu on Redis; the test of RabbitMQ names it itself")

ROUTED = {"task_routes": {"counted": {"queue": "plain"}}}


@pytest.fixture
def server():
    with EmbeddedServer() as started:
        yield started


@pytest.fixture
def own(server, open_stage):
    def open_one(**options):
        return open_stage(**{"broker": server.url, "state": server.url, "lease": 3, **options})

    return open_one


@pytest.fixture
def lists(server):
    with Redis(unix_socket_path=str(server.socket_path)) as client:
        yield client


@pytest.fixture
def run(tmp_path):
    """``run(stage, *options)``: such a worker; killed with its children at the end."""
    started = []

    def start(stage, *options, ready=True):
        log = tmp_path / f"worker{len(started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", "worker"),
                    *("--loglevel", "INFO", "--without-gossip", "--without-mingle", *options),
                ],
                env=stage.environment("worker"),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append((process, log))
        process.log = log

        def consumes():
            assert process.poll() is None, log.read_text()[-3000:]
            return " ready." in log.read_text()

        if ready:
            eventually(consumes, timeout=60, what="the worker is ready")
        return process

    yield start
    for process, log in started:
        print(log.read_text()[-4000:])
        kill(process)


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    "options", [("-c", "2"), ("-P", "threads", "-c4"), ("--pool=solo",)], ids=["prefork", "threads", "solo"]
)
def test_it_keeps_no_list_of_messages_and_a_kill_of_it_loses_no_run(own, lists, run, options):
    stage = own(celery=ROUTED)
    process = run(stage, *options, "-n", "first@test")
    handles = stage.hephaestus.start_many(flows.Linear, [(str(number), {"value": 1}) for number in range(400)])
    eventually(lambda: stage.hephaestus.count(status="completed") > 10, what="some are done")
    gate = stage.folder / "gate"
    held = stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id="held")
    kill(process)
    assert not lists.exists("unacked", "unacked_index")
    assert stage.hephaestus.count(status="completed") < 401
    gate.touch()
    run(stage, *options, "-n", "second@test")
    for handle in (*handles, held):
        assert handle.wait(90).status == "completed"
    assert not lists.exists("unacked", "unacked_index")


def test_how_many_messages_it_takes_in_advance_can_be_told_by_the_application_and_by_an_option(own, run):
    stage = own(celery=ROUTED)
    ask = stage.app.control.inspect

    def prefetched():
        return {name: found["prefetch_count"] for name, found in (ask(timeout=1).stats() or {}).items()}

    run(stage, "-c", "3", "-n", "usual@test")
    run(stage, "-c", "3", "--prefetch-multiplier", "5", "-n", "told@test")
    eventually(lambda: prefetched() == {"usual@test": 3, "told@test": 15}, what="both answer")


def test_other_options_go_to_the_worker(own, run):
    stage = own(celery=ROUTED)
    process = run(
        stage,
        "-Q",
        f"{stage.namespace},express",
        "-n",
        "named@test",
        "-lDEBUG",
        "-c1",
        "-B",
        "-s",
        f"{stage.folder}/beat",
    )
    eventually(lambda: "beat: Starting..." in process.log.read_text(), what="beat starts beside it")
    log = process.log.read_text()
    assert "named@test ready" in log
    assert f".> {stage.namespace}" in log
    assert ".> express" in log
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def refusal(stage, *options):
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", "worker", *options],
        env={**stage.environment("worker"), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    return ended.returncode, ended.stderr


def test_it_refuses_queues_to_which_the_application_routes_other_tasks_and_takes_nothing(own, lists):
    stage = own()
    stage.app.send_task("counted", ({"value": 1},))
    code, said = refusal(stage)
    assert code == 4
    assert said.startswith(f"Error: messages of other tasks come to {stage.namespace} too (counted")
    assert "--with-other-tasks" in said
    assert lists.llen(stage.namespace) == 1
    assert refusal(own(celery=ROUTED), "-Q", "plain")[0] == 4


def test_where_other_tasks_are_allowed_a_message_of_theirs_is_listed_until_it_is_done(own, lists, run):
    stage = own()
    process = run(stage, "--with-other-tasks", "-c1", "-n", "both@test", "--prefetch-multiplier", "2")
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1")
    assert handle.wait(60).status == "completed"
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        stage.app.send_task("counted", ({"value": 1},))
        stage.app.send_task("counted", ({"value": 2},))
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    eventually(lambda: len(recorder.read(stage.folder, "counted")) == 2, what="both are done")
    eventually(lambda: lists.hlen("unacked") == 0, what="both are acknowledged")
    nap = stage.hephaestus.start_instance(flows.Gated, {"gate": "none"}, id="1")
    eventually(lambda: nap.get().active_steps and lists.hlen("unacked") == 1, what="a step holds the only process")
    stage.app.send_task("counted", ({"value": 3},))
    eventually(lambda: lists.hlen("unacked") == 2, what="the worker has taken the message")
    kill(process)
    assert lists.hlen("unacked") == 2  # from where a worker puts it back when its visibility timeout is over


def test_a_setting_that_endangers_other_tasks_is_refused_even_if_they_are_allowed(own):
    stage = own(celery={"broker_transport_options": {"ack_emulation": False}})
    code, said = refusal(stage, "--with-other-tasks")
    assert code == 4
    assert "ack_emulation" in said


def test_with_rabbitmq_other_tasks_lose_nothing_so_it_does_not_refuse(open_stage, redis_url, rabbitmq_url, run):
    stage = open_stage(broker=rabbitmq_url, state=redis_url)
    run(stage, "-c1", "-n", "rabbit@test")
    stage.app.send_task("counted", ({"value": 1},))
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="1").wait(60).status == "completed"
    eventually(lambda: recorder.read(stage.folder, "counted"), what="the other task is done")


def test_without_an_application_it_says_so(own):
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "hephaestus", "worker", "-c1"],
        env=own().environment("worker"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "no application is given" in ended.stderr
