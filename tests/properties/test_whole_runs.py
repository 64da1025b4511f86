"""Runs of workflows that have everything at once, by the real driver over real storages, whoever dies and whatever is lost.

Failures that lead on, counted joins, rounds, waits, compensations, deadlines and results in one random graph; messages in any
order, lost and doubled; death before or after any call that changes the storage; cancellation at any moment, and a retry.
"""

from __future__ import annotations

import itertools

import pytest
from given_time import GivenChance, GivenClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_time import GivenTimeRedisStorage
from sql_storage import SqlStorage
from whole_flows import whole_flows
from whole_laws import Ended, problems
from whole_runs import World

from hephaestus_celery import Status
from hephaestus_celery.storage.memory import MemoryStorage

BEGAN = 1_700_000_000_000_001_000
SLOWLY = settings(
    max_examples=30,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # each example has a storage of its own
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture(params=["memory", "sql", "redis"])
def make_storage(request, tmp_path):
    """``make_storage(clock)``: an empty storage."""
    numbers, made = itertools.count(), []
    if request.param == "redis":
        url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
        client = request.getfixturevalue("redis_storage")._client

    def make(clock):
        number, given = next(numbers), {"clock": clock, "chance": GivenChance(1)}
        match request.param:
            case "memory":
                made.append(MemoryStorage(**given))
            case "sql":
                made.append(SqlStorage(tmp_path / f"{number}.sqlite", **given))
            case _:
                made.append(GivenTimeRedisStorage(url, namespace=f"{namespace}.{number}", **given))
        return made[-1]

    yield make
    for storage in made:
        storage.close()
    if request.param == "redis":
        for key in client.scan_iter(f"{namespace}.*", count=1000):
            client.delete(key)


@pytest.fixture
def make_world(make_storage):
    """``make_world(draw)``: a world with a workflow; see :func:`whole_flows`."""
    worlds = []

    def make(draw, **options):
        clock = GivenClock(BEGAN)
        worlds.append(World(make_storage(clock), clock, draw))
        worlds[-1].whole = draw(whole_flows(worlds[-1], **options), label="flow")
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def ended(world, run_id, earlier=None, **options):
    world.go_on(run_id, **options)
    return Ended(world, world.hephaestus.get(run_id), world.hephaestus.history(run_id), earlier)


def outcome(instance):
    events = {step.key: instance.step(step).event for step in instance.completed_steps}
    return instance.status, events, instance.skipped_steps, instance.result


@SLOWLY
@given(st.data(), st.integers(0, 8), st.integers(0, 4))
def test_whatever_dies_or_is_lost_every_run_ends_and_breaks_no_law(make_world, data, deaths, losses):
    world = make_world(data.draw)
    cancelled = {
        "cancel_at": data.draw(st.sampled_from([None, None, None, None, *range(5, 65, 10)]), label="cancelled at"),
        "compensate": data.draw(st.sampled_from([True, True, False]), label="compensate"),
    }
    run = ended(world, world.start("whole::x1", deaths=deaths, losses=losses), **cancelled)
    assert problems(run) == []
    if run.instance.status is Status.COMPLETED:
        return
    world.mended = True
    run_id = world.retry(run.instance.run_id)
    if run_id is None:
        return
    again = ended(world, run_id, run)
    assert problems(again) == []
    assert again.instance.forked_from == run.instance.run_id


@SLOWLY
@given(st.data(), st.integers(1, 8), st.integers(0, 4))
def test_law_4_a_run_in_which_callers_die_ends_like_one_without(make_world, data, deaths, losses):
    world = make_world(data.draw, settled=True)
    calm = ended(world, world.start("whole::x1"))
    assert calm.instance.status is Status.COMPLETED
    disturbed = ended(world, world.start("whole::x2", deaths=deaths, losses=losses))
    assert outcome(disturbed.instance) == outcome(calm.instance)
    assert problems(disturbed) == []
