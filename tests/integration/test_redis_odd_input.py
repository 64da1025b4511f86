"""Scripts that are given what nobody should give them: refused before anything is changed, or done whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Settlement
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import DataError, StorageError
from hephaestus_celery.storage.due import Sent
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.redis.alike_starts import call_of as starting_together
from hephaestus_celery.storage.redis.wide_steps import Edges
from hephaestus_celery.storage.starts import PreparedMessage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

RAW = {
    "NaN": "NaN",
    "an infinite number": "1e400",
    "a number of 400 digits": "9" * 400,
    "a large number": str(2**70),
    "a fraction": "0.5",
    "a negative number": "-1",
    "true": "true",
    "null": "null",
    "a list": "[1]",
    "an object": '{"a":[]}',
    "an empty list": "[]",
    "an empty text": '""',
    "a text with a bar": '"a|b"',
    "a text with a separator": '"a\\u001fb"',
    "a text with a nul": '"a\\u0000b"',
    "a lone surrogate": '"\\ud800"',
}
"""JSON of values that no caller of ours sends; `None`: the parameter is left out."""


def dumped(client, namespace):
    """All that is stored; hashes and sets are in no order."""
    readers = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: readers[client.type(key)](key) for key in client.scan_iter(f"{namespace}:*", count=1000)}


def prepare(stand, script):
    """A run for which a script has something to do, and the call that makes it do it."""
    storage = stand.storage
    edges = {("a", "ok"): ["b", "c"], ("b", "ok"): ["d"], ("c", "ok"): ["d"], ("d", "ok"): ["done"]}
    run = stand.prepare(edges, tags=("fast",)) if script in CREATING else stand.start(edges, tags=("fast",))
    if script in ("complete", "suspend", "retry", "fail", "renew"):
        run.claim("a", fence="mine")
    if script == "seize":
        run.claim("a", fence="mine", holder="task")
    if script in ("deliver", "unschedule"):
        run.wait_at("a")
        run.schedule("a", delay=3_600_000_000)
    calls = {
        "create": lambda: storage.create(run.new),
        "create_many": lambda: create_together(storage, run.new, stand.prepare(edges, instance_id="order::b").new),
        "claim": lambda: run.claim("a", holder="task", limit=1_000_000),
        "complete": lambda: run.complete("a", result='{"n":1}'),
        "suspend": lambda: run.suspend("a", timeout=1_000_000),
        "retry": lambda: run.retry("a", delay=1_000_000),
        "fail": lambda: run.fail("a"),
        "renew": lambda: storage.renew([run.held("a", fence="mine")]),
        "seize": lambda: run.seize("a", holder="task"),
        "deliver": lambda: run.deliver("go", step="a", key="evt_1"),
        "cancel": lambda: run.cancel("enough"),
        "schedule": lambda: run.schedule("a", delay=1_000_000),
        "unschedule": lambda: run.unschedule("a"),
        "tick": lambda: storage.tick(0, owner="owner", worker="w1", seize=True, durations=DURATIONS),
        "resign": lambda: storage.resign(owner="owner"),
    }
    return run, calls[script]


def create_together(storage, *runs):
    """Create these runs in one call."""
    asked = starting_together(runs)
    storage._calls.of_run("create_many", asked.run_id, asked.parameters, *asked.data, lists=asked.lists)


CREATING = ("create", "create_many")
SCRIPTS = [
    *("create", "create_many", "claim", "complete", "suspend", "retry", "fail", "renew", "seize"),
    *("deliver", "cancel", "schedule", "unschedule", "tick", "resign"),
]


class CallNotedError(Exception):
    """A script was to be called."""


def call_of(storage, call):
    """What a call gives to its script: keys and arguments; the script itself is not run."""
    noted = []

    def note(connections, name, keys, args, **_):
        noted.append((name, keys, args))
        raise CallNotedError

    real, storage._calls.scripts.call = storage._calls.scripts.call, note
    try:
        with pytest.raises(CallNotedError):
            call()
    finally:
        storage._calls.scripts.call = real
    return noted[0]


def with_raw(parameters, name, raw):
    """A JSON object in which one value is replaced by a piece of JSON, or left out."""
    rest = {key: value for key, value in json.loads(parameters).items() if key != name}
    text = json.dumps(rest)
    return text if raw is None else f"{text[:-1]}{', ' if rest else ''}{json.dumps(name)}: {raw}}}"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_done_whole_or_changes_nothing_whatever_it_is_given(stand, client, namespace, script, data):
    for key in list(client.scan_iter(f"{namespace}:*", count=1000)):
        client.delete(key)
    run, call = prepare(stand, script)
    redis_storage = stand.storage
    name, keys, args = call_of(redis_storage, call)
    prefix, parameters, *rest = args
    field = data.draw(st.sampled_from(list(json.loads(parameters))), label="parameter")
    raw = data.draw(st.sampled_from([None, *RAW.values()]), label="value")
    rest = rest[: data.draw(st.integers(0, len(rest)), label="arguments")] if data.draw(st.booleans()) else rest
    before = dumped(client, namespace)
    try:
        redis_storage._calls.scripts.call(
            redis_storage._connections, name, keys, [prefix, with_raw(parameters, field, raw), *rest]
        )
    except ResponseError:
        assert dumped(client, namespace) == before
    else:
        if client.exists(redis_storage.keys.of_run(run.id).run):  # what was taken can be read, and goes on to its end
            run.load()
            run.history()
            assert run.cancel() or run.load().status.final


def nested(value, path=()):
    """The places inside the lists and objects of a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from nested(item, (*path, key))


def changed(data, parameters):
    """The parameters with something else in one of the places inside of them."""
    found = json.loads(parameters)
    path = data.draw(st.sampled_from([path for path in nested(found) if len(path) > 1]), label="place")
    place = found
    for key in path[:-1]:
        place = place[key]
    how = data.draw(st.sampled_from(["replace", "remove", "add", "rename"]), label="how")
    if how == "replace":
        place[path[-1]] = MARK
    elif how == "remove":
        del place[path[-1]]
    elif isinstance(place, dict):
        place[data.draw(st.sampled_from(["", "a|b", "a\x1fb", "7", "x"]))] = (
            MARK if how == "add" else place.pop(path[-1])
        )
    else:
        place.insert(path[-1], MARK)
    raw = data.draw(st.sampled_from([*RAW.values(), '"c"', '"x"', "7", "0", "65536"]), label="value")
    return json.dumps(found).replace(json.dumps(MARK), raw)


MARK = "what stands here"
NESTED = [
    "create",
    "create_many",
    "claim",
    "complete",
    "suspend",
    "renew",
    "deliver",
    "resend",
    "redirect",
    "settle",
    "list",
]


def nesting(stand, script):
    """A run for which a script is given values inside of others, of each sort that it knows, and the call."""
    storage = stand.storage
    prepared = {key: PreparedMessage(list=f"{storage.keys.partition(0)}queue", text="{}") for key in ("a", "b", "c")}
    edges = {("a", "ok"): ["b", ("c", {"n": 1})], ("a", "no"): ["e"], ("b", "ok"): ["d"], ("c", "ok"): ["d"]}
    edges |= {("d", "ok"): ["done"], ("e", "ok"): ["d"]}
    fields = {"tags": ("fast",), "lane": "0:one"}
    first = {"config": '{"n":1}', "prepared_message": prepared["a"], **fields}
    run = stand.prepare(edges, **first) if script in CREATING else stand.start(edges, **fields)
    if script in ("complete", "suspend", "renew", "settle"):
        run.claim("a", fence="mine")
    if script == "deliver":
        run.wait_at("a")
    sent = Sent(run_id=run.id, dispatch=DispatchStep(Activation("a"), 1, 1), lane="9:two")
    lanes = {"b": "0:one", "c": "9:two", "d": "0:one", "e": "0:one"}
    attempts = {"b": 5, "c": 3, "d": 5, "e": 10**15, "done": 5}
    calls = {
        "create": lambda: storage.create(run.new),
        "create_many": lambda: create_together(
            storage, run.new, stand.prepare(edges, instance_id="order::b", **first).new
        ),
        "claim": lambda: run.claim("a", versions=(1, 2)),
        "complete": lambda: run.complete("a", attempts=attempts, lanes=lanes, prepared=prepared),
        "suspend": lambda: run.suspend("a", accepts={"go": "ok", "on": "no"}),
        "renew": lambda: storage.renew([run.held(step, fence="mine") for step in ("a", "b")]),
        "deliver": lambda: run.deliver("go"),
        "resend": lambda: run.resend("a", lane="9:two"),
        "redirect": lambda: storage.redirect([sent], durations=DURATIONS),
        "settle": lambda: run_now(
            storage._clients.settling.slice(run.id, "a", operation="op0", durations=DURATIONS, prepared=prepared)
        ),
        "list": lambda: storage.list_runs(Query(tag="fast")),
    }
    if script == "settle":
        settle(run, wide(run))
    return run, calls[script]


def wide(run):
    """The edges of step a, as if they were too many for the script of its commit."""
    whole = run.completion("a")
    return Edges(
        run_id=run.id,
        source="a",
        taken=whole.settlement.taken,
        dead=whole.settlement.dead,
        rows=whole.settlement.rows,
        attempts=whole.attempts,
        lanes={"b": "0:one", "c": "9:two"},
        configs=whole.configs,
    )


def settle(run, edges):
    """Commit step a, all but what follows it."""
    staged = run_now(run.storage._clients.settling.stage(edges, fence="mine", name="0123"))
    nothing = Settlement(taken=(), dead=(), rows={})
    commit = run.completion("a", settlement=nothing, attempts={}, configs={})
    run.storage._commits._completed(commit, targets=commit.targets, settling=staged)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
@pytest.mark.parametrize("script", NESTED)
def test_what_stands_inside_of_a_parameter_is_looked_at_before_anything_is_changed(
    stand, client, namespace, script, data
):
    for key in list(client.scan_iter(f"{namespace}:*", count=1000)):
        client.delete(key)
    run, call = nesting(stand, script)
    storage = stand.storage
    name, keys, (prefix, parameters, *rest) = call_of(storage, call)
    if script == "deliver":
        parameters = json.dumps({**json.loads(parameters), "among": ["b", "a"]})
    before = dumped(client, namespace)
    try:
        storage._calls.scripts.call(storage._connections, name, keys, [prefix, changed(data, parameters), *rest])
    except ResponseError:
        assert dumped(client, namespace) == before
    else:
        check_whole(stand, run, client)


def check_whole(stand, run, client):
    """What is there of a run can be read, its counters are right, all of its steps can be claimed, and it ends."""
    key = stand.storage.keys.of_run(run.id).run
    if not client.exists(key):
        return
    loaded = run.load()
    run.history()
    stand.storage.list_runs(Query(tag="fast"))
    if not client.hexists(key, "g:a"):
        assert loaded.active == [step.status for step in loaded.steps.values()].count(StepStatus.ACTIVE)
    for step, state in loaded.steps.items():
        if state.awaits_claim:
            assert run.claim(step, state.attempt).data in (None, '{"x":1}')
    assert run.cancel() or run.load().status.final


def test_a_message_under_another_workflow_touches_nothing_of_a_run(stand, client, namespace):
    run = stand.start()
    before = dumped(client, namespace)
    for versions in ((1,), ()):
        assert run.claim("a", workflow="shop.Other", versions=versions).reason == "foreign"
    assert dumped(client, namespace) == before


def test_a_lease_that_can_not_be_read_keeps_no_other_from_its_lease_renewal(stand, client):
    broken, other, run = (stand.start(instance_id=f"order::{number}") for number in range(3))
    for each in (broken, other, run):
        each.claim("a")
    client.hset(stand.storage.keys.of_run(broken.id).run, "s:a", "no JSON")
    client.delete(stand.storage.keys.of_run(other.id).run)
    client.set(stand.storage.keys.of_run(other.id).run, "no hash")
    attempts = [each.held("a") for each in (broken, other, run)]
    assert list(stand.storage.renew(attempts)) == [False, False, True]


def test_what_is_refused_for_its_own_sake_is_no_outage(stand, client, redis_storage):
    run = stand.start()
    run.claim("a")
    client.hset(redis_storage.keys.of_run(run.id).run, "s:a", "no JSON")
    for call in (lambda: run.claim("a"), lambda: run.complete("a"), lambda: run.deliver("go")):
        with pytest.raises(StorageError) as caught:
            call()
        assert caught.value.transient is False


@pytest.mark.parametrize("holder", [float("nan"), float("inf"), "\ud800", 10**400, True, None, ["task"]], ids=repr)
def test_a_claim_with_an_odd_holder_is_refused_before_anything_is_changed_or_given(stand, client, namespace, holder):
    run = stand.start()
    before = dumped(client, namespace)
    try:
        claim = run.claim("a", holder=holder)
    except (DataError, StorageError):
        assert dumped(client, namespace) == before
        claim = run.claim("a", holder="task")
    assert claim.first
