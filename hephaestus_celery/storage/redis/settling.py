"""Settles the edges of wide steps in slices, as coroutines: see :mod:`.wide_steps`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters, places, retention_of, stream_of
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.wide_steps import SLICE, Edges, Progress
from hephaestus_celery.storage.starts import PreparedMessage


class Settling:
    """Settles the staged edges of the runs of one storage."""

    def __init__(self, calls: AsyncCalls, reads: Reads) -> None:
        self._calls, self._reads = calls, reads

    async def stage(self, edges: Edges, *, fence: str | None, name: str) -> str:
        """Stage edges for their commit under this ``name``, and return it. The run does not change."""
        for parameters, data in edges.stages(fence=fence, name=name):
            if not await self._calls.of_run("stage", edges.run_id, parameters, *data):
                break  # the claim is lost, or an earlier call did the commit: the commit says which
        return name

    async def settle(self, progress: Progress, operation: str, durations: Durations) -> None:
        """Settle slice after slice of a commit's edges; ``operation`` is the commit's."""
        edges = progress.edges
        for number in count():
            settled, place = await self.slice(
                edges.run_id,
                edges.source,
                operation=f"{operation}{number}",
                durations=durations,
                prepared=edges.next_prepared(progress.position),
            )
            if not progress.note(settled, place):
                return

    async def slice(
        self,
        run_id: str,
        source: str,
        *,
        operation: str,
        durations: Durations,
        prepared: Mapping[str, PreparedMessage] | None = None,
        at_once: bool = False,
    ) -> tuple[Commitment, replies.Slice | None]:
        """Settle the next slice of the edges of ``source``; the script sends those of the ``prepared`` messages that are due."""
        messages = prepared or {}
        lists, numbers = places(messages)
        reply = await self._calls.of_run(
            "settle",
            run_id,
            as_parameters(
                run_id=run_id,
                op=operation,
                source=source,
                limit=SLICE,
                at_once=at_once or None,
                prepared=numbers or None,
                dispatch_timeout=durations.dispatch_timeout,
                retention=retention_of(durations),
                stream=stream_of(durations),
            ),
            *(message.text for message in messages.values()),
            lists=lists,
        )
        with reading(run_id):
            states: Mapping[str, StepState] = {}
            if replies.has_many_steps(reply):
                states = await self._reads.scan_states(run_id)
            return replies.read_slice(reply, run_id=run_id, states=lambda: states)
