"""Keys: their names, their lifetimes, and what happens when they are gone or hold something else."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.storage.instances import decode_instance, read_start
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis import key_catalogue
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.redis.wide_steps import Edges
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.storage.fixtures import lasting

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "keys.md"
ENDS = ("complete", "fail", "cancel")


def end(run, how):
    run.claim("a")
    run.cancel() if how == "cancel" else getattr(run, how)("a")


def found(client, namespace):
    return sorted(key.decode() for key in client.scan_iter(f"{namespace}:*", count=1000))


def kind_of(name, namespace):
    """The entry of the catalogue that a key is of."""
    rest = re.fullmatch(rf"{re.escape(namespace)}:\{{\d+\}}:(.+)", name).group(1)
    kinds = [
        kind
        for kind in key_catalogue.CATALOGUE
        if re.fullmatch(
            "".join(".+" if part[0] == "<" else re.escape(part) for part in re.findall("<[^>]+>|[^<]+", kind.pattern)),
            rest,
        )
    ]
    assert len(kinds) == 1, name
    return kinds[0]


def full_life(stand):
    """Runs in every status, with everything that a run can have, and a look at what is due."""
    for number, how in enumerate((*ENDS, None)):
        run = stand.start({("a", "ok"): ["done"]}, tags=("fast",), instance_id=f"order::{number}")
        run.deliver("go", keep=True, key="evt_1")
        run.wait_at("a", accepts={"stop": "ok"}, timeout=1_000_000)
        run.deliver("stop")
        if how is not None:
            end(run, how)
    claimed, waiting = (stand.start(instance_id=f"order::lane{number}", lane="0:work") for number in range(2))
    claimed.claim("a")
    stand.start(instance_id="order::patient").wait_at("a", accepts={"paid": "ok"})
    stand.start(instance_id="order::polls", deadline=3_600_000_000).rounds("a", 102)
    wide = stand.start({("a", "ok"): [f"b{number}" for number in range(600)]}, instance_id="order::wide")
    wide.claim("a")
    completion = wide.completion("a")
    run_now(stand.storage._clients.settling.stage(Edges.of_commit(completion), fence=completion.fence, name="laid"))
    storage = stand.storage
    tell_and_miss(stand)
    parameters = json.dumps({"run_id": claimed.id, "copy": waiting.id, "reads": SCHEMA})
    storage._calls.of_run("hold", claimed.id, parameters)
    storage.report("w1", "{}", lifetime=60_000_000)
    storage._client.zadd(f"{storage.keys.of_run(waiting.id).prefix}lanes", {"0:work": 1})
    stand.tick()
    for family in ("shop.Paused", "shop.GoesOn"):
        stand.pause_workflow(family)
        first = {(f"a{number}", "ok"): ["done"] for number in range(120)}
        stand.start(first, instance_id=f"order::{family}", name=family)
    stand.unpause_workflow("shop.GoesOn")


def tell_and_miss(stand):
    """A group of the event stream that has missed something, and acknowledged a part of something."""
    storage = stand.storage
    for number in range(4):
        run = stand.start(instance_id=f"order::told{number}", durations=replace(DURATIONS, stream=10))
        run.claim("a")
        if number == 3:
            storage._client.xtrim(f"{storage.keys.of_run(run.id).prefix}events", maxlen=1, approximate=False)
        entries = storage.read_events(0, group="g", consumer="c", limit=1).entries if number in (0, 3) else ()
    storage.acknowledge_events_in_part(0, group="g", id=entries[0].id, places=[0])


def test_every_key_is_in_the_catalogue(stand, client, namespace):
    full_life(stand)
    for name in found(client, namespace):
        kind = kind_of(name, namespace)
        stored = {
            "hash": "hash",
            "string": "string",
            "list": "list",
            "zset": "sorted set",
            "set": "set",
            "stream": "stream",
        }[client.type(name).decode()]
        assert stored == kind.type, name


def test_every_kind_of_key_is_used(stand, client, namespace):
    full_life(stand)
    used = {kind_of(name, namespace).pattern for name in found(client, namespace)}
    assert used == {kind.pattern for kind in key_catalogue.CATALOGUE if kind.type != "channel"}


@pytest.mark.parametrize("how", ENDS)
def test_after_the_end_every_key_has_a_lifetime_or_is_known_to_have_none(stand, client, namespace, how):
    run = stand.start({("a", "ok"): ["done"]}, tags=("fast",))
    end(run, how)
    lasting = {name for name in found(client, namespace) if client.ttl(name) == -1}
    assert all(kind_of(name, namespace).lifetime.startswith("none") for name in lasting)


def test_a_commit_discarded_long_after_the_end_leaves_no_key_without_a_lifetime(stand, redis_storage, client):
    run = stand.start()
    run.claim("a")
    run.cancel()
    own = redis_storage.keys.of_run(run.id)
    client.delete(*own.names[1:3], own.names[4])  # evicted
    assert run.complete("a").verdict is Verdict.DISCARDED
    assert [client.ttl(name) > 0 for name in (own.run, own.history, own.names[4])] == [True] * 3


def test_a_finished_run_is_kept_for_its_retention(redis_url, namespace, drive, redis_storage, client):
    storage = RedisStorage(redis_url, namespace=namespace)
    run = drive(storage, durations=lasting(retention=timedelta(hours=1))).start()
    run.cancel()
    own = storage.keys.of_run(run.id)
    # The scheduler prunes it in time; the lifetime of the keys is a little longer, for where none runs.
    assert all(3600 - 10 < client.ttl(name) <= 3600 + 60 for name in own.names[:3])
    at = run.load().finished_at
    assert client.zscore(own.names[3], f'{run.id}||["order::a","shop.Order"]') == at + 3_600_000_000
    storage.close()


def test_without_a_retention_a_finished_run_is_kept_for_ever(redis_url, namespace, drive, redis_storage, client):
    storage = RedisStorage(redis_url, namespace=namespace)
    stand = drive(storage, durations=dataclasses.replace(DURATIONS, retention=None))
    run = stand.start()
    run.cancel()
    own = storage.keys.of_run(run.id)
    assert [client.ttl(name) for name in own.names[:3]] == [-1] * 3
    assert [member.decode() for member in client.zrange(own.names[3], 0, -1)] == [
        f'{run.id}||["order::a","shop.Order"]'
    ]
    client.zadd(own.names[3], {f'{run.id}||["order::a","shop.Order"]': 1})
    stand.tick()
    assert run.load() is not None  # it is only looked whether it is still there
    storage.close()


def test_an_ended_run_has_no_scraps_in_its_hash(stand, redis_storage, client):
    run = stand.start({("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]})
    for number in range(3):
        run.deliver("never", keep=True, key=f"evt_{number}")
    run.step("a")
    run.wait_at("b")
    run.deliver("go")
    run.cancel()
    kinds = {
        name.decode().partition(":")[0] for name in client.hkeys(redis_storage.keys.of_run(run.id).run) if b":" in name
    }
    assert kinds == {"s"}


@pytest.mark.parametrize(("how", "kept"), [("complete", 0), ("cancel", 1), ("fail", 1)])
def test_early_events_are_kept_with_a_run_that_can_be_retried(stand, client, how, kept):
    run = stand.start({("a", "ok"): ["done"]})
    run.deliver("never", keep=True)
    end(run, how)
    keys = run.storage.keys.of_run(run.id)
    assert client.exists(keys.early) == kept
    assert not kept or abs(client.pttl(keys.early) - client.pttl(keys.run)) < 1000


def test_the_keys_of_events_are_kept_as_long_as_their_run(redis_url, namespace, drive, redis_storage, client):
    storage = RedisStorage(redis_url, namespace=namespace)
    run = drive(storage, durations=lasting(retention=timedelta(hours=1))).start()
    own = storage.keys.of_run(run.id)
    run.deliver("go", keep=True, key="evt_1")
    taken = f"{own.prefix}taken:{run.id}"
    assert client.ttl(taken) == client.ttl(own.run) == -1
    run.cancel()
    assert abs(client.pttl(taken) - client.pttl(own.run)) < 1000
    storage.close()


def test_what_a_run_remembers_of_its_senders_goes_by_itself(stand, redis_storage, client):
    run = stand.start()
    own = redis_storage.keys.of_run(run.id)
    for number in range(50):
        run.deliver("go", keep=True)
        run.schedule("a", reference=f"ref{number}", delay=1)
        run.unschedule("a", reference=f"ref{number}")
    assert client.exists(own.names[4]) == 0  # answers:<run_id> has one for each step and no more
    left = list(client.scan_iter(f"{own.prefix}answer:*", count=1000))
    assert len(left) == 150
    assert all(0 < client.pttl(key) <= 3_600_000 for key in left)


def test_an_expired_run_is_gone_from_lists_and_candidates(stand, redis_storage, client):
    gone = stand.start(tags=("fast",))
    gone.cancel()
    stays = stand.start(tags=("fast",))
    stays.cancel()
    client.delete(*redis_storage.keys.of_run(gone.id).names[:3])
    for filters in ({}, {"id": "order::a"}, {"tag": "fast"}, {"statuses": frozenset({Status.CANCELLED})}):
        assert [run_id for run_id, _ in redis_storage.list_runs(Query(**filters))[0]] == [stays.id]
    client.delete(*redis_storage.keys.of_run(stays.id).names[:3])
    assert redis_storage.candidates("order::a", family=None).newest is None
    assert (stays.load(), list(stays.history())) == (None, [])


def test_a_listing_drops_expired_runs_from_its_index(stand, redis_storage, client):
    run = stand.start()
    run.cancel()
    client.delete(redis_storage.keys.of_run(run.id).run)
    redis_storage.list_runs(Query())
    assert client.zcard(f"{redis_storage.keys.of_run(run.id).prefix}index:status:cancelled") == 0


def test_an_evicted_run_does_not_hold_its_id(stand, redis_storage, client):
    run = stand.start()
    client.delete(redis_storage.keys.of_run(run.id).run)
    assert stand.start().load().status is Status.PENDING
    assert run.id not in redis_storage.candidates("order::a", family=None).active


def test_the_start_key_holds_nanoseconds_under_its_name(stand, client, namespace):
    run = stand.start()
    assert int(client.get(f"{namespace}:{{0}}:start:{run.id}")) == run.load().started_at * 1000


def test_the_start_key_is_written_once(stand, client, namespace):
    run = stand.start()
    key = f"{namespace}:{{0}}:start:{run.id}"
    before = client.get(key)
    run.step("a")
    run.wait_at("b")
    run.deliver("go")
    run.step("b")
    assert client.get(key) == before


DAMAGES = {
    "deleted": lambda client, key: client.delete(key),
    "garbage": lambda client, key: client.set(key, "yesterday"),
    "empty": lambda client, key: client.set(key, ""),
    "no text": lambda client, key: client.set(key, b"\xff\xfe\x00123"),
    "a list": lambda client, key: (client.delete(key), client.rpush(key, "1")),
    "too long": lambda client, key: client.set(key, "9" * 400),
    "negative": lambda client, key: client.set(key, "-1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("how", ENDS)
def test_a_damaged_start_key_costs_the_start_time_and_nothing_else(stand, redis_storage, client, damage, how):
    run = stand.start({("a", "ok"): ["done"]})
    damage(client, redis_storage.keys.of_run(run.id).names[1])
    claim = run.claim("a")
    assert decode_instance(claim.run).telemetry_start_time is None
    ended = run.cancel().run if how == "cancel" else getattr(run, how)("a")
    assert read_start(ended.start) is None
    ((_, listed),), _ = redis_storage.list_runs(Query())
    assert read_start(listed.start) is None
    assert decode_instance(run.load()).status.final


def test_a_start_in_the_future_is_given_as_it_is(stand, redis_storage, client):
    run = stand.start({("a", "ok"): ["done"]})
    client.set(redis_storage.keys.of_run(run.id).names[1], "4102444800000000000")
    assert decode_instance(run.claim("a").run).telemetry_start_time == 4102444800000000000
    assert run.complete("a").start == "4102444800000000000"


def test_the_page_on_keys_is_what_the_catalogue_says():
    assert PAGE.read_text(encoding="utf-8") == key_catalogue.render()


# Runs that are gone before a scheduler looks: expired while no worker ran, or evicted by a server that is full


def busy_life(run, stage):
    """Lead a run up to a stage, with everything that it can have on the way."""
    if stage == "created":
        return
    run.deliver("go", keep=True)
    run.schedule("b", delay=60_000_000)
    run.claim("a", limit=60_000_000)
    if stage in ("completed", "failed"):
        run.complete("a") if stage == "completed" else run.fail("a")
    if stage == "completed":
        run.step("b")
    if stage == "cancelled":
        run.cancel()
    if stage == "waiting":
        run.suspend("a", accepts={"stop": "ok"}, timeout=60_000_000)
    if stage == "resumed":
        run.suspend("a", accepts={"stop": "ok"})
        run.deliver("stop")
    if stage == "backing_off":
        run.retry("a", delay=60_000_000)


STAGES = ("created", "claimed", "waiting", "resumed", "backing_off", "completed", "failed", "cancelled")


@pytest.mark.parametrize("all_of_it", [True, False], ids=["all its keys", "its hash alone"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_gone_leaves_nothing_for_ever(stand, client, namespace, stage, all_of_it):
    lane = {"lane": "3:fast"} if stage == "created" else {}
    run = stand.start(tags=("fast", "a|b"), **lane)
    busy_life(run, stage)
    own = stand.storage.keys.of_run(run.id)
    client.delete(*([*own.names[:3], own.names[4]] if all_of_it else own.names[:1]))
    past = 1
    for name in found(client, namespace):
        if kind_of(name, namespace).pattern in ("due", "lanes") or "lane:" in name:
            client.zadd(name, {member: past for member, _ in client.zscan_iter(name)})
    for _ in range(3):
        stand.tick()
        for name in found(client, namespace):
            if kind_of(name, namespace).pattern == "lanes":
                client.zadd(name, {member: past for member, _ in client.zscan_iter(name)})
    lasting = [name for name in found(client, namespace) if client.ttl(name) == -1]
    assert {kind_of(name, namespace).pattern for name in lasting} <= {"seat"}
    assert run.id not in str(client.hgetall(f"{namespace}:{{0}}:seat"))


def test_a_run_that_is_still_there_is_looked_at_again_later(stand, redis_storage, client):
    run = stand.start(tags=("fast",))
    due = redis_storage.keys.of_run(run.id).names[3]
    [entry] = [member for member, _ in client.zscan_iter(due) if b"||" in member]
    before = redis_storage.now()
    client.zadd(due, {entry: 1})
    assert list(stand.tick().problems) == []
    assert client.zscore(due, entry) >= before + 86_400_000_000
    assert run.load().status is Status.PENDING


def test_the_index_of_an_id_has_a_lifetime_when_none_of_its_runs_is_active(stand, client, namespace):
    name = f"{namespace}:{{0}}:index:id:order::a"
    first, second = stand.start(scope="none"), stand.start(scope="none")
    assert client.ttl(name) == -1
    first.cancel()
    assert client.ttl(name) == -1
    second.cancel()
    assert client.ttl(name) > 0
    stand.start(scope="none")
    assert client.ttl(name) == -1


@pytest.mark.parametrize("stage", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("width", [1, 900])
def test_a_deleted_run_leaves_the_reply_alone(stand, client, namespace, stage, width):
    last = [f"c{number}" for number in range(width)] if width > 1 else ["done"]
    run = stand.start({("a", "ok"): ["b"], ("b", "ok"): last}, tags=("fast", "a|b"))
    busy_life(run, "created" if width > 1 else stage)
    if width > 1:
        run.step("a")
        run.step("b")
        run.wait_at("c7")
        run.schedule("c8", delay=60_000_000)
        run.cancel()
    assert run.delete() is None
    left = {kind_of(name, namespace).pattern for name in found(client, namespace)}
    assert left <= {"seat", "answer:<run_id>:<operation>"}
