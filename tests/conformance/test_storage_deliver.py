"""Suspending steps, and the events that are delivered to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hephaestus_celery.core.commands import DispatchStep
from hephaestus_celery.core.lifecycle import Status, StepStatus
from hephaestus_celery.core.run import Verdict
from hephaestus_celery.storage.base import Delivered, DeliveryReport, Refusal, Refused

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


@pytest.fixture
def run(stand):
    """A run whose only active step waits for ``go``."""
    run = stand.start()
    run.wait_at("a")
    return run


@pytest.fixture
def forked(stand):
    """A run with two active steps, b and c."""
    run = stand.start(FORK)
    run.step("a")
    return run


def test_a_suspended_step_waits(stand):
    run = stand.start()
    commitment = run.wait_at("a")
    assert (commitment.verdict, commitment.status_after, commitment.active, commitment.resumed) == (
        Verdict.APPLIED,
        Status.WAITING,
        0,
        False,
    )
    assert (run.load().status, run.load().steps["a"].status) == (Status.WAITING, StepStatus.WAITING)


def test_suspending_reserves_one_number_and_ticks_no_engine(stand):
    run = stand.start()
    commitment = run.wait_at("a")
    assert (commitment.sequence, commitment.advance) == (4, 1)


def test_a_waiting_step_knows_what_it_accepts_and_since_when(run):
    step = run.load().steps["a"]
    assert (step.accepts, step.fence, step.dispatch) == ({"go": "ok"}, None, 2)
    assert step.claimed_at <= step.waiting_since


def test_a_step_may_accept_nothing(stand):
    run = stand.start()
    run.wait_at("a", accepts={})
    assert run.load().steps["a"].accepts == {}


def test_a_wait_without_a_timeout_is_never_due(run):
    assert run.due() == {}


def test_a_timeout_is_due_when_it_is_over(stand):
    run = stand.start()
    run.wait_at("a", timeout=5_000_000)
    assert run.due() == {"a": run.load().steps["a"].waiting_since + 5_000_000}


def test_a_run_with_an_active_branch_is_running_while_another_waits(forked):
    assert forked.wait_at("b").status_after is Status.RUNNING
    assert forked.wait_at("c").status_after is Status.WAITING


def test_completing_the_last_active_branch_leaves_the_run_waiting(forked):
    forked.wait_at("b")
    assert forked.step("c").status_after is Status.WAITING


def test_a_wait_is_in_the_history(run):
    assert [(entry.sequence, entry.outcome) for entry in run.history()] == [(4, "waiting")]


def test_an_event_is_accepted_and_dispatched_with_the_next_token(run):
    report = run.deliver("go")
    assert report == DeliveryReport(
        outcome=Delivered.ACCEPTED, status=Status.WAITING, steps=report.steps, dispatches=report.dispatches
    )
    assert (list(report.steps), list(report.dispatches)) == (["a"], [DispatchStep("a", 1, 2)])


def test_an_accepted_event_is_due_after_the_dispatch_timeout(run):
    run.deliver("go")
    assert run.due() == {"a": run.load().steps["a"].resume.at + 30_000_000}


def test_an_accepted_event_is_stored_as_the_step_knows_it(run):
    run.deliver("go")
    resume = run.load().steps["a"].resume
    assert (resume.event, resume.source) == ("ok", "external")


def test_an_event_is_accepted_once(run):
    run.deliver("go")
    assert run.deliver("go").outcome is Delivered.NOT_WAITING


def test_of_many_senders_at_once_exactly_one_is_accepted(run):
    barrier = Barrier(12)

    def send(number):
        barrier.wait()
        return run.deliver("go", f'{{"n":{number}}}').outcome

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(send, range(12)))
    assert sorted(outcomes) == ["accepted"] + ["not_waiting"] * 11
    assert run.claim("a").data == f'{{"n":{outcomes.index("accepted")}}}'


def test_an_event_that_nothing_waits_for_is_refused(run):
    report = run.deliver("stop")
    assert (report.outcome, list(report.steps), list(report.dispatches)) == (Delivered.NOT_WAITING, [], [])


@pytest.mark.parametrize("fields", [{"name": "stop"}, {"name": "go", "step": "b"}, {"name": "a|b\n"}])
def test_a_refused_event_leaves_no_trace(run, fields):
    before = run.load(), run.due(), list(run.history())
    run.deliver(**fields)
    assert (run.load(), run.due(), list(run.history())) == before


def test_a_step_that_is_not_claimed_is_not_executing(stand):
    report = stand.start().deliver("go")
    assert (report.outcome, report.status, list(report.executing)) == (Delivered.NOT_WAITING, Status.PENDING, [])


def test_a_refusal_names_the_steps_being_executed(forked):
    forked.claim("b")
    forked.claim("c")
    assert sorted(forked.deliver("go").executing) == ["b", "c"]


def test_an_event_for_one_step_looks_at_that_step_alone(forked):
    forked.claim("b")
    forked.wait_at("c")
    report = forked.deliver("go", step="b")
    assert (report.outcome, list(report.executing), list(report.steps)) == (Delivered.NOT_WAITING, ["b"], [])


def test_an_event_that_several_wait_for_is_ambiguous(forked):
    forked.wait_at("b")
    forked.wait_at("c")
    before = forked.load()
    report = forked.deliver("go")
    assert (report.outcome, sorted(report.steps), list(report.dispatches)) == (Delivered.AMBIGUOUS, ["b", "c"], [])
    assert forked.load() == before


def test_naming_the_step_resolves_it(forked):
    forked.wait_at("b")
    forked.wait_at("c")
    report = forked.deliver("go", step="c")
    assert (report.outcome, list(report.steps)) == (Delivered.ACCEPTED, ["c"])
    assert forked.load().steps["b"].resume is None


def test_of_two_waiting_steps_the_one_that_has_its_event_waits_no_more(forked):
    forked.wait_at("b")
    forked.wait_at("c")
    forked.deliver("go", step="c")
    assert list(forked.deliver("go").steps) == ["b"]


def test_an_event_for_an_unknown_run_is_refused(stand):
    assert stand.prepare().deliver("go").outcome is Delivered.UNKNOWN_RUN


@pytest.mark.parametrize("keep", [False, True])
def test_an_event_for_an_ended_run_is_refused(run, keep):
    run.cancel()
    report = run.deliver("go", keep=keep)
    assert (report.outcome, report.status) == (Delivered.NOT_WAITING, Status.CANCELLED)


def test_the_claim_of_a_delivered_event_brings_the_event_and_its_data(run):
    waiting_since = run.load().steps["a"].waiting_since
    run.deliver("go", '{"paid":true,"list":[]}')
    claim = run.claim("a")
    assert (claim.data, claim.resume.event, claim.resume.source, claim.waiting_since, claim.first) == (
        '{"paid":true,"list":[]}',
        "ok",
        "external",
        waiting_since,
        False,
    )


def test_the_claim_of_a_delivered_event_reserves_no_number(run):
    run.deliver("go")
    assert run.claim("a").sequence == 5
    assert run.complete("a").sequence == 5


def test_a_delivered_event_is_claimed_once(run):
    run.deliver("go")
    run.claim("a")
    assert run.claim("a") == Refusal(reason=Refused.TAKEN)


def test_a_run_waits_until_its_event_is_applied(run):
    run.deliver("go")
    assert run.claim("a").run.status is Status.WAITING
    commitment = run.complete("a", result='{"x":1}')
    assert (commitment.status_before, commitment.status_after, commitment.active) == (
        Status.WAITING,
        Status.RUNNING,
        1,
    )


def test_an_applied_event_completes_its_step(run):
    run.deliver("go")
    run.claim("a")
    run.complete("a", result='{"x":1}')
    stored = run.load()
    assert (stored.steps["a"].status, stored.steps["a"].resume, stored.results) == (
        StepStatus.COMPLETED,
        None,
        {"a": '{"x":1}'},
    )


def test_the_history_tells_when_a_resume_was_delivered(run):
    run.deliver("go")
    delivered = run.load().steps["a"].resume.at
    run.step("a")
    assert run.history()[-1].queued_at == delivered


def test_a_failed_resume_was_queued_when_it_was_delivered(run):
    run.deliver("go")
    delivered = run.load().steps["a"].resume.at
    run.claim("a")
    run.fail("a")
    assert run.history()[-1].queued_at == delivered


def test_a_resume_applied_after_the_end_is_discarded_without_a_number(run):
    run.deliver("go")
    delivered = run.load().steps["a"].resume.at
    run.claim("a")
    run.cancel()  # number 5
    assert (run.complete("a").verdict, run.history()[-1].sequence) == (Verdict.DISCARDED, 6)
    assert (run.history()[-1].outcome, run.history()[-1].queued_at) == ("discarded", delivered)


def test_an_early_event_is_kept(stand):
    run = stand.start()
    report = run.deliver("go", keep=True)
    assert (report.outcome, list(report.dispatches)) == (Delivered.KEPT, [])


def test_a_kept_event_is_delivered_the_moment_its_step_waits(stand):
    run = stand.start()
    run.deliver("go", '{"early":1}', keep=True)
    commitment = run.wait_at("a")
    assert (commitment.resumed, list(commitment.dispatches)) == (True, [DispatchStep("a", 1, 2)])
    assert run.claim("a").data == '{"early":1}'


def test_a_kept_event_is_due_like_any_dispatch_and_no_timeout(stand):
    run = stand.start()
    run.deliver("go", keep=True)
    run.wait_at("a", timeout=1)
    assert run.due() == {"a": run.load().steps["a"].waiting_since + 30_000_000}


def test_the_first_kept_event_stays(stand):
    run = stand.start()
    run.deliver("go", '{"n":1}', keep=True)
    assert run.deliver("go", '{"n":2}', keep=True).outcome is Delivered.KEPT
    run.wait_at("a")
    assert run.claim("a").data == '{"n":1}'


def test_a_kept_event_is_delivered_once(stand):
    run = stand.start()
    run.deliver("go", keep=True)
    run.wait_at("a")
    run.step("a")
    assert run.wait_at("b").resumed is False


def test_a_kept_event_waits_for_the_step_that_it_names(forked):
    forked.deliver("go", '{"for":"c"}', step="c", keep=True)
    assert forked.wait_at("b").resumed is False
    assert forked.wait_at("c").resumed is True


def test_an_event_kept_for_the_step_comes_before_one_kept_for_any(forked):
    forked.deliver("go", '{"for":"any"}', keep=True)
    forked.deliver("go", '{"for":"b"}', step="b", keep=True)
    forked.wait_at("b")
    forked.wait_at("c")
    assert (forked.claim("b").data, forked.claim("c").data) == ('{"for":"b"}', '{"for":"any"}')


def test_of_several_kept_events_the_first_declared_is_delivered(stand):
    run = stand.start()
    run.deliver("second", '{"n":2}', keep=True)
    run.deliver("first", '{"n":1}', keep=True)
    run.wait_at("a", accepts={"first": "ok", "second": "ok"})
    assert run.claim("a").data == '{"n":1}'


def test_keeping_is_not_needed_where_a_step_waits(run):
    assert run.deliver("go", keep=True).outcome is Delivered.ACCEPTED


def test_a_kept_event_leaves_the_run_as_it_is(stand):
    run = stand.start()
    before = run.load(), run.due()
    run.deliver("go", keep=True)
    assert (run.load(), run.due()) == before
