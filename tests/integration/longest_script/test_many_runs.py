"""What scripts do with many runs takes the server a few milliseconds."""

from __future__ import annotations

import json

from wide_runs import copied

from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

MANY = 100_000


def hundred_thousand(stand):
    """Runs that wait and runs that failed, half of each."""
    waiting, failed = (stand.start(instance_id=f"order::{name}") for name in ("waiting", "failed"))
    waiting.wait_at("a", accepts={"paid": "ok"})
    failed.claim("a")
    failed.fail("a")
    family = {"family:shop.Order": ""}
    waits = {"status:waiting": "", "waits": "|a", "waiting:paid": "|a", **family}
    stand.copies = (
        copied(stand, waiting, MANY // 2, waits),
        copied(stand, failed, MANY // 2, {"status:failed": "", **family}),
    )
    return stand


def searched(stand, storage):
    """Counted and searched."""
    half = MANY // 2 + 1
    assert storage.count_runs(Query()) == storage.count_runs(Query(family="shop.Order")) == 2 * half
    assert storage.count_runs(Query(waiting_for="paid")) == half
    assert storage.count_runs(Query(waiting_for="paid", version=2)) == 0
    assert storage.count_runs(Query(waiting_since_before=1)) == 0
    assert storage.count_runs(Query(failed_step="a")) == half
    assert storage.list_runs(Query(failed_step="b")) == ([], None)
    assert len(storage.list_run_ids(Query(waiting_for="paid", limit=1000))[0]) == 1000


def asked(stand, storage):
    """What the commands doctor, stats and watch ask."""
    examination, glances = storage.examination(seconds=120), storage.glances()
    assert examination.server().described
    assert examination.runs().kinds == {
        ("shop.Order", 1, "waiting"): MANY // 2 + 1,
        ("shop.Order", 1, "failed"): MANY // 2 + 1,
    }
    assert examination.active_runs().total == MANY // 2 + 1
    assert examination.keys().complete
    examination.schedulers()
    examination.recent(seconds=300)
    examination.oldest_waiting()
    examination.lanes()
    assert sum(glances.counts().values()) == MANY + 2
    waiting, _ = stand.copies
    assert len(glances.advances(waiting[:100], over={}).runs) >= 200
    glances.advances((), over={})


def handled(stand, storage):
    """Thousands are cancelled, deleted, started, paused and retried."""
    waiting, failed = stand.copies
    cancelled = storage.cancel_many(
        waiting[:2000], operation="c", reason="enough", entry='{"kind":"cancel"}', durations=DURATIONS
    )
    assert {found.run.status for found in cancelled} == {"cancelled"}
    assert set(storage.delete_many([*failed[:2000], *waiting[:1000]], operation="d")) == {None}
    runs = [stand.prepare(instance_id=f"order::{number}", initial='"' + "x" * 5000 + '"') for number in range(1000)]
    assert len(storage.create_many([run.new for run in runs])) == 1000
    for run in runs[:50]:
        assert run.pause().sequence > 0
    assert storage.count_runs(Query(paused=True)) == 50
    for run in runs[50:100]:
        run.cancel()
        run.retried()
    assert storage.count_runs(Query(retried=True)) == 50
    assert storage.count_runs(Query()) == MANY + 2 - 3000 + 1000 + 50


def test_a_hundred_thousand_runs_are_searched_asked_about_and_handled(longest):
    def at_work(stand, storage):
        for act in (searched, asked, handled):
            act(stand, storage)

    assert longest(at_work, hundred_thousand) == {}


def test_runs_of_megabytes_are_listed(longest):
    def prepare(stand):
        for number in range(100):
            run = stand.start(
                {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}, instance_id=f"order::{number}"
            )
            for step in ("a", "b", "c"):
                run.step(step, result=json.dumps("x" * 1_500_000))
        return stand

    def listed(_, storage):
        assert len(storage.list_runs(Query())[0]) == 100

    assert longest(listed, prepare) == {}


def test_thousands_of_runs_are_looked_through(longest):
    def prepare(stand):
        for number in range(3000):
            stand.start(instance_id=f"order::{number}")
        return stand

    def sought(_, storage):
        assert storage.list_runs(Query(version=2)) == ([], None)

    assert longest(sought, prepare) == {}


def test_an_id_that_has_had_thousands_of_runs(longest):
    def prepare(stand):
        first = stand.start(name="shop.Old")
        first.cancel()
        keys, client = stand.storage.keys.of_run(first.id), stand.storage._client
        other = stand.start(name="shop.Other")
        other.cancel()
        copied = stand.storage.keys.of_run(other.id)
        index = f"{keys.prefix}index:id:order::a"
        at = client.zscore(index, other.id)
        with client.pipeline(transaction=False) as pipe:
            for number in range(20_000):
                run_id = f"{other.id[:-6]}{number:06x}"
                pipe.copy(copied.run, stand.storage.keys.of_run(run_id).run)
                pipe.zadd(index, {run_id: at + number // 3})
            pipe.execute()
        return first

    def sought(first, storage):
        assert storage.candidates("order::a", family="shop.Old").newest == first.id
        assert storage.candidates("order::a", family="shop.None").newest is None
        assert storage.candidates("order::a", family=None).newest != first.id

    assert longest(sought, prepare) == {}


def test_a_listing_moves_no_results(server, private_server, namespace, drive):
    storage = RedisStorage(private_server.url, namespace=namespace)
    stand = drive(storage)
    for number in range(100):
        run = stand.start(instance_id=f"order::{number}", initial=json.dumps({"text": "x" * 10_000}))
        for step in ("a", "b"):
            run.step(step, result=json.dumps("x" * 100_000), metadata='{"m":1}')
    before = server.info("stats")["total_net_output_bytes"]
    found, _ = storage.list_runs(Query())
    moved = server.info("stats")["total_net_output_bytes"] - before
    storage.close()
    assert len(found) == 100
    assert all(summary.steps is not None for _, summary in found)
    assert moved <= 200_000
