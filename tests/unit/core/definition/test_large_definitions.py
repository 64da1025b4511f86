"""Definitions of many steps: what is made of them grows with their edges, and no faster.

Costs are counted in calls of Python functions, which are the same on every machine: ten times the steps may take ten times
the calls, and a little more.
"""

from __future__ import annotations

import itertools
import tracemalloc
from functools import partial

import pytest
from call_counts import calls_of
from defining import a_step, define, problems_of

from hephaestus_celery import DefinitionError, Done, LocalRunner, Settings
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution.joins import settle
from hephaestus_celery.runners.known_steps import versions_with
from hephaestus_celery.runners.messages import messages
from hephaestus_celery.runners.plan_cache import MOST_ROWS, Moves

FEW, MANY = 300, 3000


def steps(count):
    return [a_step(f"S{number}", "ok", own=1, attribute_of_its=2) for number in range(count)]


def chain(count):
    made = steps(count)
    return made[0], {(step, "ok"): target for step, target in zip(made, [*made[1:], Done], strict=True)}


def wide(count):
    first, last, *between = steps(count)
    return first, {(first, "ok"): between, **{(step, "ok"): last for step in between}, (last, "ok"): Done}


def roots(count):
    made = steps(count)
    return made, {(step, "ok"): Done for step in made}


def diamonds(count):
    made = steps(count // 3 * 3 + 1)
    table = {(made[-1], "ok"): Done}
    for top, left, right, bottom in zip(made[::3], made[1::3], made[2::3], made[3::3], strict=False):
        table |= {(top, "ok"): [left, right], (left, "ok"): bottom, (right, "ok"): bottom}
    return made[0], table


def layers(count):
    made = steps(count // 10)
    rows = [made[at : at + 10] for at in range(0, len(made), 10)]
    table = {(step, "ok"): below for row, below in itertools.pairwise(rows) for step in row}
    return rows[0], {**table, **{(step, "ok"): Done for step in rows[-1]}}


def detours(count):
    """Each step may go on at once or by way of another; both meet again."""
    first, *others = [a_step(f"S{number}", "on", "around", own=1) for number in range(count // 2)]
    table = {}
    for number, (step, target) in enumerate(zip([first, *others], [*others, Done], strict=True)):
        by_way_of = a_step(f"T{number}", "ok", own=1)
        table |= {(step, "on"): target, (step, "around"): by_way_of, (by_way_of, "ok"): target}
    return first, table


SHAPES = [chain, wide, roots, diamonds, layers, detours]


def used(flow):
    """All that is asked of a definition: each step planned, claimed and sent, and the whole shown."""
    graph = flow.graph
    for step in graph.topological_order:
        for ask in (graph.configs, graph.predecessors, graph.successors, graph.events):
            ask(step)
        graph.rank(step.key)
        for event in graph.events(step):
            settle({}, plan(graph, step, graph.table[step, event]))
    versions_with(flow.name, graph.initial.step.key)
    messages(flow.name, 1, "run", [])
    return flow.to_text(), flow.to_mermaid()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_for_a_definition_grows_with_its_edges(shape):
    costs = []
    for count in (FEW, MANY):
        initial, transitions = shape(count)
        defining, flow = calls_of(partial(define, name="large", initial_step=initial, transitions=transitions))
        using, _ = calls_of(partial(used, flow))
        edges = len(flow.graph.edges)
        costs.append((defining / edges, using / edges))
    (few, few_used), (many, many_used) = costs
    assert many < 1.2 * few, f"defining takes {few:.0f} calls an edge of {FEW} steps, and {many:.0f} of {MANY}"
    assert many_used < 1.2 * few_used, (
        f"using takes {few_used:.0f} calls an edge of {FEW}, and {many_used:.0f} of {MANY}"
    )


def test_the_settlement_of_a_choice_ends_where_its_branches_meet():
    initial, transitions = detours(MANY)
    graph = define(initial_step=initial, transitions=transitions).graph
    settlements = [plan(graph, step, targets) for (step, _), targets in graph.table.items()]
    assert max(len(settlement.rows) for settlement in settlements) == 2


def test_a_process_remembers_a_bounded_number_of_settlements():
    made = [a_step(f"S{number}", "ok", "stop") for number in range(500)]
    ends = {(step, "stop"): Done for step in made}
    flow = define(
        initial_step=made[0],
        transitions={**ends, **dict(zip([(s, "ok") for s in made], [*made[1:], Done], strict=True))},
    )
    runner = LocalRunner()
    moves = Moves(Settings(), runner)
    for (step, event), targets in flow.graph.table.items():
        assert moves.find(flow, step, event, targets) is moves.find(flow, step, event, targets)
    assert sum(len(move.settlement.rows) for move in moves._known[flow].values()) <= MOST_ROWS
    runner.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_memory_of_a_definition_grows_with_its_edges(shape):
    initial, transitions = shape(MANY)
    tracemalloc.start()
    flow = define(name="large", initial_step=initial, transitions=transitions)
    used(flow)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        size / len(flow.graph.edges) < 1500
    )  # bytes; one list of all that may come before takes twelve thousand a step


def test_a_chain_of_ten_thousand_steps_is_defined_without_recursion():
    initial, transitions = chain(10_000)
    flow = define(initial_step=initial, transitions=transitions)
    assert [step.key for step in flow.graph.topological_order[-2:]] == ["s9999", "done"]


@pytest.mark.parametrize("shape", [chain, diamonds])
def test_what_is_wrong_with_a_large_definition_is_found_as_fast(shape):
    costs = []
    for count in (FEW, MANY):
        initial, transitions = shape(count)
        *_, last = transitions
        bent = {**transitions, last: initial}
        calls, found = calls_of(partial(problems_of, initial_step=initial, transitions=bent))
        assert {problem[:9] for problem in found} <= {"a cycle: ", "more cycl"}
        costs.append(calls / count)
    assert costs[1] < 1.2 * costs[0]


def test_every_problem_of_many_is_reported():
    made = steps(MANY)
    with pytest.raises(DefinitionError) as refused:
        define(initial_step=made[0], transitions={(step, "other"): Done for step in made})
    assert len(refused.value.problems) > MANY
