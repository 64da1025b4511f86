"""Messages that Celery does not execute: expired, rate-limited, revoked by id (see test_rescue.py) and by a stamp.

On both brokers: RabbitMQ itself drops what has expired.
"""

from __future__ import annotations

import contextvars

import flows
import pytest
import tenants
from stage import eventually

ANNOTATIONS = {"linear.a": {"expires": 0.3}, "diamond.a": {"rate_limit": "5/s"}}


@pytest.mark.parametrize("prefetch", [1, 8], ids=["in its queue", "in the hands of a worker"])
def test_an_expired_message_costs_no_attempt_and_a_rate_limit_no_message(make_stage, broker, prefetch):
    # RabbitMQ drops a message that expires in a queue without a notice: there it is a lost message.
    lost = broker == "rabbitmq" and prefetch == 1
    stage = make_stage(celery={"task_annotations": ANNOTATIONS}, dispatch_timeout=1.0 if lost else 30.0)
    gate = stage.folder / "gate"
    [worker] = stage.start_workers(1, concurrency=1, options=["--prefetch-multiplier", str(prefetch)])
    blocker = stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id="x1")
    eventually(stage.executions, what="the worker is busy")
    late = stage.hephaestus.start_instance(flows.Linear, {"value": 1}, id="x1")
    limited = [stage.hephaestus.start_instance(flows.Diamond, {"value": 1}, id=f"x{number}") for number in range(6)]
    sent_at = stage.hephaestus.storage.now()
    eventually(lambda: stage.hephaestus.storage.now() > sent_at + 400_000, what="its message has expired")
    gate.touch()
    assert blocker.wait(30).status == "completed"
    assert late.wait(60).status == "completed"
    discarded = f"Discarding revoked task: linear.a[{late.run_id}:a:1.1]" in worker.log.read_text()
    assert discarded == (not lost)
    attempts = [(entry.step, entry.attempt, entry.outcome) for entry in late.history() if entry.kind == "attempt"]
    assert attempts == [("a", 1, "completed"), ("b", 1, "completed"), ("done", 1, "completed")]
    for handle in limited:
        assert handle.wait(30).status == "completed"
        kinds = {entry.kind for entry in handle.history()}
        assert kinds - ({"rescue"} if lost else set()) == {"attempt"}  # the limit holds some for longer than a second


def test_a_stamp_that_is_revoked_ends_the_runs_that_bear_it_and_no_others(make_stage):
    stage = make_stage(application="tenants_app", make=tenants.Everything)
    stage.start_workers(1)
    control = stage.app.control
    eventually(
        lambda: control.revoke_by_stamped_headers({"by_stamp": "acme"}, reply=True, timeout=5, limit=1),
        what="the worker knows of the stamp",
    )

    def start(name):
        tenants.tenant.set(name)
        return stage.hephaestus.start_instance(tenants.Visits, id=name)

    handles = {name: contextvars.copy_context().run(start, name) for name in ("acme", "globex")}
    failed = handles["acme"].wait(30)
    assert (failed.status, failed.failure.kind) == ("failed", "exit")
    attempts = [(entry.attempt, entry.outcome) for entry in handles["acme"].history() if entry.kind == "attempt"]
    assert attempts == [(1, "retrying"), (2, "retrying"), (3, "failed")]
    assert all("revoked" in entry.reason for entry in handles["acme"].history())
    eventually(lambda: tenants.Asked in handles["globex"].get().waiting_steps, what="the other goes on")
