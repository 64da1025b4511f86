"""Tests of early events: one that comes before its step waits is kept for it."""

from __future__ import annotations

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.values.activation import Activation


def test_an_early_event_is_kept(stand):
    receiver = stand.start()
    report = receiver.deliver("go", keep=True)
    assert (report.outcome, list(report.dispatches)) == (Delivered.KEPT, [])


def test_a_kept_event_is_delivered_the_moment_its_step_waits(stand):
    receiver = stand.start()
    receiver.deliver("go", '{"early":1}', keep=True)
    commitment = receiver.wait_at("a")
    assert (commitment.resumed, list(commitment.dispatches)) == (True, [DispatchStep(Activation("a"), 1, 2)])
    assert receiver.claim("a").data == '{"early":1}'


def test_a_kept_event_is_due_like_any_dispatch_and_no_timeout(stand):
    receiver = stand.start()
    receiver.deliver("go", keep=True)
    receiver.wait_at("a", timeout=1)
    assert receiver.due() == {"a": receiver.load().steps["a"].waiting_since + 30_000_000}


def test_kept_events_of_one_name_are_delivered_in_order_each_to_one_step(stand):
    receiver = stand.start({("a", "ok"): ["b"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]})
    for number in range(12):  # more than nine: their order is that of numbers, not of texts
        assert receiver.deliver("go", f'{{"n":{number}}}', keep=True).outcome is Delivered.KEPT
    given = []
    for key in "abc":
        assert receiver.wait_at(key).resumed
        given.append(receiver.claim(key).data)
        receiver.complete(key)
    assert given == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_kept_events_of_several_names_do_not_wait_for_each_other(stand):
    receiver = stand.start()
    for name in ("stop", "go", "stop"):
        receiver.deliver(name, f'{{"of":"{name}"}}', keep=True)
    receiver.wait_at("a")
    assert receiver.step("a").activated
    assert receiver.wait_at("b", accepts={"stop": "ok"}).resumed
    assert receiver.claim("b").data == '{"of":"stop"}'


def test_a_run_keeps_a_hundred_early_events_and_no_more(stand):
    receiver = stand.start()
    outcomes = [receiver.deliver("go" if number % 2 else "stop", keep=True).outcome for number in range(101)]
    assert outcomes == ["kept"] * 100 + ["too_many_kept"]
    assert receiver.deliver("go", step="a", keep=True, key="evt_1").outcome is Delivered.TOO_MANY_KEPT
    assert receiver.wait_at("a").resumed
    assert receiver.deliver("go", keep=True, key="evt_1").outcome is Delivered.KEPT  # the refused one has left no key


def test_a_kept_event_is_delivered_once(stand):
    receiver = stand.start()
    receiver.deliver("go", keep=True, key="evt_1")
    receiver.wait_at("a")
    receiver.step("a")
    assert receiver.wait_at("b").resumed is False


def test_a_kept_event_waits_for_the_step_that_it_names(forked_run):
    forked_run.deliver("go", '{"for":"c"}', step="c", keep=True)
    assert forked_run.wait_at("b").resumed is False
    assert forked_run.wait_at("c").resumed is True


def test_an_event_kept_for_the_step_comes_before_one_kept_for_any(forked_run):
    forked_run.deliver("go", '{"for":"any"}', keep=True)
    forked_run.deliver("go", '{"for":"b"}', step="b", keep=True)
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    assert (forked_run.claim("b").data, forked_run.claim("c").data) == ('{"for":"b"}', '{"for":"any"}')


def test_of_several_kept_events_the_first_declared_is_delivered(stand):
    receiver = stand.start()
    receiver.deliver("second", '{"n":2}', keep=True)
    receiver.deliver("first", '{"n":1}', keep=True)
    receiver.wait_at("a", accepts={"first": "ok", "second": "ok"})
    assert receiver.claim("a").data == '{"n":1}'


def test_keeping_is_not_needed_where_a_step_waits(receiver):
    assert receiver.deliver("go", keep=True).outcome is Delivered.ACCEPTED


def test_a_kept_event_leaves_the_run_as_it_is(stand):
    receiver = stand.start()
    before = receiver.load(), receiver.due()
    receiver.deliver("go", keep=True)
    assert (receiver.load(), receiver.due()) == before
