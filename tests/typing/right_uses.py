"""Code as users write it: type checkers find nothing wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, assert_type

from celery import Celery, shared_task

from hephaestus_celery import (
    FAILED,
    Again,
    Async,
    BulkResult,
    CancelReport,
    Context,
    Done,
    Error,
    Failure,
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
    RunFailedError,
    Runner,
    Settings,
    Status,
    Step,
    StepConfig,
    StepStanding,
    Storage,
    StreamEvent,
    StreamGap,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
    route,
    step,
    task_step,
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
        assert_type(context.failure(Charge), Failure | None)
        return Error("no carrier", retry=False)


class Weigh(Step):
    def execute(self, instance: Instance, config: StepConfig, context: Context) -> dict[str, int]:
        return {"weight": 3}


class Announce(Step):
    async def execute(self, instance: Instance, config: StepConfig, context: Context) -> None:
        await asyncio.sleep(0)


class Route(Step):
    events = ("near", "far")

    def execute(self, instance: Instance, config: StepConfig, context: Context) -> Literal["near", "far"] | Error:
        return "near" if context.result(Weigh) else Error("no weight")


@step
def pack(context: Context) -> dict[str, int]:
    return {"boxes": 2}


@step(events=("stamped", "returned"), retry=RetryPolicy(max_attempts=2), time_limit=timedelta(seconds=5), priority=3)
async def stamp(instance: Instance, config: StepConfig, context: Context) -> Ok | Async | Again | Error | str:
    if context.round < 3:
        return Again(timedelta(seconds=context.round), {**context.state, "round": context.round})
    return "stamped" if config else Async()


@step(key="sign_it", queue="desk")
def sign() -> None: ...


@shared_task
def weigh_parcel(kilos: int) -> int:
    return kilos


WeighParcel = task_step(weigh_parcel, retry=RetryPolicy(max_attempts=2), time_limit=timedelta(seconds=5))
WeighAgain = task_step(
    weigh_parcel,
    arguments=lambda context: {"kilos": context.initial["kilos"]},
    event="weighed",
    key="weigh_again",
    queue="q",
)


def use_functions(context: Context) -> None:
    assert_type(WeighParcel, type[Step])
    assert_type(pack.function(context), dict[str, int])
    assert_type(pack.key, str)
    assert_type(pack.named("pack_again"), type[Step])
    assert_type(sign.function(), None)
    assert_type(context.result(pack), dict[str, Any])
    assert_type(context.result(WeighParcel), dict[str, Any])


class ParcelFlow(Workflow):
    unique = Unique("parcelid")
    initial_step = Weigh
    transitions = {
        Weigh: pack,
        pack: [Route, stamp],
        (Route, "near"): Done,
        (Route, "far"): Announce,
        (stamp, "stamped"): sign,
        (stamp, "returned"): Done,
        sign: WeighParcel,
        WeighParcel: Done,
    }

    @route(Announce, targets=[Done])
    @staticmethod
    def after_announcement(context: Context) -> type[Step]:
        return Done


@step
def unstamp(context: Context) -> Again | dict[str, Any]:
    assert_type(context.round, int)
    assert_type(context.state, dict[str, Any])
    return {"rounds": context.round} if context.state else Again(1.5, {"begun": True})


class LetterFlow(Workflow):
    unique = Unique("letterid")
    initial_step = [pack, sign]
    transitions = {pack: Announce, (pack, FAILED): Announce, sign: Announce, Announce: Done}
    joins = {Announce: 1}
    compensations = {pack: unstamp, sign: pack.named("unsign")}
    deadline = timedelta(days=30)

    @staticmethod
    def result(context: Context) -> dict[str, Any]:
        return {"boxes": context.result(pack)["boxes"]}


class QuickLetterFlow(Workflow):
    unique = Unique("letterid")
    initial_step = [pack, sign]
    transitions = {pack: Announce, sign: Announce, Announce: Done}
    joins = {Announce: "all"}
    deadline = 60

    @classmethod
    def result(cls, context: Context) -> Mapping[str, Any]:
        return LetterFlow.result(context)


class OrderFlow(Workflow):
    unique = Unique("orderid", scope="version")
    initial_step = Validate
    transitions = {
        (Validate, "invalid"): Done,
        (Charge, FAILED): Done,
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
    assert_type(handle.result(timeout=5), dict[str, Any])
    assert_type(handle.get().result, dict[str, Any] | None)
    assert_type(handle.cancel("enough", compensate=True, terminate=True), CancelReport)
    handle.resume("signed", {"by": "Ann"}, step=WaitForEvent, key="evt_1")
    try:
        handle.result()
    except RunFailedError as error:
        print(error.instance, error.failure)


def look_at_a_step(instance: Instance) -> None:
    standing = instance.step(Charge)
    assert_type(standing, StepStanding)
    assert_type(instance.step(pack).round, int | None)
    assert_type((standing.attempt, standing.max_attempts), tuple[int | None, int | None])
    assert_type(standing.accepts, tuple[str, ...] | None)
    assert_type(standing.due_at or standing.finished_at or standing.waiting_since, datetime | None)
    assert_type((standing.event, standing.worker), tuple[str | None, str | None])
    print(standing.status == "waiting", standing.queued_at, standing.started_at)


def look_at_what_is_undone(instance: Instance) -> None:
    assert_type(instance.compensating, bool)
    assert_type(instance.deadline, datetime | None)
    print(Charge in instance.compensated, [undone.key for undone in instance.uncompensated])


def use_the_workflow() -> None:
    assert_type(OrderFlow.start("A-1", {"items": 3}, version=1, telemetry_metadata={}), InstanceHandle)
    assert_type(OrderFlow.handle("A-1"), InstanceHandle)
    assert_type(OrderFlow.get("A-1"), Instance)
    assert_type(OrderFlow.wait("A-1", 5), Instance)
    assert_type(OrderFlow.history("A-1"), list[HistoryEntry])
    assert_type(OrderFlow.cancel("A-1", compensate=True), CancelReport)
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


def run_it_again(hephaestus: Hephaestus, handle: InstanceHandle) -> None:
    assert_type(hephaestus.retry("orderid::A-1", context={"items": 4}, by="ann", workflow=OrderFlow), InstanceHandle)
    assert_type(OrderFlow.retry("A-1"), InstanceHandle)
    assert_type(handle.retry(context={"items": 4}, by="ann"), InstanceHandle)
    assert_type(hephaestus.fork("orderid::A-1", Ship, value="A-2", version=2, context={}), InstanceHandle)
    assert_type(OrderFlow.fork("A-1", "ship", by="ann"), InstanceHandle)
    hephaestus.delete("orderid::A-1", workflow=OrderFlow)
    OrderFlow.delete("A-1")


def hold(hephaestus: Hephaestus, handle: InstanceHandle) -> None:
    assert_type(hephaestus.pause("orderid::A-1", by="ann"), bool)
    assert_type(hephaestus.unpause("orderid::A-1"), bool)
    assert_type(hephaestus.pause_workflow(OrderFlow, by="ann"), bool)
    assert_type(hephaestus.unpause_workflow("shop.OrderFlow"), bool)
    assert_type(OrderFlow.pause(), bool)
    assert_type(OrderFlow.unpause("A-1", by="ann"), bool)
    assert_type(handle.pause() and handle.unpause(by="ann"), bool)


def act_on_many(hephaestus: Hephaestus, filters: ListFilters) -> None:
    starts = [("A-1", {"items": 1}), ("A-2", None)]
    assert_type(hephaestus.start_many(OrderFlow, starts, on_conflict="skip"), list[InstanceHandle | None])
    assert_type(OrderFlow.start_many(iter(starts), version=1), list[InstanceHandle | None])
    result = hephaestus.retry_many(workflow=OrderFlow, status="failed", by="ann")
    assert_type(result, BulkResult)
    assert_type(hephaestus.cancel_many(reason="a bug", tag="orders"), BulkResult)
    assert_type(hephaestus.pause_many(started_after=datetime.now(UTC)), BulkResult)
    assert_type(hephaestus.unpause_many(paused=True), BulkResult)
    assert_type(hephaestus.delete_many(status_in=[Status.CANCELLED], progress=print), BulkResult)
    assert_type(hephaestus.count(failed_step="charge"), int)
    assert_type(OrderFlow.count(status="running"), int)


async def use_event_loops(hephaestus: Hephaestus, handle: InstanceHandle) -> None:
    async with hephaestus.aio as calls:
        assert_type(await calls.start_instance(OrderFlow, {"items": 3}, id="A-1"), InstanceHandle)
        assert_type(await calls.get("orderid::A-1"), Instance)
        assert_type(await calls.wait("orderid::A-1", timedelta(seconds=5)), Instance)
        assert_type(await calls.list(workflow=OrderFlow, limit=10), Page)
        assert_type(await calls.count(status="failed"), int)
        assert_type(await calls.cancel("orderid::A-1", "enough", compensate=True), CancelReport)
        assert_type(await calls.history("orderid::A-1", after=3, limit=10), list[HistoryEntry])
        assert_type(await calls.retry_many(status="failed"), BulkResult)
        assert_type(await calls.start_many(OrderFlow, [("A-2", {})]), list[InstanceHandle | None])
        assert_type(await calls.fork("orderid::A-1", Ship), InstanceHandle)
        assert_type(await calls.cancel_timer(await calls.schedule_resume("orderid::A-1", Wait, 60)), bool)
    assert_type(await OrderFlow.aio.start("A-1", {"items": 3}), InstanceHandle)
    assert_type(await OrderFlow.aio.handle("A-1"), InstanceHandle)
    assert_type(await OrderFlow.aio.cancel("A-1", "enough", compensate=True), CancelReport)
    assert_type(await OrderFlow.aio.pause(), bool)
    assert_type(await handle.aio.status, Status)
    assert_type(await handle.aio.wait(5), Instance)
    assert_type(await handle.aio.result(5), dict[str, Any])
    assert_type(await handle.aio.retry(), InstanceHandle)
    assert_type(await handle.aio.cancel("enough", compensate=True), CancelReport)
    await handle.aio.resume("signed", {"by": "Ann"}, step=WaitForEvent)
    async with hephaestus.aio.events("audit") as events:
        async for found in events:
            await found.ack()
