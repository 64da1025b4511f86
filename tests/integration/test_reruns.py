"""Retries and forks in Redis: copied in slices, whoever is lost on the way, from another partition too."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext, suppress

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.exceptions import InstanceNotFoundError, RunStateError, StorageError
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.starts import PreparedMessage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

WIDE = 420
BRANCHES = [f"b{number}" for number in range(WIDE)]
FAN = {
    ("a", "ok"): BRANCHES,
    **{(branch, "ok"): ["join"] for branch in BRANCHES},
    ("join", "ok"): ["done"],
}
DONE = BRANCHES[:170]


@pytest.fixture
def stand(redis_storage, drive):
    """A store, driven by hand."""
    return drive(redis_storage)


@pytest.fixture
def cut_off(monkeypatch):
    """``cut_off(storage, calls, call)``: make a call, cut off from the server after so many scripts. ``after``: after the last."""

    def cut(storage, calls, call, *, raises, after=False):
        scripts, left = storage._calls.scripts.call, [calls]

        def until_cut(connections, name, *args, **options):
            left[0] -= 1
            if left[0] < 0:
                if left[0] == -1 and after:
                    scripts(connections, name, *args, **options)
                raise StorageError("cut off")
            return scripts(connections, name, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(storage._calls.scripts, "call", until_cut)
            with pytest.raises(StorageError, match="cut off") if raises else nullcontext():
                call()
        return calls - left[0]

    return cut


def failed_wide_run(stand, **fields):
    """A wide run, of which some branches have completed, and one has failed."""
    run = stand.start(FAN, **fields)
    run.step("a", result='{"of":"a"}')
    for branch in DONE:
        run.step(branch, result=json.dumps({"of": branch}), metadata='{"m":1}')
    run.claim("b400")
    run.fail("b400")
    return run


def hurry(run, kind="copy"):
    """Let the moment come at which another takes over."""
    client, due = run.storage._client, run.storage.keys.of_run(run.id).names[3]
    for member, _ in client.zscan_iter(due, f"{run.id}|*"):
        if kind.encode() in member:
            client.zadd(due, {member: 1})


def finish(stand, run):
    """The scheduler goes on until the run is whole; gives the steps whose messages it sends."""
    sent = []
    for _ in range(100):
        hurry(run)
        ticks = [
            stand.storage.tick(number, owner="me", worker="w", seize=True, durations=DURATIONS)
            for number in range(stand.storage.partitions)
        ]
        entries = [entry for tick in ticks for entry in tick.entries if entry.kind is Due.COPY]
        if not entries:
            return sent
        for entry in entries:
            copied = stand.storage.copy(entry.run_id, durations=DURATIONS)
            sent.extend(dispatch.activation.step for dispatch in copied.dispatches)
    raise AssertionError("it never becomes whole")


def is_whole(run, *, completed=("a", *DONE)):
    """Whether a retried wide run has all that it needs."""
    states = run.storage.read_states(run.id)
    assert {key for key, state in states.items() if state.status is StepStatus.COMPLETED} == set(completed)
    assert {key for key, state in states.items() if state.status is StepStatus.ACTIVE} == {*BRANCHES} - {*completed}
    results = run.storage.read_data(run.id, DataKind.RESULT, ["a", *BRANCHES])
    assert {key: json.loads(text) for key, text in results.items()} == {key: {"of": key} for key in completed}
    assert set(run.storage.read_data(run.id, DataKind.METADATA, BRANCHES)) == {*completed} - {"a"}
    client, keys = run.storage._client, run.storage.keys.of_run(run.id)
    assert client.hget(keys.run, "cp") is None
    assert not list(client.scan_iter(f"{keys.prefix}edges:{run.id}:*"))
    assert not [member for member, _ in client.zscan_iter(keys.names[3]) if b"copy" in member]


def test_a_wide_run_is_whole_when_the_call_returns(stand):
    run = failed_wide_run(stand)
    again = run.retried(lane="0:celery")
    is_whole(again)
    assert {dispatch.activation.step for dispatch in again.dispatched} == {*BRANCHES} - {*DONE}
    assert not stand.storage._client.exists(f"{stand.storage.keys.of_run(run.id).prefix}copies:{run.id}")


def test_a_caller_that_is_killed_anywhere_leaves_no_half_run(stand, cut_off):
    calls = 0
    for after in (False, True):
        for number in range(100):
            run = failed_wide_run(stand, instance_id=f"order::{number}{after}")
            rerun = run.rerun(lane="0:celery")
            made = stand.storage._client
            key = stand.storage.keys.of_run(rerun.run.run_id).run
            calls = cut_off(
                stand.storage,
                number,
                lambda rerun=rerun: _quietly(stand.storage.rerun, rerun),
                raises=False,
                after=after,
            )
            if not made.exists(key):
                assert run.load().retried_as is None
                assert run.retried().load().status is Status.PENDING  # nothing was done
                continue
            again = run.twin(stand.storage)
            again.id, again.new = rerun.run.run_id, rerun.run
            assert again.id in [run_id for run_id, _ in stand.storage.list_runs(Query(id=again.new.instance_id))[0]]
            finish(stand, again)
            is_whole(again)
            assert again.load().status is Status.PENDING
            if calls <= number:
                break
    assert calls > 5


def _quietly(call, *args):
    with suppress(StorageError):
        call(*args)


def test_nothing_is_sent_before_all_is_copied(stand, monkeypatch):
    run = failed_wide_run(stand)
    seen = []
    scripts = stand.storage._calls.scripts.call
    rerun = run.rerun(lane="0:celery")
    client = stand.storage._client

    def watched(connections, name, *args, **options):
        reply = scripts(connections, name, *args, **options)
        states = client.hgetall(stand.storage.keys.of_run(rerun.run.run_id).run)
        kept = sum(1 for field in states if field.startswith(b"r:"))
        waiting = client.zcard(f"{stand.storage.keys.of_run(run.id).prefix}lane:0:celery")
        seen.append((name, kept, waiting))
        return reply

    monkeypatch.setattr(stand.storage._calls.scripts, "call", watched)
    client.delete(f"{stand.storage.keys.of_run(run.id).prefix}lane:0:celery")
    stand.storage.rerun(rerun)
    assert [kept for _, kept, waiting in seen if waiting] == [171] * sum(1 for _, _, waiting in seen if waiting)
    assert [waiting for _, _, waiting in seen][-1] == 250


def test_prepared_messages_are_sent_in_the_last_slices(stand, namespace):
    broker = f"{{0}}{namespace}"
    run = failed_wide_run(stand)
    rerun = run.rerun(lane="0:celery")
    firsts = [
        dataclasses.replace(first, prepared_message=PreparedMessage(list=broker, text=first.step))
        for first in rerun.run.firsts
    ]
    rerun = dataclasses.replace(rerun, run=dataclasses.replace(rerun.run, firsts=firsts))
    assert list(stand.storage.rerun(rerun)) == []
    client = stand.storage._client
    assert {text.decode() for text in client.lrange(broker, 0, -1)} == {*BRANCHES} - {*DONE}
    client.delete(broker)


def test_a_run_is_not_pruned_while_another_is_copied_from_it(stand, cut_off):
    run = failed_wide_run(stand)
    rerun = run.rerun()
    cut_off(stand.storage, 4, lambda: stand.storage.rerun(rerun), raises=False)
    again = run.twin(stand.storage)
    again.id, again.new = rerun.run.run_id, rerun.run
    assert stand.storage._client.hget(stand.storage.keys.of_run(again.id).run, "cp") is not None
    client, keys = stand.storage._client, stand.storage.keys.of_run(run.id)
    client.pexpire(keys.run, 1)  # its retention is over; the next slice keeps it
    client.persist(keys.run)
    hurry(run, "||")
    stand.storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
    assert run.load() is not None
    finish(stand, again)
    is_whole(again)


def test_a_run_whose_retention_ends_is_kept_until_the_copy_is_whole(stand, cut_off):
    run = failed_wide_run(stand)
    client, keys = stand.storage._client, stand.storage.keys.of_run(run.id)
    client.pexpire(keys.run, 60_000)
    rerun = run.rerun()
    cut_off(stand.storage, 4, lambda: stand.storage.rerun(rerun), raises=False)
    assert client.pttl(keys.run) > 86_400_000


def test_a_run_whose_earlier_run_is_gone_fails_and_says_so(stand, cut_off):
    run = failed_wide_run(stand)
    rerun = run.rerun()
    cut_off(stand.storage, 4, lambda: stand.storage.rerun(rerun), raises=False)
    again = run.twin(stand.storage)
    again.id, again.new = rerun.run.run_id, rerun.run
    stand.storage._client.delete(stand.storage.keys.of_run(run.id).run)
    hurry(again)
    [entry] = [entry for entry in stand.tick().entries if entry.kind is Due.COPY]
    copied = stand.storage.copy(entry.run_id, durations=DURATIONS)
    assert (copied.failed, list(copied.dispatches)) == (2, [])
    found = again.load()
    assert (found.status, run.id in json.loads(found.failure)["message"]) == (Status.FAILED, True)
    assert [entry.outcome for entry in again.history()] == ["", "failed"]
    with pytest.raises(RunStateError, match="not all of that is copied"):
        again.retried()
    assert stand.start(FAN).load().status is Status.PENDING  # the id is free


def test_a_rerun_that_is_cancelled_while_it_is_copied_becomes_whole_and_can_be_retried(stand, cut_off):
    run = failed_wide_run(stand)
    rerun = run.rerun(lane="0:celery")
    cut_off(stand.storage, 4, lambda: stand.storage.rerun(rerun), raises=False)
    again = run.twin(stand.storage)
    again.id, again.new = rerun.run.run_id, rerun.run
    again.cancel("stop")
    assert finish(stand, again) == []
    is_whole(again)
    assert again.lanes() == {}
    third = again.retried()
    is_whole(third)


def test_a_rerun_that_is_gone_leaves_nothing(stand, cut_off):
    run = failed_wide_run(stand)
    rerun = run.rerun()
    cut_off(stand.storage, 4, lambda: stand.storage.rerun(rerun), raises=False)
    again = run.twin(stand.storage)
    again.id, again.new = rerun.run.run_id, rerun.run
    client, keys = stand.storage._client, stand.storage.keys.of_run(again.id)
    client.delete(keys.run)
    hurry(again)
    assert list(stand.tick().entries) == []
    assert not list(client.scan_iter(f"{keys.prefix}edges:*"))
    assert not client.exists(f"{keys.prefix}copies:{run.id}")


def half_copied(stand, cut_off, run, *, calls=4, **fields):
    """What a retry or a fork, whose caller is gone, has made of a run so far."""
    rerun = run.rerun(lane="0:celery", **fields)
    cut_off(stand.storage, calls, lambda: stand.storage.rerun(rerun), raises=False)
    return run.of(rerun)


def test_facts_name_the_run_that_is_still_copied_from(stand, cut_off):
    run = failed_wide_run(stand)
    again = half_copied(stand, cut_off, run)
    assert stand.storage.facts(again.id, []).copies == run.id
    finish(stand, again)
    assert stand.storage.facts(again.id, []).copies is None


def test_a_run_is_not_deleted_while_it_is_copied(stand, cut_off):
    run = failed_wide_run(stand)
    again = half_copied(stand, cut_off, run)
    assert run.delete() == Untouched(status=Status.FAILED, copied_by=again.id)
    finish(stand, again)
    is_whole(again)
    assert run.delete() is None
    is_whole(again)


def test_a_half_copied_run_that_is_deleted_lets_the_earlier_one_go(stand, cut_off):
    run = failed_wide_run(stand)
    again = half_copied(stand, cut_off, run)
    again.cancel()
    assert again.delete() is None
    client, keys = stand.storage._client, stand.storage.keys.of_run(again.id)
    assert not list(client.scan_iter(f"{keys.prefix}edges:*"))
    assert not list(client.zscan_iter(keys.names[3], f"{again.id}|*"))
    assert run.delete() is None


def test_the_keys_of_events_go_with_a_deleted_run(stand):
    run = stand.start()
    run.wait_at("a")
    run.deliver("go", key="evt_a")
    run.deliver("go", keep=True, key="evt_b", step="b", by="ada")
    run.cancel()
    assert run.delete() is None
    assert not [
        key for key in stand.storage._client.scan_iter("*") if run.id.encode() in key and b":answer:" not in key
    ]


@pytest.fixture
def apart(redis_url, namespace, drive):
    """A store of several partitions, driven by hand."""
    storage = RedisStorage(redis_url, namespace=f"{namespace}:apart", partitions=4)
    yield drive(storage)
    storage.close()


def elsewhere(stand, run):
    """A value whose runs are in another partition."""
    keys = stand.storage.keys
    for number in range(100):
        instance_id = f"order::else{number}"
        if keys.of_instance(instance_id) != keys.of_run(run.id).prefix:
            return instance_id
    raise AssertionError


@pytest.mark.parametrize("active", [True, False])
def test_a_fork_into_another_partition(apart, active):
    run = apart.start(FAN, instance_id="order::a") if active else failed_wide_run(apart, instance_id="order::a")
    if active:
        run.step("a", result='{"of":"a"}')
        for branch in DONE:
            run.step(branch, result=json.dumps({"of": branch}), metadata='{"m":1}')
    again = run.forked("b400", instance_id=elsewhere(apart, run), lane="0:celery")
    is_whole(again)
    assert again.load().initial == run.new.initial
    assert {dispatch.activation.step for dispatch in again.dispatched} == {*BRANCHES} - {*DONE}
    marks = f"{apart.storage.keys.of_run(run.id).prefix}copies:{run.id}"
    assert not apart.storage._client.exists(marks)


def test_a_half_copied_run_that_is_deleted_lets_a_run_of_another_partition_go(apart, cut_off):
    run = failed_wide_run(apart, instance_id="order::a")
    again = half_copied(apart, cut_off, run, calls=8, again=["b400"], retry=False, instance_id=elsewhere(apart, run))
    assert run.delete() == Untouched(status=Status.FAILED, copied_by=again.id)
    again.cancel()
    assert again.delete() is None
    assert run.delete() is None


def test_a_small_fork_into_another_partition(apart):
    run = apart.start(instance_id="order::a")
    run.step("a", result='{"of":"a"}')
    again = run.forked("b", instance_id=elsewhere(apart, run))
    assert dict(again.load().results) == {"a": '{"of":"a"}'}
    assert list(again.step("b").completed) == ["a", "b", "done"]


def test_event_keys_go_into_another_partition(apart):
    run = apart.start(instance_id="order::a")
    run.wait_at("a")
    run.deliver("go", key="evt_a")
    run.claim("a")
    run.complete("a")
    run.deliver("go", keep=True, key="evt_b")
    again = run.forked("b", instance_id=elsewhere(apart, run))
    assert again.deliver("go", keep=True, key="evt_a").outcome == "repeated"
    assert again.deliver("go", keep=True, key="evt_b").outcome == "kept"


def test_a_fork_of_a_run_that_is_gone_is_refused_elsewhere(apart):
    run = apart.start(instance_id="order::a")
    rerun = run.rerun(again=["a"], retry=False, instance_id=elsewhere(apart, run))
    apart.storage._client.delete(apart.storage.keys.of_run(run.id).run)
    with pytest.raises(InstanceNotFoundError):
        apart.storage.rerun(rerun)


def test_a_caller_that_is_killed_anywhere_between_partitions_leaves_no_half_run(apart, cut_off):
    for number in range(100):
        run = failed_wide_run(apart, instance_id=f"order::{number}")
        rerun = run.rerun(again=["b400"], retry=False, instance_id=elsewhere(apart, run), lane="0:celery")
        calls = cut_off(apart.storage, number, lambda rerun=rerun: _quietly(apart.storage.rerun, rerun), raises=False)
        again = run.twin(apart.storage)
        again.id, again.new = rerun.run.run_id, rerun.run
        if apart.storage._client.exists(apart.storage.keys.of_run(again.id).run):
            finish(apart, again)
            is_whole(again)
            again.cancel()
        if calls <= number:
            return
    raise AssertionError("it never ends")


def test_many_event_keys_are_copied(stand):
    run = stand.start()
    run.probe.add_event_keys(stand.storage, run.id, [f"evt_{number}" for number in range(5000)])
    stand.storage._client.hset(stand.storage.keys.of_run(run.id).run, "ek", 5000)
    run.cancel()
    again = run.retried()
    client, keys = stand.storage._client, stand.storage.keys.of_run(again.id)
    assert client.scard(keys.taken) == 5000
    assert client.hget(keys.run, "ek") == b"5000"
    assert client.hget(keys.run, "cp") is None


def test_early_events_of_megabytes_are_copied_in_slices(stand):
    run = stand.start()
    for number in range(30):
        run.deliver("go", json.dumps(f"{number}" + "x" * 300_000), keep=True, key=f"evt_{number}")
    run.cancel()
    again = run.retried()
    assert again.wait_at("a").resumed
    assert json.loads(again.claim("a").data).startswith("0x")
    assert again.deliver("go", keep=True, key="evt_7").outcome == "repeated"


def test_a_small_retry_is_one_round_trip_and_moves_no_results(stand):
    run = stand.start({("a", "ok"): ["b"], ("b", "ok"): ["done"]})
    run.step("a", result=json.dumps("x" * 200_000))
    run.claim("b")
    run.fail("b")
    rerun = run.rerun()
    client = stand.storage._client
    before = client.info("stats")
    stand.storage.rerun(rerun)
    after = client.info("stats")
    assert after["total_net_input_bytes"] - before["total_net_input_bytes"] < 10_000
