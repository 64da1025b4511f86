"""taskiq's workers: ``taskiq worker benchmarks.others.taskiq_app:broker``."""

from __future__ import annotations

import os

from taskiq_pipelines import PipelineMiddleware
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks import marks
from benchmarks.settings import URL_VARIABLE

_url = os.environ[URL_VARIABLE]
broker = (
    RedisStreamBroker(_url, queue_name="taskiq")
    .with_result_backend(RedisAsyncResultBackend(_url, result_ex_time=86_400))
    .with_middlewares(PipelineMiddleware())
)


@broker.task
async def step(previous: int) -> int:
    """Do nothing."""
    return previous


@broker.task
async def last(previous: int, mark: int | None = None) -> int:
    """Do nothing, and set a mark where one is given."""
    if mark is not None:
        marks.set_mark(mark)
    return previous
