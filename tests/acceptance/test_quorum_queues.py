"""RabbitMQ's replicated queues, of which Celery makes no priorities and sets the prefetch count for each consumer."""

from __future__ import annotations

import flows
import pytest

pytestmark = pytest.mark.only_on("rabbitmq", why="the queues are RabbitMQ's")


@pytest.fixture
def stage(make_stage):
    return make_stage(celery={"task_default_queue_type": "quorum"})


def test_runs_of_all_kinds_complete(stage):
    stage.start_workers(1)
    handles = [
        stage.hephaestus.start_instance(workflow, {"value": number}, id=f"i{number}")
        for workflow in (flows.Chain, flows.Wide, flows.Approval, flows.Flaky, flows.Naps)
        for number in range(5)
    ]
    for handle in handles:
        if handle.get().workflow is flows.Approval:
            handle.resume("approved", keep_early=True)
    assert {handle.wait(90).status for handle in handles} == {"completed"}
    assert "Global QoS is disabled" in stage.logs()
    assert {entry.kind for handle in handles for entry in handle.history()} == {"attempt", "resume", "timer"}
