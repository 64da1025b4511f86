"""What noise does not move: messages and round trips, counted by the server."""

from __future__ import annotations

from datetime import timedelta

import flows
import pytest
from stage import eventually

from hephaestus_celery.storage.redis.connection import connect

RUNS = 20


@pytest.fixture
def server(redis_url):
    client = connect(redis_url, timeout=timedelta(seconds=5), options={})
    yield client
    client.close()


def calls(server, command):
    return server.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


@pytest.mark.parametrize(
    ("workflow", "steps"),
    [(flows.Chain, 10), (flows.Wide, 10), (flows.Diamond, 4)],
    ids=["chain", "fan-out", "diamond"],
)
def test_a_step_costs_one_message_and_two_scripts(stage, server, workflow, steps):
    stage.start_workers(2)
    warm = stage.hephaestus.start_instance(workflow, {"value": 1}, id="warm")
    stage.told(warm.run_id)
    before = {command: calls(server, command) for command in ("evalsha", "eval", "lpush")}
    for number in range(RUNS):
        stage.hephaestus.start_instance(workflow, {"value": 1}, id=f"i{number}")
    eventually(lambda: len(stage.events("workflow.stop")) == RUNS + 1, timeout=60)
    used = {command: calls(server, command) - before[command] for command in before}
    assert used["lpush"] == RUNS * steps
    assert used["eval"] == 0
    assert used["evalsha"] == RUNS * (1 + 2 * steps)


def test_a_message_carries_four_values_and_is_small(stage, server):
    stage.hephaestus.start_instance(flows.Wide, {"secret": "x" * 1000}, id="x1")
    [message] = server.lrange(stage.namespace, 0, -1)
    assert len(message) < 1200
    assert b"xxx" not in message
