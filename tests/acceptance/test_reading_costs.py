"""What reading commands cost: no more with many runs stored, and little beside Celery's own start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flows
import pytest
from shell import Shell
from stage import eventually

from hephaestus_celery.cli.overview import Outlook
from hephaestus_celery.embedded import EmbeddedServer

pytestmark = pytest.mark.only_on("redis", why="it counts what is asked of a server")

MANY = 100_000
OTHERS = 6  # commands that connections send by themselves
SHARE = 2.2
"""The processor time of a reading command, in starts of Celery with the same application: 1.5 s on a machine on which that takes
0.7 s."""


@pytest.fixture
def server():
    with EmbeddedServer() as started:
        yield started


@pytest.fixture
def stored(server, open_stage):
    """``stored(count)``: so many runs more, of two kinds; ``stored.runs`` are real ones."""
    stage = open_stage(broker=server.url, state=server.url)
    stage.start_workers(1)
    ended = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="ended")
    ended.wait(60)
    waits = stage.hephaestus.start_instance(flows.Approval, {"value": 1}, id="waits")
    eventually(lambda: waits.status == "waiting", what="it waits")
    for worker in stage.workers:
        worker.stop()
    client, prefix = stage.hephaestus.storage._client, stage.hephaestus.storage.keys.partition(0)
    places = {
        handle.run_id: [
            (key.decode(), member.decode(), score)
            for key in client.scan_iter(match=f"{prefix}*", _type="zset")
            for member, score in client.zscan_iter(key)
            if member.startswith(handle.run_id.encode())
        ]
        for handle in (ended, waits)
    }

    def store(count):
        with client.pipeline(transaction=False) as pipe:
            for number in range(count):
                run_id = (ended, waits)[number % 4 == 0].run_id
                copy = f"{run_id[:-8]}{stage.copied + number:08x}"
                pipe.copy(f"{prefix}run:{run_id}", f"{prefix}run:{copy}")
                for key, member, score in places[run_id]:
                    older = score - number if ":index:" in key else score
                    pipe.zadd(key, {member.replace(run_id, copy): older})
                if number % 2000 == 0:
                    pipe.execute()
            pipe.execute()
        stage.copied += count

    stage.copied, store.stage, store.ended, store.waits = 0, stage, ended, waits
    return store


def reading(stored):
    """Commands that read some runs."""
    return {
        "list": ["list", "--json"],
        "list --status": ["list", "--status", "completed"],
        "list --waiting-for": ["list", "--waiting-for", "approved"],
        "show": ["show", stored.waits.run_id],
        "show by id": ["show", "approval::waits"],
        "history": ["history", stored.ended.run_id],
        "events": ["events"],
    }


def test_what_is_asked_of_the_store_does_not_grow_with_it(stored):
    shell, client = Shell(stored.stage.app), stored.stage.hephaestus.storage._client
    outlook = Outlook(stored.stage.hephaestus)

    def cost(act):
        act()  # what is asked once in a process
        before = client.info("stats")
        act()
        after = client.info("stats")
        return tuple(after[name] - before[name] for name in ("total_commands_processed", "total_net_output_bytes"))

    def costs():
        found = {name: cost(lambda words=words: shell(*words)) for name, words in reading(stored).items()}
        return {**found, "watch": cost(lambda: outlook.look(runs=20)), "stats": cost(lambda: shell("stats"))}

    stored(1_000)
    few = costs()
    stored(9_000)
    many = costs()
    print({name: (few[name], many[name]) for name in few})
    for name in few:
        # `stats` counts some hundred runs in each call, which replies with some bytes; the rest is within the server.
        calls, sent = (12_000, 3_000) if name == "stats" else (OTHERS, 0)
        assert many[name][0] <= few[name][0] + calls, name
        assert many[name][1] <= few[name][1] * 1.1 + 500 + sent, name
    shown = {each["workflow"]: each["active"] for each in shell("workflows", "--json").document}
    assert shown[stored.waits.get().workflow_name] == 1 + 10_000 // 4


def test_reading_commands_take_little_more_than_celery_s_own_start(stored):
    stored(MANY)
    program = str(Path(sys.executable).with_name("celery"))
    environment = {**stored.stage.environment("client"), "PYTHONWARNINGS": "ignore"}

    def processor(*words):
        before = os.times()
        ended = subprocess.run(
            [program, "-A", "worker_app", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode in (0, 2), ended.stderr
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    asked = {**reading(stored), "stats": ["stats"], "workflows": ["workflows"]}
    rounds = [
        {"celery": processor("report"), **{name: processor("hephaestus", *words) for name, words in asked.items()}}
        for _ in range(2)
    ]
    best = {name: min(each[name] for each in rounds) for name in rounds[0]}
    print({name: round(took, 2) for name, took in best.items()})
    assert {name: took for name, took in best.items() if took > SHARE * best["celery"]} == {}
