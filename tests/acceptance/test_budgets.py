"""Budgets that noise does not move: what the server is asked for a step, in commands and bytes, as the server counts it."""

from __future__ import annotations

from collections import Counter

import flows
import pytest
from monitoring import monitored
from redis import Redis
from stage import eventually

from hephaestus_celery.storage.redis.scripts import Scripts

RUNS, STEPS = 20, 10
OF_TIME = {"tick", "report", "reports", "renew"}
"""The scripts of schedulers and of workers, which come with time, and not with steps."""


@pytest.fixture
def server(private_server):
    with Redis(unix_socket_path=str(private_server.socket_path), socket_timeout=30) as client:
        for name in OF_TIME:
            client.script_load(Scripts().sources[name])  # so that none comes whole, under no name
        yield client


@pytest.fixture
def stage(private_server, open_stage):
    return open_stage(broker=private_server.url, state=private_server.url)


def run_chains(stage, tag):
    before = len(stage.events("workflow.stop"))
    for number in range(RUNS):
        stage.hephaestus.start_instance(flows.Chain, {"value": 1}, id=f"{tag}{number}")
    eventually(lambda: len(stage.events("workflow.stop")) == before + RUNS, timeout=60, what="all chains ended")


class Seen:
    """Counts commands by name: ``asked`` by clients, ``inside`` of scripts; without the scripts that come with time."""

    def __init__(self):
        self.asked, self.inside = Counter(), Counter()
        self._of_time = {digest for name, digest in Scripts()._hashes.items() if name in OF_TIME}
        self._counts = True

    def note(self, seen):
        name, *words = seen["command"].split(" ", 2)
        if seen["client_type"] == "lua":
            self.inside[name] += self._counts  # as the script that was asked for last
        else:
            self._counts = name != "EVALSHA" or words[0] not in self._of_time
            self.asked[name] += self._counts


def test_a_step_asks_little_of_the_server(stage, server):
    stage.start_workers(2)
    run_chains(stage, "warm")
    seen = Seen()
    with monitored(server, seen.note):
        run_chains(stage, "counted")
    steps = RUNS * STEPS
    assert seen.inside["LPUSH"] == steps  # the store sends all messages ...
    assert seen.asked["LPUSH"] == 0  # ... and nobody else does
    assert 2 * steps <= seen.asked["EVALSHA"] <= 2.2 * steps
    # Three keep what waits in each queue, so that a backlog is known from a loss (docs/decisions/0006); one asks how large
    # the run is, so that a claim of a large one is bounded; 0.4 are for the entry that outlives a run, and its id's lifetime.
    assert sum(seen.inside.values()) / steps < 22


def test_a_step_moves_few_bytes(stage, server):
    stage.start_workers(2)
    run_chains(stage, "warm")
    before = server.info("stats")
    run_chains(stage, "counted")
    after = server.info("stats")
    steps = RUNS * STEPS
    assert (after["total_net_input_bytes"] - before["total_net_input_bytes"]) / steps < 4.75 * 1024
    assert (after["total_net_output_bytes"] - before["total_net_output_bytes"]) / steps < 2.75 * 1024


def test_a_finished_run_takes_little_memory(stage, server):
    stage.start_workers(2)
    run_chains(stage, "warm")
    run_chains(stage, "counted")
    keys = server.scan_iter(f"{stage.namespace}:*:*", count=1000)
    taken = sum(server.memory_usage(key, samples=0) for key in keys)
    # Right after the end: a minute later the replies to repeated calls are gone. What Redis keeps for each key itself is
    # not in these figures.
    assert taken / (2 * RUNS) < 5.5 * 1024
