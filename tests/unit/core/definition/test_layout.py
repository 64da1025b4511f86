"""What holds of every layered layout: of random graphs (Hypothesis) and of large ones."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from call_counts import calls_of
from hypothesis import given
from hypothesis import strategies as st
from picture_shapes import shapes

from hephaestus_celery.core.definition.layout import lay_out
from hephaestus_celery.core.definition.layout_values import Box, Link, Spacing

FEW, MANY = 200, 1500


@st.composite
def graphs(draw):
    count = draw(st.integers(min_value=1, max_value=25))
    side = st.integers(min_value=5, max_value=120)
    boxes = [
        Box(key=f"b{number}", left=draw(side), right=draw(side), height=draw(st.integers(10, 70)))
        for number in range(count)
    ]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    chosen = draw(st.lists(st.tuples(pairs, st.sampled_from(["", "other"])), max_size=60)) if count > 1 else []
    return boxes, [Link(source=f"b{a}", target=f"b{b}", port=port, style=port) for (a, b), port in chosen]


def rectangles(boxes, layout):
    return [
        (place.x - box.left, place.y, place.x + box.right, place.y + box.height)
        for box in boxes
        for place in [layout.places[box.key]]
    ]


@given(graphs())
def test_no_two_boxes_overlap(graph):
    boxes, links = graph
    rows = {}
    for left, top, right, _ in rectangles(boxes, lay_out(boxes, links)):
        rows.setdefault(top, []).append((left, right))
    for row in rows.values():
        assert all(before[1] < after[0] for before, after in pairwise(sorted(row)))


@given(graphs())
def test_every_row_ends_above_the_next(graph):
    boxes, links = graph
    ends = {}
    for _, top, _, bottom in rectangles(boxes, lay_out(boxes, links)):
        ends[top] = max(bottom, ends.get(top, 0))
    tops = sorted(ends)
    assert all(ends[before] < after for before, after in pairwise(tops))


@given(graphs())
def test_every_link_leads_down(graph):
    boxes, links = graph
    layout = lay_out(boxes, links)
    for link, pieces in zip(links, layout.routes, strict=True):
        for route in pieces:
            begin = layout.places[link.source].below if route.start is None else route.start.bottom
            end = layout.places[link.target].y if route.end is None else route.end.top
            heights = [begin, *(y for bend in route.bends for y in (bend.top, bend.bottom)), end]
            assert heights == sorted(heights)


@given(graphs())
def test_no_bend_stands_on_a_box(graph):
    boxes, links = graph
    layout = lay_out(boxes, links)
    placed = rectangles(boxes, layout)
    bends = {bend for pieces in layout.routes for route in pieces for bend in route.bends}
    for bend in bends:
        assert not [r for r in placed if r[0] <= bend.x <= r[2] and r[1] < bend.bottom and bend.top < r[3]]


@given(graphs())
def test_all_stands_within_the_picture(graph):
    boxes, links = graph
    layout = lay_out(boxes, links)
    placed = rectangles(boxes, layout)
    assert min(r[0] for r in placed) >= 0
    assert max(r[2] for r in placed) <= layout.width
    assert (min(r[1] for r in placed), max(r[3] for r in placed)) == (0, layout.height)


@given(graphs())
def test_the_same_graph_is_laid_out_alike(graph):
    boxes, links = graph
    assert lay_out(boxes, links) == lay_out(list(boxes), list(links))


@given(graphs())
def test_every_link_can_be_followed_from_its_source_to_its_target(graph):
    boxes, links = graph
    layout = lay_out(boxes, links)
    after = {}
    for link, pieces in zip(links, layout.routes, strict=True):
        for route in pieces:
            way = [route.start or link.source, *route.bends, route.end or link.target]
            for here, there in pairwise(way):
                after.setdefault(here, set()).add(there)
    for link in links:
        reached, ahead = set(), [link.source]
        while ahead:
            here = ahead.pop()
            if here not in reached:
                reached.add(here)
                ahead += [there for there in after.get(here, ()) if not isinstance(there, str) or there == link.target]
        assert link.target in reached


def crowd(sources, targets):
    boxes = [Box(key=str(n), left=20, right=20, height=10) for n in range(sources + targets)]
    pairs = [(n, sources + m) for n in range(sources) for m in range(targets)]
    return boxes, [Link(source=str(a), target=str(b)) for a, b in pairs]


def test_a_wide_fan_takes_several_rows():
    boxes, links = crowd(1, 30)
    layout = lay_out(boxes, links, Spacing(fan=6))
    assert len({place.y for place in layout.places.values()}) == 1 + 5
    assert layout.width < 7 * 70


def test_steps_that_all_lead_to_each_other_are_linked_once():
    boxes, links = crowd(10, 10)
    layout = lay_out(boxes, links)
    assert sum(len(pieces) for pieces in layout.routes) == 10 + 1 + 10


def test_a_link_back_is_refused():
    boxes = [Box(key=key, left=5, right=5, height=5) for key in "ab"]
    with pytest.raises(ValueError, match="a link leads back, from 'b' to 'a'"):
        lay_out(boxes, [Link(source="b", target="a")])


def test_a_graph_without_boxes_is_empty():
    layout = lay_out([], [])
    assert (layout.width, layout.height, dict(layout.places)) == (0, 0, {})


def test_a_chain_is_straight():
    boxes = [Box(key=str(number), left=number + 5, right=30, height=20) for number in range(50)]
    layout = lay_out(boxes, [Link(source=str(n), target=str(n + 1)) for n in range(49)])
    assert len({place.x for place in layout.places.values()}) == 1


def test_boxes_stand_apart_by_the_spacing():
    boxes = [Box(key=key, left=10, right=10, height=10) for key in "abc"]
    layout = lay_out(boxes, [Link(source="a", target="b"), Link(source="a", target="c")], Spacing(across=50, down=30))
    assert layout.places["c"].x - layout.places["b"].x == 70
    assert layout.places["b"].y == 40


@pytest.mark.parametrize("shape", shapes())
def test_the_work_grows_with_the_links(shape):
    costs = []
    for count in (FEW, MANY):
        boxes, links = shape(count)
        calls, _ = calls_of(partial(lay_out, boxes, links))
        costs.append(calls / (len(boxes) + len(links)))
    assert costs[1] < 1.5 * costs[0]
