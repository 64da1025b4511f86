"""The due set on a server: one scheduler at a time, lost messages ever less often, old runs pruned, rubbish survived."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.client import connect
from hephaestus_celery.storage.redis.steady_clock import LOCK_SECONDS
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.storage.fixtures import lasting

SOON = timedelta(microseconds=1)
HOUR = 3_600_000_000
MINUTE = 60_000_000


@pytest.fixture
def stand_with(redis_url, namespace, redis_storage, drive):
    """``stand_with(lease=...)``: a storage on the keys of this test, driven by hand with these durations."""
    made = []

    def make(**durations):
        made.append(RedisStorage(redis_url, namespace=namespace))
        return drive(made[-1], durations=lasting(**durations))

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def lock_key(namespace):
    """The key that says who the scheduler is."""
    return f"{namespace}:{{0}}:seat"


@pytest.fixture
def due(namespace):
    """The key of the due set."""
    return f"{namespace}:{{0}}:due"


def eventually(condition):
    """Wait for what the server does by itself."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


# The lock


def test_one_owner_ticks_at_a_time(stand):
    run = stand.start()
    run.wait_at("a", timeout=0)
    assert stand.tick(owner="first").held is True
    other = stand.tick(owner="second")
    assert (other.held, other.next_in, other.more, list(other.entries)) == (False, None, False, [])


def test_who_has_no_lock_moves_nothing(stand):
    stand.tick(owner="first")
    run = stand.start()
    run.wait_at("a", timeout=0)
    before = run.load(), run.due()
    stand.tick(owner="second")
    assert (run.load(), run.due()) == before


def test_the_owner_keeps_the_lock_by_ticking(stand):
    stand.tick(owner="first")
    end = time.monotonic() + LOCK_SECONDS + 1
    while time.monotonic() < end:
        assert stand.tick(owner="first").held is True
        assert stand.tick(owner="second").held is False


def test_an_expired_lock_is_taken_over(stand):
    run = stand.start()
    run.wait_at("a", timeout=0)
    stand.tick(owner="first", seize=False)
    began = time.monotonic()
    eventually(lambda: stand.tick(owner="second").held)
    assert time.monotonic() - began >= LOCK_SECONDS
    assert run.load().steps["a"].resume.source == "timeout"
    assert stand.tick(owner="first").held is False


def test_who_can_read_newer_runs_takes_the_lock_at_once(stand, client, lock_key):
    stand.tick(owner="first")
    client.hset(lock_key, "schema", 0)  # the first is older
    assert stand.tick(owner="second").held is True
    assert stand.tick(owner="first").held is False


def test_who_resigns_leaves_the_lock_at_once(stand, redis_storage):
    stand.tick(owner="first")
    redis_storage.resign(owner="first")
    assert stand.tick(owner="second").held is True


def test_nobody_resigns_for_another(stand, redis_storage):
    stand.tick(owner="first")
    redis_storage.resign(owner="second")
    assert stand.tick(owner="second").held is False


def test_resigning_where_there_is_no_lock_is_nothing(redis_storage):
    redis_storage.resign(owner="first")


def test_each_partition_has_a_lock_of_its_own(redis_url, namespace, redis_storage):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=2)
    assert storage.tick(0, owner="first", worker="w1", seize=True, durations=DURATIONS).held
    assert storage.tick(1, owner="second", worker="w2", seize=True, durations=DURATIONS).held
    assert not storage.tick(1, owner="first", worker="w1", seize=True, durations=DURATIONS).held
    storage.resign(owner="first")
    assert storage.tick(0, owner="second", worker="w2", seize=True, durations=DURATIONS).held
    storage.close()


def test_a_partition_sees_its_own_runs_only(redis_url, namespace, redis_storage, drive):
    storage = RedisStorage(redis_url, namespace=namespace, partitions=4)
    runs = [drive(storage).start(instance_id=f"order::{number}") for number in range(20)]
    for run in runs:
        run.wait_at("a", timeout=0)
    found = [
        {
            entry.run_id
            for entry in storage.tick(number, owner="me", worker="w1", seize=True, durations=DURATIONS).entries
        }
        for number in range(4)
    ]
    assert set.union(*found) == {run.id for run in runs}
    assert sum(map(len, found)) == 20
    assert all(found)
    storage.close()


# When the store was away


def test_a_lease_that_ran_out_while_the_store_was_away_is_put_off(stand_with):
    hasty = stand_with(lease=SOON)
    run = hasty.start()
    run.claim("a")
    hasty.durations = DURATIONS
    before = hasty.storage.now()
    assert list(hasty.tick(seize=False).entries) == []
    assert run.due()["a"] >= before + 30_000_000
    assert run.complete("a").verdict is Verdict.APPLIED


def test_a_lease_that_was_put_off_runs_out_later(stand_with):
    hasty = stand_with(lease=SOON)
    run = hasty.start()
    run.claim("a")
    hasty.tick(seize=False)
    assert [(entry.kind, entry.run_id) for entry in hasty.entries(1)] == [(Due.LEASE_EXPIRED, run.id)]


def test_while_lapses_are_put_off_everything_else_happens(stand_with):
    hasty = stand_with(lease=SOON)
    holds, waits = hasty.start(), hasty.start(instance_id="order::b")
    waits.wait_at("a", timeout=0)
    holds.claim("a")
    assert [(entry.kind, entry.run_id) for entry in hasty.entries(1, seize=False)] == [(Due.TIMEOUT, waits.id)]


# Lost messages


@pytest.fixture
def lose(stand, client, due):
    """``lose(run)``: its message counts as lost; how many dispatch timeouts the next one is given, give or take a quarter."""

    def lose(run):
        client.zadd(due, {f"{run.id}|a": 1})
        before = stand.storage.now()
        [entry] = stand.tick().entries
        assert entry.kind is Due.REDISPATCH
        given = (client.zscore(due, f"{run.id}|a") - before) / 30_000_000
        return next((times for times in (1, 2, 4, 8) if 0.75 * times <= given < 1.26 * times), given)

    return lose


def test_a_message_that_nobody_claims_is_sent_ever_less_often(stand, lose):
    run = stand.start()
    assert [lose(run) for _ in range(5)] == [2, 4, 8, 8, 8]


@pytest.mark.parametrize("what", ["retry", "suspend"])
def test_a_new_attempt_or_wait_is_given_the_first_interval_again(stand, lose, what):
    run = stand.start()
    assert [lose(run), lose(run)] == [2, 4]
    run.claim("a")
    if what == "retry":
        run.retry("a")
        assert [entry.kind for entry in stand.entries(1)] == [Due.RETRY]
    else:
        run.suspend("a")
        run.deliver("go")
    assert lose(run) == 2


# Retention


def pruned(redis_storage):
    """The run ids that any listing still shows."""
    return [run_id for run_id, _ in redis_storage.list_runs(Query())[0]]


@pytest.mark.parametrize("how", ["complete", "fail", "cancel"])
def test_a_run_is_pruned_with_everything_when_its_retention_is_over(stand_with, client, namespace, how):
    stand = stand_with(retention=SOON)
    run = stand.start({("a", "ok"): ["done"]}, tags=("fast", "blue"))
    run.schedule("a", delay=HOUR)
    run.deliver("early", keep=True, key="evt_1")
    run.claim("a")
    run.cancel() if how == "cancel" else getattr(run, how)("a")
    assert run.load() is not None
    eventually(lambda: not list(stand.tick().entries) and run.load() is None)
    keys = {key.decode() for key in client.scan_iter(f"{namespace}:*", count=1000)}
    answers = {key for key in keys if key.startswith(f"{namespace}:{{0}}:answer:{run.id}:")}
    assert keys - answers == {f"{namespace}:{{0}}:seat"}
    assert all(0 < client.pttl(key) <= 60_000 for key in answers)  # to who sent the event and set the timer


def test_a_run_is_kept_until_its_retention_is_over(stand_with):
    stand = stand_with(retention=timedelta(hours=1))
    run = stand.start()
    run.cancel()
    stand.tick()
    assert run.load().status is Status.CANCELLED


def test_pruning_one_run_leaves_another_of_its_id(stand_with, redis_storage):
    stand = stand_with(retention=SOON)
    old = stand.start(tags=("fast",))
    old.cancel()
    young = stand.start(tags=("fast",))
    eventually(lambda: not list(stand.tick().entries) and old.load() is None)
    for filters in ({}, {"id": "order::a"}, {"tag": "fast"}, {"family": "shop.Order"}):
        assert [run_id for run_id, _ in redis_storage.list_runs(Query(**filters))[0]] == [young.id]
    assert list(redis_storage.candidates("order::a", family=None).active) == [young.id]


def test_an_active_run_is_never_pruned(stand, client, due):
    run = stand.start()
    client.zadd(due, {f"{run.id}|": 1})
    [problem] = stand.tick().problems
    assert (run.id in problem, "has not ended" in problem) == (True, True)
    assert run.load().status is Status.PENDING
    assert client.zscore(due, f"{run.id}|") is None


def test_long_runs_are_pruned_beside_the_thread_that_serves_others(stand_with, client, due):
    stand = stand_with(retention=timedelta(hours=1))
    runs = [stand.start(instance_id=f"order::{number}") for number in range(10)]
    for run in runs:
        run.cancel()
        own = stand.storage.keys.of_run(run.id)
        client.hset(own.run, mapping={f"r:step{number}": "x" * 200 for number in range(5000)})
        client.rpush(own.history, *("x" * 200 for _ in range(5000)))
        client.zadd(due, {f'{run.id}||["{run.new.instance_id}","shop.Order"]': 1})
    freed = unlinked(client)
    stand.tick()
    assert [run.load() for run in runs] == [None] * 10
    assert unlinked(client) - freed >= 10  # DEL would free them on the spot, with Redis and older Valkeys


def unlinked(client):
    return client.info("commandstats").get("cmdstat_unlink", {"calls": 0})["calls"]


# Rubbish


RUBBISH = ["x", "", "|", "||", "|a", "a|b|c|d|e", b"\xff\xfe|a", b"\xff\xfe", 'q"|x', "x\n|y\n"]


@pytest.mark.parametrize("member", RUBBISH)
def test_an_entry_that_is_none_of_ours_stops_nothing(stand, client, due, member):
    run = stand.start()
    run.wait_at("a", timeout=0)
    client.zadd(due, {member: 1})
    assert [entry.run_id for entry in stand.tick().entries] == [run.id]
    assert client.zscore(due, member) is None


def test_an_entry_that_names_no_run_is_reported(stand, client, due):
    client.zadd(due, {"x": 1})
    assert list(stand.tick().problems) == ["x: no entry of ours; dropped"]


@pytest.mark.parametrize("key", ["b", "unheard", "a|ref"])
def test_an_entry_of_a_run_that_is_gone_is_dropped(stand, client, due, redis_storage, key):
    run = stand.start()
    client.delete(redis_storage.keys.of_run(run.id).run)
    client.zadd(due, {f"{run.id}|{key}": 1})
    assert (list(stand.tick().entries), client.zscore(due, f"{run.id}|{key}")) == ([], None)


def test_an_entry_of_a_step_that_is_missing_is_dropped(stand, client, due, redis_storage):
    run = stand.start()
    client.hdel(redis_storage.keys.of_run(run.id).run, "s:a")
    client.zadd(due, {f"{run.id}|a": 1})
    tick = stand.tick()
    assert (list(tick.entries), list(tick.problems), run.due()) == ([], [], {})


DAMAGES = {
    "garbage": lambda client, key: client.hset(key, "s:a", "garbage"),
    "empty": lambda client, key: client.hset(key, "s:a", ""),
    "null": lambda client, key: client.hset(key, "s:a", "null"),
    "a number": lambda client, key: client.hset(key, "s:a", "5"),
    "no attempt": lambda client, key: client.hset(key, "s:a", '{"s":"active"}'),
    "a text for a count": lambda client, key: client.hset(key, "s:a", '{"s":"active","a":1,"d":"x"}'),
    "no name": lambda client, key: client.hdel(key, "name"),
    "no version": lambda client, key: client.hset(key, "version", "two"),
    "no number": lambda client, key: client.hset(key, "seq", "x"),
    "a list": lambda client, key: (client.delete(key), client.rpush(key, "1")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_stops_no_other(stand, client, due, redis_storage, damage):
    broken, sound = stand.start(), stand.start(instance_id="order::b")
    sound.wait_at("a", timeout=0)
    damage(client, redis_storage.keys.of_run(broken.id).run)
    client.zadd(due, {f"{broken.id}|a": 1})
    tick = stand.tick()
    assert [entry.run_id for entry in tick.entries] == [sound.id]
    assert [problem.partition("|")[0] for problem in tick.problems] == [broken.id]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_looked_at_again_later(stand, client, due, redis_storage, damage):
    run = stand.start()
    damage(client, redis_storage.keys.of_run(run.id).run)
    client.zadd(due, {f"{run.id}|a": 1})
    before = redis_storage.now()
    stand.tick()
    assert before + MINUTE <= client.zscore(due, f"{run.id}|a") <= redis_storage.now() + MINUTE


def test_very_much_rubbish_is_got_rid_of(stand, client, due):
    client.zadd(due, {f"rubbish{number}": 1 for number in range(1000)})
    run = stand.start()
    run.wait_at("a", timeout=0)
    assert [entry.run_id for entry in stand.entries(1)] == [run.id]
    assert client.zcard(due) == 2  # its timer, and the look whether it is still there


# Many


def due_at_once(drive, storage, count):
    """The ids of as many runs, the timeouts of whose first steps are all over."""
    runs = [drive(storage).start(instance_id=f"order::{number}") for number in range(count)]
    for run in runs:
        run.wait_at("a", timeout=0)
    return [run.id for run in runs]


def test_2000_timers_that_are_due_at_once_are_each_delivered_once(stand, drive, redis_storage):
    ids = due_at_once(drive, redis_storage, 2000)
    found, more, ticks = Counter(), True, 0
    while more:
        tick = stand.tick()
        found.update(entry.run_id for entry in tick.entries)
        more, ticks = tick.more, ticks + 1
    assert found == Counter(ids)
    assert ticks <= 21
    stand.calm()


def test_a_tick_does_a_limited_number_of_entries(stand, drive, redis_storage):
    due_at_once(drive, redis_storage, 101)
    first, second = stand.tick(), stand.tick()
    assert (len(first.entries), first.more, len(second.entries), second.more) == (100, True, 1, False)


def test_what_came_due_is_not_lost_with_whoever_was_to_send_it(stand_with):
    stand = stand_with(dispatch_timeout=SOON)
    run = stand.start()
    run.claim("a")
    run.retry("a")
    assert [entry.kind for entry in stand.entries(2)] == [Due.RETRY, Due.REDISPATCH]


# Costs


@pytest.fixture
def counted(private_server, namespace):
    """``counted(call)``: how many commands a call makes on the server, those of scripts included."""
    client = connect(private_server.url, timeout=timedelta(seconds=2), options={})

    def count(call):
        client.config_resetstat()
        call()
        stats = client.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): found["calls"]
            for name, found in stats.items()
            if name not in ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_ping")
        }

    yield count
    client.close()


@pytest.fixture
def idle(private_server, namespace, drive):
    """A storage on a quiet server that has one run, which waits for an event, and one scheduler."""
    storage = RedisStorage(private_server.url, namespace=namespace)
    stand = drive(storage)
    stand.start().wait_at("a")
    stand.tick(owner="first")
    yield storage
    storage.close()


def test_an_idle_tick_of_the_owner_is_six_commands(idle, counted):
    used = counted(lambda: idle.tick(0, owner="first", worker="w1", seize=True, durations=DURATIONS))
    assert used == {"evalsha": 1, "hmget": 1, "hset": 1, "time": 1, "zrange": 2}


def test_an_idle_look_of_another_is_two_commands(idle, counted):
    used = counted(lambda: idle.tick(0, owner="second", worker="w1", seize=True, durations=DURATIONS))
    assert used == {"evalsha": 1, "hmget": 1}


def test_who_resigns_looks_and_leaves_in_one_script(idle, counted):
    idle.resign(owner="nobody")  # the server has the script from here on
    used = counted(lambda: idle.resign(owner="first"))
    assert used == {"evalsha": 1, "hget": 1, "hdel": 1, "time": 1}


def test_waiting_for_the_bell_is_no_command(idle, counted):
    idle.await_due(timeout=0)
    assert counted(lambda: idle.await_due(timeout=0.05)) == {}


def test_the_reasons_in_the_history_are_those_of_the_events(stand_with, client, due):
    stand = stand_with()
    run = stand.start()
    client.zadd(due, {f"{run.id}|a": 1})
    stand.entries(1)
    assert json.loads(run.history()[-1].detail)["worker"] == "w1"


def test_what_a_worker_of_before_there_were_lanes_has_claimed_is_dropped_from_its_lane(stand_with):
    stand = stand_with(dispatch_timeout=SOON)
    claimed, ended, waiting = (stand.start(instance_id=f"order::l{number}", lane="0:work") for number in range(3))
    claimed.claim("a")
    ended.cancel()
    client, prefix = stand.storage._client, stand.storage.keys.of_run(waiting.id).prefix
    stale = {f"{run.id}|a": 1 for run in (claimed, ended)} | {"no run of ours|a": 1, "nothing": 1}
    client.zadd(f"{prefix}lane:0:work", stale)
    found = []
    while not found:
        found = [message.run_id for report in stand.tick().lanes for message in report.outstanding]
    assert found == [waiting.id]
    assert client.zrange(f"{prefix}lane:0:work", 0, -1) == [f"{waiting.id}|a".encode()]


def test_a_look_at_a_long_backlog_touches_only_a_piece_of_it(private_server, namespace, drive, counted):
    storage = RedisStorage(private_server.url, namespace=namespace)
    stand = drive(storage, durations=lasting(dispatch_timeout=SOON))
    runs = [stand.start(instance_id=f"order::m{number}", lane="0:work") for number in range(300)]
    assert runs[-1].lanes() == {"a": "0:work"}
    reports = []

    def look():
        reports[:] = stand.tick().lanes

    used = {}
    while not reports:
        used = counted(look)
    storage.close()
    assert sum(len(report.outstanding) for report in reports) <= 50
    assert sum(used.values()) < 100  # one for each, and those of a tick


def test_after_an_outage_who_applies_an_event_has_the_time_to_say_so(redis_storage, drive):
    stand = drive(redis_storage)
    run = stand.start()
    run.wait_at("a")
    run.deliver("go")
    run.claim("a", holder="task")
    run.seize("a", holder="task")
    assert list(stand.tick(seize=False).entries) == []
    assert run.renew("a") is True
    assert run.complete("a").verdict is Verdict.APPLIED
