"""A small workflow whose events are emitted, and handlers that never outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from hephaestus_celery import telemetry
from hephaestus_celery.client.facade import Workflow
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.step import Ok, Step
from hephaestus_celery.core.values.identity import Unique
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status


class ValidateOrder(Step):
    events = ("valid",)

    def execute(self, instance, config, context):
        return Ok("valid")


class Charge(Step):
    events = ("charged",)

    def execute(self, instance, config, context):
        return Ok("charged")


class OrderFlow(Workflow):
    name = "shop.telemetry.OrderFlow"
    unique = Unique("orderid")
    version = 3
    initial_step = ValidateOrder
    transitions: ClassVar = {(ValidateOrder, "valid"): Charge, (Charge, "charged"): Done}


INSTANCE = Instance(
    id="orderid::a1001",
    run_id="0190f0f0-0000-7000-8000-000000000001",
    workflow_name=OrderFlow.name,
    workflow_version=3,
    workflow_family=OrderFlow.name,
    status=Status.RUNNING,
    telemetry_start_time=1_700_000_000_000_000_000,
    started_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    definition=OrderFlow,
)


@pytest.fixture(autouse=True)
def handlers_left_behind() -> Iterator[None]:
    yield
    left = {handler.id for handler in telemetry.list_handlers()}
    for handler_id in left:
        telemetry.detach(handler_id)
    assert not left, f"the test left handlers attached: {left}"


@pytest.fixture
def attach() -> Iterator[Callable[..., None]]:
    """`telemetry.attach_many`, undone after the test unless that happened before."""
    ids = []

    def attach_for_this_test(handler_id: Any, function: Any, *events: telemetry.EventName, config: Any = None) -> None:
        telemetry.attach_many(handler_id, events, function, config)
        ids.append(handler_id)

    yield attach_for_this_test
    for handler_id in {handler.id for handler in telemetry.list_handlers()}.intersection(ids):
        telemetry.detach(handler_id)


@pytest.fixture
def make_instance() -> Callable[..., Instance]:
    return lambda **changes: replace(INSTANCE, **changes)


@pytest.fixture
def instance() -> Instance:
    return INSTANCE


@pytest.fixture
def order_flow() -> type[Workflow]:
    return OrderFlow


@pytest.fixture
def validate() -> type[Step]:
    return ValidateOrder


@pytest.fixture
def charge() -> type[Step]:
    return Charge
