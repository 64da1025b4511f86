"""The log of real workers: each record says which step of which run it comes from, on every pool."""

from __future__ import annotations

import json

import logged_flows
import pytest
from stage import eventually

from hephaestus_celery import logs

SIDE_BY_SIDE = {"prefork", "threads", "gevent", "eventlet"}
pytestmark = pytest.mark.only_on("redis", why="logs know of no broker")


def written(stage, text):
    """The records with this message, in the order in which they were written."""
    return [record for record in everything(stage) if record["message"] == text]


@pytest.mark.parametrize("hijack", [True, False])
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_a_record_of_a_step_says_where_it_comes_from(make_stage, pool, hijack):
    stage = make_stage(application="logged_app", celery={"worker_hijack_root_logger": hijack})
    side_by_side = pool in SIDE_BY_SIDE
    stage.start_workers(1, pool=pool, concurrency=4 if side_by_side else 1)
    handles = [
        stage.hephaestus.start_instance(logged_flows.Logged, {"meet": side_by_side}, id=name) for name in ("a", "b")
    ]
    for handle in handles:
        assert handle.wait(30).status == "completed"
    for handle in handles:
        common = {"instance_id": handle.id, "run_id": handle.run_id, "workflow": "logged", "trace_id": None}
        for text, step, attempts in (
            ("speaks", "speaks", [1, 2]),
            ("speaks to Celery", "speaks", [1, 2]),
            ("speaks later", "speaks_later", [1]),
        ):
            found = [record for record in written(stage, text) if record["instance_id"] == handle.id]
            shown = [{name: record[name] for name in logs.FIELDS} for record in found]
            assert shown == [{**common, "step": step, "attempt": attempt} for attempt in attempts]
    ready = eventually(
        lambda: [each for each in everything(stage) if "ready" in each["message"]], what="the worker says so"
    )
    assert {ready[0][name] for name in logs.FIELDS} == {None}


def everything(stage):
    """All records of the worker."""
    whole, _, _ = (stage.folder / "written.log").read_text().rpartition("\n")  # the worker may be writing the last line
    return [json.loads(line) for line in whole.splitlines()]
