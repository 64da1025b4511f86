"""Behaviour 3: joins, choices and skipped branches, settled by hand."""

from __future__ import annotations

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import Done
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution.joins import Arrivals, settle

CHOICE = a_step("Choice", "yes", "no", "both")
LEFT = a_step("Left", "ok", "stop")
RIGHT = a_step("Right", "ok", "stop")
MERGE = a_step("Merge", "ok")
AFTER = a_step("After", "ok")


def settled(flow, *answers):
    """What each of these answers, in this order, sets going: the last settlement."""
    arrivals = {}
    for step, event in answers:
        result = settle(arrivals, plan(flow.graph, step, flow.graph.table[step, event]))
        arrivals = result.arrivals
    return result


@pytest.fixture
def diamond():
    return define(
        initial_step=A,
        transitions={(A, "ok"): [B, C], (B, "ok"): MERGE, (C, "ok"): MERGE, (MERGE, "ok"): Done},
    )


@pytest.fixture
def choice():
    """yes -> left, no -> right, both -> both; they merge, and either may stop short of that."""
    return define(
        initial_step=CHOICE,
        transitions={
            (CHOICE, "yes"): LEFT,
            (CHOICE, "no"): RIGHT,
            (CHOICE, "both"): [LEFT, RIGHT],
            (LEFT, "ok"): MERGE,
            (LEFT, "stop"): Done,
            (RIGHT, "ok"): MERGE,
            (RIGHT, "stop"): Done,
            (MERGE, "ok"): AFTER,
            (AFTER, "ok"): Done,
        },
    )


def test_a_fan_out_starts_every_target(diamond):
    assert settled(diamond, (A, "ok")).activated == ("b", "c")


def test_a_join_waits_for_every_branch(diamond):
    assert settled(diamond, (A, "ok"), (B, "ok")).activated == ()


@pytest.mark.parametrize("order", [(B, C), (C, B)])
def test_a_join_starts_with_its_last_branch(diamond, order):
    assert settled(diamond, (A, "ok"), *((step, "ok") for step in order)).activated == ("merge",)


@pytest.mark.parametrize(("step", "starts_one"), [(A, True), (B, False), (MERGE, True)])
def test_a_target_with_no_other_predecessor_surely_starts(diamond, step, starts_one):
    assert plan(diamond.graph, step, diamond.graph.table[step, "ok"]).starts_one is starts_one


def test_a_choice_that_leads_to_a_join_may_start_nothing(choice):
    assert not plan(choice.graph, LEFT, choice.graph.table[LEFT, "ok"]).starts_one


def test_a_join_counts_its_arrivals(diamond):
    assert settled(diamond, (A, "ok"), (B, "ok")).arrivals["merge"] == Arrivals(settled=1, taken=1)


def test_an_exclusive_choice_skips_the_other_branch(choice):
    assert settled(choice, (CHOICE, "yes")).skipped == ("right",)


def test_an_exclusive_choice_does_not_block_the_merge(choice):
    assert settled(choice, (CHOICE, "yes"), (LEFT, "ok")).activated == ("merge",)


def test_a_step_with_one_taken_and_one_dead_edge_starts(choice):
    assert settled(choice, (CHOICE, "both"), (LEFT, "stop"), (RIGHT, "ok")).activated == ("merge",)


def test_a_merge_that_no_branch_comes_to_is_skipped_with_all_after_it(choice):
    assert settled(choice, (CHOICE, "both"), (LEFT, "stop"), (RIGHT, "stop")).skipped == ("merge", "after")


def test_done_starts_when_the_last_branch_has_stopped(choice):
    assert settled(choice, (CHOICE, "both"), (LEFT, "stop"), (RIGHT, "stop")).activated == ("done",)


def test_done_waits_for_a_branch_that_is_still_under_way(choice):
    assert settled(choice, (CHOICE, "both"), (LEFT, "stop")).activated == ()


def test_done_waits_for_every_branch():
    flow = define(initial_step=A, transitions={(A, "ok"): [B, Done], (B, "ok"): Done})
    assert settled(flow, (A, "ok")).activated == ("b",)


def test_two_events_that_lead_to_one_step_are_one_branch():
    flow = define(initial_step=LEFT, transitions={(LEFT, "ok"): MERGE, (LEFT, "stop"): MERGE, (MERGE, "ok"): Done})
    assert settled(flow, (LEFT, "stop")).activated == ("merge",)


def test_a_settlement_names_no_step_that_it_cannot_reach(diamond):
    assert set(plan(diamond.graph, B, diamond.graph.table[B, "ok"]).rows) == {"merge"}


def test_a_settlement_of_nothing_changes_nothing():
    flow = define(initial_step=Done)
    result = settle({}, plan(flow.graph, Done, ()))
    assert (result.activated, result.skipped, result.arrivals) == ((), (), {})


def test_settling_leaves_the_counts_that_it_was_given(diamond):
    before = {"merge": Arrivals(1, 1)}
    settle(before, plan(diamond.graph, C, diamond.graph.table[C, "ok"]))
    assert before == {"merge": Arrivals(1, 1)}
