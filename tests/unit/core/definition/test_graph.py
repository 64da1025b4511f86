"""Behaviour 2.3: a workflow can be looked at, as data, as a diagram and as text."""

from __future__ import annotations

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import Done, route
from hephaestus_celery.core.definition.graph import Edge

CHOICE = a_step("Choice", "yes", "no")
LOST = a_step("Lost", "ok")


@pytest.fixture
def diamond():
    return define(initial_step=A, transitions={(A, "ok"): [B, C], (B, "ok"): Done, (C, "ok"): Done})


@pytest.fixture
def computed():
    return define(
        initial_step=CHOICE,
        transitions={(CHOICE, "no"): Done, (B, "ok"): Done},
        choose=route(CHOICE, "yes", targets=[B, Done])(lambda context: B),
    )


def test_edges_have_source_event_target_and_dynamic(computed):
    assert computed.graph.edges == (
        Edge(source=CHOICE, event="no", target=Done, dynamic=False),
        Edge(source=B, event="ok", target=Done, dynamic=False),
        Edge(source=CHOICE, event="yes", target=B, dynamic=True),
        Edge(source=CHOICE, event="yes", target=Done, dynamic=True),
    )


def test_predecessors_are_named_once_however_many_edges_come_from_them(computed):
    assert computed.graph.predecessors(Done) == (CHOICE, B)


def test_successors_are_named_once_however_many_edges_lead_to_them(computed):
    assert computed.graph.successors(CHOICE) == (Done, B)


def test_the_initial_step_has_no_predecessors(diamond):
    assert diamond.graph.predecessors(A) == ()


def test_a_step_that_is_not_in_the_graph_has_no_answer(diamond):
    with pytest.raises(KeyError):
        diamond.graph.predecessors(LOST)


def test_the_topological_order_has_each_step_after_its_predecessors(diamond):
    order = diamond.graph.topological_order
    assert all(order.index(edge.source) < order.index(edge.target) for edge in diamond.graph.edges)


def test_the_topological_order_has_every_step_once(diamond):
    assert sorted(step.key for step in diamond.graph.topological_order) == ["a", "b", "c", "done"]


def test_done_is_the_last_in_topological_order():
    flow = define(initial_step=A, transitions={(A, "ok"): [Done, B], (B, "ok"): C, (C, "ok"): Done})
    assert flow.graph.topological_order == (A, B, C, Done)


def test_the_rank_is_the_place_in_topological_order(diamond):
    ranks = [diamond.graph.rank(step.key) for step in diamond.graph.topological_order]
    assert ranks == [0, 1, 2, 3]


def test_configs_lists_what_a_definition_gives_a_step():
    flow = define(
        initial_step=(A, {"n": 0}),
        transitions={(A, "ok"): [(B, {"n": 1}), C], (C, "ok"): B, (B, "ok"): Done},
    )
    assert (flow.graph.configs(A), flow.graph.configs(B)) == (({"n": 0},), ({"n": 1}, None))


def test_a_workflow_as_mermaid(diamond):
    assert diamond.to_mermaid() == (
        "flowchart TD\n"
        '    s0["a"]\n'
        '    s1["b"]\n'
        '    s2["c"]\n'
        '    s3(["done"])\n'
        '    s0 -- "ok" --> s1\n'
        '    s0 -- "ok" --> s2\n'
        '    s1 -- "ok" --> s3\n'
        '    s2 -- "ok" --> s3\n'
    )


def test_mermaid_draws_computed_edges_dotted(computed):
    lines = computed.to_mermaid().splitlines()
    assert [line for line in lines if "yes" in line] == ['    s0 -. "yes" .-> s1', '    s0 -. "yes" .-> s2']


def test_mermaid_escapes_quotes():
    step = a_step("Quoted", 'say"hi"', key='q"')
    flow = define(initial_step=step, transitions={(step, 'say"hi"'): Done})
    assert flow.to_mermaid().splitlines()[1::2] == ['    s0["q#quot;"]', '    s0 -- "say#quot;hi#quot;" --> s1']


def test_mermaid_of_a_workflow_that_begins_with_done():
    assert define(initial_step=Done).to_mermaid() == 'flowchart TD\n    s0(["done"])\n'


def test_a_workflow_as_text(diamond):
    assert diamond.to_text() == "a --ok--> b, c\nb --ok--> done\nc --ok--> done\n"


def test_text_marks_computed_edges(computed):
    assert computed.to_text() == "choice --no--> done\nchoice --yes--> ?b, done\nb --ok--> done\n"


def test_text_of_a_workflow_that_begins_with_done():
    assert define(initial_step=Done).to_text() == "done\n"
