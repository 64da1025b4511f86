"""Tests of retries and forks: what a new run keeps of an earlier one, what runs again, and when it is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import AlreadyRunningError, InstanceNotFoundError, RunStateError
from hephaestus_celery.storage.queries import DataKind, Query

DIAMOND = {
    ("a", "ok"): ["b", "c"],
    ("a", "no"): ["done"],
    ("b", "ok"): ["join"],
    ("b", "no"): ["other"],
    ("c", "ok"): ["join"],
    ("other", "ok"): ["done"],
    ("join", "ok"): ["last"],
    ("last", "ok"): ["done"],
}


def statuses(run):
    return {key: str(state.status) for key, state in run.load().steps.items()}


def test_what_had_completed_is_completed_and_what_failed_is_active(stand):
    run = stand.start(DIAMOND)
    run.step("a", result='{"of":"a"}', metadata='{"meta":1}')
    run.step("c", result='{"of":"c"}')
    run.claim("b")
    run.fail("b")
    again = run.retried()
    found = again.load()
    assert (found.status, statuses(again)) == ("pending", {"a": "completed", "c": "completed", "b": "active"})
    assert (dict(found.results), dict(found.metadata)) == (
        {"a": '{"of":"a"}', "c": '{"of":"c"}'},
        {"a": '{"meta":1}'},
    )
    assert found.initial == run.new.initial
    assert [dispatch.activation.step for dispatch in again.dispatched] == ["b"]


def test_a_retried_run_goes_on_to_its_end(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.step("c", result='{"of":"c"}')
    run.claim("b")
    run.fail("b")
    again = run.retried()
    claim = again.claim("b")
    assert (claim.first, claim.sequence) == (True, 2)
    assert list(again.complete("b").activated) == ["join"]
    again.step("join")
    assert again.step("last").status_after == "completed"
    assert statuses(again) == dict.fromkeys(["a", "b", "c", "join", "last", "done"], "completed") | {"other": "skipped"}
    assert run.load().status == "failed"


def test_kept_steps_come_first_in_the_order_of_completion(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.step("c")
    run.claim("b")
    run.fail("b")
    again = run.retried()
    again.step("b")
    again.step("join")
    orders = {key: state.order for key, state in again.load().steps.items() if state.order is not None}
    assert sorted(orders, key=orders.get) == ["a", "c", "b", "join"]
    assert (orders["a"], orders["c"]) == (-1, 0)


def test_the_order_of_completion_names_all_at_the_end(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.claim("b")
    run.fail("b")
    again = run.retried()
    again.step("b")
    again.step("c")
    again.step("join")
    assert list(again.step("last").completed) == ["a", "b", "c", "join", "last", "done"]


def test_a_step_that_failed_has_fresh_attempts_and_the_key_of_the_first_run(stand):
    run = stand.start(DIAMOND)
    run.claim("a")
    run.retry("a")
    stand.entries(1)
    run.claim("a", 2)
    run.fail("a")
    again = run.retried(max_attempts=7)
    step = again.load().steps["a"]
    assert (step.attempt, step.max_attempts, step.origin) == (1, 7, run.id)
    again.claim("a")
    again.fail("a")
    assert again.retried().load().steps["a"].origin == run.id


def test_a_kept_step_keeps_the_key_that_it_had(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.claim("b")
    run.fail("b")
    again = run.retried()
    assert again.load().steps["a"].origin == run.id
    again.claim("b")
    again.fail("b")
    third = again.retried().load().steps
    assert (third["a"].origin, third["b"].origin, third["c"].origin) == (run.id, run.id, run.id)


def test_a_waiting_step_runs_again(stand):
    run = stand.start(DIAMOND)
    run.wait_at("a")
    run.cancel("stop")
    again = run.retried()
    step = again.load().steps["a"]
    assert (step.status, step.attempt, step.accepts, step.waiting_since) == (StepStatus.ACTIVE, 1, {}, None)
    assert again.deliver("go").outcome == "not_waiting"


def test_the_history_begins_with_the_fork(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    again = run.retried()
    [entry] = again.history()
    assert (entry.sequence, json.loads(entry.detail)) == (1, {"kind": "fork", "run_id": run.id})
    again.step("a")
    assert [entry.sequence for entry in again.history()] == [1, 5]


def test_a_run_is_retried_once(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    again = run.retried()
    assert run.load().retried_as == again.id
    with pytest.raises(AlreadyRunningError, match=again.id):
        run.retried()
    again.cancel()
    with pytest.raises(RunStateError, match=again.id):
        run.retried()
    third = again.retried()
    assert (again.load().retried_as, third.load().retried_as) == (third.id, None)


@pytest.mark.parametrize("scope", ["none", "version", "global"])
def test_a_run_is_retried_once_in_every_scope(stand, scope):
    run = stand.start(DIAMOND, scope=scope)
    run.cancel()
    again = run.retried()
    with pytest.raises(AlreadyRunningError, match=again.id):
        run.retried()


def test_a_repeated_call_is_recognised(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    rerun = run.rerun()
    again = run.made(rerun)
    before = again.load()
    stand.storage.rerun(rerun)
    assert again.load() == before
    assert len(again.history()) == 1


def test_a_completed_run_is_not_retried(stand):
    run = stand.start()
    run.step("a")
    run.step("b")
    with pytest.raises(RunStateError, match="has completed"):
        run.retried()


@pytest.mark.parametrize("scope", ["workflow", "none"])
def test_an_active_run_is_neither_retried_nor_forked_under_its_id(stand, scope):
    run = stand.start(DIAMOND, scope=scope)
    run.step("a")
    with pytest.raises(AlreadyRunningError, match=run.id):
        run.retried()
    with pytest.raises(AlreadyRunningError, match=run.id):
        run.forked("b")


def test_an_id_that_is_taken_is_refused(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    other = stand.start(DIAMOND)
    with pytest.raises(AlreadyRunningError, match=other.id):
        run.retried()
    assert run.load().retried_as is None
    other.cancel()
    assert run.retried().load().status == "pending"


def test_a_run_that_is_gone_is_not_retried(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    rerun = dataclasses.replace(run.rerun(), source=f"{run.id[:-8]}0000{run.id[-4:]}")
    with pytest.raises(InstanceNotFoundError):
        run.made(rerun)


def test_in_a_fork_a_step_and_all_after_it_run_again(stand):
    run = stand.start(DIAMOND)
    for step in ("a", "b", "c", "join", "last"):
        run.step(step, result=f'{{"of":"{step}"}}')
    again = run.forked("b")
    assert statuses(again) == {"a": "completed", "c": "completed", "b": "active"}
    assert set(again.load().results) == {"a", "c"}
    assert again.load().steps["b"].origin is None
    assert (sorted(again.step("b", "no").activated), run.load().retried_as) == (["join", "other"], None)


def test_a_fork_of_an_active_run_to_another_id(stand):
    run = stand.start(DIAMOND)
    run.step("a")
    run.wait_at("b")
    again = run.forked("c", instance_id="order::b")
    assert statuses(again) == {"a": "completed", "b": "active", "c": "active"}
    assert [run.load().status, again.load().status] == ["running", "pending"]
    again.step("b")
    again.step("c")
    assert again.load().steps["join"].status == "active"


def test_a_fork_leaves_what_was_skipped_open_where_it_may_come(stand):
    run = stand.start(
        {("a", "ok"): ["b"], ("a", "no"): ["c"], ("b", "ok"): ["join"], ("c", "ok"): ["join"], ("join", "ok"): ["done"]}
    )
    run.step("a")
    run.step("b")
    run.step("join")
    again = run.forked("a")
    assert statuses(again) == {"a": "active"}
    again.step("a", "no")
    assert statuses(again) == {"a": "completed", "b": "skipped", "c": "active"}


def test_done_alone_may_be_left(stand):
    run = stand.start()
    run.step("a")
    run.step("b")
    again = run.forked("done")
    assert [dispatch.activation.step for dispatch in again.dispatched] == ["done"]
    again.claim("done")
    assert again.complete("done", "done").status_after == Status.COMPLETED


def test_a_computed_route_stays_taken(stand):
    run = stand.start(DIAMOND)
    run.claim("a")
    run.complete("a", computed=True)
    run.cancel()
    again = run.retried()
    assert again.load().steps["a"].targets == ("b", "c")
    assert statuses(again) == {"a": "completed", "b": "active", "c": "active"}


def test_configs_go_along(stand):
    run = stand.start({("a", "ok"): [("b", {"n": 1})], ("b", "ok"): [("c", {"n": 2})], ("c", "ok"): ["done"]})
    run.step("a")
    run.step("b")
    run.claim("c")
    run.fail("c")
    again = run.retried()
    assert {key: json.loads(text) for key, text in again.load().configs.items()} == {"b": {"n": 1}, "c": {"n": 2}}
    fork = run.forked("b", instance_id="order::b", given=(), configs={"b": (0, '{"n":3}')})
    assert {key: json.loads(text) for key, text in fork.load().configs.items()} == {"b": {"n": 3}}


def test_another_initial_context_may_be_given(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    assert run.retried(initial='{"items":4}').load().initial == '{"items":4}'


def test_headers_of_messages_go_along(stand):
    run = stand.start(DIAMOND, message_headers='{"tenant":"a"}')
    run.cancel()
    assert run.retried().load().message_headers == '{"tenant":"a"}'


def test_messages_wait_in_their_lanes(stand):
    run = stand.start(DIAMOND, lane="0:celery")
    run.step("a")
    run.cancel()
    again = run.retried()
    assert again.lanes() == {"b": "0:celery", "c": "0:celery"}


def test_a_message_of_no_lane_is_sent_again(lossy):
    run = lossy.start(DIAMOND)
    run.cancel()
    run.retried()
    assert [entry.kind for entry in lossy.entries(1)] == ["redispatch"]


def test_the_new_run_owns_its_data(stand):
    run = stand.start(DIAMOND)
    run.step("a", result='{"of":"a"}')
    run.cancel()
    again = run.retried()
    again.step("b", result='{"of":"b"}')
    assert set(run.load().results) == {"a"}
    assert run.load().status == "cancelled"


WIDE = 600
BRANCHES = [f"b{number}" for number in range(WIDE)]
FEW_BRANCHES = BRANCHES[:170]


def fanning(branches):
    return {("a", "ok"): branches, **{(branch, "ok"): ["join"] for branch in branches}, ("join", "ok"): ["done"]}


def test_a_wide_run_is_copied_and_started(stand):
    run = stand.start(fanning(BRANCHES))
    run.step("a", result='{"of":"a"}')
    run.step("b7", result='{"of":"b7"}')
    run.cancel()
    again = run.retried(lane="0:celery")
    states = again.storage.read_states(again.id)
    active = {key for key, state in states.items() if state.status == "active"}
    assert active == {*BRANCHES} - {"b7"}
    assert {dispatch.activation.step for dispatch in again.dispatched} == active
    assert again.lanes() == dict.fromkeys(active, "0:celery")
    assert again.load().active == WIDE - 1
    assert again.step("b8").active == WIDE - 2


def test_a_wide_run_of_which_little_is_left(stand):
    run = stand.start(fanning(FEW_BRANCHES))
    run.step("a")
    for branch in FEW_BRANCHES[1:]:
        run.step(branch, result=json.dumps({"of": branch}))
    run.claim("b0")
    run.fail("b0")
    again = run.retried()
    assert [dispatch.activation.step for dispatch in again.dispatched] == ["b0"]
    results = again.storage.read_data(again.id, DataKind.RESULT, FEW_BRANCHES)
    assert {branch: json.loads(text)["of"] for branch, text in results.items()} == {
        branch: branch for branch in FEW_BRANCHES[1:]
    }
    assert list(again.step("b0").activated) == ["join"]


def test_listings_tell_retried_runs(stand):
    run = stand.start(DIAMOND)
    run.cancel()
    other = stand.start(DIAMOND, instance_id="order::b")
    again = run.retried()

    def listed(retried):
        return {run_id for run_id, _ in stand.storage.list_runs(Query(retried=retried))[0]}

    assert listed(True) == {run.id}
    assert listed(False) == {other.id, again.id}
    assert listed(None) == {run.id, other.id, again.id}
    assert stand.storage.count_runs(Query(retried=True)) == 1
    assert stand.storage.count_runs(Query(retried=False)) == 2
    assert stand.storage.count_runs(Query(statuses=frozenset({Status.CANCELLED}), retried=False)) == 0
    [summary] = [row for run_id, row in stand.storage.list_runs(Query())[0] if run_id == run.id]
    assert summary.retried_as == again.id
