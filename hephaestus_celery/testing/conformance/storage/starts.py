"""Tests of starts: what is stored, and of many starts of one id exactly one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.pause import NOT_PAUSED
from hephaestus_celery.exceptions import AlreadyRunningError
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.queries import DataKind, Query, StoredRun
from hephaestus_celery.storage.starts import FirstStep


def test_a_created_run_is_pending(stand):
    assert stand.start().load().status is Status.PENDING


def test_a_created_run_gives_the_dispatch_of_its_first_step(stand):
    assert stand.start().dispatched == [DispatchStep(Activation("a"), 1, 1)]


def test_a_created_run_keeps_its_header_and_context_as_they_are(stand):
    run = stand.start(initial='{"text":"\\u00e9","empty":[],"big":12345678901234567890}')
    stored = run.load()
    assert (stored.header, stored.initial) == (run.new.header, run.new.initial)


def test_a_created_run_has_its_first_step_active_with_its_attempts(stand):
    step = stand.start(max_attempts=7).load().steps["a"]
    assert (step.status, step.attempt, step.max_attempts, step.dispatch, step.fence) == (
        StepStatus.ACTIVE,
        1,
        7,
        1,
        None,
    )


def test_the_start_is_the_start_key_in_nanoseconds(stand):
    stored = stand.start().load()
    assert int(stored.start) == stored.started_at * 1000


def test_a_run_starts_on_the_clock_of_the_store(stand, storage):
    before = storage.now()
    started = stand.start().load().started_at
    assert before <= started <= storage.now()


def test_the_first_step_is_queued_at_the_start(stand):
    stored = stand.start().load()
    assert stored.steps["a"].queued_at == stored.started_at


def test_the_config_of_the_first_step_is_stored(stand):
    assert stand.start(config='{"n":1}').load().configs == {"a": '{"n":1}'}


def test_a_new_run_has_no_results_no_history_and_no_end(stand):
    run = stand.start()
    stored = run.load()
    assert (stored.results, stored.metadata, stored.finished_at, stored.failure, list(run.history())) == (
        {},
        {},
        None,
        None,
        [],
    )


def test_the_dispatch_of_the_first_step_is_due_after_the_dispatch_timeout(stand):
    run = stand.start()
    assert run.due() == {"a": run.load().started_at + 30_000_000}


def test_an_unknown_run_loads_as_none(stand):
    assert stand.prepare().load() is None


def test_a_second_start_of_an_active_id_is_refused(stand):
    stand.start()
    with pytest.raises(AlreadyRunningError, match="order::a is running already"):
        stand.start()


def test_the_refusal_names_the_run_that_holds_the_id(stand):
    holder = stand.start()
    with pytest.raises(AlreadyRunningError, match=holder.id):
        stand.start()


def test_a_refused_start_stores_nothing(stand, storage):
    holder = stand.start()
    refused = stand.prepare()
    with pytest.raises(AlreadyRunningError):
        storage.create(refused.new)
    candidates = storage.candidates("order::a", family=None)
    assert (refused.load(), refused.due(), list(candidates.active), candidates.newest) == (
        None,
        {},
        [holder.id],
        holder.id,
    )


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_an_id_whose_run_has_ended_starts_again(stand, end):
    run = stand.start({("a", "ok"): ["done"]})
    if end == "completed":
        run.step("a")
    elif end == "failed":
        run.claim("a")
        run.fail("a")
    else:
        run.cancel()
    assert stand.start().load().status is Status.PENDING


def test_a_waiting_run_holds_its_id(stand):
    stand.start().wait_at("a")
    with pytest.raises(AlreadyRunningError):
        stand.start()


def test_a_new_run_of_an_id_leaves_the_old_one_as_it_is(stand):
    old = stand.start({("a", "ok"): ["done"]})
    old.step("a", result='{"old":1}')
    before = old.load()
    stand.start().step("a", result='{"new":1}')
    assert old.load() == before


@pytest.mark.parametrize(
    ("scope", "other", "conflict"),
    [
        ("workflow", {}, True),
        ("workflow", {"version": 2}, True),
        ("workflow", {"name": "shop.Other"}, False),
        ("workflow", {"instance_id": "order::b"}, False),
        ("version", {}, True),
        ("version", {"version": 2}, False),
        ("version", {"name": "shop.Other"}, False),
        ("global", {}, True),
        ("global", {"version": 2}, True),
        ("global", {"name": "shop.Other"}, True),
        ("global", {"instance_id": "order::b"}, False),
        ("none", {}, False),
        ("none", {"version": 2}, False),
    ],
)
def test_a_scope_says_which_runs_share_an_id(stand, scope, other, conflict):
    stand.start(scope=scope)
    if conflict:
        with pytest.raises(AlreadyRunningError):
            stand.start(scope=scope, **other)
    else:
        assert stand.start(scope=scope, **other).load() is not None


def test_a_global_run_is_kept_from_an_id_that_another_workflow_holds(stand):
    held = stand.start(scope="workflow")
    message = rf"order::a .*run {held.id} of shop.Order; scope 'global' of shop.Other\)"
    with pytest.raises(AlreadyRunningError, match=message):
        stand.start(scope="global", name="shop.Other")


def test_a_global_run_keeps_other_workflows_from_its_id(stand):
    held = stand.start(scope="global")
    message = rf"order::a .*run {held.id} of shop.Order; scope 'global' of shop.Order\)"
    with pytest.raises(AlreadyRunningError, match=message):
        stand.start(scope="workflow", name="shop.Other")


def test_versions_of_one_family_share_an_id_in_the_workflow_scope(stand):
    stand.start(name="shop.V1", family="shop.Order", version=1)
    with pytest.raises(AlreadyRunningError):
        stand.start(name="shop.V2", family="shop.Order", version=2)


def test_huge_versions_are_distinguished(stand, storage):
    stand.start(scope="version", version=1_700_000_000_000_000_001)
    other = stand.start(scope="version", version=1_700_000_000_000_000_002)
    assert other.claim("a", versions=(1_700_000_000_000_000_002,)).first


def test_of_many_starts_at_once_exactly_one_wins(stand, storage):
    runs = [stand.prepare() for _ in range(16)]
    barrier = Barrier(len(runs))

    def start(run):
        barrier.wait()
        try:
            storage.create(run.new)
        except AlreadyRunningError:
            return None
        return run.id

    with ThreadPoolExecutor(len(runs)) as pool:
        winners = [found for found in pool.map(start, runs) if found]
    assert len(winners) == 1
    assert list(storage.candidates("order::a", family=None).active) == winners


def test_candidates_are_the_active_runs_and_the_newest(stand, storage):
    first = stand.start(scope="version", version=1)
    second = stand.start(scope="version", version=2)
    second.cancel()
    third = stand.start(scope="version", version=2)
    candidates = storage.candidates("order::a", family=None)
    assert (sorted(candidates.active), candidates.newest) == (sorted([first.id, third.id]), third.id)


def test_candidates_of_a_family_are_its_runs_alone(stand, storage):
    mine = stand.start()
    stand.start(name="shop.Other")
    candidates = storage.candidates("order::a", family="shop.Order")
    assert (list(candidates.active), candidates.newest) == ([mine.id], mine.id)


def test_an_ended_run_is_the_newest_but_not_active(stand, storage):
    run = stand.start()
    run.cancel()
    candidates = storage.candidates("order::a", family=None)
    assert (list(candidates.active), candidates.newest) == ([], run.id)


def test_an_unknown_id_has_no_candidates(storage):
    candidates = storage.candidates("order::nobody", family=None)
    assert (list(candidates.active), candidates.newest) == ([], None)


SEVERAL = {("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}


def test_all_first_steps_are_active_at_once_each_with_its_attempts_and_config(stand):
    firsts = [FirstStep(step="a", config=None, max_attempts=2), FirstStep(step="b", config='{"n":1}', max_attempts=3)]
    run = stand.start(SEVERAL, firsts=firsts)
    stored = run.load()
    assert run.dispatched == [DispatchStep(Activation("a"), 1, 1), DispatchStep(Activation("b"), 1, 1)]
    assert {key: (step.status, step.max_attempts) for key, step in stored.steps.items()} == {
        "a": (StepStatus.ACTIVE, 2),
        "b": (StepStatus.ACTIVE, 3),
    }
    assert (stored.status, stored.active, stored.configs) == (Status.PENDING, 2, {"b": '{"n":1}'})
    assert run.due() == dict.fromkeys("ab", stored.started_at + 30_000_000)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_whichever_first_step_is_claimed_first_makes_the_run_begin_once(stand, order):
    run = stand.start(SEVERAL)
    claims = [run.claim(key) for key in order]
    assert [(claim.first, claim.sequence, claim.run.status) for claim in claims] == [
        (True, 1, Status.RUNNING),
        (False, 4, Status.RUNNING),
    ]
    joined = [run.complete(key) for key in order]
    assert [(list(commitment.activated), commitment.advance) for commitment in joined] == [([], 2), (["c"], 3)]
    assert list(run.step("c").completed) == [*order, "c", "done"]


def test_of_the_first_steps_at_the_same_moment_one_claim_is_the_first(stand):
    run = stand.start({(f"a{number}", "ok"): ["done"] for number in range(8)})
    together = Barrier(8)

    def claim(number):
        together.wait()
        return run.claim(f"a{number}").first

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, range(8))) == [False] * 7 + [True]


def test_a_run_with_several_first_steps_waits_when_all_of_them_do(stand):
    run = stand.start(SEVERAL)
    assert run.wait_at("a").status_after is Status.RUNNING
    assert run.wait_at("b").status_after is Status.WAITING


def test_a_thousand_steps_may_come_first(stand):
    keys = [f"a{number}" for number in range(1000)]
    run = stand.start({(key, "ok"): ["done"] for key in keys}, config='{"n":1}')
    configs = run.storage.read_data(run.id, DataKind.CONFIG, keys)
    assert (run.load().active, len(configs), len(run.due())) == (1000, 1000, 1000)


def test_whoever_claims_a_step_says_the_lease_of_the_attempt(stand):
    run = stand.start()
    run.durations = replace(run.durations, lease=7_000_000)
    claim = run.claim("a")
    assert isinstance(claim, Claim)
    assert claim.attempt.lease == 7_000_000
    assert run.due() == {"a": claim.claimed_at + 7_000_000}


def test_many_runs_are_created_in_order_each_by_itself(stand, storage):
    holder = stand.start(instance_id="order::1")
    runs = [stand.prepare(instance_id=f"order::{number}") for number in (0, 1, 2, 2, 3)]
    found = storage.create_many([run.new for run in runs])
    started = [list(found[number]) for number in (0, 2, 4)]
    assert started == [[DispatchStep(Activation("a"), 1, 1)]] * 3
    assert [type(found[1]), type(found[3])] == [AlreadyRunningError] * 2
    assert holder.id in str(found[1])
    assert runs[2].id in str(found[3])
    assert [run.load() is not None for run in runs] == [True, False, True, False, True]
    listed = [run_id for run_id, _ in storage.list_runs(Query())[0]]
    assert listed == [runs[4].id, runs[2].id, runs[0].id, holder.id]


def test_many_runs_that_are_created_again_get_the_first_replies(stand, storage):
    runs = [stand.prepare(instance_id=f"order::{number}").new for number in range(3)]
    first = storage.create_many(runs)
    assert storage.create_many(runs) == first
    assert storage.count_runs(Query()) == 3


def test_more_runs_than_one_round_trip_takes_are_created(stand, storage):
    runs = [stand.prepare(instance_id=f"order::{number}", initial=f'"{"x" * 9000}"').new for number in range(130)]
    assert [list(dispatches) for dispatches in storage.create_many(runs)] == [
        [DispatchStep(Activation("a"), 1, 1)]
    ] * 130
    assert storage.count_runs(Query()) == 130


def test_wide_runs_are_created_among_others(stand, storage):
    wide = {("a", "ok"): ["done"], **{(f"b{number}", "ok"): ["done"] for number in range(600)}}
    runs = [stand.prepare(instance_id="order::1"), stand.prepare(wide, instance_id="order::2")]
    runs.append(stand.prepare(instance_id="order::3"))
    found = storage.create_many([run.new for run in runs])
    assert [len(dispatches) for dispatches in found] == [1, 601, 1]


def test_nothing_is_created_of_nothing(storage):
    assert list(storage.create_many([])) == []


_SHAPES: list[dict[str, Any]] = [
    {},
    {"tags": ("fast", "paid")},
    {"config": '{"n":1}'},
    {"edges": {("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}, "lane": "work"},
    {"lane": "work", "version": 2},
    {"message_headers": '{"tenant":"acme"}', "scope": "global"},
]


@pytest.mark.parametrize("paused", [False, True])
def test_runs_that_are_created_together_are_as_those_that_are_created_alone(stand, storage, paused):
    if paused:
        stand.pause_workflow()
    alone = [stand.prepare(instance_id=f"order::{number}", **shape) for number, shape in enumerate(_SHAPES)]
    dispatched = [list(storage.create(run.new)) for run in alone]
    many = [(number, shape) for number, shape in enumerate(_SHAPES) for _ in range(3)]
    together = [stand.prepare(instance_id=f"item::{place}", **shape) for place, (_, shape) in enumerate(many)]
    found = storage.create_many([run.new for run in together])
    assert [list(dispatches) for dispatches in found] == [dispatched[number] for number, _ in many]
    for run, (number, _) in zip(together, many, strict=True):
        assert _timeless(run) == _timeless(alone[number])
        assert ("a" in run.due()) == ("a" in alone[number].due())
        assert run.history() == []


def _timeless(run: Any) -> StoredRun:
    loaded = run.load()
    steps = {key: replace(state, queued_at=None) for key, state in loaded.steps.items()}
    return replace(loaded, header="", start="", started_at=0, pauses=NOT_PAUSED, steps=steps)
