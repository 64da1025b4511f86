"""A fan-out of a thousand branches whose join is content with the first: the rest is never begun, or discarded."""

from __future__ import annotations

from collections import Counter

from defining import a_step

from hephaestus_celery import FAILED, Done, Hephaestus, Ok, RetryPolicy, Step, Unique, Workflow

MANY = 1000


class Branch(Step):
    events = ("ok",)
    ran: list[str] = []

    def execute(self, instance, config, context):
        self.ran.append(self.key)
        return Ok("ok")


class FallingBranch(Step):
    events = ("ok",)
    retry = RetryPolicy(max_attempts=1)

    def execute(self, instance, config, context):
        if self.key == "falling_7":
            raise ValueError("seven")
        return Ok("ok")


BEGIN, FIRST, ALL, MEND = (a_step(name, "ok") for name in ("SwarmBegin", "SwarmFirst", "SwarmAll", "SwarmMend"))
BRANCHES = [Branch.named(f"swarm_{number}") for number in range(MANY)]
FALLING = [FallingBranch.named(f"falling_{number}") for number in range(50)]


class Swarm(Workflow):
    unique = Unique("swarm")
    initial_step = BEGIN
    transitions = {
        (BEGIN, "ok"): BRANCHES,
        **{(branch, "ok"): FIRST for branch in BRANCHES},
        (FIRST, "ok"): Done,
    }
    joins = {FIRST: 1}


class Flock(Workflow):
    unique = Unique("flock")
    initial_step = BEGIN
    transitions = {
        (BEGIN, "ok"): FALLING,
        **{(branch, "ok"): ALL for branch in FALLING},
        **{(branch, FAILED): MEND for branch in FALLING},
        (ALL, "ok"): Done,
        (MEND, "ok"): Done,
    }
    joins = {ALL: "all", MEND: 1}


def test_of_a_thousand_branches_the_first_ends_the_run(redis_storage):
    Branch.ran.clear()
    with Hephaestus(storage=redis_storage) as hephaestus:
        handle = hephaestus.start_instance(Swarm, {}, id="x1")
        instance = handle.wait(60)
        assert instance.status == "completed"
        assert {step.key for step in instance.completed_steps} >= {"swarm_begin", "swarm_first", "done"}
        completed = Counter(entry.step for entry in handle.history() if entry.outcome == "completed")
        assert completed["swarm_first"] == completed["done"] == 1
        assert max(Counter(Branch.ran).values()) == 1
        assert hephaestus.count(status="completed") == 1


def test_one_failure_of_fifty_branches_leads_elsewhere(redis_storage):
    with Hephaestus(storage=redis_storage) as hephaestus:
        instance = hephaestus.start_instance(Flock, {}, id="x1").wait(60)
        assert instance.status == "completed"
        assert {step.key for step in instance.skipped_steps} == {"swarm_all"}
        assert instance.context.failure("falling_7").message == "seven"
