"""Tests of wide steps: thousands of following steps, the same in every storage, settled in slices or not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import AlreadyRunningError

WIDE = 1300
BRANCHES = [f"b{number}" for number in range(WIDE)]
FAN = {
    ("a", "ok"): BRANCHES,
    ("a", "no"): ["other"],
    ("a", "end"): ["done"],
    **{(branch, "ok"): ["join"] for branch in BRANCHES},
    ("join", "ok"): ["last"],
    ("other", "ok"): ["last"],
    ("last", "ok"): ["done"],
}


def by_status(fan_run):
    """How many steps there are in each status."""
    return Counter(state.status for state in fan_run.load().steps.values())


@pytest.fixture
def fan_run(stand):
    """A run whose first step thousands may follow."""
    return stand.start(FAN)


def test_all_branches_start_in_the_order_of_declaration(fan_run):
    fan_run.claim("a")
    commitment = fan_run.complete("a", lanes=dict.fromkeys([*BRANCHES, "other", "last"], "0:celery"))
    assert list(commitment.activated) == BRANCHES
    assert [dispatch.activation.step for dispatch in commitment.dispatches] == BRANCHES
    assert (commitment.verdict, commitment.active, commitment.status_after) == ("applied", WIDE, "running")
    assert by_status(fan_run) == {StepStatus.COMPLETED: 1, StepStatus.ACTIVE: WIDE, StepStatus.SKIPPED: 1}
    assert fan_run.lanes() == dict.fromkeys(BRANCHES, "0:celery")
    assert fan_run.due() == {}


def test_branches_of_no_lane_are_due_after_the_dispatch_timeout(fan_run):
    fan_run.claim("a")
    fan_run.complete("a")
    assert fan_run.due().keys() == set(BRANCHES)


def test_each_branch_has_its_attempts_and_config(stand):
    fan_run = stand.start({**FAN, ("a", "ok"): [(branch, {"number": branch}) for branch in BRANCHES]})
    fan_run.claim("a")
    attempts = {branch: 1 + number % 3 for number, branch in enumerate(BRANCHES)}
    fan_run.complete("a", attempts=dict.fromkeys(["other", "last", "done"], 1) | attempts)
    steps = fan_run.load().steps
    assert {branch: steps[branch].max_attempts for branch in BRANCHES} == attempts
    claim = fan_run.claim("b1299")
    assert json.loads(claim.run.configs["b1299"]) == {"number": "b1299"}


def test_what_is_not_taken_is_skipped_to_its_end(fan_run):
    fan_run.claim("a")
    commitment = fan_run.complete("a", "no")
    assert list(commitment.activated) == ["other"]
    assert by_status(fan_run) == {StepStatus.COMPLETED: 1, StepStatus.ACTIVE: 1, StepStatus.SKIPPED: WIDE + 1}
    fan_run.step("other")
    fan_run.step("last")
    assert fan_run.load().status == "completed"


def test_done_ends_the_run_when_all_is_settled(fan_run):
    claim = fan_run.claim("a")
    commitment = fan_run.complete("a", "end")
    assert (commitment.status_after, list(commitment.activated)) == ("completed", ["done"])
    assert (list(commitment.completed), commitment.active) == (["a", "done"], 0)
    assert commitment.finished_at >= claim.claimed_at
    assert commitment.start == fan_run.load().start
    assert [entry.sequence - commitment.sequence for entry in fan_run.history()] == [0, 4]
    while fan_run.storage.tick(0, owner="me", worker="w", seize=True, durations=fan_run.durations).more:
        pass
    assert fan_run.due() == {}


def test_a_join_starts_once_all_branches_have_come(fan_run):
    fan_run.step("a")
    for branch in BRANCHES:
        fan_run.claim(branch)
        commitment = fan_run.complete(branch)
        assert list(commitment.activated) == (["join"] if branch == BRANCHES[-1] else [])
    assert commitment.active == 1


def test_a_repeated_commit_is_answered_and_changes_nothing(fan_run):
    fan_run.claim("a")
    completion = fan_run.completion("a")
    first = fan_run.storage.commit(completion)
    before = fan_run.load()
    again = fan_run.storage.commit(completion)
    assert fan_run.load() == before
    assert again.verdict in ("applied", "stale")
    assert again.sequence in (first.sequence, 0)


def test_a_decision_on_an_older_context_conflicts_and_starts_nothing(stand):
    fan_run = stand.start({**FAN, ("first", "ok"): ["a", "beside"], ("beside", "ok"): ["last"]})
    fan_run.step("first")
    fan_run.claim("a")
    before = fan_run.load()
    commitment = fan_run.complete("a", expected=before.applied - 1)
    assert commitment.verdict == "conflict"
    assert fan_run.load() == before
    assert fan_run.complete("a", expected=before.applied).active == WIDE + 1


def test_a_run_that_has_nothing_left_to_do_has_failed(fan_run):
    # As if the definition had been changed under the run: a step has a predecessor that never comes.
    fan_run.claim("a")
    settlement = fan_run.completion("a", "no").settlement
    rows = {**settlement.rows, "other": replace(settlement.rows["other"], predecessors=2)}
    commitment = fan_run.complete("a", "no", settlement=replace(settlement, rows=rows), stuck='{"kind":"stuck"}')
    assert (commitment.status_after, list(commitment.activated)) == ("failed", [])
    assert fan_run.load().failure == '{"kind":"stuck"}'


def test_a_run_may_begin_with_thousands(stand):
    firsts = {(branch, "ok"): ["join"] for branch in BRANCHES}
    fan_run = stand.start({**firsts, ("join", "ok"): ["done"]}, config='{"n":1}')
    assert [dispatch.activation.step for dispatch in fan_run.dispatched] == BRANCHES
    assert by_status(fan_run) == {StepStatus.ACTIVE: WIDE}
    assert fan_run.load().active == WIDE
    assert fan_run.load().status == "pending"
    first, second = fan_run.claim("b7"), fan_run.claim("b8")
    assert (first.first, second.first) == (True, False)
    assert first.run.configs["b7"] == '{"n":1}'
    assert fan_run.load().status == "running"


def test_an_id_is_unique_among_runs_that_begin_with_thousands(stand, storage):
    firsts = {(branch, "ok"): ["done"] for branch in BRANCHES}
    fan_run = stand.start(firsts)
    with pytest.raises(AlreadyRunningError, match=fan_run.id):
        stand.start(firsts)
    assert list(storage.candidates("order::a", family=None).active) == [fan_run.id]
