"""The picture of a history, read as XML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.pictures.axis import Axis, told
from hephaestus_celery.pictures.bars import BARS, MOMENTS, rows_of
from hephaestus_celery.pictures.links import Links
from hephaestus_celery.pictures.patterns import FILLS, SYMBOLS
from hephaestus_celery.pictures.timeline import timeline_svg
from hephaestus_celery.pictures.view import TimelineView

SVG = "{http://www.w3.org/2000/svg}"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINKS = Links(step=lambda key: f"/step/{len(key)}", times=lambda view: f"?{view.query()}")


def at(seconds):
    return START + timedelta(seconds=seconds)


def micros(seconds):
    return round(at(seconds).timestamp() * 1_000_000)


def instance(*, ended=None, states=None):
    return Instance(
        id="x::1",
        run_id="r",
        workflow_name="w",
        workflow_version=1,
        workflow_family="w",
        status=Status.RUNNING if ended is None else Status.COMPLETED,
        started_at=START,
        finished_at=None if ended is None else at(ended),
        step_states=states or {},
    )


def entry(kind="attempt", step="charge", outcome="completed", **fields):
    times = {name: at(fields.pop(name)) for name in ("queued_at", "started_at", "finished_at") if name in fields}
    return HistoryEntry(sequence=1, kind=kind, step=step, outcome=outcome, **times, **fields)


def drawn(run, entries, *, now=100, **options):
    return ET.fromstring(timeline_svg(run, entries, now=at(now), title="t", **options))


def of_class(picture, name):
    return [each for each in picture.iter() if name in (each.get("class") or "").split()]


def bars(run, entries, now=100):
    [row] = rows_of(run, entries, now=at(now))
    return [
        (bar.kind, (bar.begin - START).total_seconds(), (bar.end - START).total_seconds(), bar.goes_on)
        for bar in row.bars
    ]


def test_an_attempt_that_is_repeated_backs_off_between():
    found = bars(
        instance(ended=9),
        [
            entry(outcome="retrying", attempt=1, queued_at=0, started_at=1, finished_at=3),
            entry(attempt=2, queued_at=5, started_at=6, finished_at=9),
        ],
    )
    assert found == [
        ("queued", 0, 1, False),
        ("failed", 1, 3, False),
        ("backoff", 3, 5, False),
        ("queued", 5, 6, False),
        ("executed", 6, 9, False),
    ]


def test_a_wait_ends_when_its_event_comes():
    entries = [
        entry(outcome="waiting", attempt=1, started_at=0, finished_at=1),
        entry("resume", event="paid", by="ada", queued_at=50, started_at=51, finished_at=52),
    ]
    assert bars(instance(ended=52), entries) == [
        ("executed", 0, 1, False),
        ("waiting", 1, 50, False),
        ("queued", 50, 51, False),
    ]
    [row] = rows_of(instance(ended=52), entries, now=at(60))
    assert [(each.kind, each.at, each.about) for each in row.moments] == [
        ("resume", at(52), "resumed, paid, by ada, completed")
    ]


def test_what_goes_on_is_drawn_until_now():
    entries = [entry(outcome="waiting", attempt=1, started_at=0, finished_at=1)]
    states = {"charge": StepState(status=StepStatus.WAITING, waiting_since=micros(1))}
    assert bars(instance(states=states), entries, now=20)[-1] == ("waiting", 1, 20, True)
    picture = drawn(instance(states=states), entries, now=20)
    assert len(of_class(picture, "goes-on")) == 1


def test_an_attempt_at_work_is_drawn_from_its_queue_on():
    states = {
        "charge": StepState(status=StepStatus.ACTIVE, attempt=2, fence="f", queued_at=micros(7), claimed_at=micros(8))
    }
    entries = [entry(outcome="retrying", attempt=1, started_at=1, finished_at=3)]
    assert bars(instance(states=states), entries, now=20) == [
        ("failed", 1, 3, False),
        ("backoff", 3, 7, False),
        ("queued", 7, 8, False),
        ("executing", 8, 20, True),
    ]


def test_a_rescued_attempt_is_told_as_lost():
    entries = [
        entry("rescue", outcome=None, attempt=1, reason="lease expired", finished_at=4),
        entry(outcome="retrying", attempt=1, started_at=1, finished_at=4),
        entry(attempt=2, queued_at=5, started_at=5, finished_at=6),
    ]
    assert [bar[0] for bar in bars(instance(ended=6), entries)] == ["lost", "backoff", "executed"]
    assert len(of_class(drawn(instance(ended=6), entries), "rescue")) == 2  # it, and its sample in the legend


def test_rounds_of_which_one_entry_is_kept_are_a_stretch_of_their_own():
    entries = [
        entry(outcome="again", attempt=1, round=100, started_at=0, finished_at=1),
        entry(outcome="again", reason="stands for 800 rounds", finished_at=41),
        entry(outcome="again", attempt=1, round=901, queued_at=43, started_at=43, finished_at=44),
        entry(attempt=1, round=902, queued_at=46, started_at=46, finished_at=47),
    ]
    assert bars(instance(ended=47), entries) == [
        ("executed", 0, 1, False),
        ("rounds", 1, 41, False),
        ("waiting", 41, 43, False),
        ("executed", 43, 44, False),
        ("waiting", 44, 46, False),
        ("executed", 46, 47, False),
    ]
    [row] = rows_of(instance(ended=47), entries, now=at(60))
    assert row.bars[1].about == "many rounds, 40s: stands for 800 rounds"


def test_a_pause_is_drawn_over_all_rows():
    entries = [
        entry(started_at=0, finished_at=1),
        entry("pause", step=None, outcome=None, finished_at=2),
        entry("unpause", step=None, outcome=None, finished_at=4),
    ]
    pause, sample = of_class(drawn(instance(ended=10), entries, width=1000), "pause")
    assert (float(pause.get("x")), float(pause.get("width"))) == (200, 200)
    assert sample.get("height") == "14"


def test_every_kind_has_a_look_of_its_own():
    assert set(SYMBOLS) == set(MOMENTS)
    assert set(FILLS) < set(BARS)
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)


@pytest.mark.parametrize("count", [3, 30, 300, 3000])
def test_a_timeline_of_many_steps_has_pages(count):
    entries = [entry(step=f"s{n}", queued_at=n, started_at=n + 1, finished_at=n + 3) for n in range(count)]
    run = instance(ended=count + 3)
    first = drawn(run, entries, links=LINKS)
    assert len(of_class(first, "row")) == min(count, 60)
    seen, view = [], TimelineView(first=0)
    while view is not None:
        page = drawn(run, entries, view=view, links=Links(step=lambda key: key, times=lambda v: v.query()))
        seen += [each.get("href") for each in page.iter(f"{SVG}a") if of_class(each, "row-name")]
        later = [each.get("href") for each in page.iter(f"{SVG}a") if "".join(each.itertext()) == "later steps"]
        view = TimelineView.from_query(parse_qs(later[0])) if later else None
    assert seen == [f"s{n}" for n in range(count)]


def test_a_search_goes_to_its_first_row_and_marks_it():
    entries = [entry(step=f"s{n}", started_at=n, finished_at=n + 3) for n in range(300)]
    picture = drawn(instance(ended=303), entries, view=TimelineView(find="S177"))
    assert len(of_class(picture, "mark")) == 1
    assert "s177" in {"".join(each.itertext()) for each in of_class(picture, "row-name")}


def test_a_stretch_of_time_shows_what_was_then():
    entries = [entry(step=f"s{n}", started_at=10 * n, finished_at=10 * n + 5) for n in range(10)]
    picture = drawn(instance(ended=100), entries, view=TimelineView(begin=31, end=42), links=LINKS)
    assert ["".join(each.itertext()) for each in of_class(picture, "row-name")] == ["s3", "s4"]
    assert "show all of it" in {"".join(each.itertext()) for each in picture.iter(f"{SVG}a")}


def test_the_longest_come_first_where_that_is_asked_for():
    entries = [entry(step=f"s{n}", started_at=0, finished_at=n + 1) for n in range(3)]
    picture = drawn(instance(ended=4), entries, view=TimelineView(sort="longest"))
    assert ["".join(each.itertext()) for each in of_class(picture, "row-name")] == ["s2", "s1", "s0"]


def test_a_run_in_which_nothing_has_happened_is_an_empty_axis():
    picture = drawn(instance(), [], now=0)
    assert of_class(picture, "row") == []
    assert picture.find(f"{SVG}desc").text == "0 steps in 1ms, from 2026-03-01 12:00:00 UTC."


@pytest.mark.parametrize("text", ["<b>&", "a\x00b", "\u202egpj", "\ud800", "x" * 10_000, "\uffff", "漢" * 99])
def test_hostile_names_and_reasons_break_nothing(text):
    entries = [
        entry(step=text, outcome="failed", attempt=1, reason=text, worker=text, started_at=0, finished_at=1),
        entry("resume", step=text, event=text, by=text, compensates=text, finished_at=2),
    ]
    picture = ET.fromstring(
        timeline_svg(instance(ended=3), entries, now=at(3), title=text, view=TimelineView(find=text), links=LINKS)
    )
    assert not list(picture.iter(f"{SVG}b"))
    assert all("".join(each.itertext()).isprintable() for each in picture.iter() if not len(each))
    assert max(len("".join(each.itertext())) for each in picture.iter(f"{SVG}text")) < 80


@given(st.floats(0, 1e9), st.floats(1e-5, 1e9), st.integers(300, 4000))
def test_the_marks_of_an_axis_stand_apart_and_within_it(begin, length, width):
    axis = Axis(begin=begin, end=begin + length, width=width)
    assume(axis.end - axis.begin > 1e-6 * begin)  # a shorter stretch is beyond what floats tell apart
    ticks = axis.ticks()
    places = [axis.x(tick) for tick in ticks]
    assert all(later - before >= 89.8 for before, later in pairwise(places))
    assert all(axis.begin - 1e-6 * length <= tick <= axis.end + 1e-6 * length for tick in ticks)


@given(st.floats(1e-3, 1e9), st.integers(300, 4000))
def test_an_axis_from_the_start_of_a_run_has_marks(length, width):
    ticks = Axis(begin=0, end=length, width=width).ticks()
    assert ticks[0] == 0
    assert len(ticks) > width / 90 / 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (0.00002, "20µs"), (0.25, "250ms"), (42, "42s"), (90, "1m30s"), (7200, "2h"), (200_000, "2d7h")],
)
def test_moments_of_an_axis_have_units(seconds, text):
    assert told(seconds) == text


@pytest.mark.parametrize(
    "view",
    [TimelineView(), TimelineView(first=60, find="ü&", begin=1.5, end=20.0, sort="longest"), TimelineView(find="x")],
)
def test_a_view_is_read_from_an_address_as_it_was_written(view):
    assert TimelineView.from_query(parse_qs(view.query())) == view


@pytest.mark.parametrize(
    "query", [{"from": ["5"], "to": ["2"]}, {"from": ["nan"], "to": ["inf"]}, {"row": ["-1"]}, {"sort": ["x"]}]
)
def test_what_is_wrong_in_an_address_is_passed_over(query):
    assert TimelineView.from_query(query) == TimelineView()
