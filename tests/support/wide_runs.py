"""Wide runs and many runs, driven by hand, for tests of what a script or a store does with them."""

from __future__ import annotations

import json

from hephaestus_celery.testing.conformance.driven_values import DURATIONS

WIDE = 5000
"""The branches of a fan."""


def fan(stand, width=WIDE, **options):
    branches = [f"b{number}" for number in range(width)]
    edges = {
        ("a", "ok"): branches,
        ("a", "no"): ["done"],
        **{(branch, "ok"): ["join"] for branch in branches},
        ("join", "ok"): ["done"],
    }
    run = stand.start(edges, **options)
    run.branches = branches
    return run


def fanned(stand):
    run = fan(stand)
    run.step("a")
    return run


def completed_by_hand(run, branches, result):
    """Let branches have completed, without the calls for it."""
    key, client = run.storage.keys.of_run(run.id).run, run.storage._client
    for start in range(0, len(branches), 100):
        some = branches[start : start + 100]
        states = {f"s:{branch}": json.dumps({"s": "completed", "a": 1, "m": 5, "e": "ok", "o": 4}) for branch in some}
        client.hset(key, mapping={**states, **{f"r:{branch}": result for branch in some}})


def copied(stand, run, count, indexes):
    """Many runs like this one, in these indexes; gives their run ids."""
    client, keys = stand.storage._client, stand.storage.keys.of_run(run.id)
    at = int(client.hget(keys.run, "t0"))
    run_ids = [f"{run.id[:-6]}{number:06x}" for number in range(count)]
    with client.pipeline(transaction=False) as pipe:
        for number, run_id in enumerate(run_ids):
            pipe.copy(keys.run, stand.storage.keys.of_run(run_id).run)
            for index, suffix in indexes.items():
                pipe.zadd(f"{keys.prefix}index:{index}", {f"{run_id}{suffix}": at - number // 3})
            if number % 5000 == 0:
                pipe.execute()
        pipe.execute()
    return run_ids


def drained(storage):
    """All that comes due, tick by tick."""
    found = []
    while True:
        tick = storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)
        found += tick.entries
        if not tick.more:
            return found
