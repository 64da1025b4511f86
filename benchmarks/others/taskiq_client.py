"""taskiq as a rival: pipelines of taskiq-pipelines on two worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskiq_pipelines import Pipeline

from benchmarks.others.protocol import STEPS, serve
from benchmarks.others.taskiq_app import broker, last, step
from benchmarks.others.workers import workers

_GLANCE_SECONDS = 0.002
"""How often the client asks for a result; taskiq does so every 0.2 s unless it is set otherwise."""


def _pipeline(mark: int | None) -> Pipeline:
    pipeline = Pipeline(broker, step)
    for _ in range(STEPS - 2):
        pipeline = pipeline.call_next(step)
    return pipeline.call_next(last, mark=mark)


async def _play() -> None:
    task = await _pipeline(None).kiq(1)
    await task.wait_result(check_interval=_GLANCE_SECONDS, timeout=10)


async def _send(marked: Sequence[int]) -> None:
    for mark in marked:
        await _pipeline(mark).kiq(1)


def _serve() -> None:
    with asyncio.Runner() as runner:
        runner.run(broker.startup())
        serve(play=lambda: runner.run(_play()), send=lambda marked: runner.run(_send(marked)))
        runner.run(broker.shutdown())


if __name__ == "__main__":
    with workers("taskiq", "worker", "benchmarks.others.taskiq_app:broker", "--workers", "2", "--log-level", "WARNING"):
        _serve()
