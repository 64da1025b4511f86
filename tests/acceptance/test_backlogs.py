"""A backlog is not a loss: what waits is never sent again for waiting, and what is lost in the middle of it is found."""

from __future__ import annotations

import contextlib

import elsewhere
import flows
import pytest
from stage import eventually

from hephaestus_celery.exceptions import NotCancellableError
from hephaestus_celery.runners.celery.worker_reports import MOST_LISTED
from hephaestus_celery.runners.lost_messages import all_holdings

EACH = 60
BACKLOG = (flows.Linear, flows.One, flows.Nine, flows.Handover)
"""Two queues and three priorities."""
RATE_LIMITED = {"task_annotations": {"linear.a": {"rate_limit": "4/s"}}}


@pytest.fixture
def settings():
    """Celery settings of the stage, other than its own."""
    return {}


@pytest.fixture
def dispatch_timeout():
    """Seconds after which a message is late; the report of a worker that holds some lives half as long."""
    return 1.0


@pytest.fixture
def stage(make_stage, settings, dispatch_timeout):
    """A stage whose messages are late soon."""
    stage = make_stage(dispatch_timeout=dispatch_timeout, celery={"task_queue_max_priority": 10, **settings})
    stage.drop_messages("express")
    return stage


def ended(stage, handles):
    """The runs, when all of them have ended."""

    def all_ended():
        return len(stage.events("workflow.stop")) >= len(handles)

    eventually(all_ended, timeout=120, what=f"{len(handles)} runs ended")
    return [handle.get() for handle in handles]


def sent_again(stage):
    """The rescues of messages that were emitted."""
    return [event for event in stage.events("step.rescue") if "not claimed" in event["metadata"]["reason"]]


def probes(stage):
    """What may be sent again all the same: one message in a hundred, to learn whether a queue moves that others share."""
    return len(stage.executions()) // 100


@pytest.mark.parametrize("settings", [{}, RATE_LIMITED], ids=["plain", "rate-limited"])
@pytest.mark.parametrize("dispatch_timeout", [6.0], ids=["patient"])
def test_what_waits_is_never_sent_again(stage):
    stage.start_workers(1, pool="solo", options=["-Q", "another"])  # it has the scheduler, and looks at what is late
    handles = [
        stage.hephaestus.start_instance(workflow, {"value": number}, id=f"i{number}")
        for number in range(EACH)
        for workflow in BACKLOG
    ]
    eventually(lambda: "no worker reports that it takes from it" in stage.logs(), what="the backlog was looked at")
    for prefetch in ("1", "64"):
        stage.start_workers(
            1, concurrency=1, options=["-Q", f"{stage.namespace},express", "--prefetch-multiplier", prefetch]
        )
    assert {instance.status for instance in ended(stage, handles)} == {"completed"}
    assert len(sent_again(stage)) <= probes(stage)
    eventually(lambda: stage.waiting_messages() == 0, what="the queue is empty")


def test_what_a_killed_worker_had_taken_from_a_backlog_is_found_and_nothing_else_is_sent_again(stage, broker):
    gate = stage.folder / "gate"
    handles = [
        stage.hephaestus.start_instance(flows.Gated, {"gate": str(gate)}, id=f"i{number}") for number in range(40)
    ]
    [victim] = stage.start_workers(1, concurrency=1, options=["--prefetch-multiplier", "8"])
    eventually(stage.executions, what="the worker has begun")
    eventually(lambda: stage.waiting_messages() <= 40 - 8, what="the worker has taken what it may")
    taken = 40 - stage.waiting_messages()
    victim.kill()
    gate.touch()
    stage.start_workers(1, concurrency=1)
    assert {instance.status for instance in ended(stage, handles)} == {"completed"}
    # RabbitMQ itself gives back what a worker had taken that is gone; the one that was begun is a lost attempt.
    assert len(sent_again(stage)) == (taken - 1 if broker == "redis" else 0)


@pytest.fixture
def diverting_stage(make_stage):
    """A stage whose application sends its messages to other queues and priorities than it routes them to."""
    stage = make_stage(
        dispatch_timeout=1.0, celery=elsewhere.SETTINGS, application="elsewhere_app", make=elsewhere.Sends
    )
    with elsewhere.preferring():
        yield stage


@pytest.mark.only_on(
    "redis", "RabbitMQ counts what waits in a queue whatever its priority: little is mistaken for lost there"
)
def test_what_waits_elsewhere_than_it_was_routed_to_is_not_sent_again(diverting_stage):
    stage = diverting_stage
    stage.start_workers(1, pool="solo", options=["-Q", "another"])  # it has the scheduler, and looks at what is late
    handles = [
        stage.hephaestus.start_instance(workflow, id=f"i{number}") for number in range(15) for workflow in elsewhere.ALL
    ]
    eventually(lambda: "no worker reports that it takes from it" in stage.logs(), what="the backlog was looked at")
    queues = f"{stage.namespace},{elsewhere.QUEUE.format(stage.namespace)}"
    stage.start_workers(1, concurrency=1, options=["-Q", queues])
    assert {instance.status for instance in ended(stage, handles)} == {"completed"}
    assert sent_again(stage) == []


HELD = 700


@pytest.mark.parametrize("settings", [{"task_annotations": {"*": {"rate_limit": "2/s"}}}], ids=["rate-limited"])
def test_what_a_worker_holds_beyond_what_it_lists_is_not_sent_again(stage):
    handles = [
        stage.hephaestus.start_instance(BACKLOG[number % 4], {"value": number}, id=f"i{number}")
        for number in range(HELD)
    ]
    storage = stage.hephaestus.storage
    stage.start_workers(1, options=["-Q", f"{stage.namespace},express", "--prefetch-multiplier", str(HELD)])

    def all_are_held():
        holdings = all_holdings(storage)
        return sum(sum(each.counts.values()) for each in holdings) > MOST_LISTED and any(each.many for each in holdings)

    eventually(all_are_held, what="all are held, and more than are listed")
    held_since = storage.now()
    eventually(lambda: storage.now() > held_since + 4_000_000, what="four dispatch timeouts are over")
    assert len(stage.events("step.start")) < HELD / 2
    assert sent_again(stage) == []
    eventually(lambda: stage.waiting_messages() == stage.waiting_messages("express") == 0, what="the queues are empty")
    for handle in handles:
        with contextlib.suppress(NotCancellableError):  # a few have ended
            handle.cancel()
