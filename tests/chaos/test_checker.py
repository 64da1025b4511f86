"""The checker sees each law broken: a history and events that are right, doctored in one place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import chaos_flows as flows
import checker
import pytest
from doctored import LAWS, broken, entries, of, played
from episode import Started

from hephaestus_celery import Hephaestus


@pytest.fixture
def run(monkeypatch):
    """A diamond."""
    monkeypatch.setattr(flows, "BODY_SECONDS", (0.0, 0.0))
    return played(flows.Diamond)


def test_a_run_without_faults_breaks_no_law(run):
    assert broken(run) == []
    assert checker._missing(run) == 0


def test_a_step_committed_twice_is_seen(run):
    again = replace(run.history[-1], step="d", sequence=99)
    assert any("d completed 2 times" in problem for problem in broken(entries(run, lambda h: [*h, again])))


def test_a_step_that_never_completed_is_seen(run):
    assert any("its history completes" in problem for problem in broken(entries(run, lambda h: h[1:])))


def test_a_join_started_without_a_branch_is_seen(run):
    position = of(run, "b")
    doctored = entries(run, lambda h: [*h[:position], *h[position + 1 :]])
    assert any("d was started without b" in problem for problem in broken(doctored))


def test_a_join_started_too_early_is_seen(run):
    position = of(run, "d")
    early = replace(run.history[position], queued_at=run.history[0].started_at - timedelta(seconds=1))
    doctored = entries(run, lambda h: [*h[:position], early, *h[position + 1 :]])
    assert any("before b had completed" in problem for problem in broken(doctored))


def test_numbers_out_of_order_are_seen(run):
    assert any("do not increase" in problem for problem in broken(entries(run, lambda h: [*h[::-1]])))


def test_a_result_that_is_none_of_its_workflow_is_seen(run):
    doctored = replace(run, instance=run.instance.apart(result={"by": "nobody"}))
    assert any("its result is {'by': 'nobody'}" in problem for problem in broken(doctored))


def test_a_number_told_twice_is_seen(run):
    doctored = replace(run, events=[*run.events, run.events[3]])
    assert any("was emitted twice" in problem for problem in broken(doctored))


def test_an_event_that_was_not_told_is_seen(run):
    assert checker._missing(replace(run, events=run.events[:3] + run.events[4:])) == 1


def test_a_second_end_is_seen(run):
    end = {**run.events[-1], "metadata": {**run.events[-1]["metadata"], "sequence": 77}}
    doctored = replace(run, events=[*run.events, end])
    assert any("terminal events" in problem for problem in broken(doctored, silences=True))


def test_an_end_that_was_not_told_is_seen_where_none_may_be_missing(run):
    doctored = replace(run, events=run.events[:-1])
    assert any("terminal events" in problem for problem in broken(doctored))
    assert broken(doctored, silences=True) == []


def test_an_attempt_told_as_what_it_was_not_is_seen(run):
    doctored = replace(
        run, events=[{**one, "event": "step.async"} if one["event"] == "step.stop" else one for one in run.events]
    )
    assert any("is step.stop in the history and was emitted as" in problem for problem in broken(doctored))


@pytest.mark.parametrize("told", ["step.stop", "step.async", "step.exception"])
def test_an_attempt_that_was_discarded_may_have_ended_in_any_way(run, told):
    position = of(run, "b")
    late = replace(run.history[position], step="late", outcome="discarded", event=None, sequence=97)
    event = {**run.events[3], "event": told, "metadata": {**run.events[3]["metadata"], "step": "late", "sequence": 97}}
    doctored = replace(run, history=[*run.history, late], events=[*run.events, event])
    assert not any("was emitted as" in problem for problem in broken(doctored))


def test_a_wrong_duration_is_seen(run):
    wrong = {**run.events[-1], "measurements": {"duration": 1}}
    assert any(
        "was emitted to have taken 1" in problem for problem in broken(replace(run, events=[*run.events[:-1], wrong]))
    )


def test_a_step_that_completed_unexecuted_is_seen(run):
    doctored = replace(run, executions=Counter("abd"))
    assert any("c completed without being executed" in problem for problem in broken(doctored))


def test_an_event_dropped_although_it_fits_is_seen(run):
    position = of(run, "d")
    dropped = replace(run.history[position], kind="resume", outcome="discarded", sequence=98)
    assert any("dropped 1 events that fit" in problem for problem in broken(entries(run, lambda h: [*h, dropped])))


def test_an_event_that_was_taken_although_it_does_not_fit_is_seen(run, monkeypatch):
    monkeypatch.setitem(flows.MISFITS, flows.Diamond, {"by": "b"})
    found = broken(run)
    assert "it has dropped no event" in found
    assert "a step has taken {'by': 'b'}" in found


@pytest.fixture
def polled(monkeypatch):
    """A run that has polled in this process."""
    monkeypatch.setattr(flows, "BODY_SECONDS", (0.0, 0.0))
    with Hephaestus() as hephaestus:
        handle = hephaestus.start_instance(flows.Polling, {"value": 1}, id="x1")
        instance = handle.wait(30)
        return checker.Run(
            started=Started(run_id=instance.run_id, at=0),
            instance=instance,
            history=handle.history(),
            events=[],
            executions=Counter({"a": 1, "b": 1, "d": 1, "poll": flows.POLLS}),
        )


def test_a_run_that_has_polled_breaks_no_law(polled):
    assert [problem for law in LAWS for problem in law(polled)] == []
    assert polled.rounds["poll"] == flows.POLLS - 1


def test_a_round_that_is_missing_or_committed_twice_is_seen(polled):
    again = next(entry for entry in polled.history if entry.outcome == "again")
    twice = [problem for law in LAWS for problem in law(entries(polled, lambda h: [*h, replace(again, sequence=99)]))]
    assert any("committed 2 times" in problem for problem in twice)
    missing = list(checker._rounds(entries(polled, lambda h: [entry for entry in h if entry is not again])))
    assert len(missing) == 1
    assert "the rounds [2, 3, 4], not [1, 2, 3, 4]" in missing[0]
