"""Lanes: messages wait by queue and priority, so that a lost one can be distinguished from a waiting one.

A lane is a queue and a priority. Workers claim its messages in the order of sending, except for messages that they have
prefetched. So an old message need not be lost. It may be lost if a later message was claimed (the lane has passed it), or if
its queue is empty. If then no living worker holds it, it is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.execution.limits import (
    JITTER_FROM,
    JITTER_SPAN,
    JITTER_STEPS,
    LONGEST_FACTOR,
)


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue and a priority; ``str`` of it names the lane in the store."""

    queue: str
    priority: int = 0

    def __str__(self) -> str:
        return f"{self.priority}:{self.queue}"

    @classmethod
    def parse(cls, name: str) -> Lane:
        """The lane of this name."""
        priority, _, queue = name.partition(":")
        return cls(queue, int(priority))


def redispatch_interval(*, sent: int, resends: int, timeout: int) -> int:
    """Microseconds after which a message sent at ``sent`` is looked for.

    The first message gets ``timeout``. Each further message gets twice as long, up to eight times, plus or minus a quarter.
    At even intervals, a broker might give each to the same worker, which may not know the workflow.
    """
    if resends == 0:
        return timeout
    jitter = JITTER_FROM + (sent % JITTER_STEPS) / JITTER_STEPS * JITTER_SPAN
    return int(timeout * min(2**resends, LONGEST_FACTOR) * jitter)
