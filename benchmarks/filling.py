"""Filling a store with finished runs: a real one is run, and copied in the server under new ids.

The copies are made of whatever keys the real run has left, so that they are what the product would have written. The
answers to repeated calls are left out: they are gone a minute after the end of a run.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from benchmarks.flows import CHAINS
from benchmarks.measure import PATIENCE_SECONDS
from benchmarks.settings import NAMESPACE
from benchmarks.stage import Stage
from hephaestus_celery import Instance
from hephaestus_celery.core.values.identity import new_run_id

_BATCH = 500
_PREFIX = f"{NAMESPACE}:{{0}}:"
_SYNC_SECONDS = 2.0
"""More than the server takes to have everything in its file on disk."""


def fill(stage: Stage, count: int) -> None:
    """Store so many finished ten-step runs; ``RuntimeError`` when the product does not read them as such."""
    template = stage.client.start(CHAINS[10]).wait(PATIENCE_SECONDS)
    stage.settle()
    copies = [_names() for _ in range(count)]
    _copy(stage.server, template, copies)
    for run_id, _ in (copies[0], copies[-1]):
        _check(stage, template, run_id)
    stored = stage.server.zcard(f"{_PREFIX}index:status:completed")
    if stored < count:
        raise RuntimeError(f"{stored} runs are stored after {count} copies")
    time.sleep(_SYNC_SECONDS)


def _names() -> tuple[str, str]:
    instance_id = f"bench::{secrets.token_hex(8)}"
    run_id = new_run_id(
        milliseconds=time.time_ns() // 1_000_000, instance_id=instance_id, random_bits=secrets.randbits(58)
    )
    return run_id, instance_id


def _copy(server: Redis, template: Instance, copies: Sequence[tuple[str, str]]) -> None:
    script = server.register_script((Path(__file__).parent / "copies.lua").read_text(encoding="utf-8"))
    own = [key for key in server.scan_iter(match=f"*{template.run_id}*") if b":answers:" not in key]
    entries = json.dumps(_entries(server, template.run_id))
    for first in range(0, len(copies), _BATCH):
        names = [name for pair in copies[first : first + _BATCH] for name in pair]
        script(keys=own, args=[template.run_id, template.id, entries, *names])


def _entries(server: Redis, run_id: str) -> list[tuple[str, str, float]]:
    """Where the run stands in sorted sets: the indexes, and the due set for the end of its retention."""
    return [
        (key.decode(), member.decode(), score)
        for key in server.scan_iter(match=f"{_PREFIX}*", _type="zset")
        for member, score in server.zscan_iter(key)
        if member.startswith(run_id.encode())
    ]


def _check(stage: Stage, template: Instance, run_id: str) -> None:
    copy = stage.client.hephaestus.get(run_id)
    same = (copy.status, copy.completed_steps, copy.context) == (
        template.status,
        template.completed_steps,
        template.context,
    )
    histories = [len(stage.client.hephaestus.history(name)) for name in (run_id, template.run_id)]
    if copy.run_id != run_id or not same or len(set(histories)) != 1:
        raise RuntimeError(f"the copy {run_id} is not read as what it was copied from: {copy}")
