"""The checker sees each law of how runs end broken; and of what they undo."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import chaos_flows as flows
import checker
import endings
import pytest
from doctored import broken, entries, of, played

from hephaestus_celery.core.values.lifecycle import StepStatus


@pytest.fixture
def run(once):
    """A diamond."""
    return once(flows.Diamond)


@pytest.fixture(scope="module")
def once():
    return functools.cache(played)


def withdrawn_of(once):
    """Like all that workers do not do, its cancellation is not among the events that they have noted."""
    run = once(flows.Withdrawn, "slow")
    return replace(run, events=[event for event in run.events if event["event"] != "workflow.compensate"])


@pytest.fixture(params=["saga", "recalled", "withdrawn"])
def undone(request, once):
    """A run that has failed, or was cancelled, and undone what had completed."""
    if request.param == "withdrawn":
        return withdrawn_of(once)
    return once({"saga": flows.Saga, "recalled": flows.Recalled}[request.param])


def retried(handle):
    return handle.retry(context=flows.MENDED)


def forked(handle):
    return handle.hephaestus.fork(handle.run_id, flows.B, value="x2", context=flows.MENDED)


@pytest.fixture(params=[retried, forked])
def again(request, once):
    """A run that was retried or forked."""
    return once(flows.Redone, rerun=request.param)


@pytest.fixture
def stained(once):
    """A run of which one step could not be undone."""
    return once(flows.Stained)


@pytest.fixture(params=[flows.Saga, flows.Recalled], ids=["saga", "recalled"])
def failed(request, once):
    """One that has failed."""
    return once(request.param)


@pytest.fixture
def withdrawn(once):
    """One that was cancelled."""
    return withdrawn_of(once)


@pytest.fixture
def overdue(once):
    """A run that its deadline has ended."""
    return once(flows.Overdue)


def test_a_run_that_undoes_breaks_no_law(undone):
    assert broken(undone) == []
    assert checker._missing(undone) == 0
    assert [step.key for step in undone.instance.compensated] == ["slow", "b", "a"]


def test_a_run_that_its_deadline_has_ended_breaks_no_law(overdue):
    assert broken(overdue) == []
    assert checker._missing(overdue) == 0


def test_a_run_that_can_not_undo_all_breaks_no_law(stained):
    assert broken(stained) == []
    assert checker._missing(stained) == 0
    assert [step.key for step in stained.instance.uncompensated] == ["b"]


def test_a_rerun_breaks_no_law(again, once):
    assert broken(again) == []
    assert checker._missing(again) == 0
    assert broken(once(flows.Redone)) == []


def with_entry(run, position, **changes):
    changed = replace(run.history[position], **changes)
    return entries(run, lambda h: [changed if entry is run.history[position] else entry for entry in h])


def without(run, position):
    return entries(run, lambda h: [entry for entry in h if entry is not run.history[position]])


def with_events(run, change):
    return replace(run, events=[{**event, **change(event)} for event in run.events])


def told(run, name):
    return next(position for position, event in enumerate(run.events) if event["event"] == name)


def test_a_run_that_completes_although_it_should_fail_is_seen(run, failed):
    assert (endings.status_expected(run), endings.status_expected(failed)) == ("completed", "failed")
    doctored = with_events(failed, lambda e: {"event": e["event"].replace("workflow.exception", "workflow.stop")})
    assert "its terminal events are ['workflow.stop']" in broken(doctored)


def test_a_second_end_of_a_run_that_fails_is_seen(overdue):
    end = {**overdue.events[-1], "metadata": {**overdue.events[-1]["metadata"], "sequence": 77}}
    found = broken(replace(overdue, events=[*overdue.events, end]), silences=True)
    assert "its terminal events are ['workflow.exception', 'workflow.exception']" in found
    assert any("events have the numbers [77]" in problem for problem in found)


def test_an_event_of_a_run_that_undoes_that_was_not_told_is_seen(undone):
    for position in range(len(undone.events)):
        doctored = replace(undone, events=undone.events[:position] + undone.events[position + 1 :])
        assert checker._missing(doctored) == 1


def test_a_deadline_that_has_come_twice_or_never_is_seen(overdue):
    again = replace(overdue.history[-1], sequence=99)
    assert any("deadline has come 2 times" in problem for problem in broken(entries(overdue, lambda h: [*h, again])))
    assert any("does not say why" in problem for problem in endings.laws(without(overdue, -1)))


def test_a_deadline_of_a_run_that_has_none_is_seen(run, overdue):
    struck = replace(overdue.history[-1], sequence=99)
    assert any("deadline has come 1 times" in problem for problem in endings.laws(entries(run, lambda h: [*h, struck])))


def test_a_deadline_that_came_too_early_is_seen(overdue):
    doctored = with_entry(overdue, -1, finished_at=overdue.instance.deadline - timedelta(milliseconds=1))
    assert any("its deadline is" in problem for problem in broken(doctored))


def test_a_deadline_told_as_what_it_was_not_is_seen(overdue):
    doctored = with_events(
        overdue, lambda e: {"event": e["event"].replace("workflow.exception", "workflow.compensate")}
    )
    assert any("is workflow.exception in the history and was emitted as" in problem for problem in broken(doctored))


def test_a_failure_that_is_none_of_its_workflow_is_seen(failed, overdue):
    other = replace(overdue.instance.failure, type="KeyError")
    for run in (failed, overdue):
        found = list(endings.laws(replace(run, instance=run.instance.apart(failure=other, failed_key="a"))))
        assert any("its failed step is" in problem for problem in found)
    found = endings.laws(replace(overdue, instance=overdue.instance.apart(failure=other)))
    assert any("and it failed with ('exit', 'KeyError')" in problem for problem in found)


def test_a_step_that_failed_otherwise_than_by_refusing_or_a_kill_is_seen(once):
    saga = once(flows.Saga)
    for kind, problems in (
        ("error", ["refused has refused, and the run failed with ('error', 'KeyError')"]),
        ("exit", []),
    ):
        other = replace(saga.instance.failure, kind=kind, type="KeyError")
        assert list(endings.laws(replace(saga, instance=saga.instance.apart(failure=other)))) == problems


def test_a_step_begun_when_its_run_had_failed_is_seen(undone):
    late = endings.failing(undone).finished_at + timedelta(milliseconds=1)
    doctored = with_entry(undone, of(undone, "slow"), started_at=late)
    assert any("slow was begun at" in problem for problem in broken(doctored))


def test_a_transition_when_its_run_had_failed_is_seen(undone):
    ends = endings.undone(undone)

    def lead_on(event):
        metadata = event["metadata"]
        return {"metadata": {**metadata, "targets": ["d"]}} if metadata["sequence"] == ends[0].sequence + 1 else {}

    assert f"{ends[0].step} led to ['d'] when the run had failed" in broken(with_events(undone, lead_on))


def test_a_step_undone_out_of_order_is_seen(undone):
    first, second = (of(undone, key) for key in ("undo_slow", "undo_a"))
    swapped = entries(undone, lambda h: [*h[:first], *h[second:], *h[first:second]])
    found = broken(swapped)
    assert any("should have undone ['slow', 'b', 'a']" in problem for problem in found)
    assert any("was begun before" in problem for problem in found)


def test_a_step_that_was_not_undone_or_twice_is_seen(undone):
    position = of(undone, "undo_slow")
    missing = without(undone, position)
    assert any("should have undone ['slow', 'b', 'a']" in problem for problem in broken(missing))
    again = replace(undone.history[position], attempt=2, sequence=99)
    twice = entries(undone, lambda h: [*h, again])
    assert any("should have undone ['slow', 'b', 'a']" in problem for problem in broken(twice))


def test_a_step_undone_although_it_had_not_completed_is_seen(undone):
    found = broken(without(undone, of(undone, "slow")))
    assert any("and should have undone ['b', 'a']" in problem and "it says" in problem for problem in found)
    assert any("to undo ['b', 'a']" in problem for problem in found)


def test_a_compensation_that_was_not_executed_is_seen(undone):
    doctored = replace(undone, executions=undone.executions - Counter(["undo_b"]))
    assert any("it has executed ['undo_a', 'undo_slow']" in problem for problem in broken(doctored))


def test_a_compensation_begun_before_the_one_before_had_ended_is_seen(undone):
    early = undone.history[of(undone, "undo_slow")].started_at
    doctored = with_entry(undone, of(undone, "undo_b"), started_at=early)
    assert "undo_b was begun before undo_slow had ended" in broken(doctored)


def test_a_round_of_a_compensation_that_is_missing_is_seen(undone):
    position = next(number for number, entry in enumerate(undone.history) if entry.outcome == "again")
    assert any("it has gone through the rounds [], not [1]" in problem for problem in broken(without(undone, position)))


def test_undoing_told_twice_or_never_is_seen(failed):
    position = told(failed, "workflow.compensate")
    silent = replace(failed, events=failed.events[:position] + failed.events[position + 1 :])
    assert any("that it undoes" in problem for problem in broken(silent))
    assert broken(silent, silences=True) == []
    event = failed.events[position]
    again = {**event, "metadata": {**event["metadata"], "sequence": 98}}
    twice = replace(failed, events=[*failed.events, again])
    assert any("that it undoes" in problem for problem in broken(twice, silences=True))


def test_undoing_told_of_a_run_that_undoes_nothing_is_seen(overdue, failed):
    event = failed.events[told(failed, "workflow.compensate")]
    doctored = replace(overdue, events=[*overdue.events, event])
    assert any("that it undoes" in problem for problem in broken(doctored, silences=True))


def test_a_run_that_was_cancelled_twice_or_never_is_seen(withdrawn):
    position = withdrawn.history.index(endings.failing(withdrawn))
    again = replace(withdrawn.history[position], sequence=99)
    assert "it was cancelled 2 times" in broken(entries(withdrawn, lambda h: [*h, again]))
    assert any("does not say why" in problem for problem in endings.laws(without(withdrawn, position)))


def test_a_run_that_was_cancelled_and_has_failed_is_seen(withdrawn, overdue):
    doctored = replace(withdrawn, instance=withdrawn.instance.apart(failure=overdue.instance.failure))
    assert any("it was cancelled, and has failed with" in problem for problem in broken(doctored))


def test_a_run_that_was_cancelled_with_nothing_to_undo_may_have_its_end_told_by_the_client(withdrawn):
    cancelled = replace(endings.failing(withdrawn), sequence=1)
    doctored = replace(withdrawn, history=[cancelled], events=[])
    assert list(checker._tellings(doctored, silences=False)) == []
    assert checker._missing(doctored) == 0
    end = next(event for event in withdrawn.events if event["event"] == "workflow.cancel")
    assert any(
        "its terminal events" in problem
        for problem in checker._tellings(replace(doctored, events=[end] * 2), silences=True)
    )


def test_a_cancelled_run_that_undoes_and_whose_end_was_not_told_is_seen(withdrawn):
    doctored = replace(withdrawn, events=[event for event in withdrawn.events if event["event"] != "workflow.cancel"])
    assert "its terminal events are []" in broken(doctored)


def test_an_end_that_is_not_the_last_event_is_seen(run, undone):
    for one in (run, undone):
        last = endings.last_number(one)
        early = with_events(one, lambda e, last=last: _moved(e, last, 2))
        assert any("its end was emitted with the numbers [2]" in problem for problem in broken(early, silences=True))


def _moved(event, number, to):
    about = event["metadata"]
    return {"metadata": {**about, "sequence": to}} if about["sequence"] == number else {}


def test_a_step_that_was_undone_although_it_can_not_be_is_seen(stained):
    position = max(number for number, entry in enumerate(stained.history) if entry.step == "stuck")
    found = broken(with_entry(stained, position, outcome="completed", event="done"))
    assert "of ['slow', 'b', 'a'] it has failed to undo others than ['b']" in found
    states = stained.instance.step_states
    undone = {**states, "stuck": replace(states["stuck"], status=StepStatus.COMPLETED)}
    doctored = replace(stained, instance=stained.instance.apart(step_states=undone))
    assert any("it says that it has undone ['slow', 'b', 'a'] and not []" in problem for problem in broken(doctored))


def test_a_step_that_has_failed_by_itself_was_not_executed_again_by_a_fault(stained):
    assert [checker._meant(stained, step) for step in ("stuck", "undo_slow", "refused")] == [2, 1, 1]


def test_a_compensation_that_failed_although_it_can_not_is_seen(undone):
    found = broken(with_entry(undone, of(undone, "undo_slow"), outcome="failed", event=None))
    assert "of ['slow', 'b', 'a'] it has failed to undo others than []" in found


def test_a_rerun_that_executes_what_it_has_kept_or_changes_it_is_seen(again):
    found = broken(replace(again, executions=again.executions + Counter(["c"])))
    assert "it has kept ['c'], and executed them again" in found
    steps = {**again.instance.context.steps, "a": {"by": "nobody"}}
    context = replace(again.instance.context, steps=steps)
    found = broken(replace(again, instance=again.instance.apart(context=context)))
    assert "it has kept other results of ['a'] than there were" in found


def test_a_rerun_that_completes_what_it_has_kept_is_seen(again):
    twice = replace(again.history[1], step="c", sequence=99)
    assert any("its history completes" in problem for problem in broken(entries(again, lambda h: [*h, twice])))


def test_a_rerun_whose_history_does_not_begin_with_that_is_seen(again, run):
    assert "its history has forks at [], and should have them at [0]" in broken(without(again, 0))
    doctored = entries(run, lambda h: [*h, again.history[0]])
    assert any("and should have them at []" in problem for problem in broken(doctored))


def test_a_rerun_is_to_complete_although_its_run_was_to_fail(again, once):
    expected = [endings.status_expected(one) for one in (once(flows.Redone), again)]
    assert expected == ["failed", "completed"]
