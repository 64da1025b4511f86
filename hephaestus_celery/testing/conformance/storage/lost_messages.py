"""Tests of lost messages: one that nobody claims is sent again."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.testing.conformance.sent import rescues

SECOND = 1_000_000

# Messages that nobody claims


def test_a_message_that_nobody_claims_is_sent_again_under_a_new_token(lossy):
    run = lossy.start()
    [entry] = lossy.entries(1)
    assert (entry.kind, entry.run_id, entry.dispatch) == (Due.REDISPATCH, run.id, DispatchStep(Activation("a"), 1, 2))


def test_tokens_are_never_used_twice(lossy):
    lossy.start()
    assert [entry.dispatch.token for entry in lossy.entries(5)] == [2, 3, 4, 5, 6]


def test_a_message_is_sent_again_at_growing_intervals(stand):
    run = stand.start()
    timeout, intervals = 30_000_000, []
    for _ in range(5):
        run.probe.set_due(stand.storage, run.id, "a", 1)
        stand.entries(1)
        intervals.append(run.due()["a"] - stand.storage.now())
    for interval, factor in zip(intervals, [2, 4, 8, 8, 8], strict=True):
        assert 0.75 * factor * timeout - SECOND < interval < 1.25 * factor * timeout


def test_sending_a_message_again_is_recorded_as_a_rescue(lossy):
    run = lossy.start()
    [entry] = lossy.entries(1)
    assert entry.sequence == 1
    assert rescues(run) == [
        (
            1,
            {"kind": "rescue", "step": "a", "attempt": 1, "reason": "message not claimed", "worker": "w1"},
        )
    ]


def test_a_message_sent_again_changes_no_status(lossy):
    run = lossy.start()
    lossy.entries(1)
    assert run.load().status is Status.PENDING


def test_a_message_sent_again_can_be_claimed(lossy):
    run = lossy.start()
    lossy.entries(1)
    claim = run.claim("a")
    assert (claim.first, claim.sequence) == (True, 2)


def test_a_claimed_message_is_not_sent_again(lossy):
    run = lossy.start()
    run.claim("a")
    lossy.calm()


def test_the_message_of_an_activated_step_is_sent_again(lossy):
    run = lossy.start()
    run.step("a")
    assert [(entry.kind, entry.dispatch.activation.step) for entry in lossy.entries(1)] == [(Due.REDISPATCH, "b")]


def test_the_message_of_a_retry_is_sent_again(lossy):
    run = lossy.start()
    run.claim("a")
    run.retry("a")
    assert [(entry.kind, entry.dispatch) for entry in lossy.entries(2)] == [
        (Due.RETRY, DispatchStep(Activation("a"), 2, 2)),
        (Due.REDISPATCH, DispatchStep(Activation("a"), 2, 3)),
    ]


@pytest.mark.parametrize("source", ["delivery", "timeout"])
def test_the_message_of_an_event_is_sent_again(lossy, source):
    run = lossy.start()
    run.wait_at("a", timeout=0 if source == "timeout" else None)
    if source == "delivery":
        run.deliver("go")
    else:
        assert lossy.entries(1)[0].kind is Due.TIMEOUT
    [entry] = lossy.entries(1)
    assert (entry.kind, entry.dispatch) == (Due.REDISPATCH, DispatchStep(Activation("a"), 1, 3))
    assert isinstance(run.claim("a"), Claim)


def test_an_ended_run_sends_nothing_again(lossy):
    run = lossy.start()
    run.cancel()
    lossy.calm()
    assert rescues(run) == []
