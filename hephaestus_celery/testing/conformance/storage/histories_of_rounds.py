"""Tests of the history of rounds: it is bounded, and one entry stands for the rounds between the first and the last."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.storage.history_entries import read_fields
from hephaestus_celery.testing.conformance.trips import failing


def reason_of(entry):
    return json.loads(entry.detail).get("reason")


def test_the_first_and_the_last_rounds_are_in_the_history_and_one_entry_for_the_rest(stand):
    run = stand.start()
    run.rounds("a", 250)
    entries = list(run.history())
    assert len(entries) == 201
    assert [entry.outcome for entry in entries] == ["again"] * 201
    numbers = [entry.sequence for entry in entries]
    assert numbers == sorted(numbers)
    assert numbers[:100] == list(range(4, 204, 2)), "each round takes a number for its start, and one for its end"
    assert numbers[101:] == list(range(304, 504, 2))
    assert numbers[100] == 302, "that of the last round which is left out"
    assert reason_of(entries[100]) == "stands for 50 rounds"
    assert entries[100].finished_at is not None


@pytest.mark.parametrize(("count", "length", "reason"), [(200, 200, None), (201, 201, "stands for 1 round")])
def test_an_entry_stands_for_others_where_there_are_more_than_two_hundred(stand, count, length, reason):
    run = stand.start()
    run.rounds("a", count)
    entries = list(run.history())
    assert (len(entries), reason_of(entries[100])) == (length, reason)


@pytest.mark.parametrize("limit", [1, 7, 100, 201, 500])
def test_the_pages_of_a_history_with_rounds_are_the_whole(stand, limit):
    run = stand.start({("a", "ok"): ["done"], ("b", "ok"): ["done"]})
    for number in range(1, 111):  # two steps side by side
        run.rounds("a", 2, first=2 * number - 1)
        run.rounds("b", 1, first=number)
    whole, found, after = list(run.history()), [], 0
    assert len(whole) == 201 + 110
    while page := list(run.history(after=after, limit=limit)):
        assert len(page) == min(limit, len(whole) - len(found))
        found.extend(page)
        after = page[-1].sequence
    assert found == whole


def test_what_else_happens_between_rounds_stays_in_the_history(stand):
    run = stand.start()
    run.rounds("a", 150)
    run.claim("a", round=151)
    run.retry("a")
    stand.entries(1)
    run.claim("a", 2, round=151)
    run.again("a")
    run.rounds("a", 150, first=152)
    run.claim("a", round=302)
    run.complete("a")
    outcomes = [entry.outcome for entry in run.history()]
    assert (outcomes.count("again"), outcomes.count("retrying"), outcomes[-1]) == (201, 1, "completed")


def test_the_rounds_of_a_retry_are_counted_in_its_own_history(stand):
    run = stand.start()
    run.rounds("a", 150)
    run.claim("a", round=151)
    run.fail("a")
    again = run.retried()
    again.rounds("a", 110, first=151)
    assert len(again.history()) == 1 + 110
    assert len(run.history()) == 151


def rescued_in(run):
    found = [read_fields(entry.detail, run_id=run.id) for entry in run.history()]
    return [
        (entry["step"], entry.get("round"), entry.get("compensates")) for entry in found if entry["kind"] == "rescue"
    ]


def test_rescues_say_in_which_round_they_were(hasty):
    run = hasty.start()
    run.rounds("a", 1)
    run.claim("a", round=2, holder="task1")
    run.seize("a", holder="task1")
    run.retry("a")
    hasty.entries(1)
    run.claim("a", 2, round=2)
    hasty.entries(1)
    assert rescued_in(run) == [("a", 2, None), ("a", 2, None)]


def test_the_rescue_of_a_message_says_for_which_round_it_was(stand):
    run = stand.start()
    run.rounds("a", 1)
    run.probe.set_due(run.storage, run.id, "a", 0)
    stand.entries(1)
    assert rescued_in(run) == [("a", 2, None)]


def test_rescues_of_a_compensation_say_what_it_undoes(hasty):
    run = failing(hasty)
    run.fail("c")
    run.probe.set_due(run.storage, run.id, "undo_b", 0)
    hasty.entries(1)
    run.claim("undo_b", holder="task1")
    run.seize("undo_b", holder="task1")
    run.retry("undo_b")
    hasty.entries(1)
    run.claim("undo_b", 2)
    hasty.entries(1)
    assert rescued_in(run) == [("undo_b", None, "b")] * 3


def test_the_entry_that_stands_for_rounds_of_a_compensation_says_what_it_undoes(stand):
    run = failing(stand)
    run.fail("c")
    run.rounds("undo_b", 202)
    found = [read_fields(entry.detail, run_id=run.id) for entry in run.history()]
    assert [entry for entry in found if entry.get("reason", "").startswith("stands for")] == [
        {"kind": "attempt", "step": "undo_b", "reason": "stands for 2 rounds", "compensates": "b"}
    ]


def test_the_later_rounds_of_a_run_go_with_it(stand):
    run = stand.start()
    run.rounds("a", 110)
    run.cancel()
    assert len(run.history()) == 111
    assert run.delete() is None
    assert list(run.history()) == []
