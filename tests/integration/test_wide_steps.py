"""Steps of very many edges: what is left when who committed such a step is gone is done by the scheduler, and once."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.wide_steps import SLICE
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

WIDE = 1300
BRANCHES = [f"b{number}" for number in range(WIDE)]
FAN = {
    ("a", "ok"): BRANCHES,
    ("a", "end"): ["done"],
    **{(branch, "ok"): ["join"] for branch in BRANCHES},
    ("join", "ok"): ["done"],
}


@pytest.fixture
def stand(redis_storage, drive):
    """A store, driven by hand."""
    return drive(redis_storage)


@pytest.fixture
def broken_off(redis_storage, monkeypatch):
    """``broken_off(slices, call)``: make a call, cut off from the server after so many slices of what follows."""

    def cut(slices, call, *, raises=True):
        scripts, left = redis_storage._calls.scripts.call, [slices]

        def until_cut(connections, name, *args, **options):
            if name == "settle":
                left[0] -= 1
                if left[0] < 0:
                    raise StorageError("cut off")
            return scripts(connections, name, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(redis_storage._calls.scripts, "call", until_cut)
            with pytest.raises(StorageError, match="cut off") if raises else nullcontext():
                return call()

    return cut


def hurry(run, source):
    """Let the moment come at which another takes over."""
    names = run.storage.keys.of_run(run.id).names
    client = run.storage._client
    [entry] = [member for member, _ in client.zscan_iter(names[3]) if b"settle" in member]
    assert entry.decode().startswith(f"{run.id}|\1settle|{source}|")
    client.zadd(names[3], {entry: 1})


def take_over(run):
    """What the scheduler does with it: all that is left, and what it has come to."""
    found = []
    while True:
        tick = run.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
        entries = [entry for entry in tick.entries if entry.kind is Due.SETTLE]
        if not entries:
            return found
        assert [entry.run_id for entry in entries] == [run.id]
        found.append(run.storage.settle(run.id, entries[0].dispatch.activation, durations=DURATIONS))


def left_over(run):
    """Keys of what is laid by."""
    found = run.storage._client.scan_iter("*", count=10_000)
    return [
        key.decode()
        for key in found
        if run.id in key.decode() and (":edges:" in key.decode() or ":rows:" in key.decode())
    ]


@pytest.mark.parametrize("slices", [0, 1, 5])
def test_what_is_left_is_done_by_the_scheduler(stand, broken_off, slices):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(slices, lambda: run.complete("a"))
    before = Counter(state.status for state in run.load().steps.values())
    assert before == {StepStatus.COMPLETED: 1, **({StepStatus.ACTIVE: SLICE * slices} if slices else {})}
    assert run.load().status == "running"
    assert len(left_over(run)) == 2
    hurry(run, "a")
    followed = take_over(run)
    started = [dispatch.activation.step for commitment in followed for dispatch in commitment.dispatches]
    assert started == BRANCHES[SLICE * slices :]
    after = Counter(state.status for state in run.load().steps.values())
    assert after == {StepStatus.COMPLETED: 1, StepStatus.ACTIVE: WIDE}
    assert run.load().active == WIDE
    assert left_over(run) == []
    for branch in BRANCHES:
        run.step(branch)
    run.step("join")
    assert run.load().status == "completed"


def test_branches_that_have_ended_by_then_do_not_end_the_run(stand, broken_off):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(1, lambda: run.complete("a"))
    for branch in BRANCHES[:SLICE]:
        run.step(branch)
    assert run.load().status == "running"
    assert run.load().active == 1
    hurry(run, "a")
    take_over(run)
    assert run.load().active == WIDE - SLICE


def test_the_end_that_the_scheduler_comes_to_is_numbered_after_all_else(stand, broken_off):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(3, lambda: run.complete("a", "end"))
    assert run.load().status == "running"
    before = run.load().sequence
    hurry(run, "a")
    last = take_over(run)[-1]
    assert (last.status_after, last.ending, list(last.completed)) == ("completed", before + 1, ["a", "done"])
    assert run.load().sequence == before + 4
    assert run.load().status == "completed"


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_a_run_that_ends_before_starts_nothing_more_and_leaves_nothing(stand, broken_off, end):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(2, lambda: run.complete("a"))
    if end == "cancel":
        run.cancel()
    else:
        run.claim("b3")
        run.fail("b3")
    assert run.storage.settle(run.id, Activation("a"), durations=DURATIONS).verdict == "stale"
    while run.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS).more:
        pass
    assert left_over(run) == []
    assert run.due() == {}
    assert len(run.load().steps) == 2 * SLICE + 1


def test_who_committed_it_and_a_scheduler_may_settle_at_the_same_time(stand, redis_storage, monkeypatch):
    run = stand.start(FAN)
    run.claim("a")
    call, others = redis_storage._calls.scripts.call, []

    def both(connections, name, keys, args, **options):
        if name == "settle" and '"at_once"' not in args[1] and len(others) < 2:
            others.append(redis_storage.settle(run.id, Activation("a"), durations=DURATIONS))
        return call(connections, name, keys, args, **options)

    monkeypatch.setattr(redis_storage._calls.scripts, "call", both)
    commitment = run.complete("a")
    assert sorted(commitment.activated) == sorted(BRANCHES)
    assert len(others) == 2
    assert run.load().active == WIDE
    assert Counter(state.status for state in run.load().steps.values()) == {
        StepStatus.COMPLETED: 1,
        StepStatus.ACTIVE: WIDE,
    }


def test_the_same_commit_again_goes_on_where_it_was_cut_off(stand, broken_off):
    run = stand.start(FAN)
    run.claim("a")
    completion = run.completion("a")
    broken_off(2, lambda: run.storage.commit(completion))
    commitment = run.storage.commit(completion)
    assert sorted(commitment.activated) == sorted(BRANCHES)
    assert {dispatch.activation.step for dispatch in commitment.dispatches} == set(BRANCHES)
    assert run.load().active == WIDE
    assert left_over(run) == []


def test_a_start_that_is_cut_off_is_accepted_and_done_by_the_scheduler(stand, broken_off):
    firsts = {(branch, "ok"): ["done"] for branch in BRANCHES}
    run = stand.prepare(firsts)
    sent = broken_off(1, lambda: run.storage.create(run.new), raises=False)
    assert [dispatch.activation.step for dispatch in sent] == BRANCHES[:SLICE]
    assert len(run.load().steps) == SLICE
    hurry(run, "")
    take_over(run)
    assert len(run.load().steps) == run.load().active == WIDE


def test_a_start_of_which_no_step_is_settled_yet_is_listed(stand, broken_off):
    run = stand.prepare({(branch, "ok"): ["done"] for branch in BRANCHES})
    broken_off(0, lambda: run.storage.create(run.new), raises=False)
    assert run.load().steps == {}
    assert [run_id for run_id, _ in run.storage.list_runs(Query())[0]] == [run.id]


def test_what_was_laid_by_for_a_commit_that_never_came_goes_by_itself(stand, broken_off, redis_storage, monkeypatch):
    run = stand.start(FAN)
    run.claim("a")
    call = redis_storage._calls.scripts.call

    def cut(connections, name, *args, **options):
        if name == "complete":
            raise StorageError("cut off")
        return call(connections, name, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(redis_storage._calls.scripts, "call", cut)
        with pytest.raises(StorageError, match="cut off"):
            run.complete("a")
    kept = left_over(run)
    assert len(kept) == 2
    assert all(0 < redis_storage._client.ttl(key) <= 600 for key in kept)
    run.complete("a")
    assert run.load().active == WIDE


def test_a_run_that_is_gone_leaves_nothing_of_it(stand, broken_off):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(1, lambda: run.complete("a"))
    run.storage._client.delete(run.storage.keys.of_run(run.id).run)
    hurry(run, "a")
    run.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
    assert left_over(run) == []


def test_what_was_evicted_is_reported_and_stops_nothing_else(stand, broken_off):
    run = stand.start(FAN)
    run.claim("a")
    broken_off(1, lambda: run.complete("a"))
    run.storage._client.delete(*left_over(run))
    with pytest.raises(StorageError, match="evicted"):
        run.storage.settle(run.id, Activation("a"), durations=DURATIONS)
    hurry(run, "a")
    tick = run.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
    assert list(tick.entries) == []
    assert [problem.partition(": ")[2] for problem in tick.problems] == [
        "nothing was done: what follows the step is gone (evicted?)"
    ]
    assert not run.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS).problems
