"""What a worker makes of steps that fail, messages that are none, and handlers that break."""

from __future__ import annotations

import flows
import pytest
from stage import eventually

from hephaestus_celery import DataError

FAILURES = {
    flows.Raises: ("error", "RuntimeError", "it broke"),
    flows.Fails: ("error", "Error", "no stock"),
    flows.Exits: ("exit", "SystemExit", "3"),
    flows.Interrupts: ("throw", "KeyboardInterrupt", ""),
    flows.Refuses: ("error", "hephaestus_celery.exceptions.NonRetryableError", "never"),
    flows.Mumbles: ("error", "TypeError", "step mumbles (Mumbles) returned ['what', 'ever']"),
    flows.Undeclared: ("error", "ValueError", "step undeclared (Undeclared) gave the event 'surprise'"),
    flows.Uncarried: (
        "error",
        "hephaestus_celery.exceptions.DataError",
        "step uncarried (Uncarried): context.items[1].price",
    ),
}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_each_way_to_fail_fails_the_run_and_no_worker(stage, pool):
    stage.start_workers(pool=pool)
    for step, (kind, name, message) in FAILURES.items():
        handle = stage.hephaestus.start_instance(flows.FAILING[step], {"value": 1}, id=step.key.replace("_", ""))
        instance = handle.wait(30)
        assert instance.status == "failed", step
        assert instance.failed_step is step
        assert (instance.failure.kind, instance.failure.type) == (kind, name)
        assert message in instance.failure.message
        events = stage.emitted(handle.run_id, last="workflow.exception")
        assert [event["event"] for event in events] == [
            *("workflow.start", "engine.advance", "step.start", "step.exception", "workflow.exception"),
        ]
        assert events[-1]["metadata"]["kind"] == kind
        assert events[-1]["metadata"]["status"] == "failed"
        assert events[-1]["measurements"]["duration"] > 0
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"
    assert stage.workers[0].process.poll() is None


GARBAGE = [
    ([], {}),
    (["not a run id", "a", 1, 1], {}),
    (["01a202db-5211-71eb-b64c-54291c92b12b", "a", "one", 1], {}),
    (["01a202db-5211-71eb-b64c-54291c92b12b", "a", 1, 1], {"more": 1}),
    ([{"deep": ["x"]}, None, -1, 0], {}),
]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_message_that_is_garbage_is_logged_once_and_dropped(stage, pool):
    stage.start_workers(pool=pool)
    for number, (args, kwargs) in enumerate(GARBAGE):
        stage.app.send_task("linear.a", args=args, kwargs=kwargs, task_id=f"garbage-{number}", queue=stage.namespace)
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"
    eventually(lambda: stage.logs().count("is not from hephaestus-celery, and drops it") == len(GARBAGE))
    assert "Traceback" not in stage.logs()
    assert len(stage.executions()) == 2


ODD_IDS = [float("nan"), float("inf"), 10**400, 5, True, "\ud800", "a\x1fb", "x" * 10_000]
ODD_HEADERS = {
    "hephaestus_progress": {"job": 1},
    "hephaestus_job": "x",
    "hephaestus_fence": float("nan"),
    "hephaestus_refusal": "no",
    "hephaestus_outcome": "x",
}


@pytest.mark.only_on("redis", why="the claim knows of no broker")
def test_a_message_can_not_do_more_than_hint_whatever_it_says(make_stage):
    stage = make_stage(dispatch_timeout=600.0)  # what is dropped is not sent again meanwhile
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    stage.drop_messages(at_least=1)
    run_id = handle.run_id

    def send(name, args, task_id, **options):
        stage.app.send_task(name, args=args, task_id=task_id, queue=stage.namespace, **options)

    for task_id in ODD_IDS:
        send("linear.a", [run_id, "a", 1, 1], task_id)
    for number, attempt in enumerate((True, 1.0, 2**70, float("inf"), "1", -1)):
        send("linear.a", [run_id, "a", attempt, 1], f"attempt-{number}")
    send("linear.b", [run_id, "a", 1, 1], "another step")
    send("diamond.a", [run_id, "a", 1, 1], "another workflow")
    stage.start_workers(concurrency=1)
    eventually(lambda: "which is of workflow linear; dropped, and the run was not touched" in stage.logs())
    instance = handle.get()
    assert (instance.status, instance.step_states["a"].fence, handle.history()) == ("pending", None, [])
    send("linear.a", [run_id, "a", 1, 1], "a true hint", headers=ODD_HEADERS)
    assert handle.wait(30).status == "completed"
    assert [(entry.kind, entry.outcome) for entry in handle.history() if entry.step == "a"] == [
        ("attempt", "completed")
    ]
    assert stage.logs().count("is not from hephaestus-celery, and drops it") == len(ODD_IDS) + 6 + 1
    ours = [line for line in stage.logs().splitlines() if "and drops it" in line]
    assert max(map(len, ours)) < 1000


@pytest.mark.only_on("redis", why="it ends as the garbage above does")
def test_a_message_for_an_unknown_run_is_logged_once_and_dropped(stage):
    stage.start_workers()
    unknown = "01a202db-5211-71eb-b64c-54291c92b12b"
    stage.app.send_task("linear.a", args=[unknown, "a", 1, 1], queue=stage.namespace)
    assert stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="after").wait(30).status == "completed"
    eventually(lambda: stage.logs().count(f"run {unknown}, which the store does not know") == 1)
    assert "Traceback" not in stage.logs()


@pytest.mark.only_on("redis", why="handlers know of no broker")
def test_a_broken_handler_is_detached_and_the_run_goes_on(stage):
    stage.switches["HEPHAESTUS_TEST_BROKEN_HANDLER"] = "1"
    stage.start_workers(concurrency=1)
    handle = stage.hephaestus.start_instance(flows.Diamond, {"value": 1}, id="x1")
    assert handle.wait(30).status == "completed"
    assert [event["event"] for event in stage.emitted(handle.run_id)].count("step.stop") == 5
    assert stage.logs().count("RuntimeError: this handler is broken") == 1


@pytest.mark.only_on("redis", why="nothing is sent")
def test_a_context_that_cannot_be_carried_is_refused_and_stores_nothing(stage):
    with pytest.raises(DataError, match=r"context\.items\[3\]\.price"):
        stage.hephaestus.start_instance(flows.Linear, {"items": [1, 2, 3, {"price": 1j}]}, id="x1")
    with pytest.raises(DataError, match="max_payload"):
        stage.hephaestus.start_instance(flows.Linear, {"big": "x" * 2_000_000}, id="x1")
    with pytest.raises(DataError, match=r"telemetry_metadata\.step"):
        stage.hephaestus.start_instance(flows.Linear, {}, id="x1", telemetry_metadata={"step": 1})
    assert len(stage.hephaestus.list()) == 0
