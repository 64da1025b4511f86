"""Waiting for the ends of runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hephaestus_celery.client.calls import (
    AioCalls,
    AioHandleCalls,
    AioWorkflowCalls,
    HandleCalls,
    RuntimeCalls,
    WorkflowCalls,
)
from hephaestus_celery.client.expected_events import still_going
from hephaestus_celery.client.means import Means
from hephaestus_celery.client.reads import Reads
from hephaestus_celery.client.resolve import find_run, read_run, read_whole_run
from hephaestus_celery.core.definition.workflow import InputT
from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.retry import seconds
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.exceptions import RunFailedError, WaitTimeoutError

_SHOWN = 500  # characters of a failure, or of the reason of a cancellation, in an error


async def wait(means: Means, id: str, timeout: float | timedelta | None) -> Instance:
    """Wait for the end of a run; see :meth:`Hephaestus.wait`."""
    length = None if timeout is None else seconds(timeout, name="timeout")
    run_id = await find_run(means, id, workflow=None)
    finished = await means.wait_finished(run_id, length)
    if finished:
        await means.runner.flush(run_id)
    if not finished:
        instance = await read_run(means, run_id)
        if not instance.status.final:
            raise WaitTimeoutError(still_going(instance, length))
    async with means.turn():  # hundreds may have waited for runs that ended at once
        return await read_whole_run(means, run_id)


def result_of(instance: Instance) -> dict[str, Any]:
    """The result of a run that has ended; ``RunFailedError`` if it has not completed."""
    if instance.status is Status.COMPLETED:
        return instance.result or {}
    failure = instance.failure
    if failure is None:
        why = "" if instance.cancel_reason is None else f" ({shortened(instance.cancel_reason, limit=_SHOWN)})"
        ended, advice = f"was cancelled{why}", "handle.retry() goes on with it"
    else:
        at = "" if instance.failed_key is None else f" at step {instance.failed_key}"
        ended = f"has failed{at} ({failure.type}: {shortened(failure.message, limit=_SHOWN)})"
        advice = "its .failure says why, and handle.retry() goes on with it after the mend"
    raise RunFailedError(
        f"run {instance.run_id} of {instance.id} {ended}, so it has no result; {advice}",
        instance=instance,
        failure=failure,
    )


class Waits(RuntimeCalls):
    """Waits, of ``Hephaestus``."""

    def wait(self, id: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run, at most ``timeout`` (seconds or timedelta), and give its instance.

        ``WaitTimeoutError`` says where it stands when the time is over; the run itself goes on.
        """
        return run_now(wait(self._means(), id, timeout))


class AioWaits(AioCalls):
    """Waits, of ``Hephaestus.aio``."""

    async def wait(self, id: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run; as :meth:`Hephaestus.wait`. Cancelling it ends the wait at once, and not the run."""
        return await wait(self._means(), id, timeout)


class WorkflowWaits(WorkflowCalls):
    """Waits, of a workflow class."""

    @classmethod
    def wait(cls, value: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run; see :meth:`Hephaestus.wait`."""
        run_id = cls._runtime(Reads).get(cls._id(value, "wait"), workflow=cls).run_id
        return cls._runtime(Waits).wait(run_id, timeout)


class AioWorkflowWaits(AioWorkflowCalls[InputT]):
    """Waits, of a workflow class's ``aio``."""

    async def wait(self, value: str, timeout: float | timedelta | None = None) -> Instance:
        """Wait for the end of a run; as :meth:`Hephaestus.wait`."""
        instance = await self._find(value, "wait")
        return await self._runtime(AioWaits).wait(instance.run_id, timeout)


class HandleWaits(HandleCalls):
    """Waits, of a handle."""

    def wait(self, timeout: float | timedelta | None = None) -> Instance:
        """The run after its end; see :meth:`Hephaestus.wait`."""
        return self._runtime(Waits).wait(self.run_id, timeout)

    def result(self, timeout: float | timedelta | None = None) -> dict[str, Any]:
        """Wait for the end of the run, as :meth:`wait`, and give its result: what the workflow's ``result`` has made of it.

        It is empty for a workflow that has none. ``RunFailedError``, with ``instance`` and ``failure``, if the run has failed or was
        cancelled; ``WaitTimeoutError`` if it has not ended in time.
        """
        return result_of(self.wait(timeout))


class AioHandleWaits(AioHandleCalls):
    """Waits, of a handle's ``aio``."""

    async def wait(self, timeout: float | timedelta | None = None) -> Instance:
        """The run after its end; as :meth:`Hephaestus.wait`."""
        return await self._runtime(AioWaits).wait(self.run_id, timeout)

    async def result(self, timeout: float | timedelta | None = None) -> dict[str, Any]:
        """Wait for the end of the run, and give its result; as :meth:`InstanceHandle.result`."""
        return result_of(await self.wait(timeout))
