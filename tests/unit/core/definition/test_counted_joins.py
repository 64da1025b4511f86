"""`joins` as it is declared, what is wrong with it, and how it is drawn."""

from __future__ import annotations

import time

import pytest
from defining import A, B, C, a_step, define, problems_of

from hephaestus_celery import FAILED, DefinitionError, Done

SHIP = a_step("Ship", "ok")
LATE = a_step("Late", "ok")
THREE = {(A, "ok"): SHIP, (B, "ok"): SHIP, (C, "ok"): SHIP, (SHIP, "ok"): Done}


def problems(joins, transitions=THREE, initial=(A, B, C)):
    return problems_of(initial_step=list(initial), transitions=transitions, joins=joins)


@pytest.mark.parametrize(("number", "needed"), [(1, 1), (2, 2), (3, 3), ("all", 3), ("any", 0)])
def test_a_join_takes_a_number_all_or_any(number, needed):
    flow = define(initial_step=[A, B, C], transitions=THREE, joins={SHIP: number})
    assert flow.graph.needed(SHIP) == needed


def test_a_step_without_an_entry_joins_whatever_can_come():
    assert define(initial_step=[A, B, C], transitions=THREE).graph.joins == {}


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "both", None, "ALL"])
def test_anything_else_is_a_problem(number):
    assert problems({SHIP: number}) == (
        f"joins: Ship must join 'all', 'any' or a number of steps, from 1 on, not {number!r}",
    )


def test_more_than_there_are_predecessors_is_a_problem():
    assert problems({SHIP: 4}) == ("joins: Ship can't join 4 steps, since it has 3 predecessors: A, B, C",)


@pytest.mark.parametrize("number", [1, "all", "any"])
def test_a_step_with_one_predecessor_has_nothing_to_join(number):
    transitions = {(A, "ok"): SHIP, (SHIP, "ok"): Done}
    assert problems({SHIP: number, A: number}, transitions, [A]) == (
        "joins has Ship, which has one predecessor (A), and so nothing to join",
        "joins has A, which has no predecessor, and so nothing to join",
    )


def test_two_events_of_one_step_are_one_predecessor():
    twice = a_step("Twice", "yes", "no")
    transitions = {(twice, "yes"): SHIP, (twice, "no"): SHIP, (SHIP, "ok"): Done}
    assert problems({SHIP: 1}, transitions, [twice]) == (
        "joins has Ship, which has one predecessor (Twice), and so nothing to join",
    )


def test_done_takes_no_number():
    assert problems({Done: 1}) == (
        "joins has Done, which takes no number: it ends the run when no branch can come to it any more",
    )


def test_what_is_no_step_or_no_step_of_the_workflow_is_a_problem():
    assert problems({LATE: 1, "ship": 1}) == (
        "joins has 'ship', which is no step",
        "joins has Late, which is no step of the workflow",
    )


@pytest.mark.parametrize("joins", [None, [SHIP], 2])
def test_joins_are_a_mapping(joins):
    [problem] = problems(joins)
    assert problem.startswith("joins must be a mapping of steps to numbers, 'all' or 'any', as joins = {Ship: 2}, not ")


def test_a_misspelt_name_is_seen():
    assert problems_of(initial_step=[A, B, C], transitions=THREE, join={SHIP: 1}) == (
        "join is no option of a workflow; did you mean joins?",
    )


# A FAILED branch before a join that would not wait for it

ORDER = {(A, "ok"): SHIP, (B, "ok"): SHIP, (SHIP, "ok"): Done, (A, FAILED): LATE, (LATE, "ok"): Done}


def test_a_join_that_would_start_without_a_failed_branch_is_a_problem():
    [problem] = problems({}, ORDER, [A, B])
    assert problem == (
        "Ship would start without the branch of a failed A: its FAILED leads elsewhere, and other steps lead to Ship too; write "
        "joins = {Ship: 'all'} (where all must come) or {Ship: 'any'} (whatever can still come)"
    )


@pytest.mark.parametrize("number", ["all", "any", 1, 2])
def test_an_entry_says_what_is_meant(number):
    define(initial_step=[A, B], transitions=ORDER, joins={SHIP: number})


def test_it_is_a_problem_too_where_the_step_comes_long_before():
    transitions = {**ORDER, (A, "ok"): C, (C, "ok"): SHIP}
    [problem] = problems({}, transitions, [A, B])
    assert "Ship would start without the branch of a failed A" in problem


@pytest.mark.parametrize(
    "transitions",
    [
        {**ORDER, (LATE, "ok"): SHIP},  # the branch of the failure leads to the join
        {
            (A, "ok"): [B, C],
            (B, "ok"): SHIP,
            (C, "ok"): SHIP,
            (A, FAILED): LATE,
            (LATE, "ok"): Done,
            (SHIP, "ok"): Done,
        },
        {(A, "ok"): [B, SHIP], (B, "ok"): SHIP, (A, FAILED): LATE, (LATE, "ok"): Done, (SHIP, "ok"): Done},
    ],
)
def test_it_is_none_where_nothing_else_leads_there(transitions):
    define(
        initial_step=[A] if (A, "ok") not in ORDER or transitions[A, "ok"] != SHIP else [A, B], transitions=transitions
    )


def test_done_joins_whatever_fails():
    define(initial_step=[A, B], transitions={(A, "ok"): Done, (B, "ok"): Done, (A, FAILED): LATE, (LATE, "ok"): Done})


def test_ten_thousand_steps_with_failures_are_looked_at_quickly():
    steps = [a_step(f"S{number}", "ok") for number in range(3_000)]
    ends = [*steps[1:], Done]
    transitions = {(step, "ok"): end for step, end in zip(steps, ends, strict=True)}
    transitions |= {(step, FAILED): Done for step in steps}
    began = time.process_time()
    define(initial_step=steps[0], transitions=transitions)
    assert time.process_time() - began < 5


def test_all_problems_are_found_at_once():
    with pytest.raises(DefinitionError) as refused:
        define(initial_step=[A, B], transitions=ORDER, joins={LATE: 3}, tags=[1])
    assert len(refused.value.problems) == 3


# As it is drawn


def test_the_text_of_a_workflow_names_the_numbers():
    flow = define(initial_step=[A, B, C], transitions=THREE, joins={SHIP: 2})
    assert flow.to_text().splitlines()[3:] == ["ship joins 2 of 3", "ship --ok--> done"]


def test_mermaid_writes_the_number_beside_the_key():
    flow = define(initial_step=[A, B, C], transitions=THREE, joins={SHIP: "all"})
    assert '    s3["ship (all 3)"]' in flow.to_mermaid().splitlines()
