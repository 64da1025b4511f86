"""What readers of the durable event stream are given: events, and gaps where the cap was faster than they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


def _nothing() -> None:
    """Acknowledge nothing: the event came from no consumer group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """A telemetry event that a commit has told the event stream, without the data of the run.

    ``name`` is that of the telemetry event, such as ``("hephaestus", "step", "stop")``. ``id`` is the instance id, ``run_id``
    the run, ``workflow`` its stored name and ``version`` its version. ``sequence`` counts the events of a run from 1, without
    gaps: together with ``run_id`` it names the event, so a reader can tell that it has had it before. ``at`` is when the
    commit was made, on the clock of the store.

    What does not apply is None: ``step_key`` and ``attempt`` of events of steps, ``round`` of an ``Again`` (from 2 on, and from 1
    where the step begins another), ``compensates``, the key of the step that this one undoes; ``event`` that a step gave;
    ``kind`` (``error``, ``exit`` or ``throw``) and ``reason`` of failures, rescues and cancellations; ``worker`` and ``task_id`` where the commit
    names them; ``by`` who has paused the run, or let it go on. ``duration``, ``queue_time``, ``wait_duration`` and ``retry_in`` are nanoseconds.
    """

    name: tuple[str, ...]
    run_id: str
    id: str
    workflow: str
    version: int
    sequence: int
    at: datetime
    step_key: str | None = None
    attempt: int | None = None
    event: str | None = None
    kind: str | None = None
    reason: str | None = None
    duration: int | None = None
    queue_time: int | None = None
    wait_duration: int | None = None
    retry_in: int | None = None
    worker: str | None = None
    task_id: str | None = None
    by: str | None = None
    round: int | None = None
    compensates: str | None = None
    acknowledge: Callable[[], None] = field(default=_nothing, repr=False, compare=False)

    def ack(self) -> None:
        """Say that this event is done with, so that no consumer of the group gets it again.

        One round trip. A repetition changes nothing. ``StorageError`` if the store is out of reach: call it again, or the event
        will be handed out again later.
        """
        self.acknowledge()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGap:
    """Events that the group has missed: the cap took them before they were read, or after they were handed out and lost.

    ``missed`` is how many events were cut off unread. Of events that were handed to a consumer which is gone, it counts the
    commits, since it can't be known how many events each had. They were told between ``since`` and ``until``, on the clock of the
    store. Whoever needs to know more reads the runs that changed in that time, with ``list`` and ``history``.
    """

    missed: int
    since: datetime
    until: datetime

    def ack(self) -> None:
        """Do nothing: a gap ends with the event behind it. It is here so that a loop may treat both alike."""
