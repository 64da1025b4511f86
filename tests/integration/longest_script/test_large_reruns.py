"""What scripts do with large runs that are retried, forked or paused takes the server a few milliseconds."""

from __future__ import annotations

import dataclasses
import json

import pytest
from wide_runs import completed_by_hand, copied, drained, fan

from hephaestus_celery.storage.queries import DataKind, Query
from hephaestus_celery.testing.conformance.driven_values import DURATIONS


@pytest.mark.parametrize(("kept", "size"), [(9_000, 10), (5_000, 2_000), (100, 1_000_000)])
@pytest.mark.parametrize("how", ["retry", "fork"])
def test_a_run_that_is_made_of_a_large_one(longest, kept, size, how):
    width = {9_000: 10_000, 5_000: 5_500}.get(kept, 5_000)

    def prepare(stand):
        run = fan(stand, width, lane="0:celery")
        run.step("a")
        completed_by_hand(run, run.branches[:kept], json.dumps("x" * size))
        run.cancel()
        return run

    def again(run, storage):
        made = run.retried() if how == "retry" else run.forked(run.branches[0])
        assert len(made.dispatched) == width - kept + (how == "fork")
        assert len(storage.read_data(made.id, DataKind.RESULT, run.branches[1:3])) == 2

    assert longest(again, prepare) == {}


def test_ten_thousand_event_keys_go_along(longest, server):
    def prepare(stand):
        run = stand.start()
        run.step("a")
        keys = stand.storage.keys.of_run(run.id)
        names = [f"evt_{number}" for number in range(10_000)]
        server.sadd(keys.taken, *names)
        server.hset(keys.owners, mapping={f"k{name}": "sa" for name in names})
        server.hset(keys.run, "ek", 10_000)
        run.cancel()
        return run

    def again(run, storage):
        made = run.retried()
        assert server.scard(storage.keys.of_run(made.id).taken) == 10_000

    assert longest(again, prepare) == {}


THOUSANDS = 10_000


@pytest.mark.parametrize("end", ["unpause", "cancel"])
def test_a_paused_run_of_thousands_goes_on_or_ends(longest, end):
    def prepare(stand):
        run = fan(stand, THOUSANDS)
        run.claim("a")
        return run

    def paused(run, storage):
        run.pause()
        assert run.complete("a").dispatches == []
        assert run.load().pauses
        if end == "cancel":
            assert run.cancel() is not None
            assert drained(storage) == []
        else:
            run.unpause()
            assert len(drained(storage)) == THOUSANDS

    assert longest(paused, prepare) == {}


def test_the_messages_of_a_run_of_thousands_wait_in_a_pause_and_afterwards(longest):
    def prepare(stand):
        run = fan(stand, THOUSANDS, lane="0:celery")
        run.step("a")
        return run

    def paused(run, storage):
        run.pause()
        lanes = f"{storage.keys.partition(0)}lanes"
        while storage._client.zcard(f"{storage.keys.partition(0)}parked:{run.id}") < THOUSANDS:
            storage._client.zadd(lanes, {"0:celery": 1}, xx=True)  # the lane is looked at again at once
            storage.tick(
                0, owner="me", worker="w", seize=True, durations=dataclasses.replace(DURATIONS, dispatch_timeout=1)
            )
        run.unpause()
        assert drained(storage) == []
        assert storage._client.zcard(f"{storage.keys.partition(0)}lane:0:celery") == THOUSANDS

    assert longest(paused, prepare) == {}


def test_thousands_of_runs_of_a_paused_workflow_go_on(longest):
    def prepare(stand):
        stand.pause_workflow()
        run = stand.start()
        parked, releases = (
            f"{stand.storage.keys.of_run(run.id).prefix}{name}" for name in ("parked:", "index:parked:shop.Order")
        )
        at = stand.storage._client.zscore(releases, run.id)
        run_ids = copied(stand, run, THOUSANDS, {"status:pending": ""})
        with stand.storage._client.pipeline(transaction=False) as pipe:
            for number, run_id in enumerate(run_ids):
                pipe.copy(f"{parked}{run.id}", f"{parked}{run_id}")
                pipe.zadd(releases, {run_id: at + number})
            pipe.execute()
        return stand

    def go_on(stand, storage):
        assert len(storage.list_runs(Query(paused=True, limit=100))[0]) == 100
        assert storage.count_runs(Query(paused=True)) == THOUSANDS + 1
        stand.unpause_workflow()
        stand.pause_workflow()
        assert drained(storage) == []
        stand.unpause_workflow()
        assert len(drained(storage)) == THOUSANDS + 1
        assert storage.count_runs(Query(paused=True)) == 0
        assert stand.storage._client.zcard(f"{storage.keys.partition(0)}releases") == 0

    assert longest(go_on, prepare) == {}
