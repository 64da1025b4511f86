"""Behaviour 2.3: targets that a method computes."""

from __future__ import annotations

import functools

import pytest
from defining import A, B, C, a_step, define, problems_of

from hephaestus_celery import Context, Done, Wait, Workflow, route
from hephaestus_celery.core.definition.graph import Target

AFTER = {(B, "ok"): Done, (C, "ok"): Done}


def routed(choice, *, targets=(B, C), after=AFTER, **attributes):
    """A workflow in which a method gives this choice after A."""
    method = route(A, "ok", targets=list(targets))(lambda self, context: choice)
    return define(initial_step=A, transitions=after, choose=method, **attributes)


def chosen(choice, **options):
    return routed(choice, **options).targets(A, "ok", Context())


def refusal_of(choice, **options):
    with pytest.raises(ValueError, match="route choose") as refused:
        chosen(choice, **options)
    return str(refused.value)


def problems_with(targets, source=A, event="ok", transitions=None):
    method = route(source, event, targets=targets)(lambda self, context: B)
    return problems_of(initial_step=A, transitions=transitions or {(B, "ok"): Done}, choose=method)


def test_a_method_with_self_computes_the_target():
    class Flow(Workflow):
        unique = routed(B).unique
        initial_step = A
        transitions = AFTER

        @route(A, "ok", targets=[B, C])
        def choose(self, context):
            return B if context.initial["weight"] > 5 else C

    assert Flow.targets(A, "ok", Context(initial={"weight": 9})) == (Target(B),)


def test_a_method_without_self_computes_the_target():
    class Flow(Workflow):
        unique = routed(B).unique
        initial_step = A
        transitions = AFTER

        @route(A, "ok", targets=[B, C])
        def choose(context):  # noqa: N805 - that is the point
            return C if context.initial["weight"] < 5 else B

    assert Flow.targets(A, "ok", Context(initial={"weight": 1})) == (Target(C),)


@pytest.mark.parametrize("outermost", ["route", "staticmethod"])
def test_a_static_method_computes_the_target(outermost):
    def choose(context):
        return context.initial["target"]

    note = route(A, "ok", targets=[B, C])
    method = note(staticmethod(choose)) if outermost == "route" else staticmethod(note(choose))
    flow = define(initial_step=A, transitions=AFTER, choose=method)
    assert flow.targets(A, "ok", Context(initial={"target": C})) == (Target(C),)


def test_a_class_method_computes_the_target():
    def choose(cls, context):
        return C if cls.version == 1 else B

    flow = define(initial_step=A, transitions=AFTER, choose=classmethod(route(A, "ok", targets=[B, C])(choose)))
    assert flow.targets(A, "ok", Context()) == (Target(C),)


def test_a_decorated_method_computes_the_target():
    @route(A, "ok", targets=[B, C])
    def choose(self, context):
        return C

    @functools.wraps(choose)
    def traced(*arguments):
        return choose(*arguments)

    flow = define(initial_step=A, transitions=AFTER, choose=traced)
    assert flow.targets(A, "ok", Context()) == (Target(C),)


def test_an_inherited_method_computes_the_target():
    flow = type("Child", (routed(C),), {})
    assert flow.targets(A, "ok", Context()) == (Target(C),)


def test_a_method_sees_the_results_of_steps():
    method = route(A, "ok", targets=[B, C])(lambda self, context: B if context.steps["a"]["heavy"] else C)
    flow = define(initial_step=A, transitions=AFTER, choose=method)
    assert flow.targets(A, "ok", Context(steps={"a": {"heavy": False}})) == (Target(C),)


def test_a_method_may_choose_several_targets():
    assert chosen([C, B]) == (Target(C), Target(B))


def test_a_method_may_choose_a_config():
    assert chosen((B, {"fast": True})) == (Target(B, {"fast": True}),)


def test_a_target_chosen_bare_has_its_declared_config():
    assert chosen(B, targets=[(B, {"fast": True}), C]) == (Target(B, {"fast": True}),)


def test_an_undeclared_target_is_refused():
    assert refusal_of(Done) == "route choose gave Done, which is none of its targets (B, C)"


@pytest.mark.parametrize("choice", [None, "B", 5, (B,), [B, "C"]])
def test_a_choice_that_is_no_target_is_refused(choice):
    wrong = choice[1] if isinstance(choice, list) else choice
    assert refusal_of(choice) == f"route choose gave {wrong!r}, which is none of its targets (B, C)"


def test_a_target_chosen_twice_is_refused():
    assert refusal_of([B, C, B]) == "route choose gave B twice"


def test_no_target_at_all_is_refused():
    assert refusal_of([]) == "route choose gave no target"


def test_a_config_that_json_cannot_carry_is_refused():
    assert refusal_of((B, {"fast": {1}})).startswith("route choose: B: config.fast can't be carried: {1} (set)")


def test_a_config_that_the_step_refuses_is_refused():
    after = {(Wait, "timeout"): Done}
    declared = (Wait, {"duration": 1, "unit": "day"})
    assert refusal_of((Wait, {"duration": -1, "unit": "day"}), targets=[declared], after=after) == (
        "route choose: Wait: duration must not be negative: -1"
    )


def test_what_the_method_raises_comes_out():
    def choose(self, context):
        raise LookupError("no such customer")

    flow = define(initial_step=A, transitions=AFTER, choose=route(A, "ok", targets=[B, C])(choose))
    with pytest.raises(LookupError, match="no such customer"):
        flow.targets(A, "ok", Context())


def test_a_declared_transition_needs_no_method():
    assert routed(B).targets(B, "ok", Context()) == (Target(Done),)


def test_computed_edges_are_dynamic_and_declared_ones_are_not():
    edges = routed(B).graph.edges
    assert {(edge.source, edge.target): edge.dynamic for edge in edges} == {
        (A, B): True,
        (A, C): True,
        (B, Done): False,
        (C, Done): False,
    }


def test_targets_that_are_no_list_are_a_problem():
    assert f"route choose: targets must be a list of steps, not {B!r}" in problems_with(B)


def test_a_route_without_targets_is_a_problem():
    assert "route choose has an empty list of targets" in problems_with([])


def test_a_route_that_names_a_target_twice_is_a_problem():
    assert problems_with([B, B]) == ("route choose names the target B twice",)


def test_a_route_to_what_is_no_step_is_a_problem():
    assert problems_with([B, "C"]) == ("route choose has 'C', which is neither a step nor (step, config)",)


def test_a_route_from_what_is_no_step_is_a_problem():
    assert "route choose has the source 'A', which is no step" in problems_with([B], source="A")


@pytest.mark.parametrize("event", ["okay", ["ok"], ""])
def test_a_route_of_an_undeclared_event_is_a_problem(event):
    assert f"route choose: A does not declare the event {event!r} (it declares 'ok')" in problems_with([B], event=event)


def test_a_route_beside_a_declared_transition_is_a_problem():
    assert problems_with([B], transitions={(A, "ok"): B, (B, "ok"): Done}) == (
        "route choose: (A, 'ok') stands in transitions too",
    )


def test_two_routes_of_one_event_are_a_problem():
    note = route(A, "ok", targets=[B])
    assert problems_of(
        initial_step=A, transitions={(B, "ok"): Done}, one=note(lambda context: B), two=note(lambda context: B)
    ) == ("route two: (A, 'ok') is computed by one already",)


def test_a_cycle_through_a_route_is_a_problem():
    assert problems_with([B, A]) == ("a cycle: A -> A",)


def test_a_route_may_lead_to_done():
    flow = define(initial_step=A, choose=route(A, "ok", targets=(Done,))(lambda context: Done))
    assert flow.targets(A, "ok", Context()) == (Target(Done),)


def test_each_event_may_have_a_route_of_its_own():
    choice = a_step("Choice", "yes", "no")
    flow = define(
        initial_step=choice,
        transitions=AFTER,
        yes=route(choice, "yes", targets=[B])(lambda context: B),
        no=route(choice, "no", targets=[C])(lambda context: C),
    )
    assert flow.targets(choice, "no", Context()) == (Target(C),)


@pytest.mark.parametrize(
    ("method", "written"), [(lambda: B, "<lambda>()"), (lambda a, b, c: B, "<lambda>(a, b, c)")], ids=["none", "three"]
)
def test_a_route_that_no_call_fits_is_a_problem(method, written):
    assert problems_of(initial_step=A, transitions={(B, "ok"): Done}, choose=route(A, "ok", targets=[B])(method)) == (
        f"route choose: {written} must be choose(context)",
    )
