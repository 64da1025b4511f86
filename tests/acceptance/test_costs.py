"""What noise does not move: messages and round trips, counted by the servers."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from datetime import timedelta

import flows
import pytest
from kombu import Exchange, Queue
from monitoring import monitored
from stage import eventually

from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.scripts import Scripts

RUNS = 20
OF_TIME = ("tick", "report", "reports", "renew")
"""The scripts of the scheduler and of the workers, which come with time, and not with steps."""


@pytest.fixture
def broker_url(broker, redis_url, request):
    """RabbitMQ traces what is published only where that is turned on: one of the tests' own."""
    return redis_url if broker == "redis" else request.getfixturevalue("rabbitmq").url


@pytest.fixture
def server(redis_url):
    client = connect(redis_url, timeout=timedelta(seconds=5), options={})
    for name in OF_TIME:
        client.script_load(Scripts().sources[name])  # so that none comes whole, under no name
    yield client
    client.close()


class Counted:
    """Counts what reaches the server for one namespace while the block runs: scripts by name, and messages."""

    def __init__(self, server, namespace):
        self._server, self._namespace = server, namespace
        self._names = {digest: name for name, digest in Scripts()._hashes.items()}
        self.scripts, self.messages = Counter(), 0

    def __enter__(self):
        self._monitoring = monitored(self._server, self._note)
        self._monitoring.__enter__()
        return self

    def __exit__(self, *error):
        self._monitoring.__exit__(*error)

    def _note(self, seen):
        words = seen["command"].split()
        if words[0] in ("EVALSHA", "EVAL") and f"{self._namespace}:{{" in seen["command"]:
            self.scripts[self._names.get(words[1], words[0])] += 1
        self.messages += words[:2] == ["LPUSH", self._namespace]


class Firehose:
    """Counts what is published to a queue of RabbitMQ while the block runs, as the broker itself traces it."""

    def __init__(self, rabbitmq, stage):
        self._rabbitmq, self._stage = rabbitmq, stage
        self.messages = 0

    def __enter__(self):
        self._rabbitmq.control("trace_on")
        with contextlib.ExitStack() as resources:
            connection = resources.enter_context(self._stage.app.connection_for_read())
            trace = Queue("", Exchange("amq.rabbitmq.trace", "topic"), routing_key="publish.#", exclusive=True)
            self._trace = trace(connection.default_channel)
            self._trace.declare()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_):
        mark = f"end of {self._stage.namespace}"
        with self._resources:
            with self._stage.app.producer_or_acquire() as producer:
                producer.publish({}, routing_key=mark)
            eventually(lambda: self._count() == mark, what="all is counted")
            self._rabbitmq.control("trace_off")

    def _count(self):
        message = self._trace.get(no_ack=True)
        if message is None:
            return None
        [queue] = message.headers["routing_keys"]
        self.messages += queue == self._stage.namespace
        return queue


@pytest.fixture
def counted_messages(broker, stage, request):
    """``counted_messages(counted)``: what counts the messages while ``counted`` does the scripts."""
    if broker == "redis":
        return contextlib.nullcontext
    return lambda _: Firehose(request.getfixturevalue("rabbitmq"), stage)


@pytest.mark.parametrize(
    ("workflow", "steps"),
    [(flows.Chain, 10), (flows.Wide, 10), (flows.Diamond, 4)],
    ids=["chain", "fan-out", "diamond"],
)
def test_a_step_costs_one_message_and_two_scripts(stage, server, counted_messages, workflow, steps):
    stage.start_workers(2)
    warm = stage.hephaestus.start_instance(workflow, {"value": 1}, id="warm")
    stage.emitted(warm.run_id)
    with Counted(server, stage.namespace) as counted, counted_messages(counted) as published:
        for number in range(RUNS):
            stage.hephaestus.start_instance(workflow, {"value": 1}, id=f"i{number}")
        eventually(lambda: len(stage.events("workflow.stop")) == RUNS + 1, timeout=60)
    assert published.messages == RUNS * steps
    for name in OF_TIME:
        counted.scripts.pop(name, None)
    assert counted.scripts == {"create": RUNS, "claim": RUNS * steps, "complete": RUNS * steps}


def test_a_message_carries_four_values_and_is_small(stage):
    handle = stage.hephaestus.start_instance(flows.Wide, {"secret": "x" * 1000}, id="x1")
    message = eventually(stage.take_message, what="the message waits")
    arguments, named, _ = message.decode()
    assert (arguments, named) == ([handle.run_id, "a", 1, 1], {})
    whole = f"{message.body}{json.dumps({**message.properties, 'application_headers': message.headers})}"
    assert len(whole) < 1200
    assert "xxx" not in whole
