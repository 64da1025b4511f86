"""Tests of workflows that were changed under their runs: joins that wait in vain, or have come about before."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution.joins import Row, Settlement
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.storage.memory import MemoryStorage


@pytest.fixture
def stuck(storage, drive):
    """A run whose only step has completed, and whose next waits for a predecessor that never comes."""
    run = drive(storage).start()
    run.claim("a")
    settlement = Settlement(taken=("b",), dead=(), rows={"b": Row(predecessors=2)})
    return run, run.complete("a", settlement=settlement)


def test_it_fails_with_the_failure_that_names_the_last_step(stuck):
    run, _ = stuck
    assert run.load().status == "failed"
    assert run.load().failure == '{"kind":"error","type":"Error","message":"stuck"}'


def test_its_end_is_numbered_after_the_step(stuck):
    _, commitment = stuck
    assert (commitment.sequence, commitment.status_after) == (4, "failed")
    assert list(commitment.completed) == ["a"]
    assert commitment.finished_at is not None


def test_nothing_of_it_is_due(stuck):
    run, _ = stuck
    assert [member for member in run.due() if not member.endswith("|")] == []


def test_a_run_in_which_another_branch_goes_on_is_not_stuck(storage, drive):
    run = drive(storage).start({("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]})
    run.claim("a")
    run.complete("a")
    run.claim("b")
    settlement = Settlement(taken=("done",), dead=(), rows={"done": Row(predecessors=3)})
    run.complete("b", settlement=settlement)
    assert run.load().status == "running"


JOIN = {("a", "ok"): ["j"], ("b", "ok"): ["j"], ("c", "ok"): ["j"], ("d", "ok"): ["j"], ("j", "ok"): ["done"]}


def test_a_join_that_lost_a_predecessor_starts_with_the_next_that_comes_and_once(stand):
    run = stand.start(JOIN)
    fewer = stand.prepare({pair: targets for pair, targets in JOIN.items() if pair[0] not in "ab"}).graph
    run.step("a")
    run.step("b")
    run.graph = fewer
    assert list(run.step("c").activated) == ["j"]
    run.claim("j")
    assert list(run.step("d").activated) == []
    step = run.load().steps["j"]
    assert (step.status, step.fence) == (StepStatus.ACTIVE, run.fences["j"])
    assert run.complete("j").status_after == "completed"


def test_a_step_that_another_leads_to_now_is_not_started_again(stand):
    edges = {("a", "ok"): ["c", "b"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
    run = stand.start(edges)
    run.step("a")
    run.step("c", result='{"n":1}')
    run.graph = stand.prepare({("a", "ok"): ["b"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}).graph
    ended = run.step("b")
    assert (list(ended.activated), ended.status_after) == ([], "failed")  # nothing is left to do
    assert (run.load().steps["c"].event, run.load().results) == ("ok", {"c": '{"n":1}'})


def test_a_step_is_skipped_once_and_not_after_it_began(stand):
    run = stand.start({("a", "ok"): ["c"], ("b", "ok"): ["done"], ("b", "no"): ["c"], ("c", "ok"): ["done"]})
    run.graph = stand.prepare({("a", "ok"): ["c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}).graph
    run.step("a")
    run.graph = stand.prepare(
        {("a", "ok"): ["done"], ("b", "ok"): ["done"], ("b", "no"): ["c"], ("c", "ok"): ["done"]}
    ).graph
    run.step("b")
    assert run.load().steps["c"].status is StepStatus.ACTIVE


@pytest.mark.parametrize("took", [True, False])
def test_a_branch_that_came_before_its_edge_was_taken_away_counts(stand, took):
    event = "ok" if took else "no"
    both = {("a", "ok"): ["j"], ("a", "no"): ["done"], ("b", "ok"): ["j"], ("b", "no"): ["done"], ("j", "ok"): ["done"]}
    run = stand.start(both)
    run.step("a", event)
    run.graph = stand.prepare({**both, ("a", "ok"): ["done"]}).graph
    run.step("b", "no")
    assert run.load().steps["j"].status is (StepStatus.ACTIVE if took else StepStatus.SKIPPED)


def changing(chance):
    """Some graphs over the same steps."""
    keys = [f"s{number}" for number in range(8)]
    for _ in range(3):
        yield {
            (key, event): chance.sample(keys[number + 1 :], min(chance.randint(0, 3), 7 - number)) or ["done"]
            for number, key in enumerate(keys)
            for event in "xy"
        }


@pytest.mark.parametrize("seed", range(40))
def test_each_step_is_started_or_skipped_once_whatever_the_definition_becomes(drive, storage, seed):
    chance = random.Random(seed)
    first, *others = changing(chance)
    stand = drive(MemoryStorage())
    run = stand.start(first)
    twin = run.twin(storage)
    storage.create(twin.new)
    graphs = [run.graph, *(stand.prepare(edges).graph for edges in others)]
    started = Counter(key for key in run.load().steps)
    while active := [key for key, step in run.load().steps.items() if step.status is StepStatus.ACTIVE]:
        if run.load().status.final:
            break
        key, event, graph = chance.choice(active), chance.choice("xy"), chance.choice(graphs)
        if key not in graph.by_key:
            graph = run.graph
        settlement = plan(graph, graph.by_key[key], graph.table[graph.by_key[key], event])
        answers = []
        for each in (run, twin):
            each.claim(key, fence=f"fence of {key}")
            answers.append(each.complete(key, event, settlement=settlement, attempts=dict.fromkeys(settlement.rows, 5)))
        facts = [(list(answer.activated), answer.status_after, answer.active) for answer in answers]
        assert facts[0] == facts[1]
        started.update(answers[0].activated)
        standing = [{name: step.outline() for name, step in each.load().steps.items()} for each in (run, twin)]
        assert standing[0] == standing[1]
    assert set(started.values()) == {1}
    assert run.load().status.final
