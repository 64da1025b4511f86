"""Transitions that take the failure of a step, as they are declared and drawn; names that are the engine's."""

from __future__ import annotations

import pytest
from defining import A, B, C, a_step, define, problems_of

from hephaestus_celery import FAILED, Done, Wait, WaitForEvent, route


@pytest.fixture
def flow():
    return define(
        initial_step=A,
        transitions={(A, "ok"): Done, (A, FAILED): [B, C], (B, "ok"): Done, (C, "ok"): Done},
    )


def test_the_event_of_a_failure_has_a_name_of_the_engine():
    assert FAILED == "@failed"


def test_a_step_may_have_a_transition_for_its_failure(flow):
    assert [(edge.source, edge.event, edge.target) for edge in flow.graph.edges if edge.event == FAILED] == [
        (A, FAILED, B),
        (A, FAILED, C),
    ]
    assert flow.graph.catching == {A}


def test_a_route_may_compute_where_a_failure_leads():
    flow = define(
        initial_step=A,
        transitions={(A, "ok"): Done, (B, "ok"): Done},
        choose=route(A, FAILED, targets=[B, Done])(lambda context: B),
    )
    assert flow.graph.dynamic == {(A, FAILED): "choose"}


def test_no_step_needs_a_transition_for_its_failure():
    assert define(initial_step=A, transitions={(A, "ok"): Done}).graph.catching == frozenset()


def test_a_transition_for_its_failure_does_not_make_up_for_one_that_a_step_needs():
    assert problems_of(initial_step=A, transitions={(A, FAILED): Done}) == (
        "A declares the event 'ok', which has no transition",
    )


def test_the_built_in_waits_may_fail_too():
    flow = define(
        initial_step=(Wait, {"duration": 1}),
        transitions={
            (Wait, "timeout"): (WaitForEvent, {"event_name": "paid"}),
            (Wait, FAILED): Done,
            (WaitForEvent, "received"): Done,
            (WaitForEvent, FAILED): Done,
        },
    )
    assert flow.graph.catching == {Wait, WaitForEvent}


def test_done_has_no_transition_for_a_failure():
    assert problems_of(initial_step=A, transitions={(A, "ok"): Done, (Done, FAILED): Done}) == (
        "transitions: Done is the end; nothing follows it",
    )


def test_a_cycle_through_a_failure_is_a_problem():
    [problem] = problems_of(initial_step=A, transitions={(A, "ok"): Done, (A, FAILED): B, (B, "ok"): A})
    assert "a cycle: A -> B -> A" in problem


@pytest.mark.parametrize("event", ["@failed", "@paid"])
def test_no_step_declares_a_name_of_the_engine(event):
    step = a_step("Odd", event)
    assert f"step Odd: '{event}' can't name an event (names that begin with @ are the engine's)" in problems_of(
        initial_step=step, transitions={(step, event): Done}
    )


def test_no_step_waits_for_a_name_of_the_engine():
    assert (
        "WaitForEvent: the event_name '@failed' is not for users: names that begin with @ are the engine's"
        in problems_of(
            initial_step=(WaitForEvent, {"event_name": "@failed"}), transitions={(WaitForEvent, "received"): Done}
        )
    )


def test_the_text_of_a_workflow_draws_failures_with_a_double_line(flow):
    assert flow.to_text().splitlines()[:2] == ["a --ok--> done", "a ==@failed==> b, c"]


def test_mermaid_draws_failures_thick_and_red(flow):
    lines = flow.to_mermaid().splitlines()
    assert [line for line in lines if "@failed" in line] == [
        '    s0 == "@failed" ==> s1',
        '    s0 == "@failed" ==> s2',
    ]
    assert lines[-1] == "    linkStyle 1,2 stroke:#c00"
