"""Tests of the events that a retry or a fork takes along: early ones, and the keys of those that were taken."""

from __future__ import annotations

import pytest

from hephaestus_celery.testing.conformance.storage.reruns import DIAMOND


def test_early_events_go_along_with_a_retry(stand):
    run = stand.start(DIAMOND)
    run.deliver("go", '{"x":1}', keep=True, key="evt_1")
    run.deliver("go", '{"x":2}', keep=True)
    run.cancel()
    again = run.retried()
    assert again.deliver("go", keep=True, key="evt_1").outcome == "repeated"
    assert again.wait_at("a").resumed
    claim = again.claim("a")
    assert claim.data == '{"x":1}'
    again.complete("a")
    assert again.wait_at("b").resumed
    assert again.claim("b").data == '{"x":2}'


def test_early_events_do_not_go_along_with_a_fork(stand):
    run = stand.start(DIAMOND)
    run.deliver("go", '{"x":1}', keep=True, key="evt_1")
    run.cancel()
    again = run.forked("a")
    assert not again.wait_at("a").resumed
    assert again.deliver("go", key="evt_1").outcome == "accepted"


def received(run, step, key):
    run.wait_at(step)
    run.deliver("go", key=key)
    run.claim(step)


@pytest.mark.parametrize("how", ["retried", "forked"])
def test_keys_of_kept_steps_go_along_and_no_others(stand, how):
    run = stand.start(DIAMOND)
    received(run, "a", "evt_a")
    run.complete("a")
    received(run, "b", "evt_b")
    run.wait_at("c")
    run.deliver("go", key="evt_c")
    run.complete("b")
    run.cancel()
    again = run.retried() if how == "retried" else run.forked("b")
    assert again.deliver("go", keep=True, key="evt_a").outcome == "repeated"
    assert again.deliver("go", keep=True, key="evt_c").outcome == "kept"
    assert again.deliver("go", keep=True, key="evt_b").outcome == ("repeated" if how == "retried" else "kept")


def test_the_key_of_an_early_event_belongs_to_the_step_that_it_was_for(stand):
    run = stand.start(DIAMOND)
    run.deliver("go", keep=True, key="evt_a")
    run.wait_at("a")
    run.claim("a")
    run.complete("a")
    run.cancel()
    assert run.forked("b").deliver("go", keep=True, key="evt_a").outcome == "repeated"
    later = run.forked("a", instance_id="order::b")
    assert later.deliver("go", keep=True, key="evt_a").outcome == "kept"
