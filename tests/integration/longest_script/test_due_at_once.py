"""What scripts do with many things that are due at once takes the server a few milliseconds."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.testing.conformance.driven_values import DURATIONS


def test_lost_messages_of_runs_that_carry_much(longest, server):
    """A hundred that come due at once: what is handed over, and kept until it is known to have arrived, stays small."""

    def prepare(stand):
        return [
            stand.start(instance_id=f"order::{number}", header=json.dumps({"telemetry": "x" * 200_000}))
            for number in range(100)
        ]

    def lost(runs, storage):
        server.zadd(f"{storage.keys.partition(0)}due", {f"{run.id}|a": 1 for run in runs})
        tick = storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
        assert {entry.run_id for entry in tick.entries} == {run.id for run in runs}

    assert longest(lost, prepare) == {}


HOUR = 3_600_000_000
CHAIN = {("a", "ok"): ["b"], ("b", "ok"): ["done"]}


def leave_due(stand, kind, number):
    """A run of which something is due, of this kind."""
    edges = {
        ("a", "ok"): [f"b{branch}" for branch in range(450)],
        **{(f"b{branch}", "ok"): ["done"] for branch in range(450)},
    }
    more = {"message_headers": json.dumps("x" * 8000), "header": json.dumps("y" * 4000)} if kind == "wordy" else {}
    run = stand.start(
        edges if kind == "sweep" else CHAIN, instance_id=f"order::{number}", tags=("fast", "late"), **more
    )
    if kind in ("lease_expired", "timed_out", "retry"):
        run.claim("a", limit=0 if kind == "timed_out" else None)
    if kind == "retry":
        run.retry("a", delay=HOUR)
    if kind in ("timeout", "reapply", "fire"):
        run.wait_at("a", timeout=HOUR)
    if kind == "reapply":
        run.deliver("go", json.dumps("x" * 1000))
        run.claim("a")
    if kind == "fire":
        run.schedule("a", delay=HOUR)
    if kind == "sweep":
        run.step("a")
    if kind in ("sweep", "prune"):
        run.cancel()
    wanted = {"sweep": "\1sweep", "fire": "a|ref", "prune": None}.get(kind, "a")
    for member in stand.storage._client.zscan_iter(run.storage.keys.of_run(run.id).names[3], f"{run.id}|*"):
        found = member[0].decode().split("|", 1)[1]
        if found == wanted or (wanted is None and found.startswith("|")):
            stand.storage._client.zadd(run.storage.keys.of_run(run.id).names[3], {member[0]: 1})


@pytest.mark.parametrize(
    "kind",
    ["redispatch", "retry", "timeout", "reapply", "lease_expired", "timed_out", "fire", "sweep", "prune", "wordy"],
)
def test_a_hundred_things_that_are_due_at_once(longest, kind):
    count = 30 if kind == "sweep" else 100  # each is looked at in many slices

    def prepare(stand):
        for number in range(count):
            leave_due(stand, kind, number)
        return stand

    def due(_, storage):
        found = []
        while True:
            tick = storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
            found += [entry.kind for entry in tick.entries]
            if not tick.more:
                break
        means = {"fire": "timeout", "wordy": "redispatch"}.get(kind, kind)
        assert found == ([] if kind in ("sweep", "prune") else [means] * count)

    assert longest(due, prepare) == {}
