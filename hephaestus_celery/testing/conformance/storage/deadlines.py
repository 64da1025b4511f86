"""Tests of deadlines: a run that has not ended by its deadline fails, whatever its steps do or wait for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.due_items import Deadline, encode
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Refusal
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.told_events import events_of

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
AT_ONCE = 1
"""Microseconds after which a run of these tests is over time."""
HOUR = 3_600_000_000
ENTRY = encode(Deadline())
MANY = {
    ("a", "ok"): [f"b{number}" for number in range(450)],
    **{(f"b{number}", "ok"): ["done"] for number in range(450)},
}
"""A run of more fields than a store may handle as a whole."""


def overdue(stand, run):
    """Let the deadline of a run have come."""
    run.probe.set_due(stand.storage, run.id, ENTRY, stand.storage.now())
    return stand.entries(1)


@pytest.fixture
def limited_run(stand):
    """A run that may take an hour, with two steps that wait for workers, b and c."""
    run = stand.start(FORK, deadline=HOUR)
    run.step("a")
    return run


def test_a_run_that_has_not_ended_by_its_deadline_fails(stand):
    run = stand.start(deadline=AT_ONCE)
    stand.entries(1)
    stored = run.load()
    assert (stored.status, stored.failed_step) == (Status.FAILED, None)
    assert json.loads(stored.failure) == {
        "kind": "exit",
        "type": "DeadlineExceeded",
        "message": "the run has not ended within 1e-06 s of its start",
        "stacktrace": None,
    }


@pytest.mark.parametrize(
    ("deadline", "said"), [(1_500_000, "1.5"), (10_000_000, "10"), (HOUR, "3600"), (24_000 * HOUR, "86400000")]
)
def test_the_failure_says_how_long_the_run_had(stand, deadline, said):
    run = stand.start(deadline=deadline)
    overdue(stand, run)
    assert f" within {said} s of its start" in json.loads(run.load().failure)["message"]


def test_the_caller_is_told_what_it_emits(stand):
    run = stand.start(FORK, deadline=HOUR)
    run.step("a")
    before = run.load()
    [entry] = overdue(stand, run)
    stored = run.load()
    assert (entry.kind, entry.run_id, entry.name, entry.version) == (Due.DEADLINE, run.id, "shop.Order", 1)
    assert entry.sequence == before.sequence + 1 == stored.sequence
    told = dataclasses.asdict(entry.expired)
    assert {**told, "dispatches": list(told["dispatches"])} == {
        "header": run.new.header,
        "started_at": before.started_at,
        "finished_at": stored.finished_at,
        "start": before.start,
        "deadline": HOUR,
        "advances": 2,
        "completed": 1,
        "undoes": False,
        "dispatches": [],
    }


def test_a_deadline_comes_once(stand):
    stand.start(deadline=AT_ONCE)
    stand.entries(1)
    stand.calm()


def test_before_its_deadline_a_run_goes_on(stand, limited_run):
    assert list(stand.tick().entries) == []
    assert limited_run.load().status is Status.RUNNING


def test_a_deadline_counts_from_the_start_of_the_run(limited_run):
    assert limited_run.due()[ENTRY] == limited_run.load().started_at + HOUR


def test_a_repeated_start_moves_no_deadline(stand, limited_run):
    due = limited_run.due()[ENTRY]
    stand.storage.create(dataclasses.replace(limited_run.new, deadline=2 * HOUR))
    assert limited_run.due()[ENTRY] == due


def test_the_history_has_a_timer_for_it(stand, limited_run):
    before = limited_run.load()
    overdue(stand, limited_run)
    stored = limited_run.load()
    entry = limited_run.history()[-1]
    assert (entry.sequence, entry.outcome, entry.queued_at) == (stored.sequence, "completed", None)
    assert (entry.started_at, entry.finished_at) == (before.started_at, stored.finished_at)
    assert json.loads(entry.detail) == {
        "kind": "timer",
        "reason": "DeadlineExceeded: the run has not ended within 3600 s of its start",
    }


def test_a_pending_run_that_no_worker_takes_fails_in_time(stand):
    run = stand.start(deadline=AT_ONCE)
    [entry] = stand.entries(1)
    assert (run.load().status, entry.sequence, entry.expired.advances) == (Status.FAILED, 1, 0)


def test_a_run_that_waits_fails_in_time(stand):
    run = stand.start(deadline=HOUR)
    run.wait_at("a", timeout=2 * HOUR)
    overdue(stand, run)
    assert (run.load().status, run.due()) == (Status.FAILED, {})
    assert run.deliver("go").outcome == "not_waiting"
    assert list(stand.storage.list_run_ids(Query(waiting_for="go"))[0]) == []


def test_a_run_that_backs_off_fails_in_time(stand):
    run = stand.start(deadline=HOUR)
    run.claim("a")
    run.retry("a", delay=2 * HOUR)
    overdue(stand, run)
    assert (run.load().status, run.due()) == (Status.FAILED, {})


def test_a_run_whose_messages_wait_in_a_lane_fails_in_time(stand):
    run = stand.start(FORK, deadline=HOUR, lane="0:celery")
    run.step("a")
    overdue(stand, run)
    assert (run.load().status, run.due(), run.lanes()) == (Status.FAILED, {}, {})


def test_a_paused_run_fails_in_time(stand, limited_run, pausing):
    pausing(limited_run)
    overdue(stand, limited_run)
    assert limited_run.load().status is Status.FAILED


def test_a_run_of_a_paused_workflow_fails_although_it_never_began(stand):
    stand.pause_workflow()
    run = stand.start(deadline=AT_ONCE)
    stand.entries(1)
    assert run.load().status is Status.FAILED


def test_what_is_executed_meanwhile_is_discarded(stand, limited_run):
    limited_run.claim("b")
    overdue(stand, limited_run)
    assert limited_run.complete("b", result='{"b":1}').verdict is Verdict.DISCARDED
    stored = limited_run.load()
    assert (stored.status, stored.steps["b"].status, dict(stored.results)) == (Status.FAILED, StepStatus.ACTIVE, {})
    assert limited_run.history()[-1].outcome == "discarded"


def test_who_executes_a_step_learns_that_it_is_wanted_no_longer(stand, limited_run):
    limited_run.claim("b")
    assert limited_run.renew("b") is True
    overdue(stand, limited_run)
    assert limited_run.renew("b") is False


def test_no_step_starts_after_the_deadline(stand, limited_run):
    overdue(stand, limited_run)
    assert isinstance(limited_run.claim("c"), Refusal)


def test_its_id_is_free_after_the_deadline(stand, limited_run):
    overdue(stand, limited_run)
    assert stand.start().load().status is Status.PENDING


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_run_that_ended_in_time_leaves_no_deadline_behind(stand, end):
    run = stand.start({("a", "ok"): ["done"]}, deadline=HOUR)
    assert ENTRY in run.due()
    run.claim("a")
    {"completed": run.complete, "failed": run.fail, "cancelled": lambda _: run.cancel()}[end]("a")
    assert (run.load().status, run.due()) == (end, {})


def test_a_deadline_that_comes_after_the_end_changes_nothing(stand, limited_run):
    limited_run.cancel()
    limited_run.probe.set_due(stand.storage, limited_run.id, ENTRY, stand.storage.now())
    before = limited_run.load()
    stand.calm()
    assert limited_run.load() == before


def test_a_deadline_of_a_run_without_one_changes_nothing(stand, forked_run):
    forked_run.probe.set_due(stand.storage, forked_run.id, ENTRY, stand.storage.now())
    stand.calm()
    assert (forked_run.load().status, ENTRY in forked_run.due()) == (Status.RUNNING, False)


def test_a_deadline_waits_for_the_newer_code_that_its_run_needs(stand):
    run = stand.start(deadline=HOUR, schema=99)
    run.probe.set_due(stand.storage, run.id, ENTRY, stand.storage.now())
    at = run.due()[ENTRY]
    stand.calm()
    assert run.due()[ENTRY] > at


def test_a_run_of_many_steps_fails_in_time(stand):
    run = stand.start(MANY, deadline=HOUR)
    run.step("a")
    [entry] = overdue(stand, run)
    assert run.load().status is Status.FAILED
    assert entry.expired.completed in (1, None)
    assert ENTRY not in run.due()


def test_a_run_says_when_its_deadline_is(stand, limited_run):
    assert (limited_run.load().deadline, stand.start(instance_id="order::b").load().deadline) == (HOUR, None)


def test_a_listing_says_when_the_deadline_of_each_run_is(stand, limited_run):
    other = stand.start(instance_id="order::b")
    rows = dict(stand.storage.list_runs(Query())[0])
    assert {run_id: row.deadline for run_id, row in rows.items()} == {limited_run.id: HOUR, other.id: None}


def test_a_claim_and_a_cancellation_bring_the_deadline(limited_run):
    claim = limited_run.claim("b")
    assert (claim.run.deadline, limited_run.cancel().run.deadline) == (HOUR, HOUR)


def test_of_runs_that_start_together_each_has_its_deadline(stand):
    runs = [
        stand.prepare(instance_id=f"order::{name}", deadline=deadline)
        for name, deadline in zip("abc", (HOUR, 2 * HOUR, None), strict=True)
    ]
    stand.storage.create_many([run.new for run in runs])
    found = [(run.due().get(ENTRY, 0) or None) and run.due()[ENTRY] - run.load().started_at for run in runs]
    assert found == [HOUR, 2 * HOUR, None]


def test_a_retry_has_the_deadline_that_it_is_given_from_its_own_start(stand, limited_run):
    overdue(stand, limited_run)
    retried = limited_run.retried(deadline=2 * HOUR)
    stored = retried.load()
    assert (stored.deadline, retried.due()[ENTRY]) == (2 * HOUR, stored.started_at + 2 * HOUR)
    assert limited_run.due() == {}


def test_a_fork_without_a_deadline_has_none(limited_run):
    forked = limited_run.forked("b", instance_id="order::b", deadline=None)
    assert (forked.load().deadline, ENTRY in forked.due()) == (None, False)


def test_a_retry_of_a_run_that_was_over_time_goes_on_where_it_stopped(stand, limited_run):
    overdue(stand, limited_run)
    retried = limited_run.retried(deadline=None)
    assert {key: step.status for key, step in retried.load().steps.items()} == {
        "a": StepStatus.COMPLETED,
        "b": StepStatus.ACTIVE,
        "c": StepStatus.ACTIVE,
    }


def test_the_event_stream_is_told_of_the_failure(storage: Storage, drive):
    told = drive(storage, durations=dataclasses.replace(drive(storage).durations, stream=1000))
    run = told.start(deadline=AT_ONCE)
    told.entries(1)
    entries = storage.browse_events(0, after=None, limit=100).entries
    [event] = [event for entry in entries if entry.told is not None for event in events_of(entry.told)]
    assert (event.name, event.run_id, event.sequence) == (("hephaestus", "workflow", "exception"), run.id, 1)
    assert (event.kind, event.step_key) == ("exit", None)
    assert event.reason == "DeadlineExceeded: the run has not ended within 1e-06 s of its start"
    assert event.duration == 1000 * (run.load().finished_at - run.load().started_at)


def test_who_waits_for_the_end_learns_of_it(stand, limited_run):
    overdue(stand, limited_run)
    assert stand.storage.wait_finished(limited_run.id, timeout=10) is True
