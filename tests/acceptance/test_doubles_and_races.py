"""Messages that come twice, starts that come at once."""

from __future__ import annotations

import json
from collections import Counter

import flows
import pytest
from stage import eventually

STARTER = """
import json, sys, time
import flows, worker_app
from hephaestus_celery import AlreadyRunningError
who, begin = sys.argv[1], float(sys.argv[2])
while time.time() < begin:
    pass
won = {}
for number in range(50):
    try:
        won[f"i{number}"] = flows.Payment.start(f"i{number}", {"who": who}).run_id
    except AlreadyRunningError:
        pass
print(json.dumps(won))
worker_app.hephaestus.close()
"""


WEBHOOK = """
import sys, time
import flows, worker_app
begin = float(sys.argv[1])
while time.time() < begin:
    pass
for value in range(20):
    for number in (1, 2, 3):
        for _ in range(2):
            flows.Instalments.resume(f"i{value}", "paid", {"number": number}, keep_early=True, key=f"evt_{number}")
worker_app.hephaestus.close()
"""


@pytest.mark.only_on("redis", why="the store decides who wins")
def test_webhooks_that_come_at_once_and_twice_are_applied_once_each_and_in_order(stage):
    import time

    stage.start_workers(2)
    handles = [stage.hephaestus.start_instance(flows.Instalments, {"value": 1}, id=f"i{value}") for value in range(20)]
    begin = str(time.time() + 2)
    for process in [stage.script(WEBHOOK, begin) for _ in range(3)]:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    for handle in handles:
        instance = handle.wait(60)
        assert instance.status == "completed"
        assert [instance.context.steps[step.key]["number"] for step in flows.INSTALMENTS] == [1, 2, 3]
        assert [entry.kind for entry in handle.history()].count("resume") == 3
        handle.resume("paid", {"number": 4}, key="evt_2")  # once more, after the end
        assert handle.get() == instance


@pytest.mark.only_on("redis", why="the store decides who wins")
def test_of_eight_processes_that_start_the_same_ids_one_wins_each(stage):
    import time

    begin = str(time.time() + 3)
    processes = {f"p{number}": stage.script(STARTER, f"p{number}", begin) for number in range(8)}
    winners = {}
    for who, process in processes.items():
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        for value, run_id in json.loads(output).items():
            winners.setdefault(value, []).append((who, run_id))
    assert {len(found) for found in winners.values()} == {1}
    assert len(winners) == 50
    for value, [(who, run_id)] in winners.items():
        instance = stage.hephaestus.get(f"payment::{value}")
        assert (instance.run_id, instance.context.initial) == (run_id, {"who": who})
    assert len(stage.hephaestus.list(limit=1000)) == 50


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_message_delivered_twice_changes_nothing(stage, pool):
    stage.switches["HEPHAESTUS_TEST_TWICE"] = "1"
    stage.start_workers(2, pool=pool)
    workflows = (flows.Linear, flows.Diamond, flows.Wide, flows.Choice)
    handles = [
        stage.hephaestus.start_instance(workflows[number % 4], {"value": number}, id=f"i{number}")
        for number in range(40)
    ]
    for handle in handles:
        assert handle.wait(60).status == "completed"
        assert [entry.outcome for entry in handle.history()].count("completed") == len(handle.get().completed_steps)
    executed = Counter((record["run_id"], record["step"]) for record in stage.executions())
    assert set(executed.values()) == {1}
    eventually(lambda: len(stage.events("workflow.stop")) == 40)
    assert len(stage.events("workflow.start")) == 40
    eventually(
        lambda: (
            sum(
                worker.log.read_text().count(" taken") + worker.log.read_text().count("ignored")
                for worker in stage.workers
            )
            > 0
        )
    )


@pytest.mark.only_on("redis", why="it ends as the doubled ones above do")
def test_a_late_message_of_a_finished_step_changes_nothing(stage):
    stage.start_workers()
    handle = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    before = handle.wait(30)
    stage.emitted(handle.run_id)
    stage.app.send_task("linear.a", args=[handle.run_id, "a", 1, 1], task_id="late", queue=stage.namespace)
    eventually(lambda: "linear.a[late]" in stage.logs() and "[late] ignored" in stage.logs())
    assert handle.get() == before
    assert len([record for record in stage.executions() if record["step"] == "a"]) == 1
