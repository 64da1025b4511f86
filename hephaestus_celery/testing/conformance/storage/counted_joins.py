"""Tests of counted joins: they start with their number, once; what is left behind holds the run up no longer."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.storage.schema import EDGES

RACE = {
    ("a", "ok"): ["x", "y", "z"],
    ("x", "ok"): ["j"],
    ("y", "ok"): ["j"],
    ("z", "ok"): ["j"],
    ("j", "ok"): ["k"],
    ("k", "ok"): ["done"],
}
# Each branch may stop short of the join.
FALLING = {**RACE, **{(key, "no"): ["f"] for key in "xyz"}, ("f", "ok"): ["k"]}
MANY = 1000


def race(stand, number, edges=RACE):
    run = stand.start(edges, joins={"j": number}, schema=EDGES)
    run.step("a")
    return run


def standing_of(run):
    return {key: step.status.value for key, step in run.load().steps.items()}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_counted_join_starts_with_its_number(stand, number):
    run = race(stand, number)
    started = [list(run.step(key).activated) for key in "xyz"]
    assert started == [["j"] if place == number else [] for place in (1, 2, 3)]


def test_later_arrivals_change_nothing(stand):
    run = race(stand, 1)
    run.step("y")
    run.step("j")
    commitment = run.step("x")
    assert (commitment.verdict, list(commitment.activated), commitment.status_after) == (
        Verdict.APPLIED,
        [],
        Status.RUNNING,
    )
    assert standing_of(run) == {
        "a": "completed",
        "x": "completed",
        "y": "completed",
        "z": "active",
        "j": "completed",
        "k": "active",
    }


def test_a_counted_join_is_skipped_when_so_many_can_not_come_any_more(stand):
    run = race(stand, 2, FALLING)
    run.step("x", "no")
    assert "j" not in standing_of(run)
    run.step("y", "no")
    assert standing_of(run)["j"] == "skipped"
    assert run.load().shortfall == Shortfall(step="j", needed=2, predecessors=3, came=0)
    run.step("z")
    assert list(run.step("f").activated) == ["k"]


def test_all_is_missed_with_the_first_that_does_not_come(stand):
    run = race(stand, 3, FALLING)
    run.step("x")
    run.step("y", "no")
    assert run.load().shortfall == Shortfall(step="j", needed=3, predecessors=3, came=1)


def test_the_run_completes_while_a_step_before_the_join_still_runs(stand):
    run = race(stand, 1)
    run.claim("z")
    for key in "xjk":
        commitment = run.step(key)
    assert (commitment.status_after, commitment.active, list(commitment.completed)) == (
        Status.COMPLETED,
        0,
        ["a", "x", "j", "k", "done"],
    )
    assert run.due() == {}
    assert run.complete("z").verdict is Verdict.DISCARDED
    assert [entry.outcome for entry in run.history()] == ["completed"] * 5 + ["discarded"]
    assert not run.renew("z")


def test_a_step_that_nobody_has_begun_is_not_begun_any_more(stand):
    run = race(stand, 1)
    for key in "xjk":
        run.step(key)
    assert run.claim("z").reason == "stale"


def test_the_run_completes_while_a_step_before_the_join_waits(stand):
    run = race(stand, 1)
    run.wait_at("z", timeout=60_000_000)
    for key in "xjk":
        commitment = run.step(key)
    assert commitment.status_after is Status.COMPLETED
    assert run.due() == {}
    assert run.deliver().outcome == "not_waiting"
    assert list(stand.tick().entries) == []


def test_a_step_that_fails_still_fails_the_run(stand):
    run = race(stand, 1)
    run.step("x")
    run.claim("y")
    run.fail("y")
    assert run.load().status is Status.FAILED


def test_a_failure_that_a_transition_takes_does_not(stand):
    edges = {**RACE, ("y", FAILED): ["f"], ("f", "ok"): ["done"]}
    run = race(stand, 2, edges)
    run.claim("y")
    run.complete("y", FAILED, result='{"kind":"error","type":"ValueError","message":"no"}')
    for key in "fxz":
        run.step(key)
    run.step("j")
    assert run.step("k").status_after is Status.COMPLETED


def test_a_run_in_which_nothing_else_leads_to_done_fails_and_says_which_join(stand):
    run = race(stand, 4, {**RACE, **{(key, "no"): ["f"] for key in "xyz"}, ("f", "ok"): ["j"]})
    run.claim("z")
    run.step("x")
    commitment = run.step("y", "no")
    shortfall = Shortfall(step="j", needed=4, predecessors=4, came=1)
    assert (commitment.status_after, commitment.shortfall, list(commitment.activated)) == (
        Status.FAILED,
        shortfall,
        [],
    )
    stored = run.load()
    assert (stored.failed_step, stored.shortfall) == (None, shortfall)
    assert standing_of(run)["done"] == "skipped"
    assert run.complete("y", "no") == commitment
    assert run.complete("z").verdict is Verdict.DISCARDED


def test_a_step_that_is_taken_with_done_is_over_at_once(stand):
    run = stand.start(
        {
            ("a", "ok"): ["x", "y"],
            ("x", "ok"): ["j"],
            ("j", "ok"): ["done"],
            ("y", "ok"): ["done", "z"],
            ("z", "ok"): ["j"],
        },
        joins={"j": 1},
    )
    for key in "axj":
        run.step(key)
    commitment = run.step("y")
    assert (commitment.status_after, list(commitment.activated)) == (Status.COMPLETED, ["done", "z"])
    assert run.claim("z").reason == "stale"
    assert run.due() == {}


def test_a_taken_join_may_be_skipped_by_the_same_step(stand):
    # j needs both of x and y; x leads to it, and with it y dies.
    edges = {("x", "ok"): ["j", "k"], ("x", "no"): ["y"], ("y", "ok"): ["j"], ("j", "ok"): ["l"], ("l", "ok"): ["k"]}
    run = stand.start({**edges, ("k", "ok"): ["done"]}, joins={"j": 2})
    commitment = run.step("x")
    assert (list(commitment.activated), standing_of(run)) == (
        ["k"],
        {"x": "completed", "y": "skipped", "j": "skipped", "l": "skipped", "k": "active"},
    )


def test_what_follows_a_join_that_has_ended_is_skipped_by_its_last_predecessor(stand):
    # s comes after j and after x; j has ended long before x.
    edges = {
        ("a", "ok"): ["x", "y"],
        ("x", "ok"): ["j"],
        ("x", "no"): ["s"],
        ("y", "ok"): ["j"],
        ("j", "ok"): ["done"],
        ("j", "no"): ["s"],
        ("s", "ok"): ["t"],
        ("t", "ok"): ["done"],
    }
    run = stand.start(edges, joins={"j": 1})
    for key in "ayj":
        run.step(key)
    commitment = run.step("x")
    assert commitment.status_after is Status.COMPLETED
    assert {key: standing_of(run)[key] for key in "st"} == {"s": "skipped", "t": "skipped"}


def test_of_a_thousand_branches_the_first_wins(stand):
    branches = [f"b{number}" for number in range(MANY)]
    edges = {("a", "ok"): branches, **{(key, "ok"): ["j"] for key in branches}, ("j", "ok"): ["done"]}
    run = stand.start(edges, joins={"j": 1}, schema=EDGES)
    run.step("a")
    late = branches[-1]
    assert list(run.step(late).activated) == ["j"]
    assert list(run.step(branches[0]).activated) == []
    assert run.step("j").status_after is Status.COMPLETED
    assert run.claim(branches[1]).reason == "stale"


def test_a_join_of_a_thousand_branches_is_missed_with_the_first_that_fails(stand):
    branches = [f"b{number}" for number in range(MANY)]
    edges = {
        ("a", "ok"): branches,
        **{(key, "ok"): ["j"] for key in branches},
        **{(key, "no"): ["f"] for key in branches},
        ("j", "ok"): ["done"],
        ("f", "ok"): ["done"],
    }
    run = stand.start(edges, joins={"j": MANY}, schema=EDGES)
    run.step("a")
    run.step(branches[0])
    run.step(branches[1], "no")
    assert run.load().shortfall == Shortfall(step="j", needed=MANY, predecessors=MANY, came=1)


def test_a_retry_keeps_what_has_come_to_a_counted_join(stand):
    run = race(stand, 2)
    run.step("x")
    run.claim("y")
    run.fail("y")
    again = run.retried()
    assert {key: value for key, value in standing_of(again).items() if value == "active"} == {
        "y": "active",
        "z": "active",
    }
    assert list(again.step("z").activated) == ["j"]


@pytest.mark.parametrize("kind", ["retry", "fork"])
def test_a_rerun_that_begins_without_a_counted_join_names_it_when_it_can_not_reach_done(stand, kind):
    edges = {
        ("a", "ok"): ["j"],
        ("a", "no"): ["f"],
        ("f", "ok"): ["done"],
        ("f", "no"): ["j"],
        ("j", "ok"): ["done"],
    }
    run = stand.start(edges, joins={"j": 2}, schema=EDGES)
    run.step("a", "no")
    run.claim("f")
    run.fail("f")
    again = run.retried() if kind == "retry" else run.forked("f", instance_id="order::other")
    shortfall = Shortfall(step="j", needed=2, predecessors=2, came=0)
    assert again.load().shortfall == shortfall
    commitment = again.step("f", "no")
    assert (commitment.status_after, commitment.shortfall) == (Status.FAILED, shortfall)
    assert again.load().shortfall == shortfall


def test_a_retry_goes_on_with_a_join_that_had_started(stand):
    run = race(stand, 1)
    run.step("x")
    run.claim("j")
    run.fail("j")
    again = run.retried()
    assert {key for key, value in standing_of(again).items() if value == "active"} == {"j", "y", "z"}
    assert list(again.step("y").activated) == []
    again.step("j")
    assert again.step("k").status_after is Status.COMPLETED


def test_a_fork_counts_a_join_anew(stand):
    run = race(stand, 1)
    for key in "xjk":
        run.step(key)
    again = run.forked("y", instance_id="order::other")
    assert {key for key, value in standing_of(again).items() if value == "active"} == {"j", "y", "z"}


def test_a_pause_holds_a_counted_join_as_any_step(stand):
    run = race(stand, 1)
    run.claim("x")
    run.pause()
    assert list(run.complete("x").dispatches) == []
    run.unpause()
    assert [entry.dispatch.activation.step for entry in stand.entries(1)] != []
