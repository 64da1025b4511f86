"""The picture of a graph, read as XML."""

from __future__ import annotations

from urllib.parse import parse_qs, quote
from xml.etree import ElementTree as ET

import pytest
from defining import a_step, define
from hypothesis import given
from random_runs import transition_tables, workflow_of

from hephaestus_celery import FAILED, Done
from hephaestus_celery.core.definition.graph import Graph, Target
from hephaestus_celery.pictures.graph import graph_svg
from hephaestus_celery.pictures.links import Links
from hephaestus_celery.pictures.marks import SHAPES, URGENCY, StepMark
from hephaestus_celery.pictures.stylesheet import stylesheet
from hephaestus_celery.pictures.view import GraphView

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = {
    "markup": '<script>alert("x")</script>&amp;',
    "cdata": "]]><!--",
    "nul": "a\x00b\x1b[31m\x07",
    "right_to_left": "abc\u202egpj.exe\u2066",
    "surrogate": "half \ud800 a pair",
    "noncharacter": "\ufffe\uffff",
    "long": "x" * 10_000,
    "wide": "漢字" * 40,
    "quotes": "\"'><",
    "lines": "a\nb\u2028c",
}


def drawn(graph, **options):
    """The picture as an element; it must be well formed."""
    return ET.fromstring(graph_svg(graph, title="t", **options))


def of_class(picture, name):
    return [each for each in picture.iter() if name in (each.get("class") or "").split()]


def text_of(element):
    return "".join(element.itertext())


def names(picture):
    return [text_of(each) for each in of_class(picture, "name")]


def chain_of(count):
    made = [a_step(f"Link{number}", "ok") for number in range(count)]
    return define(
        initial_step=made[0],
        transitions={(step, "ok"): after for step, after in zip(made, [*made[1:], Done], strict=True)},
    ).graph


def fan_of(count):
    first, last, *between = [a_step(f"Ray{number}", "ok") for number in range(count)]
    table = {(first, "ok"): between, **{(step, "ok"): last for step in between}, (last, "ok"): Done}
    return define(initial_step=first, transitions=table).graph


@given(transition_tables())
def test_every_step_of_any_workflow_is_drawn_once(transitions):
    graph = workflow_of(transitions).graph
    assert sorted(names(drawn(graph, view=GraphView(most=None)))) == sorted(graph.by_key)


@given(transition_tables())
def test_a_picture_is_the_same_each_time(transitions):
    graph = workflow_of(transitions).graph
    assert graph_svg(graph, title="t") == graph_svg(graph, title="t")


def test_every_event_is_told_once_under_its_box():
    ask, ship = a_step("Ask", "yes", "no"), a_step("Ship", "ok")
    graph = define(
        initial_step=ask,
        transitions={(ask, "yes"): ship, (ask, "no"): Done, (ship, "ok"): Done, (ship, FAILED): Done},
    ).graph
    assert sorted(text_of(each) for each in of_class(drawn(graph), "event")) == ["@failed", "no", "ok", "yes"]
    assert [text_of(each) for each in of_class(drawn(graph), "event") if "failed" in each.get("class")] == ["@failed"]


def test_a_counted_join_has_its_number_and_a_compensation_stands_beside_its_step():
    first, left, right, after, undo = (a_step(name, "ok") for name in ("First", "Left", "Right", "After", "Undo"))
    graph = define(
        initial_step=first,
        transitions={
            (first, "ok"): [left, right],
            (left, "ok"): after,
            (right, "ok"): after,
            (after, "ok"): Done,
        },
        joins={after: 1},
        compensations={left: undo},
    ).graph
    picture = drawn(graph)
    assert [text_of(each) for each in of_class(picture, "badge")] == ["1 of 2"]
    [beside] = of_class(picture, "compensation")
    assert names(beside) == ["undo"]
    assert len(of_class(picture, "undo-end")) == 1


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_breaks_nothing(name):
    step = a_step(
        "Odd", name, "no", key=name
    )  # a definition refuses most of these names; a picture must not rest on that
    graph = Graph(initials=(Target(step),), table={(step, name): (Target(Done),), (step, "no"): (Target(Done),)})
    marks = {step.key: StepMark(word="failed", detail=name)}
    links = Links(step=lambda key: f"/steps?of={quote(name, errors='replace')}", view=lambda view: view.query())
    picture = ET.fromstring(graph_svg(graph, title=name, marks=marks, links=links, view=GraphView(find=name)))
    assert not list(picture.iter(f"{SVG}script"))
    shown = list(picture.iter(f"{SVG}text"))
    assert all(len(text_of(each)) < 80 for each in shown)
    assert all(text_of(each).isprintable() for each in picture.iter() if not len(each))


def test_a_picture_tells_what_it_is():
    picture = drawn(chain_of(3))
    assert (picture.get("role"), picture.get("aria-label")) == ("group", "t")
    assert picture.find(f"{SVG}title").text == "t"
    assert picture.find(f"{SVG}desc").text == "4 steps, 3 links."


def test_a_picture_has_no_style_of_its_own_but_in_a_file():
    graph = chain_of(3)
    alone = drawn(graph, standalone=True)
    assert stylesheet() in alone.find(f"{SVG}style").text
    embedded = graph_svg(graph, title="t")
    assert "style" not in embedded
    assert "style" not in {name for each in drawn(graph).iter() for name in each.attrib}


def test_every_standing_has_a_class_and_a_shape_of_its_own():
    assert len({shape.name for shape in SHAPES.values()}) == len(SHAPES)
    assert len({(shape.outer, shape.inner) for shape in SHAPES.values()}) >= len(SHAPES) - 1  # undoing and undone
    assert set(URGENCY) == set(SHAPES)
    for shape in SHAPES.values():
        assert f".s-{shape.name}" in stylesheet()


def test_steps_show_how_they_stand():
    marks = {"link0": StepMark(word="completed", detail="1.2s"), "link1": StepMark(word="backing off", detail="2 of 5")}
    picture = drawn(chain_of(3), marks=marks)
    assert [text_of(each) for each in of_class(picture, "detail")] == [
        "completed, 1.2s",
        "backing off, 2 of 5",
        "not reached",
        "not reached",
    ]
    assert len(of_class(picture, "s-backing-off")) == 1


def test_steps_and_folds_lead_where_the_caller_says():
    links = Links(step=lambda key: f"/step/{key}", view=lambda view: f"?{view.query()}")
    picture = drawn(fan_of(300), links=links)
    addresses = [each.get("href") for each in picture.iter(f"{SVG}a")]
    assert "/step/ray0" in addresses
    [fold] = [address for address in addresses if address.startswith("?")]
    assert fold.startswith("?open=ray")


@pytest.mark.parametrize("make", [chain_of, fan_of])
@pytest.mark.parametrize("count", [300, 3000])
def test_a_large_graph_is_folded_to_what_can_be_read(make, count):
    graph = make(count)
    picture = drawn(graph)
    boxes = [*of_class(picture, "step"), *of_class(picture, "fold")]
    assert 3 <= len(boxes) <= 60
    [fold] = of_class(picture, "fold")
    alone = len(of_class(picture, "step"))
    [told] = names(fold)
    assert told.startswith(f"+ {count + 1 - alone:,} ")


def test_an_opened_fold_shows_its_steps_and_stays_small():
    graph = fan_of(3000)
    shown = names(drawn(graph, view=GraphView(opened=("ray1500",))))
    assert "ray1500" in shown
    assert len(shown) < 100


def test_a_search_marks_a_step_and_takes_it_out_of_its_fold():
    picture = drawn(fan_of(300), view=GraphView(find="RAY177"))
    assert [names(each) for each in of_class(picture, "found")] == [["ray177"]]


def test_steps_of_one_standing_are_folded_together():
    graph = fan_of(300)
    marks = {f"ray{number}": StepMark(word="completed") for number in range(300)}
    marks |= {"ray40": StepMark(word="failed"), **{f"ray{n}": StepMark(word="queued") for n in range(100, 150)}}
    picture = drawn(graph, marks=marks)
    assert "ray40" in names(picture)
    folds = [text_of(each) for fold in of_class(picture, "fold") for each in of_class(fold, "detail")]
    assert folds == ["244 completed", "47 queued"]


def test_every_step_has_a_box_where_all_are_asked_for():
    assert len(names(drawn(fan_of(300), view=GraphView(most=None)))) == 301


def test_a_view_is_read_from_an_address_as_it_was_written():
    view = GraphView(opened=("a", "b&c"), find="ü \U0001f600", zoom=0.5, most=None)
    assert GraphView.from_query(parse_qs(view.query())) == view
    assert GraphView().query() == ""


@pytest.mark.parametrize("query", [{"zoom": ["nan"]}, {"zoom": ["x"]}, {"all": ["2"]}, {"open": []}, {"other": ["1"]}])
def test_what_is_wrong_in_an_address_is_passed_over(query):
    assert GraphView.from_query(query) == GraphView()


def test_a_view_grows_and_shrinks_until_its_ends_and_folds_all_at_once():
    view, zooms = GraphView(opened=("a", "b"), zoom=0.01), []
    while view is not None:
        zooms.append(view.zoom)
        view, last = view.larger(), view
    assert zooms == sorted(set(zooms))
    assert last.zoom == 3
    assert last.smaller() == GraphView(opened=("a", "b"), zoom=2)
    assert GraphView(zoom=zooms[1]).smaller() is None
    assert last.folded() == GraphView(zoom=3)


def test_a_zoom_changes_the_size_and_nothing_else():
    graph = chain_of(3)
    small, whole = drawn(graph, view=GraphView(zoom=0.5)), drawn(graph)
    assert int(small.get("width")) * 2 == pytest.approx(int(whole.get("width")), abs=1)
    assert small.get("viewBox") == whole.get("viewBox")
