"""Tests of histories: read by pages, and with who has sent an event."""

from __future__ import annotations

import pytest


@pytest.fixture
def busy(stand):
    """A run with a history of many entries."""
    run = stand.start()
    for attempt in range(1, 13):
        run.claim("a", attempt)
        run.retry("a")
        stand.entries()
    run.cancel()
    return run


@pytest.mark.parametrize("limit", [1, 2, 5, 13, 14])
def test_the_pages_of_a_history_are_the_whole(busy, limit):
    whole, found, after = list(busy.history()), [], 0
    assert len(whole) == 13
    while page := list(busy.history(after=after, limit=limit)):
        assert len(page) == min(limit, 13 - len(found))
        found.extend(page)
        after = page[-1].sequence
    assert found == whole


def test_a_history_begins_after_any_number(busy):
    whole = list(busy.history())
    for after in range(whole[-1].sequence + 2):
        assert list(busy.history(after=after)) == [entry for entry in whole if entry.sequence > after]


def test_entries_of_one_number_are_not_parted(stand):
    run = stand.start({("a", "ok"): ["b", "c", "d"]})
    run.step("a")
    for step in ("b", "c", "d"):
        run.wait_at(step)
    for step in ("b", "c", "d"):
        run.deliver("go", step=step)
        run.claim(step)
    run.cancel()
    for step in ("b", "c", "d"):
        assert run.complete(step).verdict == "discarded"
    whole = list(run.history())
    number = whole[-1].sequence
    last = [entry for entry in whole if entry.sequence == number]
    assert len(last) == 3
    before = whole[-4].sequence
    assert list(run.history(after=before, limit=1)) == last
    assert list(run.history(after=before, limit=2)) == last
    assert list(run.history(limit=len(whole) - 1)) == whole[:-3]
    assert list(run.history(after=number, limit=1)) == []


def test_the_history_of_nobody_has_no_pages(stand):
    run = stand.prepare()
    assert list(run.history(after=1, limit=1)) == []


def test_an_event_says_who_has_sent_it(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go", by="ada")
    assert run.load().steps["a"].resume.by == "ada"
    assert run.claim("a").resume.by == "ada"


def test_an_early_event_says_who_has_sent_it(stand):
    run = stand.start()
    run.claim("a")
    run.deliver("go", keep=True)
    run.deliver("go", keep=True, by="ada")
    run.suspend("a")
    assert run.load().steps["a"].resume.by is None
    run.step("a")
    run.wait_at("b")
    assert run.load().steps["b"].resume.by == "ada"


def test_who_has_sent_an_event_that_nobody_took_goes_with_the_run(stand):
    run = stand.start()
    run.deliver("go", keep=True, by="ada")
    run.cancel()
    assert run.delete() is None
    assert run.load() is None
