"""Tests of resumes: steps that wait, and the events that are delivered to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.resume_and_cancel import DeliveryReport
from hephaestus_celery.testing.conformance.driven import address

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
ODD_TEXTS = ["a\x1fb", "a\x1fr:a\x1f{}", "a|b", "5:a", "\x00", "a\nb", "|", "{}", "r:a", "b:a", "s:a"]


def test_a_suspended_step_waits(stand):
    receiver = stand.start()
    commitment = receiver.wait_at("a")
    assert (commitment.verdict, commitment.status_after, commitment.active, commitment.resumed) == (
        Verdict.APPLIED,
        Status.WAITING,
        0,
        False,
    )
    assert (receiver.load().status, receiver.load().steps["a"].status) == (Status.WAITING, StepStatus.WAITING)


def test_suspending_reserves_one_number_and_ticks_no_engine(stand):
    receiver = stand.start()
    commitment = receiver.wait_at("a")
    assert (commitment.sequence, commitment.advance) == (4, 1)


def test_a_waiting_step_knows_what_it_accepts_and_since_when(receiver):
    step = receiver.load().steps["a"]
    assert (step.accepts, step.fence, step.dispatch) == ({"go": "ok"}, None, 2)
    assert step.claimed_at <= step.waiting_since


def test_a_step_may_accept_nothing(stand):
    receiver = stand.start()
    receiver.wait_at("a", accepts={})
    assert receiver.load().steps["a"].accepts == {}


def test_a_wait_without_a_timeout_is_never_due(receiver):
    assert receiver.due() == {}


def test_a_timeout_is_due_when_it_is_over(stand):
    receiver = stand.start()
    receiver.wait_at("a", timeout=5_000_000)
    assert receiver.due() == {"a": receiver.load().steps["a"].waiting_since + 5_000_000}


def test_a_run_with_an_active_branch_is_running_while_another_waits(forked_run):
    assert forked_run.wait_at("b").status_after is Status.RUNNING
    assert forked_run.wait_at("c").status_after is Status.WAITING


def test_completing_the_last_active_branch_leaves_the_run_waiting(forked_run):
    forked_run.wait_at("b")
    assert forked_run.step("c").status_after is Status.WAITING


def test_a_wait_is_in_the_history(receiver):
    assert [(entry.sequence, entry.outcome) for entry in receiver.history()] == [(4, "waiting")]


def test_an_event_is_accepted_and_dispatched_with_the_next_token(receiver):
    report = receiver.deliver("go")
    assert report == DeliveryReport(
        run=address(receiver),
        outcome=Delivered.ACCEPTED,
        status=Status.WAITING,
        steps=report.steps,
        dispatches=report.dispatches,
    )
    assert (list(report.steps), list(report.dispatches)) == (["a"], [DispatchStep(Activation("a"), 1, 2)])


def test_an_accepted_event_is_due_after_the_dispatch_timeout(receiver):
    receiver.deliver("go")
    assert receiver.due() == {"a": receiver.load().steps["a"].resume.at + 30_000_000}


def test_an_accepted_event_is_stored_as_the_step_knows_it(receiver):
    receiver.deliver("go")
    resume = receiver.load().steps["a"].resume
    assert (resume.event, resume.source) == ("ok", "external")


def test_an_event_is_accepted_once(receiver):
    receiver.deliver("go")
    assert receiver.deliver("go").outcome is Delivered.NOT_WAITING


def test_of_many_senders_at_once_exactly_one_is_accepted(receiver):
    barrier = Barrier(12)

    def send(number):
        barrier.wait()
        return receiver.deliver("go", f'{{"n":{number}}}').outcome

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(send, range(12)))
    assert sorted(outcomes) == ["accepted"] + ["not_waiting"] * 11
    assert receiver.claim("a").data == f'{{"n":{outcomes.index("accepted")}}}'


def test_an_event_that_nothing_waits_for_is_refused(receiver):
    report = receiver.deliver("stop")
    assert (report.outcome, list(report.steps), list(report.dispatches)) == (Delivered.NOT_WAITING, [], [])


@pytest.mark.parametrize("fields", [{"name": "stop"}, {"name": "go", "step": "b"}, {"name": "a|b\n"}])
def test_a_refused_event_leaves_no_trace(receiver, fields):
    before = receiver.load(), receiver.due(), list(receiver.history())
    receiver.deliver(**fields)
    assert (receiver.load(), receiver.due(), list(receiver.history())) == before


def test_a_step_that_is_not_claimed_is_not_executing(stand):
    report = stand.start().deliver("go")
    assert (report.outcome, report.status, list(report.executing)) == (Delivered.NOT_WAITING, Status.PENDING, [])


def test_a_refusal_names_the_steps_being_executed(forked_run):
    forked_run.claim("b")
    forked_run.claim("c")
    assert sorted(forked_run.deliver("go").executing) == ["b", "c"]


def test_an_event_for_one_step_looks_at_that_step_alone(forked_run):
    forked_run.claim("b")
    forked_run.wait_at("c")
    report = forked_run.deliver("go", step="b")
    assert (report.outcome, list(report.executing), list(report.steps)) == (Delivered.NOT_WAITING, ["b"], [])


def test_an_event_that_several_wait_for_is_ambiguous(forked_run):
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    before = forked_run.load()
    report = forked_run.deliver("go")
    assert (report.outcome, sorted(report.steps), list(report.dispatches)) == (Delivered.AMBIGUOUS, ["b", "c"], [])
    assert forked_run.load() == before


def test_naming_the_step_resolves_it(forked_run):
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    report = forked_run.deliver("go", step="c")
    assert (report.outcome, list(report.steps)) == (Delivered.ACCEPTED, ["c"])
    assert forked_run.load().steps["b"].resume is None


def test_of_two_waiting_steps_the_one_that_has_its_event_waits_no_more(forked_run):
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    forked_run.deliver("go", step="c")
    assert list(forked_run.deliver("go").steps) == ["b"]


def test_an_event_for_an_unknown_run_is_refused(stand):
    assert stand.prepare().deliver("go").outcome is Delivered.UNKNOWN_RUN


@pytest.mark.parametrize("keep", [False, True])
def test_an_event_for_an_ended_run_is_refused(receiver, keep):
    receiver.cancel()
    report = receiver.deliver("go", keep=keep)
    assert (report.outcome, report.status) == (Delivered.NOT_WAITING, Status.CANCELLED)


def test_the_claim_of_a_delivered_event_brings_the_event_and_its_data(receiver):
    waiting_since = receiver.load().steps["a"].waiting_since
    receiver.deliver("go", '{"paid":true,"list":[]}')
    claim = receiver.claim("a")
    assert (claim.data, claim.resume.event, claim.resume.source, claim.waiting_since, claim.first) == (
        '{"paid":true,"list":[]}',
        "ok",
        "external",
        waiting_since,
        False,
    )


def test_the_claim_of_a_delivered_event_reserves_no_number(receiver):
    receiver.deliver("go")
    assert receiver.claim("a").sequence == 5
    assert receiver.complete("a").sequence == 5


def test_a_delivered_event_is_claimed_once(receiver):
    receiver.deliver("go")
    receiver.claim("a")
    assert receiver.claim("a") == Refusal(reason=Refused.TAKEN)


def test_a_run_waits_until_its_event_is_applied(receiver):
    receiver.deliver("go")
    assert receiver.claim("a").run.status is Status.WAITING
    commitment = receiver.complete("a", result='{"x":1}')
    assert (commitment.status_before, commitment.status_after, commitment.active) == (
        Status.WAITING,
        Status.RUNNING,
        1,
    )


def test_an_applied_event_completes_its_step(receiver):
    receiver.deliver("go")
    receiver.claim("a")
    receiver.complete("a", result='{"x":1}')
    stored = receiver.load()
    assert (stored.steps["a"].status, stored.steps["a"].resume, stored.results) == (
        StepStatus.COMPLETED,
        None,
        {"a": '{"x":1}'},
    )


def test_the_history_shows_when_a_resume_was_delivered(receiver):
    receiver.deliver("go")
    delivered = receiver.load().steps["a"].resume.at
    receiver.step("a")
    assert receiver.history()[-1].queued_at == delivered


def test_a_failed_resume_was_queued_when_it_was_delivered(receiver):
    receiver.deliver("go")
    delivered = receiver.load().steps["a"].resume.at
    receiver.claim("a")
    receiver.fail("a")
    assert receiver.history()[-1].queued_at == delivered


def test_a_resume_applied_after_the_end_is_discarded_without_a_number(receiver):
    receiver.deliver("go")
    delivered = receiver.load().steps["a"].resume.at
    receiver.claim("a")
    receiver.cancel()  # number 5
    assert (receiver.complete("a").verdict, receiver.history()[-1].sequence) == (Verdict.DISCARDED, 6)
    assert (receiver.history()[-1].outcome, receiver.history()[-1].queued_at) == ("discarded", delivered)


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("field", ["name", "step"])
def test_nothing_that_is_kept_forges_what_is_read_of_its_run(stand, text, field):
    receiver = stand.start(config='{"n":1}')
    receiver.claim("a")
    before = receiver.load()
    try:
        receiver.deliver(**{field: text}, keep=True)
    except StorageError:
        assert receiver.load() == before  # it is refused at the latest here
    after = receiver.load()
    for part in ("header", "initial", "steps", "results", "metadata", "configs"):
        assert getattr(after, part) == getattr(before, part)
    receiver.complete("a", result='{"r":1}')
    assert receiver.claim("b", predecessors=["a"]).run.results == {"a": '{"r":1}'}
