"""Behaviour 2.7: an instance as users see it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
from defining import A, B, C, a_step, define

from hephaestus_celery import DefinitionError, Done, Instance, Status
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState

D = a_step("D", "ok")
FLOW = define(initial_step=A, transitions={(A, "ok"): [B, C, D], (B, "ok"): Done, (C, "ok"): Done, (D, "ok"): Done})
FINAL = [Status.COMPLETED, Status.FAILED, Status.CANCELLED]


def an_instance(states=None, *, status=Status.RUNNING, **fields):
    """An instance whose steps stand as given: `{"a": "active"}`."""
    steps = {key: StepState(status=StepStatus(state)) for key, state in (states or {}).items()}
    return Instance(
        **{
            "id": "orderid::a1",
            "run_id": "0190f0f0-0000-7000-8000-000000000001",
            "workflow_name": "shop.Flow",
            "workflow_version": 1,
            "workflow_family": "shop.Flow",
            "status": status,
            "started_at": datetime(2024, 1, 1, tzinfo=UTC),
            "step_states": steps,
            "definition": FLOW,
            **fields,
        }
    )


ALL = {"a": "completed", "b": "active", "c": "waiting", "d": "skipped"}


def test_an_instance_knows_its_workflow():
    assert an_instance().workflow is FLOW


def test_active_steps_are_classes():
    assert an_instance(ALL).active_steps == frozenset({B})


def test_waiting_steps_are_classes():
    assert an_instance(ALL).waiting_steps == frozenset({C})


def test_completed_steps_are_classes():
    assert an_instance(ALL).completed_steps == frozenset({A})


def test_skipped_steps_are_classes():
    assert an_instance(ALL).skipped_steps == frozenset({D})


def test_done_counts_as_completed():
    assert an_instance({"done": "completed"}, status=Status.COMPLETED).completed_steps == frozenset({Done})


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize("name", ["active_steps", "waiting_steps"])
def test_in_a_final_status_nothing_is_active_or_waiting(status, name):
    assert getattr(an_instance(ALL, status=status), name) == frozenset()


@pytest.mark.parametrize("status", FINAL)
def test_in_a_final_status_nothing_is_current(status):
    assert an_instance({"b": "waiting"}, status=status).current_step is None


def test_in_a_final_status_completed_steps_stay():
    assert an_instance(ALL, status=Status.FAILED).completed_steps == frozenset({A})


def test_the_only_waiting_step_is_current():
    assert an_instance({"b": "waiting", "c": "active"}).current_step is B


def test_the_only_active_step_is_current():
    assert an_instance({"a": "completed", "c": "active"}).current_step is C


def test_one_active_step_is_current_beside_several_waiting_ones():
    assert an_instance({"a": "active", "b": "waiting", "c": "waiting"}).current_step is A


@pytest.mark.parametrize("state", ["active", "waiting"])
def test_of_several_steps_none_is_current(state):
    assert an_instance({"b": state, "c": state}).current_step is None


def test_where_nothing_stands_nothing_is_current():
    assert an_instance().current_step is None


def test_the_failed_step_is_a_class():
    assert an_instance({"b": "failed"}, status=Status.FAILED, failed_key="b").failed_step is B


def test_without_a_failure_there_is_no_failed_step():
    assert an_instance().failed_step is None


def test_step_configs_are_named_by_class():
    assert an_instance(configs={"b": {"limit": 3}}).step_configs == {B: {"limit": 3}}


@pytest.mark.parametrize("name", ["status", "id", "context"])
def test_an_instance_is_frozen(name):
    instance = an_instance()
    with pytest.raises(FrozenInstanceError):
        setattr(instance, name, None)


def test_the_idempotency_key_is_the_same_for_every_attempt():
    first = an_instance({"b": "active"})
    second = replace(first, step_states={"b": StepState(status=StepStatus.ACTIVE, attempt=2)})
    assert first.idempotency_key(B) == second.idempotency_key(B)


def test_the_idempotency_key_differs_from_step_to_step():
    assert an_instance().idempotency_key(B) != an_instance().idempotency_key(C)


def test_the_idempotency_key_differs_from_run_to_run():
    other = an_instance(run_id="0190f0f0-0000-7000-8000-000000000002")
    assert an_instance().idempotency_key(B) != other.idempotency_key(B)


def test_a_step_that_repeats_another_run_has_the_idempotency_key_of_that():
    other = an_instance(run_id="0190f0f0-0000-7000-8000-000000000002")
    repeated = StepState(status=StepStatus.ACTIVE, origin=other.run_id)
    instance = replace(an_instance(), step_states={"b": repeated})
    assert instance.idempotency_key(B) == other.idempotency_key(B)
    assert instance.idempotency_key(C) != other.idempotency_key(C)


def test_the_idempotency_key_may_be_asked_for_by_the_running_step_itself():
    assert an_instance().idempotency_key(B()) == an_instance().idempotency_key(B)


@pytest.mark.parametrize("name", ["workflow", "active_steps", "completed_steps", "step_configs", "failed_step"])
def test_an_instance_of_an_unknown_workflow_names_itself_and_the_workflow(name):
    instance = an_instance(ALL, definition=None, configs={"a": {}}, failed_key="a")
    with pytest.raises(
        DefinitionError, match=r"(?s)instance orderid::a1 \(run .*'shop.Flow', version 1, is not defined"
    ):
        getattr(instance, name)


def test_an_instance_of_an_unknown_workflow_shows_what_it_can():
    assert an_instance(ALL, definition=None).status is Status.RUNNING


def test_a_step_that_is_gone_is_named():
    with pytest.raises(DefinitionError, match="version 1, has no step 'gone' any more"):
        _ = an_instance({"gone": "active"}).active_steps


@pytest.mark.parametrize("status", list(Status))
def test_a_status_is_its_name(status):
    assert status == status.value


@pytest.mark.parametrize("status", list(Status))
def test_three_statuses_are_final(status):
    assert status.final is (status in {"completed", "failed", "cancelled"})


@pytest.mark.parametrize(
    "name",
    [
        *("status", "context", "run_id", "workflow", "step_configs", "active_steps", "waiting_steps"),
        *("completed_steps", "skipped_steps", "current_step", "failed_step", "anything"),
    ],
)
def test_nothing_of_an_instance_can_be_set(name):
    with pytest.raises(FrozenInstanceError):
        setattr(an_instance(ALL), name, None)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.COMPLETED])
@pytest.mark.parametrize("name", ["active_steps", "waiting_steps", "completed_steps", "skipped_steps", "current_step"])
def test_reading_no_steps_needs_the_class_too(name, status):
    with pytest.raises(DefinitionError, match=r"(?s)orderid::a1.*shop\.Flow"):
        getattr(an_instance(definition=None, status=status), name)
