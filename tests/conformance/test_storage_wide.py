"""Steps that thousands follow: the same in both storages, although one of them settles such in slices."""

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


def by_status(run):
    """How many steps there are in each status."""
    return Counter(state.status for state in run.load().steps.values())


@pytest.fixture
def run(stand):
    """A run whose first step thousands may follow."""
    return stand.start(FAN)


def test_all_branches_start_in_the_order_of_declaration(run):
    run.claim("a")
    commitment = run.complete("a", lanes=dict.fromkeys([*BRANCHES, "other", "last"], "0:celery"))
    assert list(commitment.activated) == BRANCHES
    assert [dispatch.activation.step for dispatch in commitment.dispatches] == BRANCHES
    assert (commitment.verdict, commitment.active, commitment.status_after) == ("applied", WIDE, "running")
    assert by_status(run) == {StepStatus.COMPLETED: 1, StepStatus.ACTIVE: WIDE, StepStatus.SKIPPED: 1}
    assert run.lanes() == dict.fromkeys(BRANCHES, "0:celery")
    assert run.due() == {}


def test_branches_of_no_lane_are_due_after_the_dispatch_timeout(run):
    run.claim("a")
    run.complete("a")
    assert run.due().keys() == set(BRANCHES)


def test_each_branch_has_its_attempts_and_config(stand):
    run = stand.start({**FAN, ("a", "ok"): [(branch, {"number": branch}) for branch in BRANCHES]})
    run.claim("a")
    attempts = {branch: 1 + number % 3 for number, branch in enumerate(BRANCHES)}
    run.complete("a", attempts=dict.fromkeys(["other", "last", "done"], 1) | attempts)
    steps = run.load().steps
    assert {branch: steps[branch].max_attempts for branch in BRANCHES} == attempts
    claim = run.claim("b1299")
    assert json.loads(claim.run.configs["b1299"]) == {"number": "b1299"}


def test_what_is_not_taken_is_skipped_to_its_end(run):
    run.claim("a")
    commitment = run.complete("a", "no")
    assert list(commitment.activated) == ["other"]
    assert by_status(run) == {StepStatus.COMPLETED: 1, StepStatus.ACTIVE: 1, StepStatus.SKIPPED: WIDE + 1}
    run.step("other")
    run.step("last")
    assert run.load().status == "completed"


def test_done_ends_the_run_when_all_is_settled(run):
    claim = run.claim("a")
    commitment = run.complete("a", "end")
    assert (commitment.status_after, list(commitment.activated)) == ("completed", ["done"])
    assert (list(commitment.completed), commitment.active) == (["a", "done"], 0)
    assert commitment.finished_at >= claim.claimed_at
    assert commitment.start == run.load().start
    assert [entry.sequence - commitment.sequence for entry in run.history()] == [0, 4]
    while run.storage.tick(0, owner="me", worker="w", seize=True).more:
        pass
    assert run.due() == {}


def test_a_join_starts_once_all_branches_have_come(run):
    run.step("a")
    for branch in BRANCHES:
        run.claim(branch)
        commitment = run.complete(branch)
        assert list(commitment.activated) == (["join"] if branch == BRANCHES[-1] else [])
    assert commitment.active == 1


def test_a_repeated_commit_is_answered_and_changes_nothing(run):
    run.claim("a")
    completion = run.completion("a")
    first = run.storage.commit(completion)
    before = run.load()
    again = run.storage.commit(completion)
    assert run.load() == before
    assert again.verdict in ("applied", "stale")
    assert again.sequence in (first.sequence, 0)


def test_a_decision_on_an_older_context_conflicts_and_starts_nothing(stand):
    run = stand.start({**FAN, ("first", "ok"): ["a", "beside"], ("beside", "ok"): ["last"]})
    run.step("first")
    run.claim("a")
    before = run.load()
    commitment = run.complete("a", expected=before.applied - 1)
    assert commitment.verdict == "conflict"
    assert run.load() == before
    assert run.complete("a", expected=before.applied).active == WIDE + 1


def test_a_run_that_has_nothing_left_to_do_has_failed(run):
    # As if the definition had been changed under the run: a step has a predecessor that never comes.
    run.claim("a")
    settlement = run.completion("a", "no").settlement
    rows = {**settlement.rows, "other": replace(settlement.rows["other"], predecessors=2)}
    commitment = run.complete("a", "no", settlement=replace(settlement, rows=rows), stuck='{"kind":"stuck"}')
    assert (commitment.status_after, list(commitment.activated)) == ("failed", [])
    assert run.load().failure == '{"kind":"stuck"}'


def test_a_run_may_begin_with_thousands(stand):
    firsts = {(branch, "ok"): ["join"] for branch in BRANCHES}
    run = stand.start({**firsts, ("join", "ok"): ["done"]}, config='{"n":1}')
    assert [dispatch.activation.step for dispatch in run.dispatched] == BRANCHES
    assert by_status(run) == {StepStatus.ACTIVE: WIDE}
    assert run.load().active == WIDE
    assert run.load().status == "pending"
    first, second = run.claim("b7"), run.claim("b8")
    assert (first.first, second.first) == (True, False)
    assert first.run.configs["b7"] == '{"n":1}'
    assert run.load().status == "running"


def test_an_id_is_unique_among_runs_that_begin_with_thousands(stand, storage):
    firsts = {(branch, "ok"): ["done"] for branch in BRANCHES}
    run = stand.start(firsts)
    with pytest.raises(AlreadyRunningError, match=run.id):
        stand.start(firsts)
    assert list(storage.candidates("order::a", family=None).active) == [run.id]
