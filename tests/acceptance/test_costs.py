"""What noise does not move: messages and round trips, counted by the server."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import flows
import pytest
from stage import eventually

from hephaestus_celery.storage.redis.connection import connect
from hephaestus_celery.storage.redis.scripts import Scripts

RUNS = 20


@pytest.fixture
def server(redis_url):
    client = connect(redis_url, timeout=timedelta(seconds=5), options={})
    yield client
    client.close()


class Counted:
    """Counts what reaches the server for one namespace while the block runs: scripts by name, and messages."""

    def __init__(self, server, namespace):
        self._server, self._namespace = server, namespace
        self._mark = f"end of {namespace}"
        self.scripts, self.messages = Counter(), 0

    def __enter__(self):
        self._monitor = self._server.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.echo(self._mark)
        self._thread.join(30)
        self._monitor.__exit__(None, None, None)

    def _read(self):
        names = {digest: name for name, digest in Scripts()._hashes.items()}
        while True:
            command = self._monitor.next_command()["command"]
            if self._mark in command:
                return
            words = command.split()
            if words[0] in ("EVALSHA", "EVAL") and f"{self._namespace}:{{" in command:
                self.scripts[names.get(words[1], words[0])] += 1
            self.messages += words[:2] == ["LPUSH", self._namespace]


@pytest.mark.parametrize(
    ("workflow", "steps"),
    [(flows.Chain, 10), (flows.Wide, 10), (flows.Diamond, 4)],
    ids=["chain", "fan-out", "diamond"],
)
def test_a_step_costs_one_message_and_two_scripts(stage, server, workflow, steps):
    stage.start_workers(2)
    warm = stage.hephaestus.start_instance(workflow, {"value": 1}, id="warm")
    stage.told(warm.run_id)
    with Counted(server, stage.namespace) as counted:
        for number in range(RUNS):
            stage.hephaestus.start_instance(workflow, {"value": 1}, id=f"i{number}")
        eventually(lambda: len(stage.events("workflow.stop")) == RUNS + 1, timeout=60)
    assert counted.messages == RUNS * steps
    counted.scripts.pop("tick", None)  # the scheduler's, which comes with time and not with steps
    assert counted.scripts == {"create": RUNS, "claim": RUNS * steps, "complete": RUNS * steps}


def test_a_message_carries_four_values_and_is_small(stage, server):
    stage.hephaestus.start_instance(flows.Wide, {"secret": "x" * 1000}, id="x1")
    [message] = server.lrange(stage.namespace, 0, -1)
    assert len(message) < 1200
    assert b"xxx" not in message
