"""How often the server is asked: a resume costs one round trip, a hundred starts together one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from stage import eventually

from hephaestus_celery import Async, Done, Hephaestus, LocalRunner, Step, Unique, Workflow
from hephaestus_celery.client.standing import reasons
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.attempt import Worker
from hephaestus_celery.storage.redis.connections import Connections
from hephaestus_celery.testing import EventCapture
from hephaestus_celery.testing.conformance.driven_values import DURATIONS, held


class Ask(Step):
    events = ("go",)

    def execute(self, instance, config, context):
        return Async()


class Asking(Workflow):
    name = "round_trips.Asking"
    unique = Unique("asked")
    initial_step = Ask
    transitions = {(Ask, "go"): Done}


@dataclass
class Numbered:
    number: int


class TypedAsking(Workflow[Numbered]):
    name = "round_trips.TypedAsking"
    unique = Unique("typedasked")
    initial_step = Ask
    transitions = {(Ask, "go"): Done}


MANY = [Ask.named(f"ask_{number}") for number in range(700)]


class Wide(Workflow):
    name = "round_trips.Wide"
    unique = Unique("wide")
    initial_step = MANY
    transitions = {(each, "go"): Done for each in MANY}


@pytest.fixture
def trips(monkeypatch, redis_storage):
    """The commands of each round trip to the server, in their order; it knows all scripts."""
    for source in redis_storage._calls.scripts.sources.values():
        redis_storage._client.script_load(source)
    made = []
    real = Connections.call_many

    def counted(self, commands, *, fits):
        made.append([str(command[0]) for command in commands])
        return real(self, commands, fits=fits)

    monkeypatch.setattr(Connections, "call_many", counted)
    return made


class Idle(LocalRunner):
    """Executes nothing."""

    def dispatch(self, messages):
        pass


@pytest.fixture
def waiting(redis_storage):
    """A runtime that executes nothing, and the run of "asked::a1", which waits for "go"."""
    with Hephaestus(storage=redis_storage):
        handle = Asking.start("a1")
        eventually(lambda: handle.get().status == "waiting", what="the run waits")
    with Hephaestus(storage=redis_storage, runner=Idle()) as hephaestus:
        hephaestus.list(limit=1)  # the clock of the partition is known from here on
        redis_storage.renew([held(handle.run_id, "ask", fence="x")])
        yield hephaestus, handle.run_id


@pytest.mark.parametrize("how", ["by id", "by run id", "of a workflow", "kept until a step waits", "by a value"])
def test_a_resume_costs_one_round_trip(waiting, trips, how):
    hephaestus, run_id = waiting
    calls = {
        "by id": lambda: hephaestus.resume("asked::a1", "go"),
        "by run id": lambda: hephaestus.resume(run_id, "go"),
        "of a workflow": lambda: hephaestus.resume("asked::a1", "go", workflow=Asking),
        "kept until a step waits": lambda: hephaestus.resume("asked::a1", "go", keep_early=True),
        "by a value": lambda: Asking.resume("a1", "go"),
    }
    trips.clear()
    calls[how]()
    assert trips == [["EVALSHA"]]


@pytest.fixture
def listening():
    """Somebody listens: else no event is described."""
    with EventCapture() as capture:
        yield capture


@pytest.fixture
def claimed(redis_storage, listening):
    """A driver, and the run of "asked::a1", whose first attempt a worker holds."""
    with Hephaestus(storage=redis_storage, runner=Idle()) as hephaestus:
        run_id = hephaestus.start_instance(Asking, id="a1").run_id
        driver = hephaestus._resolved().driver
        driver.claim(Asking.name, run_id, Activation("ask"), 1, worker=Worker(hostname="w1", task_id="task1"))
        yield driver, run_id


def test_an_attempt_that_its_worker_s_main_process_sees_lost_costs_two_round_trips(claimed, trips):
    driver, run_id = claimed
    trips.clear()
    outcome = driver.recovery.fail_lost(
        run_id, Activation("ask"), 1, reason="killed", worker=Worker(hostname="w1", task_id="task1")
    )
    assert trips == [["EVALSHA"], ["EVALSHA"]]  # taken from its task, and failed
    assert [event.name[-1] for event in outcome.events] == ["rescue", "exception"]


def test_an_attempt_that_a_tick_finds_lost_costs_one_round_trip_more(claimed, trips, redis_storage):
    driver, run_id = claimed
    keys = redis_storage.keys.of_run(run_id)
    redis_storage._client.zadd(keys.names[3], {f"{run_id}|ask": 1})
    trips.clear()
    [entry] = redis_storage.tick(0, owner="owner", worker="w2", seize=True, durations=DURATIONS).entries
    outcome = driver.recovery.rescue(entry, worker=Worker(hostname="w2"))
    assert trips[-2:] == [["EVALSHA"], ["EVALSHA"]]  # the tick, and the commit
    assert len(trips) == 2
    assert [event.name[-1] for event in outcome.events] == ["rescue", "exception"]


@pytest.mark.parametrize(
    ("workflow", "context"),
    [(Asking, dict), (TypedAsking, dict), (TypedAsking, Numbered)],
    ids=["plain", "mapping", "object"],
)
def test_a_thousand_starts_cost_ten_round_trips_of_four_scripts(redis_storage, trips, workflow, context):
    with Hephaestus(storage=redis_storage, runner=Idle()) as hephaestus:
        hephaestus.list(limit=1)  # the clock of the partition is known from here on
        hephaestus.start_many(workflow, [("first", context(number=0))])
        trips.clear()
        handles = hephaestus.start_many(workflow, ((f"a{number}", context(number=number)) for number in range(1000)))
        assert trips == [["EVALSHA"] * 4] * 10
        assert hephaestus.count() == len({handle.run_id for handle in handles}) + 1 == 1001
        assert handles[-1].get().context.initial == {"number": 999}


def test_why_a_run_of_hundreds_of_steps_does_not_move_costs_a_few_round_trips(redis_storage, trips):
    with Hephaestus(storage=redis_storage, runner=Idle()) as hephaestus:
        run_id = Wide.start("w1").run_id
        trips.clear()
        instance, entries = hephaestus.get(run_id), hephaestus.history(run_id)
        why = reasons(instance, redis_storage, hephaestus.runner.fleet, entries)
    assert len(why) == 100
    assert len(trips) <= 12
