"""Which compensations a workflow may have: every problem is listed, and the graph shows them."""

from __future__ import annotations

import pytest
from defining import A, B, C, define, problems_of, sound

from hephaestus_celery import Done, Step, Wait
from hephaestus_celery.core.definition.registry import WORKFLOWS


class UndoA(Step):
    def execute(self, instance, config, context):
        return None


class UndoB(UndoA):
    pass


class OfTwoEvents(Step):
    events = ("ok", "no")

    def execute(self, instance, config, context):
        return "ok"


class OfNothing(Step):
    events = ("ok",)


def two(**attributes):
    return sound(initial_step=A, transitions={(A, "ok"): B, (B, "ok"): Done}, **attributes)


def test_a_compensation_is_a_step_of_the_workflow_and_not_of_its_graph():
    workflow = define(**two(compensations={A: UndoA, B: UndoB}))
    graph = workflow.graph
    assert graph.compensations == {A: UndoA, B: UndoB}
    assert workflow.find_step("undo_a") is UndoA
    assert graph.topological_order == (A, B, Done)
    assert not [edge for edge in graph.edges if UndoA in (edge.source, edge.target)]
    assert (graph.predecessors(UndoA), graph.successors(UndoA), graph.events(UndoA)) == ((), (), ())
    assert list(graph.by_key)[-1] == "done"


def test_pictures_show_which_step_undoes_which():
    workflow = define(**two(compensations={A: UndoA}))
    assert "a is undone by undo_a\n" in workflow.to_text()
    assert 's0 -- "undo" --o c0' in workflow.to_mermaid()
    assert 'c0["undo_a"]' in workflow.to_mermaid()


PROBLEMS = {
    "not a mapping": ([A], "compensations must be a mapping of steps to steps"),
    "a key that is no step": ({"a": UndoA}, "compensations has 'a', which is no step"),
    "Done": ({Done: UndoA}, "compensations has Done, which is the end"),
    "a step of another workflow": ({C: UndoA}, "compensations has C, which is no step of the workflow"),
    "a value that is no step": ({A: "undo"}, "what undoes A must be a step, not 'undo'"),
    "a list": ({A: [UndoA]}, "; one step undoes another, so let one do all of it"),
    "a step with a config": ({A: (UndoA, {"n": 1})}, "; it is given no config: write UndoA alone"),
    "a step and its event": ({(A, "ok"): UndoA}, "; a step is undone whatever its event was: write A alone"),
    "a pair of no step": ({("a", "ok"): UndoA}, "compensations has ('a', 'ok'), which is no step"),
    "Done as the compensation": ({A: Done}, "is the end of a workflow"),
    "a step that can't run": ({A: OfNothing}, "is an unknown step: it has no execute"),
    "a step of two events": ({A: OfTwoEvents}, "must have one event, and has 'ok', 'no'"),
    "a step that needs a config": ({A: Wait}, "is given no config, and needs one"),
    "a step of the graph": ({A: B}, "B, which is to undo A, stands in the graph too"),
    "one for two": ({A: UndoA, B: UndoA}, "UndoA is to undo both A and B"),
    "a key that another step has": ({A: UndoA.named("b")}, "have one key, 'b'"),
    "a key that another compensation has": ({A: UndoA, B: UndoB.named("undo_a")}, "have one key, 'undo_a'"),
    "the key done": ({A: UndoA.named("done")}, "has the key 'done'"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_can_not_be_is_a_problem(name):
    compensations, said = PROBLEMS[name]
    assert any(said in problem for problem in problems_of(**two(compensations=compensations)))


def test_all_problems_are_listed():
    found = problems_of(**two(compensations={A: Done, B: OfTwoEvents, C: UndoA, "x": UndoB}))
    assert len([problem for problem in found if problem.startswith("compensations")]) == 4


def test_a_misspelt_option_of_a_compensation_is_a_problem():
    class Misspelt(UndoA):
        retries = 3

    assert any(
        "retries is no option of a step" in problem for problem in problems_of(**two(compensations={A: Misspelt}))
    )


def test_steps_that_are_undone_alike_each_have_their_own():
    workflow = define(**two(compensations={A: UndoA, B: UndoA.named("undo_b_too")}))
    assert set(workflow.graph.by_key) == {"undo_a", "undo_b_too", "a", "b", "done"}
    assert WORKFLOWS.find(workflow.name, 1) is workflow


def test_an_umbrella_has_no_compensations():
    found = problems_of(versions={1: define(version=1, **two())}, current=1, compensations={A: UndoA})
    assert any("compensations together with versions" in problem for problem in found)
