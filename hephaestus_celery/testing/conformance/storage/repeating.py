"""What a step keeps so that another run may repeat it: a computed route's targets, its idempotency key's origin."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.storage.instances import decode_instance

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
WIDE = {
    ("a", "ok"): [f"w{number}" for number in range(600)],
    **{(f"w{number}", "ok"): ["done"] for number in range(600)},
}
ORIGIN = "01a226b4-835b-72e5-b452-007a4a9aa19a"


@pytest.mark.parametrize("edges", [FORK, WIDE], ids=["narrow", "wide"])
def test_a_step_keeps_the_targets_of_a_computed_route(stand, edges):
    run = stand.start(edges)
    run.claim("a")
    run.complete("a", computed=True)
    assert stand.storage.read_states(run.id, ["a"])["a"].targets == tuple(edges["a", "ok"])


def test_targets_that_follow_from_the_event_are_not_kept(stand):
    run = stand.start(FORK)
    run.step("a")
    assert run.load().steps["a"].targets is None


def test_a_conflict_keeps_no_targets(stand):
    run = stand.start(FORK)
    run.claim("a")
    run.complete("a", computed=True, expected=7)
    assert (run.load().steps["a"].status, run.load().steps["a"].targets) == (StepStatus.ACTIVE, None)


def test_no_step_has_an_origin_of_its_own(stand):
    run = stand.start(FORK)
    run.step("a")
    assert {state.origin for state in run.load().steps.values()} == {None}


@pytest.fixture
def repeated(hasty):
    """A run whose first step repeats the key of another run; leases run out at once."""
    run = hasty.start()
    run.probe.set_origin(hasty.storage, run.id, "a", ORIGIN)
    return run


def origin(run, step="a"):
    return run.load().steps[step].origin


def test_a_claim_brings_the_origin_and_a_retry_and_the_completion_keep_it(repeated, hasty):
    claim = repeated.claim("a")
    assert claim.run.steps["a"].origin == ORIGIN
    repeated.retry("a")
    assert [entry.kind for entry in hasty.entries(1)] == [Due.RETRY]
    assert origin(repeated) == ORIGIN
    assert repeated.claim("a", 2).run.steps["a"].origin == ORIGIN
    repeated.complete("a")
    assert (origin(repeated), origin(repeated, "b")) == (ORIGIN, None)


def test_whoever_executes_the_step_is_given_the_key_of_its_origin(repeated):
    instance = decode_instance(repeated.claim("a").run, reader=repeated.storage)
    step = repeated.graph.by_key["a"]
    assert instance.idempotency_key(step) == f"{ORIGIN}:a"
    assert not instance.is_made("step_states")  # the other states were not read for it
    assert instance.idempotency_key(repeated.graph.by_key["b"]) == f"{repeated.id}:b"


def test_a_step_that_waits_and_is_resumed_keeps_its_origin(repeated):
    repeated.wait_at("a")
    assert origin(repeated) == ORIGIN
    repeated.deliver("go")
    assert origin(repeated) == ORIGIN
    assert repeated.claim("a").run.steps["a"].origin == ORIGIN


def test_a_step_that_times_out_keeps_its_origin(repeated, hasty):
    repeated.wait_at("a", accepts={"timeout": "timeout"}, timeout=0)
    assert [entry.kind for entry in hasty.entries(1)] == [Due.TIMEOUT]
    assert origin(repeated) == ORIGIN


def test_an_attempt_that_is_rescued_keeps_its_origin(repeated, hasty):
    repeated.claim("a")
    [entry] = hasty.entries(1)
    assert (entry.kind, entry.run.step.origin) == (Due.LEASE_EXPIRED, ORIGIN)
    repeated.fences["a"] = entry.attempt.fence
    repeated.retry("a")
    assert origin(repeated) == ORIGIN


def test_a_message_that_is_sent_again_keeps_the_origin(lossy):
    run = lossy.start()
    run.probe.set_origin(lossy.storage, run.id, "a", ORIGIN)
    assert [entry.kind for entry in lossy.entries(1)] == [Due.REDISPATCH]
    assert origin(run) == ORIGIN


def test_an_attempt_that_fails_keeps_its_origin(repeated):
    repeated.claim("a")
    repeated.fail("a")
    assert origin(repeated) == ORIGIN
