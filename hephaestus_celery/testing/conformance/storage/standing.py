"""Tests of what steps wait for: the facts of a run as of one moment, due times, and the beginnings of run ids."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.codec import moment
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.testing.conformance.trips import failing

WORK = "0:work"
BRANCHES = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
SECOND = 1_000_000


def facts_of(run, *steps):
    return run.storage.facts(run.id, [Activation.parse(step) for step in steps])


@pytest.fixture
def unhurried(stand_with):
    """A storage whose leases and messages are good for a minute."""
    return stand_with(lease=timedelta(minutes=1), dispatch_timeout=timedelta(minutes=1))


def read_later(run, step):
    """What the standing of a step reads from the store when it is first accessed."""
    stored = run.load()
    makers = decode_instance(stored, reader=run.storage).read_standing(step, stored.steps[step])
    return {name: make() for name, make in makers.items()}


def test_a_standing_reads_when_a_waiting_step_comes_due(stand):
    run = stand.start()
    run.wait_at("a", timeout=60 * SECOND)
    assert read_later(run, "a") == {"due_at": moment(run.due()["a"])}


def test_a_standing_reads_when_a_lease_runs_out(stand):
    run = stand.start()
    run.claim("a")
    assert read_later(run, "a") == {"due_at": moment(run.due()["a"])}


def test_a_standing_reads_when_an_attempt_is_due(stand):
    run = stand.start()
    run.claim("a")
    run.retry("a", delay=60 * SECOND)
    assert read_later(run, "a") == {"due_at": moment(run.due()["a"])}


def test_a_step_that_waits_for_ever_comes_due_never(receiver):
    assert read_later(receiver, "a") == {"due_at": None}


def test_a_standing_reads_the_times_of_a_completed_step_from_the_history(stand):
    run = stand.start()
    run.step("a")
    run.step("b")
    first, second, _ = run.history()
    for step, entry in (("a", first), ("b", second)):
        found = read_later(run, step)
        times = [moment(at) for at in (entry.queued_at, entry.started_at, entry.finished_at)]
        assert [found["queued_at"], found["started_at"], found["finished_at"], found["worker"]] == [*times, None]


def test_a_standing_reads_the_time_of_the_end(stand):
    run = stand.start()
    run.step("a")
    run.step("b")
    assert read_later(run, "done")["finished_at"] == moment(run.load().finished_at)


def test_a_step_that_a_retry_has_kept_has_no_times_of_its_own(stand):
    run = stand.start()
    run.step("a")
    run.cancel()
    assert set(read_later(run.retried(), "a").values()) == {None}


def test_a_standing_reads_when_a_step_failed_that_others_are_undone_for(stand):
    run = failing(stand)
    run.fail("c")
    at = {"finished_at": moment(run.history()[-1].finished_at)}
    assert read_later(run, "c") == at
    run.step("undo_b")
    run.step("undo_a")
    assert read_later(run, "c") == at


def test_a_run_that_has_ended_has_nothing_due(receiver):
    receiver.cancel()
    assert read_later(receiver, "a") == {}


def test_an_unknown_run_has_no_facts(stand):
    assert facts_of(stand.prepare(), "a") is None


def test_facts_are_of_steps_that_the_run_has_started(stand):
    run = stand.start()
    found = facts_of(run, "a", "b", "nonsense")
    assert list(found.steps) == ["a"]
    assert found.steps["a"].state == run.load().steps["a"]


def test_facts_are_of_the_present_on_the_clock_of_the_store(storage, stand):
    before = storage.now()
    found = facts_of(stand.start(), "a")
    assert before <= found.at <= storage.now()


def test_a_message_has_its_place_in_its_lane(unhurried):
    runs = [unhurried.start(instance_id=f"order::{number}", lane=WORK) for number in range(3)]
    found = [facts_of(run, "a") for run in runs]
    assert [each.steps["a"].before for each in found] == [0, 1, 2]
    assert [each.lanes[WORK].waiting for each in found] == [3, 3, 3]
    assert all(each.steps["a"].sent_at == run.load().started_at for each, run in zip(found, runs, strict=True))
    assert found[0].steps["a"].due_at is None


def test_a_lane_has_the_mark_of_its_newest_claim_and_the_time_of_its_next_look(unhurried):
    first, second = (unhurried.start(instance_id=f"order::{number}", lane=WORK) for number in range(2))
    assert facts_of(second, "a").lanes[WORK].mark is None
    first.claim("a", lane=WORK)
    found = facts_of(second, "a")
    assert found.steps["a"].before == 0
    assert found.lanes[WORK].mark == first.load().started_at
    assert found.lanes[WORK].next_look == first.load().started_at + 60 * SECOND


def test_a_message_whose_lane_is_not_known_has_the_time_when_it_is_sent_again(unhurried):
    run = unhurried.start()
    found = facts_of(run, "a")
    assert found.steps["a"].sent_at is None
    assert found.steps["a"].due_at == run.load().started_at + 60 * SECOND
    assert found.lanes == {}


def test_a_claimed_step_has_the_end_of_its_lease_and_no_place_in_a_lane(unhurried):
    run = unhurried.start(lane=WORK)
    run.claim("a", lane=WORK)
    step = facts_of(run, "a").steps["a"]
    assert (step.sent_at, step.before) == (None, 0)
    assert step.due_at == step.state.claimed_at + 60 * SECOND


def test_a_step_that_backs_off_has_the_time_of_its_next_attempt(unhurried):
    run = unhurried.start(lane=WORK)
    run.claim("a", lane=WORK)
    before = unhurried.storage.now()
    run.retry("a", delay=5 * SECOND)
    step = facts_of(run, "a").steps["a"]
    assert step.state.backing_off
    assert before + 5 * SECOND <= step.due_at <= unhurried.storage.now() + 5 * SECOND


def test_a_step_that_waits_has_the_time_of_its_timeout(unhurried):
    run = unhurried.start()
    run.wait_at("a", timeout=9 * SECOND)
    step = facts_of(run, "a").steps["a"]
    assert step.due_at == step.state.waiting_since + 9 * SECOND


def test_a_step_that_waits_without_a_timeout_has_nothing_due(unhurried):
    run = unhurried.start()
    run.wait_at("a")
    assert facts_of(run, "a").steps["a"].due_at is None


def test_a_run_that_is_whole_has_nothing_to_be_copied(unhurried):
    run = unhurried.start()
    assert facts_of(run, "a").copies is None
    run.cancel()
    assert facts_of(run.retried()).copies is None


def test_an_ended_run_has_no_steps_in_its_facts(unhurried):
    run = unhurried.start()
    run.cancel()
    assert facts_of(run, "a").steps == {}


def test_due_times_are_given_for_steps_of_several_runs_in_the_order_asked_for(unhurried):
    one, other = unhurried.start(BRANCHES, instance_id="order::1"), unhurried.start(instance_id="order::2")
    one.step("a")
    one.wait_at("b", timeout=9 * SECOND)
    one.wait_at("c")
    asked = [(other.id, "a"), (one.id, "c"), (one.id, "b"), ("0199c0de-0000-7000-8000-000000000000", "a")]
    found = unhurried.storage.due_times([(run_id, Activation.parse(step)) for run_id, step in asked])
    assert found == [
        other.load().started_at + 60 * SECOND,
        None,
        one.load().steps["b"].waiting_since + 9 * SECOND,
        None,
    ]


def test_no_steps_have_no_due_times(storage):
    assert list(storage.due_times([])) == []


def run_ids(stand, count, **fields):
    """Runs with ids that differ at their end alone."""
    return [
        stand.start(
            instance_id=f"order::{number}",
            run_id=f"0199c0de-0000-7000-8000-{number:08x}0000",
            operation=f"start{number}",
            **fields,
        )
        for number in range(count)
    ]


def test_runs_are_found_by_the_beginning_of_their_ids_newest_first(stand, storage):
    runs = run_ids(stand, 3)
    stand.start(instance_id="order::other", run_id="0199c0df-0000-7000-8000-000000000000")
    assert storage.runs_beginning_with("0199c0de", limit=10) == [run.id for run in reversed(runs)]
    assert storage.runs_beginning_with("0199c0de-0000-7000-8000-00000001", limit=10) == [runs[1].id]
    assert storage.runs_beginning_with("0199c0dd", limit=10) == []


def test_runs_of_every_status_are_found_by_the_beginning_of_their_ids(stand, storage):
    pending, running, waiting, completed, failed, cancelled = runs = run_ids(stand, 6, edges={("a", "ok"): ["done"]})
    running.claim("a")
    waiting.wait_at("a")
    completed.step("a")
    failed.claim("a")
    failed.fail("a")
    cancelled.cancel()
    assert storage.runs_beginning_with("0199c0de", limit=10) == [run.id for run in reversed(runs)]
    assert pending.load().status == "pending"


def test_no_more_runs_are_found_by_a_beginning_than_asked_for(stand, storage):
    runs = run_ids(stand, 5)
    assert storage.runs_beginning_with("0199c0de", limit=2) == [runs[4].id, runs[3].id]


@pytest.mark.parametrize("number", [0, 299, 300, 649])
def test_one_run_is_found_among_very_many(stand, storage, number):
    runs = run_ids(stand, 650)
    for run in runs[::3]:
        run.cancel()
    assert storage.runs_beginning_with(runs[number].id[:-4], limit=3) == [runs[number].id]


def test_runs_that_began_at_one_moment_are_all_found_by_a_beginning(stand, storage):
    runs = run_ids(stand, 400)
    for run in runs:
        run.probe.set_started_at(storage, run.id, 1_000)
    for run in runs[::2]:
        run.cancel()
    found = storage.runs_beginning_with("0199c0de", limit=1000)
    assert sorted(found) == sorted(run.id for run in runs)
    assert storage.runs_beginning_with(runs[0].id[:-4], limit=3) == [runs[0].id]
