"""Behaviour 2.3: a step that has one event may stand alone as a key of transitions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from defining import A, B, C, a_step, define, problems_of

from hephaestus_celery import FAILED, Context, Done, Wait, WaitForEvent, route
from hephaestus_celery.core.definition.graph import Target

CHOICE = a_step("LoneChoice", "yes", "no")
PAID = {"event_name": "paid"}


def test_a_step_alone_means_its_only_event():
    flow = define(initial_step=A, transitions={A: [B, (C, {"n": 1})], B: Done, C: Done})
    assert flow.graph.table == {
        (A, "ok"): (Target(B), Target(C, {"n": 1})),
        (B, "ok"): (Target(Done),),
        (C, "ok"): (Target(Done),),
    }


def test_the_order_of_declaration_stays():
    flow = define(initial_step=A, transitions={A: [B, C], (C, "ok"): Done, B: Done})
    assert list(flow.graph.table) == [(A, "ok"), (C, "ok"), (B, "ok")]


@pytest.mark.parametrize(
    ("step", "config", "event"), [(Wait, {"duration": 1}, "timeout"), (WaitForEvent, PAID, "received")]
)
def test_a_built_in_step_may_stand_alone(step, config, event):
    flow = define(initial_step=(step, config), transitions={step: Done})
    assert list(flow.graph.table) == [(step, event)]


def test_a_named_step_may_stand_alone():
    second = A.named("second")
    assert list(define(initial_step=A, transitions={A: second, second: Done}).graph.table) == [
        (A, "ok"),
        (second, "ok"),
    ]


def test_an_event_with_a_timeout_is_several():
    assert problems_of(
        initial_step=(WaitForEvent, {**PAID, "timeout": timedelta(hours=1)}), transitions={WaitForEvent: Done}
    ) == (
        (
            "WaitForEvent stands alone as a key, which only a step with one event can, and it has several ('received', 'timeout'): "
            "write (WaitForEvent, 'received')"
        ),
    )


def test_a_step_with_several_events_alone_is_one_problem():
    assert problems_of(initial_step=CHOICE, transitions={CHOICE: B, B: Done}) == (
        (
            "LoneChoice stands alone as a key, which only a step with one event can, and it has several ('yes', 'no'): "
            "write (LoneChoice, 'yes')"
        ),
    )


def test_a_step_with_several_events_alone_and_with_one_of_them_is_one_problem():
    assert len(problems_of(initial_step=CHOICE, transitions={CHOICE: B, (CHOICE, "no"): C, B: Done, C: Done})) == 1


@pytest.mark.parametrize("transitions", [{A: B, (A, "ok"): Done, B: Done}, {(A, "ok"): Done, A: B, B: Done}])
def test_a_step_alone_and_with_its_event_is_a_problem(transitions):
    assert (
        "A stands alone as a key, which means its event 'ok', and (A, 'ok') stands there too: keep one of them"
        in problems_of(initial_step=A, transitions=transitions)
    )


def test_a_step_alone_without_execute_is_an_unknown_step():
    unknown = type("LoneUnknown", (A.__base__,), {})
    assert problems_of(initial_step=A, transitions={A: Done, unknown: Done}) == (
        "transitions has LoneUnknown, an unknown step: it has no execute",
    )


def test_a_step_alone_with_events_that_are_none_is_that_problem():
    odd = a_step("LoneOdd", "ok", events=("a b",))
    assert any(
        "'a b' can't name an event" in problem for problem in problems_of(initial_step=odd, transitions={odd: Done})
    )


def test_done_alone_as_a_key_is_a_problem():
    assert problems_of(initial_step=A, transitions={A: Done, Done: A}) == (
        "transitions: Done is the end; nothing follows it",
    )


def test_a_wrong_config_is_the_only_problem_of_a_step_alone():
    (problem,) = problems_of(
        initial_step=(WaitForEvent, {"event_name": "paid", "timeout": -1}), transitions={WaitForEvent: Done}
    )
    assert "must not be negative" in problem


def test_a_target_of_a_step_alone_is_named_with_it():
    assert problems_of(initial_step=A, transitions={A: 5}) == (
        "transition A has 5, which is neither a step nor (step, config)",
    )


def test_a_route_of_a_step_with_one_event_needs_no_name_of_it():
    method = route(A, targets=[B, Done])(lambda self, context: B)
    flow = define(initial_step=A, transitions={B: Done}, choose=method)
    assert flow.graph.dynamic == {(A, "ok"): "choose"}
    assert flow.targets(A, "ok", Context()) == (Target(B),)


def test_a_route_of_a_step_with_several_events_needs_a_name():
    method = route(CHOICE, targets=[B, Done])(lambda self, context: B)
    (problem,) = problems_of(initial_step=CHOICE, transitions={B: Done}, choose=method)
    assert problem.startswith("LoneChoice stands alone as a key, which only a step with one event can")


@pytest.mark.parametrize("key", [A, (A, "ok")])
def test_a_route_beside_the_transition_that_it_computes_is_a_problem(key):
    method = route(A, targets=[B])(lambda self, context: B)
    problems = problems_of(initial_step=A, transitions={key: B, B: Done}, choose=method)
    assert len(problems) == 1
    assert "stands" in problems[0]
    assert "too" in problems[0]


def test_two_routes_of_one_transition_are_a_problem():
    methods = {name: route(A, targets=[B])(lambda self, context: B) for name in ("first", "second")}
    assert problems_of(initial_step=A, transitions={B: Done}, **methods) == (
        "route second: A is computed by first already",
    )


def test_the_failure_of_a_step_is_no_event_beside_which_it_can_not_stand_alone():
    flow = define(initial_step=A, transitions={A: B, (A, FAILED): C, B: Done, C: Done})
    assert list(flow.graph.table) == [(A, "ok"), (A, FAILED), (B, "ok"), (C, "ok")]


def test_a_step_that_stands_with_its_failure_only_has_no_transition_of_its_event():
    assert problems_of(initial_step=A, transitions={(A, FAILED): Done}) == (
        "A declares the event 'ok', which has no transition",
    )
