"""What a step asks of its run while the store is away."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery import Done, MemoryStorage, Ok, StorageError, Unique, Workflow
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.runners.retrying_reader import RetryingReader
from hephaestus_celery.storage.queries import DataKind


class Away(MemoryStorage):
    """A store that is away for a number of readings."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def _answer(self):
        if self.times > 0:
            self.times -= 1
            raise StorageError("away")

    def load(self, run_id, *, steps=None):
        self._answer()
        return super().load(run_id, steps=steps)

    def read_initial(self, run_id):
        self._answer()
        return super().read_initial(run_id)

    def read_states(self, run_id, steps=None):
        self._answer()
        return super().read_states(run_id, steps)

    def read_data(self, run_id, kind, steps):
        self._answer()
        return super().read_data(run_id, kind, steps)


class Give(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Ok("ok", {"n": 1})


class Giving(Workflow):
    unique = Unique("giving")
    initial_step = Give
    transitions = {(Give, "ok"): Done}


@pytest.fixture
def run():
    """A store that is there, and the id of a finished run in it."""
    storage = Away(0)
    with Hephaestus(storage=storage):
        yield storage, Giving.start("a1", {"x": 1}).wait(10).run_id


READINGS = {
    "load": lambda reader, run_id: reader.load(run_id).initial,
    "initial": lambda reader, run_id: reader.read_initial(run_id),
    "states": lambda reader, run_id: sorted(reader.read_states(run_id)),
    "data": lambda reader, run_id: reader.read_data(run_id, DataKind.RESULT, ["give"]),
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_store_that_is_away_is_asked_again(run, reading):
    storage, run_id = run
    expected = READINGS[reading](storage, run_id)
    storage.times = 1
    assert READINGS[reading](RetryingReader(storage, lease=timedelta(seconds=30)), run_id) == expected


@pytest.mark.parametrize("reading", READINGS)
def test_a_store_that_stays_away_for_a_lease_is_an_error(run, reading):
    storage, run_id = run
    storage.times = 1000
    with pytest.raises(StorageError, match="away"):
        READINGS[reading](RetryingReader(storage, lease=timedelta(0)), run_id)
    storage.times = 0
