"""Dramatiq's workers: ``dramatiq benchmarks.others.dramatiq_app``."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import marks
from benchmarks.settings import URL_VARIABLE

_url = os.environ[URL_VARIABLE]
broker = RedisBroker(url=_url)
broker.add_middleware(Results(backend=RedisBackend(url=_url)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def step(previous: int) -> int:
    """Do nothing."""
    return previous


@dramatiq.actor(store_results=True)
def last(mark: int | None, previous: int) -> int:
    """Do nothing, and set a mark where one is given."""
    if mark is not None:
        marks.set_mark(mark)
    return previous
