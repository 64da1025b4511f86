"""Tests of completed steps: results, edges, joins, numbers, the end; late and foreign commits change nothing."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus

DIAMOND = {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
CHOICE = {
    ("a", "left"): ["b"],
    ("a", "right"): ["c"],
    ("b", "ok"): ["d"],
    ("c", "ok"): ["d"],
    ("d", "ok"): ["done"],
}
# Choosing "short" skips b, and with it c and e, but not the join f.
CASCADE = {
    ("a", "long"): ["b"],
    ("a", "short"): ["f"],
    ("b", "ok"): ["c", "e"],
    ("c", "ok"): ["f"],
    ("e", "ok"): ["f"],
    ("f", "ok"): ["done"],
}


def statuses(run):
    return {key: step.status.value for key, step in run.load().steps.items()}


def test_a_completed_step_starts_the_next(stand):
    run = stand.start()
    commitment = run.step("a")
    assert (commitment.verdict, list(commitment.activated), list(commitment.dispatches)) == (
        Verdict.APPLIED,
        ["b"],
        [DispatchStep(Activation("b"), 1, 1)],
    )


def test_the_status_of_every_step_is_stored(stand):
    run = stand.start()
    run.step("a")
    assert statuses(run) == {"a": "completed", "b": "active"}


def test_a_started_step_is_queued_at_the_commit_and_due_after_the_dispatch_timeout(stand):
    run = stand.start()
    run.step("a")
    assert run.due() == {"b": run.load().steps["b"].queued_at + 30_000_000}


def test_a_started_step_has_its_attempts(stand):
    run = stand.start()
    run.step("a", attempts={"b": 9})
    assert run.load().steps["b"].max_attempts == 9


def test_a_completed_step_keeps_its_event_and_its_place_in_the_order(stand):
    run = stand.start()
    run.step("a")
    step = run.load().steps["a"]
    assert (step.event, step.order, step.fence, step.max_attempts) == ("ok", 4, None, 5)


def test_results_and_metadata_are_stored_as_they_are(stand):
    run = stand.start()
    run.step("a", result='{"list":[],"map":{},"n":12345678901234567890}', metadata='{"x":1.10}')
    stored = run.load()
    assert (stored.results, stored.metadata) == (
        {"a": '{"list":[],"map":{},"n":12345678901234567890}'},
        {"a": '{"x":1.10}'},
    )


def test_a_step_that_gives_nothing_has_no_result(stand):
    run = stand.start()
    run.step("a")
    assert (run.load().results, run.load().metadata) == ({}, {})


def test_a_commit_counts_what_is_active_and_the_ticks_of_the_engine(stand):
    run = stand.start(DIAMOND)
    first = run.step("a")
    second = run.step("b")
    assert (first.active, first.advance, second.active, second.advance) == (2, 2, 1, 3)


def test_a_commit_says_the_status_before_and_after(stand):
    run = stand.start()
    commitment = run.step("a")
    assert (commitment.status_before, commitment.status_after) == (Status.RUNNING, Status.RUNNING)


def test_applied_counts_the_results(stand):
    run = stand.start()
    run.step("a")
    run.step("b")
    assert run.load().applied == 2


def test_a_join_waits_for_every_branch(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    assert list(run.step("b").activated) == []
    assert list(run.step("c").activated) == ["d"]


def test_a_fan_out_starts_in_the_order_of_declaration(stand):
    run = stand.start({("a", "ok"): ["x", "c", "b"], **{(key, "ok"): ["done"] for key in "xcb"}})
    assert list(run.step("a").activated) == ["x", "c", "b"]


def test_of_two_branches_that_settle_a_join_at_once_exactly_one_starts_it(stand):
    for number in range(10):
        run = stand.start(DIAMOND, instance_id=f"order::{number}")
        run.step("a")
        run.claim("b")
        run.claim("c")
        barrier = Barrier(2)

        def complete(key, run=run, barrier=barrier):
            barrier.wait()
            return list(run.complete(key).activated)

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(complete, "bc")) == [[], ["d"]]


def test_an_exclusive_choice_does_not_block_the_merge(stand):
    run = stand.start(CHOICE)
    run.step("a", "left")
    assert list(run.step("b").activated) == ["d"]
    assert statuses(run) == {"a": "completed", "b": "completed", "c": "skipped", "d": "active"}


def test_dead_paths_die_to_their_end(stand):
    run = stand.start(CASCADE)
    commitment = run.step("a", "short")
    assert list(commitment.activated) == ["f"]
    assert statuses(run) == {"a": "completed", "b": "skipped", "c": "skipped", "e": "skipped", "f": "active"}


def test_a_skipped_step_has_no_attempt(stand):
    run = stand.start(CHOICE)
    run.step("a", "left")
    assert run.load().steps["c"].attempt == 0


def test_the_long_way_of_a_cascade_waits_for_both(stand):
    run = stand.start(CASCADE)
    run.step("a", "long")
    run.step("b")
    assert list(run.step("c").activated) == []
    assert list(run.step("e").activated) == ["f"]


def test_a_wide_join_starts_once_all_have_come(stand):
    width = 120
    keys = [f"s{number}" for number in range(width)]
    run = stand.start({("a", "ok"): keys, **{(key, "ok"): ["z"] for key in keys}, ("z", "ok"): ["done"]})
    run.step("a")
    activated = [list(run.step(key).activated) for key in keys]
    assert activated == [[]] * (width - 1) + [["z"]]


def test_done_completes_in_the_commit_that_reaches_it(stand):
    run = stand.start()
    run.step("a")
    commitment = run.step("b")
    assert (commitment.status_after, list(commitment.activated), list(commitment.dispatches), commitment.active) == (
        Status.COMPLETED,
        ["done"],
        [],
        0,
    )
    assert statuses(run) == {"a": "completed", "b": "completed", "done": "completed"}


def test_done_waits_for_every_branch(stand):
    run = stand.start({("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]})
    run.step("a")
    assert run.step("b").status_after is Status.RUNNING
    assert run.step("c").status_after is Status.COMPLETED


def test_the_end_names_the_steps_in_the_order_of_their_completion(stand):
    run = stand.start(DIAMOND)
    for key in "acbd":
        commitment = run.step(key)
    assert list(commitment.completed) == ["a", "c", "b", "d", "done"]


def test_the_end_is_on_the_clock_of_the_store_and_names_the_start(stand, storage):
    run = stand.start({("a", "ok"): ["done"]})
    commitment = run.step("a")
    stored = run.load()
    assert commitment.start == stored.start
    assert stored.started_at <= commitment.finished_at == stored.finished_at <= storage.now()


def test_a_commit_before_the_end_names_no_end_and_no_start(stand):
    commitment = stand.start().step("a")
    assert (commitment.finished_at, commitment.start, list(commitment.completed)) == (None, None, [])


def test_nothing_is_active_or_due_after_the_end(stand):
    run = stand.start({("a", "ok"): ["done"]})
    run.step("a")
    assert (run.load().active, run.due()) == (0, {})


def test_a_workflow_that_begins_with_done_ends_at_once(stand):
    run = stand.start({("done", "done"): []})
    claim = run.claim("done")
    commitment = run.complete("done", "done")
    assert (claim.sequence, commitment.sequence, commitment.advance, commitment.status_after) == (
        1,
        3,
        1,
        Status.COMPLETED,
    )
    assert [(entry.sequence, entry.outcome) for entry in run.history()] == [(4, "completed")]


def test_the_numbers_of_a_linear_run_have_no_gaps(stand):
    # claim a: start 1, advance 2, a start 3; commit a: 4-6; claim b: 7; commit b: 8-10, then Done: 11-14
    run = stand.start()
    sequences = [
        run.claim("a").sequence,
        run.complete("a").sequence,
        run.claim("b").sequence,
        run.complete("b").sequence,
    ]
    assert sequences == [1, 4, 7, 8]
    assert run.load().steps["done"].order == 14


def test_a_config_reaches_the_step_it_was_given(stand):
    run = stand.start({("a", "ok"): [("b", {"n": 1})], ("b", "ok"): ["done"]})
    run.step("a")
    assert run.load().configs == {"b": '{"n": 1}'}


@pytest.mark.parametrize("order", list(itertools.permutations("bc")))
def test_of_two_configs_that_of_the_lower_rank_wins_whichever_comes_first(stand, order):
    ranks = {"b": 1, "c": 2}
    run = stand.start(
        {
            ("a", "ok"): ["b", "c"],
            ("b", "ok"): [("d", {"by": "b"})],
            ("c", "ok"): [("d", {"by": "c"})],
            ("d", "ok"): ["done"],
        }
    )
    run.step("a")
    for key in order:
        run.step(key, rank=ranks[key])
    assert run.load().configs == {"d": '{"by": "b"}'}


def test_a_config_may_contain_a_bar_and_be_large(stand):
    run = stand.start({("a", "ok"): [("b", {"text": "1|2|" + "x" * 100_000})], ("b", "ok"): ["done"]})
    run.step("a")
    assert run.claim("b").run.configs["b"] == '{"text": "1|2|' + "x" * 100_000 + '"}'


def test_a_decision_on_an_older_context_conflicts_and_brings_the_newer_one(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.claim("b")
    run.claim("c")
    run.complete("c", result='{"c":1}')
    commitment = run.complete("b", expected=1)
    assert commitment.verdict is Verdict.CONFLICT
    assert commitment.run == run.load()
    assert commitment.run.results == {"c": '{"c":1}'}


def test_a_conflict_changes_nothing(stand):
    run = stand.start()
    run.claim("a")
    before = run.load(), run.due(), list(run.history())
    run.complete("a", expected=7)
    assert (run.load(), run.due(), list(run.history())) == before


def test_a_decision_on_the_newest_context_is_applied_after_a_conflict(stand):
    run = stand.start()
    run.claim("a")
    run.complete("a", expected=7)
    assert run.complete("a", expected=0).verdict is Verdict.APPLIED


@pytest.mark.parametrize("kind", ["complete", "suspend", "fail"])
def test_a_commit_with_another_fence_changes_nothing(stand, kind):
    run = stand.start()
    run.claim("a")
    run.fences["a"] = "foreign"
    before = run.load(), run.due(), list(run.history())
    assert getattr(run, kind)("a").verdict is Verdict.STALE
    assert (run.load(), run.due(), list(run.history())) == before


def test_a_commit_for_an_unknown_run_is_stale(stand):
    assert stand.prepare().complete("a").verdict is Verdict.STALE


def test_a_second_commit_of_a_completed_step_is_stale(stand, storage):
    run = stand.start()
    run.claim("a")
    commit = run.completion("a")
    storage.commit(commit)
    assert storage.commit(replace(commit, operation="another")).verdict is Verdict.STALE


@pytest.mark.parametrize("kind", ["complete", "suspend", "fail"])
def test_a_commit_after_the_end_is_discarded_and_kept_in_the_history(stand, kind):
    run = stand.start()
    run.claim("a")
    run.cancel()
    commitment = getattr(run, kind)("a")
    assert (commitment.verdict, commitment.sequence) == (Verdict.DISCARDED, 5)
    assert (commitment.status_before, commitment.status_after) == (Status.CANCELLED, Status.CANCELLED)
    assert [(entry.sequence, entry.outcome) for entry in run.history()] == [(4, ""), (5, "discarded")]


def test_a_discarded_commit_changes_nothing_but_its_fence(stand):
    run = stand.start()
    run.claim("a")
    run.cancel()
    before = run.load()
    run.complete("a", result='{"late":1}')
    after = run.load()
    assert after.steps["a"].fence is None
    assert replace(after, steps=before.steps, sequence=before.sequence) == before


def test_a_discarded_commit_is_discarded_once(stand, storage):
    run = stand.start()
    run.claim("a")
    run.cancel()
    commit = run.completion("a")
    storage.commit(commit)
    assert storage.commit(replace(commit, operation="another")).verdict is Verdict.STALE


def test_running_branches_may_finish_after_a_failure_but_start_nothing(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.claim("b")
    run.claim("c")
    run.fail("b")
    commitment = run.complete("c")
    assert (commitment.verdict, list(commitment.activated), run.load().status) == (
        Verdict.DISCARDED,
        [],
        Status.FAILED,
    )
    assert run.load().steps["c"].status is StepStatus.ACTIVE
