"""Behaviour 3 and architecture 2: each transition of a run, what it refuses and what it asks to be done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from defining import A, B, C, define

from hephaestus_celery import Done, Status
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution import due as due_rules
from hephaestus_celery.core.execution import transitions as run
from hephaestus_celery.core.execution import waiting as waits
from hephaestus_celery.core.execution.commands import ClearTimer, DispatchStep, Finish, SetTimer, TimerKind
from hephaestus_celery.core.execution.delivery import Delivered, receive, waiting_for
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.lanes import redispatch_interval
from hephaestus_celery.core.execution.limits import APPLY_MARGIN, LOSSES, MOST_KEPT, MOST_KEYS
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import PendingResume

PARALLEL = define(initial_step=A, transitions={(A, "ok"): [B, C], (B, "ok"): Done, (C, "ok"): Done})
ACCEPTS = {"go": "ok"}


def at(now):
    return Times(now=now, dispatch_timeout=100, lease=1000)


def create():
    return run.create(initials={"a": 5}, times=at(1))


def claim(state, key, *, attempt=1, fence=None, now=2, **options):
    return run.claim(
        state,
        Activation.parse(key),
        attempt=attempt,
        fence=fence or key,
        launch=key == "done",
        times=at(now),
        **options,
    )


def complete(state, key, *, fence=None, now=3, expected=None, computed=False):
    step = PARALLEL.graph.by_key[key]
    return run.complete(
        state,
        Activation.parse(key),
        fence=fence or key,
        event="ok",
        settlement=plan(PARALLEL.graph, step, PARALLEL.graph.table[step, "ok"]),
        attempts={"b": 2, "c": 3},
        times=at(now),
        expected=expected,
        computed=computed,
    )


def suspend(state, key, *, fence=None, accepts=None, timeout=None, now=4):
    accepts = ACCEPTS if accepts is None else accepts
    return waits.suspend(
        state, Activation.parse(key), fence=fence or key, accepts=accepts, timeout=timeout, times=at(now)
    )


def fail(state, key, *, fence=None, now=5):
    return run.fail(state, Activation.parse(key), fence=fence or key, times=at(now))


def retry(state, key, *, fence=None, delay=50, now=5):
    return run.retry(state, Activation.parse(key), fence=fence or key, delay=delay, times=at(now))


def renew(state, key, *, fence=None, now=5):
    return run.renew(state, Activation.parse(key), fence=fence or key, times=at(now))


def seize(state, key, *, attempt=1, now=5, timed_out=False):
    return run.seize(state, Activation.parse(key), attempt=attempt, fence="rescue", times=at(now), timed_out=timed_out)


def due(state, key, *, now=5):
    return due_rules.due(state, Activation.parse(key), fence="rescue", times=at(now))


def deliver(state, key, *, now=6):
    return waits.deliver(state, Activation.parse(key), name="go", source="external", times=at(now))


def send(state, *, name="go", step=None, kept=True, key=None, now=7):
    return receive(state, name=name, step=step, keep=kept, key=key, times=at(now))


def keep(state, *, step=None, now=7):
    return send(state, step=step, now=now).decision


def slots(state):
    return [(early.name, early.step) for early in state.early]


def cancel(state, *, now=8):
    return run.cancel(state, times=at(now))


@pytest.fixture
def created():
    return create().state


@pytest.fixture
def claimed(created):
    return claim(created, "a").state


@pytest.fixture
def forked(claimed):
    """A is complete, B and C are to be claimed."""
    return complete(claimed, "a").state


@pytest.fixture
def both(forked):
    """B and C are being executed."""
    return claim(claim(forked, "b").state, "c").state


@pytest.fixture
def waiting(claimed):
    return suspend(claimed, "a").state


@pytest.fixture
def backing_off(claimed):
    """The first attempt of A has failed."""
    return retry(claimed, "a").state


@pytest.fixture
def resumed(waiting):
    """A was given its event, and a worker applies it."""
    return claim(deliver(waiting, "a").state, "a").state


@pytest.fixture
def ended(both):
    """B has failed while C was being executed."""
    return fail(both, "b").state


def test_a_new_run_is_pending(created):
    assert created.status is Status.PENDING


def test_a_new_run_dispatches_its_first_step():
    assert create().commands == (
        SetTimer(Activation("a"), TimerKind.DISPATCH, 101),
        DispatchStep(Activation("a"), 1, 1),
    )


def test_the_first_claim_makes_the_run_running(claimed):
    assert claimed.status is Status.RUNNING


def test_the_first_claim_reserves_start_advance_and_step_start(created):
    decision = claim(created, "a")
    assert (decision.sequence, decision.reserved) == (1, 3)


def test_a_later_claim_reserves_step_start_alone(forked):
    decision = claim(forked, "b")
    assert (decision.sequence, decision.reserved) == (7, 1)


def test_a_claim_of_done_itself_reserves_no_step_start():
    created = run.create(initials={"done": 1}, times=at(1)).state
    assert claim(created, "done").reserved == 2


def test_a_claim_sets_the_lease(created):
    assert claim(created, "a", now=2).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 1002),)


def test_a_second_claim_finds_the_step_taken(claimed):
    decision = claim(claimed, "a", fence="other")
    assert (decision.verdict, decision.state) == (Verdict.TAKEN, claimed)


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_claim_of_another_attempt_is_stale(created, attempt):
    assert claim(created, "a", attempt=attempt).verdict is Verdict.STALE


@pytest.mark.parametrize("key", ["b", "unheard"])
def test_a_claim_of_a_step_that_nothing_has_reached_is_stale(created, key):
    assert claim(created, key).verdict is Verdict.STALE


def test_a_claim_of_a_completed_step_is_stale(forked):
    assert claim(forked, "a").verdict is Verdict.STALE


def test_a_claim_of_a_step_that_waits_for_something_is_stale(waiting):
    assert claim(waiting, "a").verdict is Verdict.STALE


def test_a_claim_in_a_run_that_has_ended_is_stale(created):
    assert claim(cancel(created).state, "a").verdict is Verdict.STALE


def test_a_completion_starts_the_targets(forked):
    assert {key: step.status for key, step in forked.steps.items()} == {
        "a": StepStatus.COMPLETED,
        "b": StepStatus.ACTIVE,
        "c": StepStatus.ACTIVE,
    }


def test_a_started_step_has_the_attempts_of_its_policy(forked):
    assert (forked.steps["b"].max_attempts, forked.steps["c"].max_attempts) == (2, 3)


def test_a_completion_clears_its_timer_and_dispatches_its_targets(claimed):
    assert complete(claimed, "a", now=3).commands == (
        ClearTimer(Activation("a")),
        SetTimer(Activation("b"), TimerKind.DISPATCH, 103),
        DispatchStep(Activation("b"), 1, 1),
        SetTimer(Activation("c"), TimerKind.DISPATCH, 103),
        DispatchStep(Activation("c"), 1, 1),
    )


def test_a_completion_reserves_stop_transition_and_advance(claimed):
    decision = complete(claimed, "a")
    assert (decision.sequence, decision.reserved) == (4, 3)


def test_the_completion_of_the_last_branch_ends_the_run(both):
    decision = complete(complete(both, "b").state, "c")
    assert (decision.state.status, decision.done) == (Status.COMPLETED, True)


def test_the_completion_that_reaches_done_reserves_the_events_of_done_too(both):
    assert complete(complete(both, "b").state, "c").reserved == 7


def test_the_completion_that_reaches_done_finishes_the_run(both):
    assert complete(complete(both, "b").state, "c").commands == (ClearTimer(Activation("c")), Finish(Status.COMPLETED))


def test_done_is_the_last_in_the_order_of_completion(both):
    steps = complete(complete(both, "b").state, "c").state.steps
    assert sorted(steps, key=lambda key: steps[key].order) == ["a", "b", "c", "done"]


def test_the_end_of_a_run_is_noted(both):
    assert complete(complete(both, "b").state, "c", now=33).state.finished_at == 33


def test_a_run_that_begins_with_done_ends_with_its_completion():
    flow = define(initial_step=Done)
    state = claim(run.create(initials={"done": 1}, times=at(1)).state, "done").state
    decision = run.complete(
        state,
        Activation("done"),
        fence="done",
        event="done",
        settlement=plan(flow.graph, Done, ()),
        attempts={},
        times=at(2),
    )
    assert (decision.state.status, decision.reserved, decision.state.sequence) == (Status.COMPLETED, 4, 6)


@pytest.mark.parametrize("transition", [complete, suspend, fail, retry])
def test_the_bearer_of_another_fence_changes_nothing(claimed, transition):
    decision = transition(claimed, "a", fence="other")
    assert (decision.verdict, decision.state) == (Verdict.STALE, claimed)


@pytest.mark.parametrize("transition", [complete, suspend, fail, retry])
def test_an_answer_of_a_step_that_nothing_has_reached_changes_nothing(claimed, transition):
    decision = transition(claimed, "b")
    assert (decision.verdict, decision.state) == (Verdict.STALE, claimed)


@pytest.mark.parametrize("transition", [complete, suspend, fail, retry])
def test_an_answer_after_the_end_of_the_run_is_discarded(ended, transition):
    assert transition(ended, "c").verdict is Verdict.DISCARDED


@pytest.mark.parametrize("transition", [complete, suspend, fail, retry])
def test_a_discarded_result_still_emits_its_end(ended, transition):
    decision = transition(ended, "c")
    assert (decision.sequence, decision.reserved) == (ended.sequence + 1, 1)


def test_a_discarded_answer_changes_no_status(ended):
    after = complete(ended, "c").state
    assert [step.status for step in after.steps.values()] == [step.status for step in ended.steps.values()]


def test_a_discarded_resume_has_no_event_of_its_own(waiting):
    resumed = claim(deliver(waiting, "a").state, "a").state
    assert complete(cancel(resumed).state, "a").reserved == 0


def test_an_answer_is_discarded_once(ended):
    assert complete(complete(ended, "c").state, "c").verdict is Verdict.STALE


def test_a_computed_transition_on_an_older_context_conflicts(both):
    after = complete(both, "b").state
    decision = complete(after, "c", expected=both.applied)
    assert (decision.verdict, decision.state) == (Verdict.CONFLICT, after)


def test_a_computed_transition_on_the_present_context_is_applied(both):
    after = complete(both, "b").state
    assert complete(after, "c", expected=after.applied).verdict is Verdict.APPLIED


def test_a_suspended_run_is_waiting(waiting):
    assert waiting.status is Status.WAITING


def test_a_branch_that_waits_does_not_stop_another(both):
    assert suspend(both, "b").state.status is Status.RUNNING


def test_a_suspension_reserves_one_event(claimed):
    assert suspend(claimed, "a").reserved == 1


def test_a_suspension_without_timeout_clears_the_timer(claimed):
    assert suspend(claimed, "a").commands == (ClearTimer(Activation("a")),)


def test_a_suspension_with_timeout_sets_the_timer(claimed):
    assert suspend(claimed, "a", timeout=50, now=4).commands == (SetTimer(Activation("a"), TimerKind.TIMEOUT, 54),)


def test_a_timeout_of_nothing_is_due_at_once(claimed):
    assert suspend(claimed, "a", timeout=0, now=4).commands == (SetTimer(Activation("a"), TimerKind.TIMEOUT, 4),)


def test_a_waiting_step_is_found_by_its_event(waiting):
    assert waiting_for(waiting, "go") == ("a",)


def test_a_waiting_step_is_found_by_its_own_key(waiting):
    assert waiting_for(waiting, "go", step="a") == ("a",)


@pytest.mark.parametrize(("name", "step"), [("stay", None), ("go", "b")])
def test_nothing_waits_for_another_event_or_elsewhere(waiting, name, step):
    assert waiting_for(waiting, name, step=step) == ()


def test_an_active_step_waits_for_nothing(claimed):
    assert waiting_for(claimed, "go") == ()


def test_a_step_that_was_given_an_event_waits_no_more(waiting):
    assert waiting_for(deliver(waiting, "a").state, "go") == ()


def test_in_a_run_that_has_ended_nothing_waits(waiting):
    assert waiting_for(cancel(waiting).state, "go") == ()


def test_a_delivery_dispatches_the_step_under_a_new_token(waiting):
    assert deliver(waiting, "a", now=6).commands == (
        SetTimer(Activation("a"), TimerKind.DISPATCH, 106),
        DispatchStep(Activation("a"), 1, 2),
    )


def test_a_delivery_names_the_event_as_the_step_knows_it(waiting):
    assert deliver(waiting, "a", now=6).state.steps["a"].resume == PendingResume(event="ok", source="external", at=6)


def test_a_delivery_reserves_no_event(waiting):
    assert deliver(waiting, "a").reserved == 0


def test_a_claim_of_a_delivered_event_reserves_no_step_start(waiting):
    assert claim(deliver(waiting, "a").state, "a").reserved == 0


def test_a_delivered_event_is_applied_by_its_claimant(waiting):
    resumed = claim(deliver(waiting, "a").state, "a").state
    assert complete(resumed, "a").activated == ("b", "c")


def test_events_of_one_name_are_kept_in_the_order_in_which_they_came(claimed):
    twice = keep(keep(claimed).state).state
    assert [early.number for early in twice.early] == [1, 2]
    assert [early.number for early in suspend(twice, "a").state.early] == [2]


def test_an_event_with_a_key_is_kept_once(claimed):
    once = send(claimed, key="evt_1").decision.state
    again = send(once, key="evt_1", name="stop", step="b")
    assert (again.outcome, again.decision.state) == (Delivered.REPEATED, once)


def test_an_event_with_a_key_is_applied_once_whatever_waits_by_then(waiting):
    given = send(waiting, key="evt_1").decision.state
    later = suspend(claim(complete(claim(given, "a").state, "a").state, "b").state, "b").state
    assert send(later, key="evt_1").outcome is Delivered.REPEATED
    assert send(cancel(later).state, key="evt_1").outcome is Delivered.REPEATED


@pytest.mark.parametrize("fields", [{"name": "stop", "kept": False}, {"step": "b", "kept": False}])
def test_a_refused_event_leaves_no_key(waiting, fields):
    refused = send(waiting, key="evt_1", **fields)
    assert (refused.outcome, refused.decision.state) == (Delivered.NOT_WAITING, waiting)


def test_a_run_keeps_so_many_early_events_and_no_more(claimed):
    full = claimed
    for _ in range(MOST_KEPT):
        full = keep(full).state
    refused = send(full, name="other", key="evt_1")
    assert (refused.outcome, refused.decision.state) == (Delivered.TOO_MANY_KEPT, full)
    assert send(suspend(full, "a").state, name="other").outcome is Delivered.KEPT


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_takes_so_many_keys_and_no_more(waiting, claimed, kept):
    state = replace(claimed if kept else waiting, keys=frozenset(map(str, range(MOST_KEYS))))
    refused = send(state, key="evt_1")
    assert (refused.outcome, refused.decision.state) == (Delivered.TOO_MANY_KEYS, state)
    assert send(state, key="7").outcome is Delivered.REPEATED
    assert send(state).outcome is (Delivered.KEPT if kept else Delivered.ACCEPTED)


def test_an_event_is_kept_for_one_step_and_for_any(claimed):
    assert slots(keep(keep(claimed).state, step="a").state) == [("go", None), ("go", "a")]


@pytest.mark.parametrize("step", [None, "a"])
def test_a_kept_event_is_delivered_the_moment_its_step_waits(claimed, step):
    decision = suspend(keep(claimed, step=step).state, "a", now=9)
    assert decision.state.steps["a"].resume == PendingResume(event="ok", source="external", at=9)


def test_a_kept_event_is_dispatched_the_moment_its_step_waits(claimed):
    assert suspend(keep(claimed).state, "a", now=9).commands == (
        SetTimer(Activation("a"), TimerKind.DISPATCH, 109),
        DispatchStep(Activation("a"), 1, 2),
    )


def test_a_kept_event_is_delivered_once(claimed):
    assert suspend(keep(claimed).state, "a").state.early == ()


def test_an_event_kept_for_another_step_stays(claimed):
    decision = suspend(keep(claimed, step="b").state, "a")
    assert (decision.state.steps["a"].resume, slots(decision.state)) == (None, [("go", "b")])


def test_an_event_that_the_step_does_not_accept_stays(claimed):
    assert slots(suspend(keep(claimed).state, "a", accepts={"stay": "ok"}).state) == [("go", None)]


def test_a_failed_step_fails_the_run(ended):
    assert (ended.status, ended.failed_step) == (Status.FAILED, "b")


def test_a_failure_reserves_the_exceptions_of_step_and_run(both):
    assert fail(both, "b").reserved == 2


def test_a_failure_finishes_the_run(both):
    assert fail(both, "b").commands == (ClearTimer(Activation("b")), Finish(Status.FAILED))


def test_steps_not_yet_started_never_start_after_a_failure(forked):
    failed = fail(claim(forked, "b").state, "b").state
    assert claim(failed, "c").verdict is Verdict.STALE


@pytest.mark.parametrize("name", ["created", "claimed", "waiting", "both"])
def test_a_run_can_be_cancelled_wherever_it_stands(request, name):
    assert cancel(request.getfixturevalue(name)).state.status is Status.CANCELLED


def test_a_cancellation_reserves_one_event_and_finishes(claimed):
    decision = cancel(claimed)
    assert (decision.reserved, decision.commands) == (1, (Finish(Status.CANCELLED),))


def test_a_run_that_has_ended_cannot_be_cancelled(ended):
    decision = cancel(ended)
    assert (decision.verdict, decision.state) == (Verdict.STALE, ended)


@pytest.mark.parametrize("status", [StepStatus.ACTIVE, StepStatus.WAITING])
def test_in_a_run_that_has_ended_nothing_counts_as_active_or_waiting(ended, status):
    assert ended.count(status) == 0


def test_steps_are_counted_by_status(both):
    assert both.count(StepStatus.ACTIVE) == 2


@pytest.mark.parametrize(("computed", "targets"), [(True, ("b", "c")), (False, None)])
def test_a_completed_step_keeps_targets_that_were_computed_and_its_origin(claimed, computed, targets):
    repeated = claimed.with_step(Activation("a"), replace(claimed.steps["a"], origin="other run"))
    step = complete(repeated, "a", computed=computed).state.steps["a"]
    assert (step.targets, step.origin) == (targets, "other run")


def test_completed_steps_are_counted_after_the_end(ended):
    assert ended.count(StepStatus.COMPLETED) == 1


@pytest.mark.parametrize(("name", "expected"), [("created", True), ("waiting", True), ("forked", False)])
def test_a_step_can_still_wait_until_it_has_ended(request, name, expected):
    assert request.getfixturevalue(name).steps["a"].can_wait is expected


def test_a_step_that_was_given_an_event_can_wait_no_more(waiting):
    assert deliver(waiting, "a").state.steps["a"].can_wait is False


def test_the_outline_of_a_step_is_status_attempt_and_event(forked):
    assert replace(forked.steps["a"], attempt=2).outline() == ("completed", 2, "ok")


def test_a_claim_notes_who_holds_the_step(created):
    assert claim(created, "a", holder="task").state.steps["a"].holder == "task"


def test_a_time_limit_sets_the_deadline_of_the_attempt(created):
    assert claim(created, "a", limit=500, now=2).state.steps["a"].deadline == 502


def test_a_time_limit_shorter_than_the_lease_is_due_first(created):
    assert claim(created, "a", limit=500, now=2).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 502),)


def test_a_lease_shorter_than_the_time_limit_is_due_first(created):
    assert claim(created, "a", limit=5000, now=2).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 1002),)


def test_applying_an_event_has_the_time_limit_and_a_margin(waiting):
    applied = claim(deliver(waiting, "a").state, "a", limit=500, now=2).state.steps["a"]
    assert applied.deadline == 2 + 500 + APPLY_MARGIN


def test_an_event_that_is_lost_with_its_worker_time_and_again_is_an_attempt_that_lapsed(resumed):
    kinds = []
    for _ in range(LOSSES + 2):
        kind, decision = due(resumed, "a")
        resumed = decision.state if kind is Due.LEASE_EXPIRED else claim(decision.state, "a").state
        kinds.append(kind)
    assert kinds == [Due.REAPPLY] * LOSSES + [Due.LEASE_EXPIRED] * 2
    assert (resumed.steps["a"].resume.losses, resumed.steps["a"].fence) == (LOSSES, "rescue")


def test_an_event_that_takes_longer_than_the_time_limit_overran(waiting):
    applied = claim(deliver(waiting, "a").state, "a", limit=500, now=2).state
    assert due(applied, "a", now=502 + APPLY_MARGIN)[0] is Due.TIMED_OUT
    assert due(applied, "a", now=501 + APPLY_MARGIN)[0] is Due.REAPPLY


def test_who_applied_an_event_and_is_gone_is_looked_at_at_once(resumed):
    decision = seize(resumed, "a", now=5)
    assert (decision.state, decision.commands) == (resumed, (SetTimer(Activation("a"), TimerKind.LEASE, 5),))
    timed_out = seize(resumed, "a", now=5, timed_out=True)
    assert (timed_out.verdict, timed_out.commands) == (decision.verdict, decision.commands)
    assert due(timed_out.state, "a", now=5)[0] is Due.TIMED_OUT


def test_waiting_has_no_time_limit(created):
    assert suspend(claim(created, "a", limit=500).state, "a").state.steps["a"].deadline is None


def test_a_lease_renewal_prolongs_the_lease(claimed):
    assert renew(claimed, "a", now=5).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 1005),)


def test_a_lease_renewal_does_not_prolong_the_time_limit(created):
    held = claim(created, "a", limit=500, now=2).state
    assert renew(held, "a", now=5).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 502),)


def test_a_lease_renewal_changes_no_state(claimed):
    assert renew(claimed, "a").state is claimed


@pytest.mark.parametrize("name", ["created", "forked", "backing_off", "waiting"])
def test_a_lease_renewal_for_a_step_that_is_not_held_is_stale(request, name):
    assert renew(request.getfixturevalue(name), "a").verdict is Verdict.STALE


def test_a_lease_renewal_under_another_fence_is_stale(claimed):
    assert renew(claimed, "a", fence="other").verdict is Verdict.STALE


def test_a_lease_renewal_after_the_end_is_stale(ended):
    assert renew(ended, "c").verdict is Verdict.STALE


def test_a_failed_attempt_counts(backing_off):
    assert backing_off.steps["a"].attempt == 2


def test_a_step_between_attempts_is_active(backing_off):
    assert (backing_off.status, backing_off.steps["a"].status) == (Status.RUNNING, StepStatus.ACTIVE)


def test_a_failed_attempt_sets_the_timer_of_the_next(claimed):
    assert retry(claimed, "a", delay=50, now=5).commands == (SetTimer(Activation("a"), TimerKind.BACKOFF, 55),)


def test_a_failed_attempt_reserves_one_event(claimed):
    assert retry(claimed, "a").reserved == 1


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_backing_off_step_cannot_be_claimed(backing_off, attempt):
    assert claim(backing_off, "a", attempt=attempt).verdict is Verdict.STALE


def test_after_its_backoff_the_next_attempt_can_be_claimed(backing_off):
    assert claim(due(backing_off, "a")[1].state, "a", attempt=2).verdict is Verdict.APPLIED


def test_after_its_backoff_the_first_attempt_cannot_be_claimed(backing_off):
    assert claim(due(backing_off, "a")[1].state, "a", attempt=1).verdict is Verdict.STALE


def test_the_late_answer_of_a_failed_attempt_is_stale(backing_off):
    assert complete(due(backing_off, "a")[1].state, "a").verdict is Verdict.STALE


def test_a_step_is_seized_from_who_held_it(claimed):
    assert complete(seize(claimed, "a").state, "a").verdict is Verdict.STALE


def test_who_seized_a_step_may_fail_its_attempt(claimed):
    assert retry(seize(claimed, "a").state, "a", fence="rescue").verdict is Verdict.APPLIED


def test_a_seizure_reserves_one_event(claimed):
    assert seize(claimed, "a").reserved == 1


def test_a_seizure_has_a_lease_of_its_own(claimed):
    assert seize(claimed, "a", now=5).commands == (SetTimer(Activation("a"), TimerKind.LEASE, 1005),)


@pytest.mark.parametrize("name", ["created", "forked", "backing_off", "waiting", "resumed"])
def test_a_step_that_no_worker_executes_cannot_be_seized(request, name):
    state = request.getfixturevalue(name)
    decision = seize(state, "a", attempt=state.steps["a"].attempt)
    assert (decision.verdict, decision.state) == (Verdict.STALE, state)


@pytest.mark.parametrize("key", ["b", "unheard"])
def test_a_step_that_nothing_has_reached_cannot_be_seized(claimed, key):
    assert seize(claimed, key).verdict is Verdict.STALE


def test_another_attempt_cannot_be_seized(claimed):
    assert seize(claimed, "a", attempt=2).verdict is Verdict.STALE


def test_in_a_run_that_has_ended_nothing_is_seized(ended):
    assert seize(ended, "c").verdict is Verdict.STALE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("created", Due.REDISPATCH),
        ("claimed", Due.LEASE_EXPIRED),
        ("backing_off", Due.RETRY),
        ("waiting", Due.TIMEOUT),
        ("resumed", Due.REAPPLY),
        ("forked", Due.NOTHING),
    ],
)
def test_what_a_timer_means_follows_from_where_its_step_stands(request, name, expected):
    assert due(request.getfixturevalue(name), "a")[0] is expected


def test_an_attempt_at_the_end_of_its_time_limit_overran(created):
    assert due(claim(created, "a", limit=500, now=2).state, "a", now=502)[0] is Due.TIMED_OUT


def test_an_attempt_before_the_end_of_its_time_limit_lapsed(created):
    assert due(claim(created, "a", limit=500, now=2).state, "a", now=501)[0] is Due.LEASE_EXPIRED


@pytest.mark.parametrize("key", ["c", "unheard"])
def test_after_the_end_no_timer_means_anything(ended, key):
    meaning, decision = due(ended, key)
    assert (meaning, decision.verdict, decision.state) == (Due.NOTHING, Verdict.STALE, ended)


@pytest.mark.parametrize(
    ("name", "reserved"), [("created", 1), ("claimed", 1), ("resumed", 1), ("backing_off", 0), ("waiting", 0)]
)
def test_a_rescue_is_emitted_and_what_was_planned_is_not(request, name, reserved):
    assert due(request.getfixturevalue(name), "a")[1].reserved == reserved


AGAIN = 5 + redispatch_interval(sent=5, resends=1, timeout=100)
"""When a message that was sent again at 5 counts as late: later than a first one."""


@pytest.mark.parametrize(
    ("name", "attempt", "token", "late"),
    [("created", 1, 2, AGAIN), ("backing_off", 2, 2, 105), ("waiting", 1, 2, 105), ("resumed", 1, 3, AGAIN)],
)
def test_a_timer_sends_a_message_under_a_token_never_used(request, name, attempt, token, late):
    assert due(request.getfixturevalue(name), "a", now=5)[1].commands == (
        SetTimer(Activation("a"), TimerKind.DISPATCH, late),
        DispatchStep(Activation("a"), attempt, token),
    )


def test_a_timeout_gives_the_event_timeout_whatever_the_step_accepts(waiting):
    assert due(waiting, "a", now=5)[1].state.steps["a"].resume == PendingResume(event="timeout", source="timeout", at=5)


def test_an_event_that_was_being_applied_can_be_claimed_again(resumed):
    assert claim(due(resumed, "a")[1].state, "a", fence="other").verdict is Verdict.APPLIED


def test_who_was_applying_an_event_and_is_late_changes_nothing(resumed):
    assert complete(due(resumed, "a")[1].state, "a").verdict is Verdict.STALE


def test_an_attempt_that_lapsed_is_in_the_hands_of_its_rescuer(claimed):
    assert due(claimed, "a")[1].state.steps["a"].fence == "rescue"
