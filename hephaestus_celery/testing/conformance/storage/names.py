"""Tests of names and numbers: ids, keys, events and whole numbers go through every operation unchanged."""

from __future__ import annotations

import sys

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.queries import Query

# Of each kind that somewhere means something: to patterns, formats, JSON, Lua, to the names of keys, to channels.
IDS = ["order-id::ORD-1001", "o_1::ann@example.org", "o::a:b:", "o:::", "o::{a}", "o::*?[x]", "o::%s%1", "o::\"'\\", "o::注文🛒",
       "o::" + "é" * 200, "o::" + "x" * 200 + "::0badcafe"]  # fmt: skip
KEYS = ["a:b", "{a}", "*?[x]", "%s%1", "\"'\\", "$type", "done2", "注文🛒", "é" * 200, "0", "-1", "1e3"]


@pytest.mark.parametrize("name", IDS)
def test_an_id_goes_through_every_operation_as_it_is(stand, storage, name):
    run = stand.start(instance_id=name)
    stand.start(instance_id=name + "x")
    assert list(storage.candidates(name, family=None).active) == [run.id]
    found, _ = storage.list_runs(Query(id=name))
    assert [run_id for run_id, _ in found] == [run.id]
    assert run.cancel("no").run.header == run.new.header
    found = storage.candidates(name, family="shop.Order")
    assert (list(found.active), found.newest) == ([], run.id)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_goes_through_every_operation_as_it_is(stand, storage, key):
    run = stand.start(
        {
            (key, key[:100]): [(f"{key[:198]}.2", {"n": 1}), "b"],
            (f"{key[:198]}.2", "ok"): ["done"],
            ("b", "ok"): ["done"],
        }
    )
    second = f"{key[:198]}.2"
    run.claim(key, holder="task")
    assert run.seize(key, holder="task") is not None
    assert run.renew(key)
    run.retry(key)
    [entry] = stand.entries()
    assert (entry.kind, entry.dispatch.activation.step, entry.dispatch.attempt) == (Due.RETRY, key, 2)
    assert run.schedule(key, delay=3_600_000_000)
    assert set(run.due()) == {key, f"{key}|ref"}
    assert run.unschedule(key)
    run.claim(key, 2)
    run.suspend(key, accepts={key[:100]: key[:100]})
    assert run.deliver(key[:100], step=key).outcome is Delivered.ACCEPTED
    assert run.claim(key, 2).data == '{"x":1}'
    assert set(run.complete(key, key[:100], result='{"r":1}').activated) == {second, "b"}
    claim = run.claim(second, predecessors=[key])
    assert (claim.run.results, claim.run.configs[second]) == ({key: '{"r":1}'}, '{"n": 1}')
    run.complete(second)
    ended = run.step("b")
    assert (ended.status_after, list(ended.completed)) == (Status.COMPLETED, [key, second, "b", "done"])


@pytest.mark.parametrize("most", [10**14 - 1, 10**14, 2**53 + 1, sys.maxsize, 10**30])
def test_a_number_of_attempts_is_read_back_as_it_was_written(stand, most):
    run = stand.start(max_attempts=most)
    run.claim("a")
    run.retry("a")
    stand.entries()
    run.claim("a", 2)
    run.suspend("a")
    run.deliver()
    assert run.claim("a", 2).run.steps["a"].max_attempts == most
    run.complete("a", attempts={"b": most})
    run.claim("b")
    steps = run.load().steps
    assert [(steps[key].max_attempts, type(steps[key].max_attempts)) for key in ("a", "b")] == [(most, int)] * 2
