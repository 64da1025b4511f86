"""How often the server is asked: a resume costs one round trip."""

from __future__ import annotations

import pytest
from stage import eventually

from hephaestus_celery import Async, Done, Hephaestus, LocalRunner, Step, Unique, Workflow
from hephaestus_celery.storage.claims import Lease
from hephaestus_celery.storage.redis.connections import Connections


class Ask(Step):
    events = ("go",)

    def execute(self, instance, config, context):
        return Async()


class Asking(Workflow):
    name = "round_trips.Asking"
    unique = Unique("asked")
    initial_step = Ask
    transitions = {(Ask, "go"): Done}


@pytest.fixture
def trips(monkeypatch):
    """The commands of each round trip to the server, in their order."""
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
        redis_storage.renew([Lease(run_id=handle.run_id, step="x", fence="x")])
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
