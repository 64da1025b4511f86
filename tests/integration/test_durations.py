"""There is one lease (and one of each other duration) for the store and for those who use it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from celery import Celery
from defining import define, sound

from hephaestus_celery import Done, Hephaestus, LocalRunner, MemoryStorage, Ok, Settings, Step
from hephaestus_celery.storage.redis import RedisStorage


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_there_is_one_lease_whoever_was_given_it(kind, redis_url, namespace):
    def storage(**given):
        return MemoryStorage(**given) if kind == "memory" else RedisStorage(redis_url, namespace=namespace, **given)

    app = Celery("one-lease", broker="memory://", set_as_current=False)
    app.conf.update(hephaestus_lease=7, hephaestus_dispatch_timeout=8, hephaestus_retention=None)
    by_hand = storage(lease=timedelta(seconds=3))
    with Hephaestus(app, storage=by_hand) as hephaestus:
        held = hephaestus.settings
        assert (held.lease, held.dispatch_timeout, held.retention) == (timedelta(seconds=3), timedelta(seconds=8), None)
    with Hephaestus(storage=by_hand) as second:
        assert second.settings.lease == timedelta(seconds=3)
        assert second.settings.dispatch_timeout == timedelta(seconds=8)
    with Hephaestus(app, storage=storage()) as hephaestus:
        assert hephaestus.settings.lease == timedelta(seconds=7)
    with Hephaestus(storage=storage()) as hephaestus:
        assert hephaestus.settings == Settings()


@pytest.mark.parametrize("name", ["lease", "dispatch_timeout", "retention"])
@pytest.mark.parametrize("by", ["setting", "hand"])
def test_a_duration_may_be_the_longest_that_there_is(name, by, redis_url, namespace):
    given = {name: timedelta.max}
    app = Celery("for-ever", broker="memory://", set_as_current=False)
    app.conf.update({f"hephaestus_{name}": timedelta.max} if by == "setting" else {})
    storage = RedisStorage(redis_url, namespace=namespace, **(given if by == "hand" else {}))
    flow = define(**sound(name="shop.forever"))
    with Hephaestus(app, storage=storage, runner=LocalRunner) as hephaestus:
        assert hephaestus.start_instance(flow, id="a1").wait(20).status == "completed"


def test_a_step_that_outlasts_the_lease_of_a_storage_given_by_hand_is_executed_once(redis_url, namespace):
    executed = []
    storage = RedisStorage(redis_url, namespace=namespace, lease=timedelta(seconds=0.6))

    class Outlast(Step):
        events = ("done",)

        def execute(self, instance, config, context):
            executed.append(storage.now())
            while storage.now() < executed[0] + 2_000_000:  # three leases, on the store's clock
                threading.Event().wait(0.05)
            return Ok("done")

    flow = define(**sound(initial_step=Outlast, transitions={(Outlast, "done"): Done}, name="shop.outlast"))
    with Hephaestus(storage=storage) as hephaestus:
        instance = hephaestus.start_instance(flow, id="a1").wait(20)
    assert (instance.status, len(executed)) == ("completed", 1)
