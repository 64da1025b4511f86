"""Types of data on real workers: what is validated, what comes out, and a type that changes under a waiting run."""

from __future__ import annotations

from decimal import Decimal

import pytest
import typed_flows
from shell import Shell
from stage import eventually

from hephaestus_celery import DataError


@pytest.fixture
def stage(make_stage):
    return make_stage(application="typed_app")


def deploy(stage, model):
    """Workers of another state of the code in the place of all others."""
    for worker in stage.workers:
        worker.stop()
    stage.workers.clear()
    stage.switches["HEPHAESTUS_TEST_MODEL"] = model
    stage.start_workers(1)


def waiting(handle):
    eventually(lambda: handle.status == "waiting", what=f"{handle.id} waits")
    return handle


@pytest.mark.only_on("redis", why="types are checked in the process that executes")
def test_objects_go_through_workers_as_json(stage):
    stage.start_workers(1)
    order = typed_flows.Order(items=2)
    handle = waiting(stage.hephaestus.start_instance(typed_flows.TypedOrders, order, id="x1"))
    handle.resume("paid", {"payer": "Ada", "amount": Decimal("3.00")})
    instance = stage.outcome(handle)
    assert instance.status == "completed", instance.failure
    assert instance.context.input == order
    assert instance.context.steps["charge"] == {"total": Decimal("3.00")}
    assert instance.context.result(typed_flows.Paid) == typed_flows.Payment("Ada", Decimal("3.00"))
    assert instance.context.result(typed_flows.Ship) == {"label": "2 for Ada, 3.00 none"}


@pytest.mark.only_on("redis", why="types are checked in the process that executes")
def test_a_result_that_does_not_fit_is_one_failed_attempt(stage):
    stage.start_workers(1)
    instance = stage.outcome(stage.hephaestus.start_instance(typed_flows.Misfits, {}, id="x1"))
    assert instance.status == "failed"
    assert instance.failure.type == "hephaestus_celery.exceptions.DataError"
    assert "context.label: Input should be a valid string [string_type, not 7 (int)]" in instance.failure.message
    assert [entry.outcome for entry in stage.hephaestus.history(instance.run_id)] == ["failed"]


SEND = """
import json, sys, worker_app

worker_app.hephaestus.resume(sys.argv[1], "paid", json.loads(sys.argv[2]), keep_early=True, key="evt_1")
worker_app.hephaestus.close()
"""


def send_from_elsewhere(stage, handle, data):
    """Send an event from a process that does not know the workflow."""
    _, errors = stage.script(SEND, handle.run_id, data).communicate(timeout=60)
    assert "Traceback" not in errors, errors


@pytest.mark.parametrize("early", [False, True], ids=["waiting", "early"])
def test_a_worker_drops_a_bad_event_of_a_process_that_does_not_know_the_workflow(stage, early):
    handle = stage.hephaestus.start_instance(typed_flows.TypedOrders, {"items": 2}, id="x1")
    if early:
        send_from_elsewhere(stage, handle, '{"payer": "Ada"}')
    stage.start_workers(1)
    waiting(handle)
    if not early:
        send_from_elsewhere(stage, handle, '{"payer": "Ada"}')
    dropped = eventually(lambda: [entry for entry in handle.history() if entry.outcome == "discarded"])
    assert [(entry.kind, entry.step, entry.reason) for entry in dropped] == [
        ("resume", "paid", "data.amount: Field required [missing] (expected Payment)")
    ]
    assert waiting(handle).get().waiting_steps == {typed_flows.Paid}
    with pytest.raises(DataError, match=r"data\.amount: Field required"):
        handle.resume("paid", {"payer": "Ada"})
    send_from_elsewhere(stage, handle, '{"payer": "Ada", "amount": "3.00"}')
    instance = stage.outcome(handle)
    assert instance.context.result(typed_flows.Paid) == typed_flows.Payment("Ada", Decimal("3.00"))


def test_a_type_that_changed_under_a_waiting_run_fails_the_step_that_reads_it_and_a_retry_goes_on_after_the_mend(stage):
    deploy(stage, "first")
    handle = waiting(stage.hephaestus.start_instance(typed_flows.TypedOrders, {"items": "2"}, id="x1"))
    deploy(stage, "changed")
    handle.resume("paid", {"payer": "Ada", "amount": 3})
    instance = stage.outcome(handle)
    assert instance.status == "failed"
    assert instance.failed_step is typed_flows.Ship
    assert instance.failure.type == "hephaestus_celery.exceptions.DataError"
    assert instance.failure.message.startswith(
        "the result of step charge does not fit Receipt, as version 1 of typedorders declares it: steps.charge.currency: "
        "Field required [missing]"
    )
    assert [entry.step for entry in handle.history()].count("ship") == 1, "it is not tried again"
    deploy(stage, "mended")
    again = stage.outcome(handle.retry())
    assert again.status == "completed", again.failure
    assert again.context.result(typed_flows.Ship) == {"label": "2 for Ada, 3.00 EUR"}
    with pytest.raises(DataError, match=r"context\.items: Input should be greater than 0"):
        stage.hephaestus.fork(handle.run_id, typed_flows.Ship, value="x2", context={"items": 0})


@pytest.mark.only_on("redis", why="no command cares which broker there is")
def test_the_command_line_refuses_data_that_does_not_fit_and_says_where(stage):
    shell = Shell(stage.app)
    refused = shell("start", "TypedOrders", "x0", '{"items": 0}')
    assert (refused.code, refused.output) == (2, "")
    assert "context.items: Input should be greater than 0" in refused.errors
    assert stage.hephaestus.count() == 0

    stage.start_workers(1)
    handle = waiting(stage.hephaestus.start_instance(typed_flows.TypedOrders, {"items": 2}, id="x1"))
    known = handle.history()
    for early in ((), ("--keep-early",)):
        refused = shell("resume", handle.id, "paid", '{"payer": "Ada", "amount": "much"}', *early)
        assert (refused.code, refused.output) == (2, "")
        assert refused.errors.count("\n") == 1
        assert "data.amount: " in refused.errors
        assert "expected Payment" in refused.errors
        assert "Traceback" not in refused.errors
    assert handle.history() == known
    assert shell("resume", handle.id, "paid", '{"payer": "Ada", "amount": "3.50"}').code == 0
    assert stage.outcome(handle).context.result(typed_flows.Paid) == typed_flows.Payment("Ada", Decimal("3.50"))


@pytest.mark.only_on("redis", why="no command cares which broker there is")
def test_the_commands_show_an_event_that_was_dropped(stage):
    shell = Shell(stage.app)
    stage.start_workers(1)
    handle = waiting(stage.hephaestus.start_instance(typed_flows.TypedOrders, {"items": 2}, id="x1"))
    send_from_elsewhere(stage, handle, '{"payer": "Ada"}')
    eventually(lambda: [entry for entry in handle.history() if entry.outcome == "discarded"], what="it is dropped")
    waiting(handle)
    [line] = [line for line in shell("history", handle.id).lines if "discarded" in line]
    assert "data.amount: Field required" in line
    shown = "\n".join(shell("show", handle.id).lines)
    assert "what moves it: resume RUN paid" in shown
    assert "data.amount: Field required" in shown
