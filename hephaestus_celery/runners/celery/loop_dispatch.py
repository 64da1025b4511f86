"""What clients on event loops ask of the runner on Celery: kombu's part is done by the publisher's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from hephaestus_celery.runners.message_dispatcher import Dispatcher
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.publishing import PUBLISHER


class LoopDispatch:
    """An ``AsyncRunner``: messages and revocations are sent soon, by one thread, and nobody waits for that."""

    def __init__(self, runner: Dispatcher) -> None:
        self._runner = runner

    async def dispatch(self, messages: Sequence[Message]) -> None:
        if messages:
            PUBLISHER.post(lambda: self._runner.dispatch(messages), what=f"sending {len(messages)} message(s)")

    async def revoke(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            PUBLISHER.post(lambda: self._runner.revoke(task_ids), what=f"revoking {len(task_ids)} task(s)")

    async def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        """Interrupts, and waits for the replies of the workers."""
        future = PUBLISHER.submit(lambda: self._runner.interrupt(holders)) if holders else None
        return () if future is None else await asyncio.wrap_future(future)

    async def flush(self, run_id: str) -> None:
        """Workers emit in their own processes; there is nothing to wait for here."""
