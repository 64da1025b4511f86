"""Tests of event keys: an event that has a key is taken once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.resume_and_cancel import DeliveryReport
from hephaestus_celery.testing.conformance.driven import address


def test_of_events_with_one_key_one_is_accepted(receiver):
    assert receiver.deliver("go", '{"n":1}', key="evt_1").outcome is Delivered.ACCEPTED
    before = receiver.load(), receiver.due(), list(receiver.history())
    for fields in ({}, {"name": "stop"}, {"keep": True}, {"step": "b"}):
        report = receiver.deliver(**fields, key="evt_1")
        assert report == DeliveryReport(outcome=Delivered.REPEATED, run=address(receiver), status=Status.WAITING)
    assert (receiver.load(), receiver.due(), list(receiver.history())) == before
    assert receiver.claim("a").data == '{"n":1}'


def test_an_event_with_a_key_is_kept_once(stand):
    receiver = stand.start()
    receiver.deliver("go", '{"n":1}', keep=True, key="evt_1")
    assert receiver.deliver("go", '{"n":2}', keep=True, key="evt_1").outcome is Delivered.REPEATED
    assert receiver.deliver("go", '{"n":3}', keep=True, key="evt_2").outcome is Delivered.KEPT
    receiver.wait_at("a")
    assert receiver.step("a").activated
    receiver.wait_at("b")
    assert receiver.claim("b").data == '{"n":3}'


def test_a_key_is_taken_whatever_waits_by_then(receiver):
    receiver.deliver("go", key="evt_1")
    receiver.step("a")
    receiver.wait_at("b")
    assert receiver.deliver("go", key="evt_1").outcome is Delivered.REPEATED
    assert receiver.load().steps["b"].resume is None


@pytest.mark.parametrize("how", ["cancel", "complete"])
def test_a_key_is_taken_also_when_the_run_has_ended(receiver, how):
    receiver.deliver("go", key="evt_1")
    receiver.deliver("early", keep=True, key="evt_2")
    if how == "cancel":
        receiver.cancel()
    else:
        receiver.step("a")
        receiver.step("b")
    ended = receiver.load().status
    for key in ("evt_1", "evt_2"):
        assert receiver.deliver("go", key=key) == DeliveryReport(
            outcome=Delivered.REPEATED, run=address(receiver), status=ended
        )
    assert receiver.deliver("go", key="evt_3").outcome is Delivered.NOT_WAITING


def test_keys_of_one_run_are_none_of_another(stand, receiver):
    other = stand.start(instance_id="order::b")
    other.wait_at("a")
    receiver.deliver("go", key="evt_1")
    assert other.deliver("go", key="evt_1").outcome is Delivered.ACCEPTED


@pytest.mark.parametrize("fields", [{"name": "stop"}, {"step": "b"}])
def test_a_refused_event_leaves_no_key(receiver, fields):
    assert receiver.deliver(**fields, key="evt_1").outcome is Delivered.NOT_WAITING
    assert receiver.deliver("go", key="evt_1").outcome is Delivered.ACCEPTED


def test_an_ambiguous_event_leaves_no_key(forked_run):
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    assert forked_run.deliver("go", key="evt_1").outcome is Delivered.AMBIGUOUS
    assert forked_run.deliver("go", step="c", key="evt_1").outcome is Delivered.ACCEPTED
    assert forked_run.deliver("go", step="b", key="evt_1").outcome is Delivered.REPEATED


def test_of_many_senders_of_one_key_at_once_one_is_accepted_and_the_others_repeat_it(forked_run):
    forked_run.wait_at("b")
    forked_run.wait_at("c")
    barrier = Barrier(12)

    def send(number):
        barrier.wait()
        return forked_run.deliver("go", step="bc"[number % 2], key="evt_1").outcome

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(send, range(12)))
    assert sorted(outcomes) == ["accepted"] + ["repeated"] * 11


def test_a_run_takes_ten_thousand_keys_and_no_more(receiver):
    fill_with_keys(receiver, 9_999)
    assert receiver.deliver("go", key="last").outcome is Delivered.ACCEPTED
    receiver.step("a")
    assert receiver.deliver("go", keep=True, key="one more").outcome is Delivered.TOO_MANY_KEYS
    receiver.wait_at("b")
    assert receiver.deliver("go", key="one more").outcome is Delivered.TOO_MANY_KEYS
    assert receiver.deliver("go", key="number 17").outcome is Delivered.REPEATED
    assert receiver.deliver("go").outcome is Delivered.ACCEPTED


def fill_with_keys(receiver, count):
    """Let the run have taken so many keys already."""
    keys = [f"number {number}" for number in range(count)]
    receiver.probe.add_event_keys(receiver.storage, receiver.id, keys)
