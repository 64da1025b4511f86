"""Code as users write it: type checkers find nothing wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from celery import Celery

from hephaestus_celery import (
    Async,
    CancelReport,
    Context,
    Done,
    Error,
    Hephaestus,
    HistoryEntry,
    Instance,
    InstanceHandle,
    ListFilters,
    LocalRunner,
    MemoryStorage,
    Ok,
    Page,
    RetryPolicy,
    Runner,
    Settings,
    Status,
    Step,
    StepConfig,
    Storage,
    StreamEvent,
    StreamGap,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
    route,
)


class Validate(Step):
    events = ("valid", "invalid")
    retry = RetryPolicy(max_attempts=3, base=timedelta(seconds=1))
    time_limit = 5

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok:
        assert_type(context.initial, dict[str, Any])
        assert_type(context.cancelled(), bool)
        return Ok("valid", {"seen": instance.idempotency_key(self)})


class Charge(Step):
    events = ["charged"]
    time_limit = timedelta(minutes=1)
    queue = "payments"

    async def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok | Async:
        if config and context.result(Validate):
            return Async(timeout=timedelta(hours=1))
        return Ok("charged", context.result("validate"), {"key": instance.idempotency_key(Charge)})


class Ship(Step):
    events = ("shipped",)

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Ok | Async | Error:
        return Error("no carrier", retry=False)


class OrderFlow(Workflow):
    unique = Unique("orderid", scope="version")
    initial_step = Validate
    transitions = {
        (Validate, "invalid"): Done,
        (Charge, "charged"): [Ship, (Wait, {"duration": timedelta(days=1)})],
        (Ship, "shipped"): (WaitForEvent, {"event_name": "signed"}),
        (Wait, "timeout"): Done,
        (WaitForEvent, "received"): Done,
    }
    tags = ("orders",)
    metadata = {"team": "shop"}
    default_retry = RetryPolicy(backoff="linear")

    @route(Validate, "valid", targets=[Charge, Done])
    @staticmethod
    def after_validation(context: Context) -> type[Step]:
        return Charge if context.initial else Done


class Shipping(Workflow):
    versions = {1: OrderFlow}
    current = 1
    unique = Unique("orderid")

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], options: Mapping[str, Any]) -> int | None:
        return max(versions)


def start(app: Celery) -> InstanceHandle:
    storage: Storage = MemoryStorage()
    runner: Runner = LocalRunner()
    with Hephaestus(app, storage=storage, runner=runner, name="shop") as hephaestus:
        assert_type(hephaestus.storage, Storage)
        assert_type(hephaestus.runner, Runner)
        assert_type(hephaestus.settings, Settings)
        return hephaestus.start_instance(OrderFlow, {"items": 3}, id="A-1", telemetry_metadata={"team": "shop"})


def use(handle: InstanceHandle) -> None:
    assert_type(handle.status, Status)
    assert_type(handle.get(), Instance)
    assert_type(handle.wait(timedelta(seconds=5)), Instance)
    assert_type(handle.history(), list[HistoryEntry])
    assert_type(handle.cancel("enough", terminate=True), CancelReport)
    handle.resume("signed", {"by": "Ann"}, step=WaitForEvent, key="evt_1")


def use_the_workflow() -> None:
    assert_type(OrderFlow.start("A-1", {"items": 3}, version=1, telemetry_metadata={}), InstanceHandle)
    assert_type(OrderFlow.handle("A-1"), InstanceHandle)
    assert_type(OrderFlow.get("A-1"), Instance)
    assert_type(OrderFlow.wait("A-1", 5), Instance)
    assert_type(OrderFlow.history("A-1"), list[HistoryEntry])
    assert_type(OrderFlow.cancel("A-1"), CancelReport)
    assert_type(OrderFlow.to_mermaid(), str)
    assert_type(OrderFlow.graph.predecessors(Ship), tuple[type[Step], ...])
    OrderFlow.resume("A-1", "signed", {"by": "Ann"}, step="wait_for_event", keep_early=True)
    page = OrderFlow.list(status="running", started_after=datetime.now(UTC), limit=10)
    assert_type(page, Page)
    assert_type([instance.status for instance in page], list[Status])
    assert_type(page.next_cursor, str | None)


def use_the_runtime(hephaestus: Hephaestus, filters: ListFilters) -> None:
    assert_type(hephaestus.list(**filters), Page)
    assert_type(hephaestus.list(workflow=OrderFlow, status_in=[Status.FAILED, "cancelled"], cursor=None), Page)
    reference = hephaestus.schedule_resume("orderid::A-1", Wait, timedelta(hours=1))
    assert_type(hephaestus.cancel_timer(reference), bool)
    instance = hephaestus.get("orderid::A-1", workflow=OrderFlow)
    assert_type(instance.current_step is Charge or Ship in instance.completed_steps, bool)
    assert_type(instance.workflow is OrderFlow, bool)


def follow(hephaestus: Hephaestus) -> None:
    with hephaestus.events("audit", consumer="one") as events:
        for found in events:
            assert_type(found, StreamEvent | StreamGap)
            if isinstance(found, StreamGap):
                assert_type(found.missed, int)
            else:
                assert_type(found.name, tuple[str, ...])
                assert_type(found.duration, int | None)
            found.ack()
