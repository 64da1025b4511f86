"""The doctor, on real servers and workers: each check is made to fail by what it is there to find."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import flows
import pytest
from relay import Relay
from stage import eventually

from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.reports.doctor.checks import CHECKS, examine
from hephaestus_celery.reports.doctor.gathering import gather

pytestmark = pytest.mark.only_on(
    "redis", "the doctor says what the broker is; the tests of RabbitMQ name it themselves"
)


@pytest.fixture
def server():
    with EmbeddedServer() as started:
        yield started


@pytest.fixture
def own(server, open_stage):
    """``own(**options)``: workers and a client on a server of their own, which the test may spoil."""

    def open_one(**options):
        return open_stage(**{"broker": server.url, "state": server.url, **options})

    return open_one


def ask(stage):
    """The findings, by check."""
    return {finding.check: finding for finding in examine(gather(stage.app, stage.hephaestus))}


def levels(findings):
    return {check: str(finding.level) for check, finding in findings.items() if finding.level != "ok"}


def command(stage, *words):
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker_app", "hephaestus", *words],
        env=stage.environment("client"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_is_wrong_with_a_server_and_workers_that_are_well(own):
    stage = own()
    stage.hephaestus.storage._client.config_set("appendonly", "yes")
    stage.start_workers(1, options=["-Q", f"{stage.namespace},express,slow,swift"])
    handle = stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="w")
    eventually(lambda: handle.status == "waiting", what="it waits")
    eventually(lambda: ask(stage)["versions"].level == "ok", what="the worker has reported")
    findings = ask(stage)
    assert list(findings) == [check.name for check in CHECKS]
    assert {check: level for check, level in levels(findings).items() if check != "queues"} == {}
    shown = command(stage, "doctor", "--json")
    documents = json.loads(shown.stdout)
    assert [set(each) for each in documents] == [{"check", "level", "message", "advice"}] * len(CHECKS)
    assert shown.returncode == (1 if any(each["level"] == "error" for each in documents) else 0)


def test_a_command_that_finds_an_error_ends_with_1_and_shows_what_to_do(own):
    stage = own()
    shown = command(stage, "doctor")
    assert shown.returncode == 1, shown.stderr
    assert "no scheduler is at work" in shown.stdout
    assert "-> start a worker" in shown.stdout


def test_a_store_that_is_down_is_an_error_and_the_rest_is_told_as_far_as_it_can_be(own, server, redis_url):
    stage = own(broker=redis_url)
    server.close()
    findings = ask(stage)
    assert findings["store"].level == "error"
    assert findings["memory"].level == "warning"
    assert findings["broker"].level == "ok"


@pytest.mark.parametrize("broker_too", [False, True])
def test_a_frozen_store_is_an_error_within_seconds(own, server, redis_url, broker_too):
    stage = own(broker=server.url if broker_too else redis_url)
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = ask(stage)
        assert time.monotonic() - began < 15
        assert (found["store"].level, found["broker"].level == "error") == ("error", broker_too)
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


def test_a_server_that_evicts_or_writes_nothing_is_found(own):
    stage = own()
    client = stage.hephaestus.storage._client
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    findings = ask(stage)
    assert (findings["eviction"].level, findings["persistence"].level) == ("warning", "warning")
    client.config_set("maxmemory", 500_000_000)
    assert ask(stage)["eviction"].level == "error"


def test_a_server_that_can_not_write_is_found(own, server):
    stage = own()
    client = stage.hephaestus.storage._client
    client.set("large", os.urandom(8 << 20))
    resource.prlimit(server._process.pid, resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="it could not save")
    found = ask(stage)["persistence"]
    assert (found.level, "can't write" in found.message) == ("error", True)


@pytest.mark.parametrize(("seconds", "word"), [(120, "ahead of"), (-120, "behind")])
def test_a_server_whose_clock_is_wrong_is_found(open_stage, redis_url, settable, seconds, word):
    settable.set_clock(seconds)
    found = ask(open_stage(broker=redis_url, state=settable.url))["clock"]
    assert found.level == "warning"
    assert re.search(rf"the store is 1(19|20|21)\.[0-9] s {word} that of this machine", found.message), found.message
    assert "NTP" in found.advice


def test_a_server_that_is_too_old_is_found(open_stage, server):
    def aged(reply):
        return re.sub(
            rb"(redis|valkey)_version:([0-9.]+)",
            lambda said: (
                said[1] + b"_version:" + {b"redis": b"6.0.99999", b"valkey": b"7.0.99999"}[said[1]][: len(said[2])]
            ),
            reply,
        )

    with Relay(server.socket_path, aged) as relay:
        found = ask(open_stage(broker=server.url, state=relay.url))["version"]
    assert found.level == "error"
    assert re.fullmatch(r"(redis 6\.0\.9+ is older than 6\.2|valkey 7\.0\.9+ is older than 7\.2)", found.message)
    assert found.advice.startswith("use ")


def test_a_server_that_is_nearly_full_is_found(own):
    stage = own()
    client = stage.hephaestus.storage._client
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.15))
    assert ask(stage)["memory"].level == "warning"
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 1000)
    assert ask(stage)["memory"].level == "error"


def test_a_broker_that_is_down_is_an_error(open_stage, redis_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        stage = open_stage(broker=f"amqp://guest:hunter2@127.0.0.1:{port}//", state=redis_url)
        findings = ask(stage)
    assert findings["broker"].level == "error"
    assert "hunter2" not in findings["broker"].message
    assert findings["queues"].level == "warning"


def test_a_broker_that_is_no_redis_is_told_as_another_server(open_stage, redis_url, rabbitmq_url):
    stage = open_stage(broker=rabbitmq_url, state=redis_url)
    found = ask(stage)["broker"]
    assert found.level == "ok"
    assert "it is not the store" in found.message


def test_a_queue_that_no_worker_takes_from_is_found(own):
    stage = own()
    stage.start_workers(1)
    found = ask(stage)["queues"]
    assert (found.level, "express" in found.message) == ("warning", True)
    assert "to which these steps go" in found.message
    stage.hephaestus.start_instance(flows.Errand, {}, id="e")
    found = ask(stage)["queues"]
    assert found.level == "error"
    assert "no worker takes from express, where these steps wait: errand." in found.message
    assert "start a worker with -Q" in found.advice


def test_a_version_that_no_worker_knows_is_found(own, drive):
    stage = own()
    storage = stage.hephaestus.storage
    drive(storage).start(name="shop.Gone", version=7)
    assert "no worker reports" in ask(stage)["versions"].message
    stage.start_workers(1)
    eventually(lambda: "shop.Gone version 7" in ask(stage)["versions"].message, what="the worker has reported")
    assert ask(stage)["versions"].level == "error"


def test_a_scheduler_that_has_stopped_is_found(own):
    stage = own()
    assert "no scheduler" in ask(stage)["scheduler"].message
    [worker] = stage.start_workers(1)
    eventually(lambda: ask(stage)["scheduler"].level == "ok", what="its scheduler is at work")
    worker.kill()
    prefix = stage.hephaestus.storage.keys.partition(0)
    beat = int(stage.hephaestus.storage._client.hget(f"{prefix}seat", "beat"))
    stage.hephaestus.storage._client.hset(f"{prefix}seat", "beat", beat - 20_000_000)  # it was killed 20 s ago
    found = ask(stage)["scheduler"]
    assert found.level == "error"
    assert "for the last time" in found.message


def test_a_scheduler_that_is_late_is_found(own):
    stage = own()
    stage.start_workers(1)
    eventually(lambda: ask(stage)["scheduler"].level == "ok", what="its scheduler is at work")
    for worker in stage.workers:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        storage = stage.hephaestus.storage
        storage._client.zadd(f"{storage.keys.partition(0)}due", {"run|late": storage.now() - 60_000_000})
        found = ask(stage)["scheduler"]
        assert (found.level, "behind with" in found.message) == ("warning", True)
    finally:
        for worker in stage.workers:
            worker.process.send_signal(signal.SIGCONT)


def test_misspelt_settings_are_named_with_what_was_meant(own):
    stage = own(leese=30)
    found = ask(stage)["settings"]
    assert found.level == "error"
    assert "hephaestus_leese" in found.message
    assert "did you mean hephaestus_lease" in found.message


def test_settings_that_cost_speed_are_found(own):
    options = {"broker_transport_options": {"visibility_timeout": 60}, "worker_prefetch_multiplier": 0}
    found = ask(own(celery=options))["pace"]
    assert found.level == "warning"
    assert "visibility_timeout is 60" in found.message
    assert "without limit" in found.message


def mail():
    """The body of a task that is no step."""


def test_tasks_that_would_lose_messages_and_lists_that_nobody_needs_are_found(own):
    def told(**options):
        stage = own(celery={"broker_transport_options": options})
        for shared in [name for name in stage.app.tasks if name.startswith("pytest_celery.")]:
            stage.app.tasks.pop(shared)
        return stage

    found = ask(told())["pace"]
    assert "that no task of this application needs" in found.message
    assert "celery -A shop hephaestus worker" in found.advice
    stage = told(ack_emulation=False)
    assert ask(stage)["pace"].level == "ok"
    stage.app.task(mail, name="mail", shared=False)
    found = ask(stage)["pace"]
    assert (found.level, "messages of mail are lost" in found.message) == ("warning", True)


def test_settings_that_keep_the_store_from_sending_are_found(own):
    found = ask(own(transactional_dispatch=False))["broker"]
    assert found.level == "warning"
    assert "hephaestus_transactional_dispatch" in found.advice


def test_a_run_that_has_lost_its_due_entry_is_found_and_a_waiting_one_is_not(own, drive):
    stage = own()
    storage = stage.hephaestus.storage
    stand = drive(storage)
    lost, waiting, fine, sent = (stand.start(instance_id=f"order::{name}") for name in ("l", "w", "f", "s"))
    waiting.wait_at("a")
    fine.claim("a")
    lost.claim("a")
    assert ask(stage)["runs"].level == "ok"
    storage._client.zrem(f"{storage.keys.partition(0)}due", f"{lost.id}|a")
    found = ask(stage)["runs"]
    assert found.level == "error"
    assert lost.id in found.message
    assert not any(run.id in found.message for run in (waiting, fine, sent))


def test_keys_that_no_run_owns_are_found(own, drive):
    stage = own()
    storage = stage.hephaestus.storage
    run = drive(storage).start()
    run.step("a")
    assert ask(stage)["keys"].level == "ok"
    prefix = storage.keys.partition(0)
    gone = f"{run.id[:-1]}{'0' if run.id[-1] != '0' else '1'}"
    storage._client.set(f"{prefix}notes", "mine")
    storage._client.rpush(f"{prefix}history:{gone}", "x")
    storage._client.set(f"{stage.namespace}:other", "x", ex=100)
    found = ask(stage)["keys"]
    assert found.level == "warning"
    assert found.message.startswith("2 keys")
    assert f"{prefix}notes" in found.message
    assert f"{prefix}history:{gone}" in found.message


def test_a_user_with_the_rights_of_the_store_alone_gets_answers_and_no_errors(own, server):
    stage = own()
    client = stage.hephaestus.storage._client
    rules = ["~*", "&*", "+@all", "-info", "-scan"]
    client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", *rules)
    restricted = own(state=server.url.replace("://", "://shop:secret@"))
    findings = ask(restricted)
    assert levels({name: findings[name] for name in ("store", "version", "memory", "keys")}) == {
        "version": "warning",
        "memory": "warning",
        "keys": "warning",
    }


def test_it_takes_seconds_with_very_many_runs(own, drive):
    stage = own()
    storage = stage.hephaestus.storage
    fill(storage, drive, 100_000)
    began = time.monotonic()
    findings = ask(stage)
    took = time.monotonic() - began
    assert findings["runs"].level == "ok"
    assert "100,001 active runs" in findings["runs"].message
    assert took < 30, took


def fill(storage, drive, count):
    """Copies of one active run."""
    run = drive(storage).start()
    client, prefix = storage._client, storage.keys.partition(0)
    fields = client.hgetall(f"{prefix}run:{run.id}")
    at = int(fields[b"t0"])
    with client.pipeline(transaction=False) as pipeline:
        for number in range(count):
            run_id = f"{run.id[:-6]}{number:06x}"
            pipeline.hset(f"{prefix}run:{run_id}", mapping=fields)
            pipeline.zadd(f"{prefix}index:status:pending", {run_id: at + number})
            pipeline.zadd(f"{prefix}due", {f"{run_id}|a": at + 10**12 + number})
            if number % 1000 == 0:
                pipeline.execute()
        pipeline.execute()
