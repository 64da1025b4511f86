"""A client on an event loop, with real workers, on Redis and on RabbitMQ."""

from __future__ import annotations

import asyncio
import threading

import flows

RUNS = 40


def test_runs_are_started_told_and_awaited_on_event_loops_one_after_the_other(stage):
    stage.start_workers(1)

    async def runs(name):
        async with stage.hephaestus.aio as calls:
            handles = await asyncio.gather(
                *(calls.start_instance(flows.Approval, {"value": 1}, id=f"{name}{number}") for number in range(RUNS))
            )
            waits = [asyncio.create_task(handle.aio.wait(60)) for handle in handles]
            await asyncio.gather(*(handle.aio.resume("approved", {"by": "x"}, keep_early=True) for handle in handles))
            ended = await asyncio.gather(*waits)
            assert {instance.status for instance in ended} == {"completed"}
            assert all(instance.context.initial == {"value": 1} for instance in ended)
            senders = [thread for thread in threading.enumerate() if thread.name == "hephaestus-publisher"]
            assert len(senders) <= 1
            return await calls.count(workflow=flows.Approval)

    assert [asyncio.run(runs("a")), asyncio.run(runs("b"))] == [RUNS, 2 * RUNS]
