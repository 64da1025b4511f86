"""What holds of every folded graph: of random workflows, opened anywhere (Hypothesis)."""

from __future__ import annotations

from defining import a_step, define
from hypothesis import given
from hypothesis import strategies as st
from random_runs import transition_tables, workflow_of

from hephaestus_celery import Done
from hephaestus_celery.pictures.condensed import condensed
from hephaestus_celery.pictures.folding import Kind
from hephaestus_celery.pictures.marks import URGENCY
from hephaestus_celery.pictures.view import GraphView


@st.composite
def views(draw):
    graph = workflow_of(draw(transition_tables())).graph
    keys = [step.key for step in graph.topological_order]
    words = {key: draw(st.sampled_from(["", "completed", "queued", "not reached"])) for key in keys}
    opened = draw(st.lists(st.sampled_from(keys), max_size=3))
    find = draw(st.sampled_from(["", keys[0], keys[-1], "no such step"]))
    return graph, GraphView(opened=tuple(opened), find=find, most=draw(st.integers(1, 6))), words.__getitem__


@given(views())
def test_every_step_stands_in_one_piece(viewed):
    graph, view, word_of = viewed
    shown = condensed(graph, view, word_of)
    keys = [key for piece in shown.pieces for key in piece.keys]
    assert sorted(keys) == sorted(step.key for step in graph.topological_order)


@given(views())
def test_no_fold_closes_a_circle(viewed):
    graph, view, word_of = viewed
    shown = condensed(graph, view, word_of)
    assert [tie for tie in shown.ties if tie.source >= tie.target] == []


@given(views())
def test_a_link_stands_for_links_of_its_steps_and_for_nothing_else(viewed):
    graph, view, word_of = viewed
    shown = condensed(graph, view, word_of)
    holder = {key: number for number, piece in enumerate(shown.pieces) for key in piece.keys}
    linked = {(holder[edge.source.key], holder[edge.target.key]) for edge in graph.edges}
    assert {(tie.source, tie.target) for tie in shown.ties} == {pair for pair in linked if pair[0] != pair[1]}


@given(views())
def test_the_same_view_shows_the_same(viewed):
    graph, view, word_of = viewed
    first, second = (condensed(graph, view, word_of) for _ in range(2))
    assert [piece.keys for piece in first.pieces] == [piece.keys for piece in second.pieces]
    assert first.ties == second.ties


@given(views())
def test_a_step_that_is_opened_or_found_stands_alone(viewed):
    graph, view, word_of = viewed
    shown = condensed(graph, view, word_of)
    alone = {piece.keys[0] for piece in shown.pieces if piece.kind is Kind.STEP}
    assert {*view.opened, *shown.found} <= alone


def test_steps_that_are_called_like_standings_are_folded_like_others():
    named = [a_step("Called", "ok", key=word.replace(" ", "_").replace(",", "")) for word in URGENCY]
    others = [a_step(f"Other{number}", "ok") for number in range(100)]
    first = a_step("Begin", "ok")
    table = {(first, "ok"): [*named, *others], **{(step, "ok"): Done for step in (*named, *others)}}
    graph = define(initial_step=first, transitions=table).graph
    shown = condensed(graph, GraphView(find="completed"), lambda key: "completed")
    assert len(shown.pieces) < 20
