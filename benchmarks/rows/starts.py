"""How many chains a second one client can start, while nobody works on them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

from benchmarks.bench import Bench
from benchmarks.client import Client
from benchmarks.contest import Contest, Measure, at_least, ratio
from benchmarks.flows import CHAINS
from benchmarks.stage import Stage, unique_queue
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.connections import Connections

STEPS = 10
_MESSAGE = 1200


@contextmanager
def row(bench: Bench) -> Generator[Contest]:
    """Into a queue that nobody consumes, and a namespace that nobody's scheduler looks after."""
    count, queue = bench.scale.starts, unique_queue()
    with bench.stage() as stage:
        unrouted = Client(stage.url, namespace=queue, queue=queue)
        routed = Client(stage.url, namespace=queue)
        routed.app.conf.hephaestus_default_queue = queue
        direct = Connections(connect(stage.url, timeout=timedelta(seconds=2), options={}), most=1, timeout=2)
        try:
            yield Contest(
                title=f"starts of a chain of 10 steps by one client ({count} in a row)",
                unit="starts/s",
                contestants={
                    "ours": _pace(stage, queue, lambda: unrouted.start(CHAINS[STEPS]), count=count),
                    "ours, start_many": _pace_of_many(stage, queue, unrouted, count=count),
                    "chain": _pace(stage, queue, lambda: unrouted.canvas.chain(STEPS), count=count),
                    "ours, default_queue": _pace(stage, queue, lambda: routed.start(CHAINS[STEPS]), count=count),
                    "pushing": _pace(
                        stage, queue, lambda: direct.call("LPUSH", queue, "x" * _MESSAGE, fits=bool), count=count
                    ),
                },
                lines=[
                    ratio("ours", "chain", budget=at_least(5)),
                    ratio("ours, start_many", "chain", budget=at_least(8)),
                    ratio("ours, default_queue", "chain"),
                    ratio("ours", "pushing"),
                    ratio("pushing", "chain"),
                ],
                notes=[
                    "start_many: the same number of starts in one call, which sends a hundred in a round trip",
                    "default_queue: the queue is named by hephaestus_default_queue, not by Celery's routing",
                    f"pushing: one LPUSH of {_MESSAGE} bytes, as many as a message has: one round trip and nothing else",
                ],
            )
        finally:
            direct.close()
            unrouted.close()
            routed.close()


def _pace_of_many(stage: Stage, queue: str, client: Client, *, count: int) -> Measure:
    def measure() -> float:
        starts = ((secrets.token_hex(8), {}) for _ in range(count))
        began = time.perf_counter()
        client.hephaestus.start_many(CHAINS[STEPS], starts)
        seconds = time.perf_counter() - began
        sent = stage.server.llen(queue)
        if sent != count:
            raise RuntimeError(f"{count} starts have sent {sent} messages")
        stage.server.delete(queue)
        return count / seconds

    return measure


def _pace(stage: Stage, queue: str, start: Callable[[], object], *, count: int) -> Measure:
    def measure() -> float:
        began = time.perf_counter()
        for _ in range(count):
            start()
        seconds = time.perf_counter() - began
        sent = stage.server.llen(queue)
        if sent != count:
            raise RuntimeError(f"{count} starts have sent {sent} messages")
        stage.server.delete(queue)
        return count / seconds

    return measure
