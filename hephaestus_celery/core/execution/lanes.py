"""Lanes: messages wait by queue and priority, so that a lost one can be distinguished from a waiting one.

A lane is a queue and a priority: what was sent there is taken in the order of sending, but for what workers hold that have
taken it ahead. So a message is not lost for being old. It may be when one that was sent later was claimed (the lane has
come past it), or when its queue is empty; and it is when then no living worker holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.execution.limits import JITTER_FROM, JITTER_SPAN, JITTER_STEPS, LONGEST_FACTOR


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
    """Microseconds that a message sent at ``sent`` is given before it is looked for.

    The first is given ``timeout``, each further one twice as much, up to eight times, give or take a quarter: at even
    intervals a broker may give it to the same worker each time, which may not know the workflow.
    """
    if resends == 0:
        return timeout
    jitter = JITTER_FROM + (sent % JITTER_STEPS) / JITTER_STEPS * JITTER_SPAN
    return int(timeout * min(2**resends, LONGEST_FACTOR) * jitter)
