"""Durations are settings of a runtime: it says them in each request, and a storage knows none of its own."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from celery import Celery
from defining import define, sound

from hephaestus_celery import ConfigurationError, Done, Hephaestus, LocalRunner, MemoryStorage, Ok, Settings, Step
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.storage.redis import RedisStorage
from tests.support.starting import create

SECOND = 1_000_000


class Idle(LocalRunner):
    """Executes nothing, and says no lane: how long its messages may wait stands in the due set."""

    def dispatch(self, messages):
        pass

    def lane(self, message):
        return None


@pytest.fixture(params=["memory", "redis"])
def storage(request):
    return MemoryStorage() if request.param == "memory" else request.getfixturevalue("redis_storage")


def due_after(hephaestus, probe, id):
    """How long a message of a new run may wait, and how long its claim holds, as the storage has it."""
    flow = define(**sound(name="shop.asked"))
    driver, storage = (
        Driver(storage=hephaestus.storage, settings=hephaestus.settings, dispatcher=Idle()),
        hephaestus.storage,
    )
    run_id, [message] = create(driver, flow, id=f"orderid::{id}")
    step = message.step
    late = probe.due(storage, run_id)[step] - storage.load(run_id).started_at
    held = driver.claim(flow.name, run_id, message.activation, 1, worker=Worker())
    lease = probe.due(storage, run_id)[step] - held.claim.claimed_at
    driver.release(held)
    driver.close()
    assert held.held.lease == lease
    return late, lease


def test_two_runtimes_of_one_storage_each_go_by_their_own_settings(storage, probe):
    app = Celery("own-lease", broker="memory://", set_as_current=False)
    app.conf.update(hephaestus_lease=7, hephaestus_dispatch_timeout=8, hephaestus_retention=None)
    with Hephaestus(app, storage=storage, runner=Idle) as first, Hephaestus(storage=storage, runner=Idle) as second:
        assert due_after(first, probe, "a1") == (8 * SECOND, 7 * SECOND)
        assert due_after(second, probe, "a2") == (30 * SECOND, 30 * SECOND)
        assert due_after(first, probe, "a3") == (8 * SECOND, 7 * SECOND)


def test_a_runtime_without_an_application_is_given_its_settings(storage, probe):
    given = Settings(lease=timedelta(seconds=7), dispatch_timeout=timedelta(seconds=8))
    with Hephaestus(storage=storage, runner=Idle, settings=given) as hephaestus:
        assert hephaestus.settings == given
        assert due_after(hephaestus, probe, "a1") == (8 * SECOND, 7 * SECOND)


def test_settings_that_are_given_are_checked():
    with pytest.raises(ConfigurationError, match="hephaestus_lease must be more than nothing"):
        Hephaestus(settings=Settings(lease=timedelta(0)))


def test_settings_are_not_given_beside_those_of_an_application():
    app = Celery("own-settings", broker="memory://", set_as_current=False)
    with pytest.raises(ConfigurationError, match="those of an application are its own"):
        Hephaestus(app, settings=Settings())


@pytest.mark.parametrize(
    "fields", [{"state_backend": "redis://localhost"}, {"state_timeout": 5}, {"namespace": "shop"}, {"partitions": 2}]
)
def test_settings_of_a_store_are_no_settings_of_a_runtime_without_an_application(fields):
    with pytest.raises(
        ConfigurationError, match=rf"hephaestus_{next(iter(fields))} has no effect.*storage=RedisStorage"
    ):
        Hephaestus(settings=Settings(**fields))


def test_settings_are_settings():
    with pytest.raises(ConfigurationError, match=r"must be Settings\(\.\.\.\), not \{'lease': 3\}"):
        Hephaestus(settings={"lease": 3})


@pytest.mark.parametrize("name", ["lease", "dispatch_timeout", "retention"])
@pytest.mark.parametrize("by", ["setting", "hand"])
def test_a_duration_may_be_the_longest_that_there_is(name, by, redis_storage):
    app = Celery("for-ever", broker="memory://", set_as_current=False)
    app.conf.update({f"hephaestus_{name}": timedelta.max})
    flow = define(**sound(name="shop.forever"))
    given = {"settings": Settings(**{name: timedelta.max})} if by == "hand" else {"app": app}
    with Hephaestus(storage=redis_storage, runner=LocalRunner, **given) as hephaestus:
        assert hephaestus.start_instance(flow, id="a1").wait(20).status == "completed"


def test_a_step_that_outlasts_the_lease_is_executed_once(redis_url, namespace, redis_storage):
    executed = []

    class Outlast(Step):
        events = ("done",)

        def execute(self, instance, config, context):
            executed.append(redis_storage.now())
            while redis_storage.now() < executed[0] + 6_000_000:  # three leases, on the store's clock
                threading.Event().wait(0.05)
            return Ok("done")

    flow = define(**sound(initial_step=Outlast, transitions={(Outlast, "done"): Done}, name="shop.outlast"))
    storage, brief = RedisStorage(redis_url, namespace=namespace), Settings(lease=timedelta(seconds=2))
    with Hephaestus(storage=storage, settings=brief) as hephaestus:
        instance = hephaestus.start_instance(flow, id="a1").wait(20)
    assert (instance.status, len(executed)) == ("completed", 1)
