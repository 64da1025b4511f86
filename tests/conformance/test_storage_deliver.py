"""Suspending steps, and the events that are delivered to them."""

from __future__ import annotations

import dataclasses
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
from hephaestus_celery.storage.interventions import DeliveryReport, RunAddress
from hephaestus_celery.storage.memory import MemoryStorage

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


def address(run):
    """What messages about a run need."""
    return RunAddress(run_id=run.id, name=run.new.name, version=run.new.version)


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
        run=address(run),
        outcome=Delivered.ACCEPTED,
        status=Status.WAITING,
        steps=report.steps,
        dispatches=report.dispatches,
    )
    assert (list(report.steps), list(report.dispatches)) == (["a"], [DispatchStep(Activation("a"), 1, 2)])


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
    assert (commitment.resumed, list(commitment.dispatches)) == (True, [DispatchStep(Activation("a"), 1, 2)])
    assert run.claim("a").data == '{"early":1}'


def test_a_kept_event_is_due_like_any_dispatch_and_no_timeout(stand):
    run = stand.start()
    run.deliver("go", keep=True)
    run.wait_at("a", timeout=1)
    assert run.due() == {"a": run.load().steps["a"].waiting_since + 30_000_000}


def test_kept_events_of_one_name_are_delivered_in_order_each_to_one_step(stand):
    run = stand.start({("a", "ok"): ["b"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]})
    for number in range(12):  # more than nine: their order is that of numbers, not of texts
        assert run.deliver("go", f'{{"n":{number}}}', keep=True).outcome is Delivered.KEPT
    given = []
    for key in "abc":
        assert run.wait_at(key).resumed
        given.append(run.claim(key).data)
        run.complete(key)
    assert given == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_kept_events_of_several_names_do_not_wait_for_each_other(stand):
    run = stand.start()
    for name in ("stop", "go", "stop"):
        run.deliver(name, f'{{"of":"{name}"}}', keep=True)
    run.wait_at("a")
    assert run.step("a").activated
    assert run.wait_at("b", accepts={"stop": "ok"}).resumed
    assert run.claim("b").data == '{"of":"stop"}'


def test_a_run_keeps_a_hundred_early_events_and_no_more(stand):
    run = stand.start()
    outcomes = [run.deliver("go" if number % 2 else "stop", keep=True).outcome for number in range(101)]
    assert outcomes == ["kept"] * 100 + ["too_many_kept"]
    assert run.deliver("go", step="a", keep=True, key="evt_1").outcome is Delivered.TOO_MANY_KEPT
    assert run.wait_at("a").resumed
    assert run.deliver("go", keep=True, key="evt_1").outcome is Delivered.KEPT  # the refused one has left no key


def test_of_events_with_one_key_one_is_accepted(run):
    assert run.deliver("go", '{"n":1}', key="evt_1").outcome is Delivered.ACCEPTED
    before = run.load(), run.due(), list(run.history())
    for fields in ({}, {"name": "stop"}, {"keep": True}, {"step": "b"}):
        report = run.deliver(**fields, key="evt_1")
        assert report == DeliveryReport(outcome=Delivered.REPEATED, run=address(run), status=Status.WAITING)
    assert (run.load(), run.due(), list(run.history())) == before
    assert run.claim("a").data == '{"n":1}'


def test_an_event_with_a_key_is_kept_once(stand):
    run = stand.start()
    run.deliver("go", '{"n":1}', keep=True, key="evt_1")
    assert run.deliver("go", '{"n":2}', keep=True, key="evt_1").outcome is Delivered.REPEATED
    assert run.deliver("go", '{"n":3}', keep=True, key="evt_2").outcome is Delivered.KEPT
    run.wait_at("a")
    assert run.step("a").activated
    run.wait_at("b")
    assert run.claim("b").data == '{"n":3}'


def test_a_key_is_taken_whatever_waits_by_then(run):
    run.deliver("go", key="evt_1")
    run.step("a")
    run.wait_at("b")
    assert run.deliver("go", key="evt_1").outcome is Delivered.REPEATED
    assert run.load().steps["b"].resume is None


@pytest.mark.parametrize("how", ["cancel", "complete"])
def test_a_key_is_taken_also_when_the_run_has_ended(run, how):
    run.deliver("go", key="evt_1")
    run.deliver("early", keep=True, key="evt_2")
    if how == "cancel":
        run.cancel()
    else:
        run.step("a")
        run.step("b")
    ended = run.load().status
    for key in ("evt_1", "evt_2"):
        assert run.deliver("go", key=key) == DeliveryReport(outcome=Delivered.REPEATED, run=address(run), status=ended)
    assert run.deliver("go", key="evt_3").outcome is Delivered.NOT_WAITING


def test_keys_of_one_run_are_none_of_another(stand, run):
    other = stand.start(instance_id="order::b")
    other.wait_at("a")
    run.deliver("go", key="evt_1")
    assert other.deliver("go", key="evt_1").outcome is Delivered.ACCEPTED


@pytest.mark.parametrize("fields", [{"name": "stop"}, {"step": "b"}])
def test_a_refused_event_leaves_no_key(run, fields):
    assert run.deliver(**fields, key="evt_1").outcome is Delivered.NOT_WAITING
    assert run.deliver("go", key="evt_1").outcome is Delivered.ACCEPTED


def test_an_ambiguous_event_leaves_no_key(forked):
    forked.wait_at("b")
    forked.wait_at("c")
    assert forked.deliver("go", key="evt_1").outcome is Delivered.AMBIGUOUS
    assert forked.deliver("go", step="c", key="evt_1").outcome is Delivered.ACCEPTED
    assert forked.deliver("go", step="b", key="evt_1").outcome is Delivered.REPEATED


def test_of_many_senders_of_one_key_at_once_one_is_accepted_and_the_others_repeat_it(forked):
    forked.wait_at("b")
    forked.wait_at("c")
    barrier = Barrier(12)

    def send(number):
        barrier.wait()
        return forked.deliver("go", step="bc"[number % 2], key="evt_1").outcome

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(send, range(12)))
    assert sorted(outcomes) == ["accepted"] + ["repeated"] * 11


def test_a_run_takes_ten_thousand_keys_and_no_more(run):
    fill_with_keys(run, 9_999)
    assert run.deliver("go", key="last").outcome is Delivered.ACCEPTED
    run.step("a")
    assert run.deliver("go", keep=True, key="one more").outcome is Delivered.TOO_MANY_KEYS
    run.wait_at("b")
    assert run.deliver("go", key="one more").outcome is Delivered.TOO_MANY_KEYS
    assert run.deliver("go", key="number 17").outcome is Delivered.REPEATED
    assert run.deliver("go").outcome is Delivered.ACCEPTED


def fill_with_keys(run, count):
    """Let the run have taken so many keys already."""
    keys = [f"number {number}" for number in range(count)]
    if isinstance(run.storage, MemoryStorage):
        record = run.storage._runs[run.id]
        record.state = dataclasses.replace(record.state, keys=frozenset(keys))
    else:
        taken = run.storage.keys.of_run(run.id)
        run.storage._client.sadd(f"{taken.prefix}taken:{run.id}", *keys)


def test_a_kept_event_is_delivered_once(stand):
    run = stand.start()
    run.deliver("go", keep=True, key="evt_1")
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


ODD_TEXTS = ["a\x1fb", "a\x1fr:a\x1f{}", "a|b", "5:a", "\x00", "a\nb", "|", "{}", "r:a", "b:a", "s:a"]


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("field", ["name", "step"])
def test_nothing_that_is_kept_forges_what_is_read_of_its_run(stand, text, field):
    run = stand.start(config='{"n":1}')
    run.claim("a")
    before = run.load()
    try:
        run.deliver(**{field: text}, keep=True)
    except StorageError:
        assert run.load() == before  # it is refused at the latest here
    after = run.load()
    for part in ("header", "initial", "steps", "results", "metadata", "configs"):
        assert getattr(after, part) == getattr(before, part)
    run.complete("a", result='{"r":1}')
    assert run.claim("b", predecessors=["a"]).run.results == {"a": '{"r":1}'}
