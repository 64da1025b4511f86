"""The moments at which each fault strikes: runs are in them only for a while, so that chance alone would often miss them.

For each a run is started, and started anew until it was struck there. Some calls are made while the fault strikes.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import chaos_flows as flows
from chaos_steps import A, B

from hephaestus_celery import Instance, Status

if TYPE_CHECKING:
    from episode import Client, Started

LOOK_SECONDS = 0.01
LAST_MOMENT = dt.timedelta(seconds=0.2)
PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A moment of a workflow's run; ``calls`` are made meanwhile, and may start further runs."""

    flow: Any
    reached: Callable[[Instance], bool]
    calls: Callable[[Client, Instance], Sequence[Started]] = lambda client, instance: ()


def _compensates(instance: Instance) -> bool:
    return instance.compensating


def _nears_its_deadline(instance: Instance) -> bool:
    return instance.finished_at is None and instance.deadline - dt.datetime.now(dt.UTC) < LAST_MOMENT


def _cancelled(client: Client, instance: Instance) -> Sequence[Started]:
    client.cancel(instance.run_id)
    return ()


def _sent_events(client: Client, instance: Instance) -> Sequence[Started]:
    client.send_events(instance.workflow, instance.run_id)
    return ()


def _rerun(client: Client, instance: Instance) -> Sequence[Started]:
    forked = client.fork(instance.run_id, B, name=f"f{instance.run_id}")
    return (forked, client.retry(instance.run_id))


AIMS = (
    Aim(flow=flows.Recalled, reached=_compensates),
    Aim(flow=flows.Overdue, reached=_nears_its_deadline),
    Aim(flow=flows.Stained, reached=_compensates),
    Aim(flow=flows.Redone, reached=lambda instance: instance.status is Status.FAILED, calls=_rerun),
    Aim(flow=flows.Withdrawn, reached=lambda instance: B in instance.completed_steps, calls=_cancelled),
    Aim(flow=flows.Polling, reached=lambda instance: (instance.step(flows.Poll).round or 1) > 1),
    Aim(flow=flows.Summed, reached=lambda instance: instance.completed_steps in ({A}, {B})),
    Aim(flow=flows.Checked, reached=lambda instance: flows.Paid in instance.waiting_steps, calls=_sent_events),
)


class Aiming:
    """What is aimed at still, and the runs that were started for it."""

    def __init__(self, client: Client) -> None:
        self._client, self._left = client, dict[Aim, str]()
        self.started: list[Started] = []
        for aim in AIMS:
            self._begin(aim)

    def _begin(self, aim: Aim) -> None:
        number = len(self.started)
        self.started.append(self._client.begin(aim.flow, number=number, name=f"a{number}"))
        self._left[aim] = self.started[-1].run_id

    def await_some(self) -> dict[Aim, Instance]:
        """Those that some run has reached; none if there are no more."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while self._left:
            standing = {aim: self._client.get(run_id) for aim, run_id in self._left.items()}
            reached = {aim: instance for aim, instance in standing.items() if aim.reached(instance)}
            if reached:
                return reached
            for aim, instance in standing.items():
                if instance.finished_at is not None:  # too fast: once more
                    self._begin(aim)
            assert time.monotonic() < patience, f"no run comes to {list(standing.values())}"
            time.sleep(LOOK_SECONDS)
        return {}

    def note(self, struck: dict[Aim, Instance], *, at: int) -> None:
        """Some were struck at this moment; a run that had ended before is not one of them."""
        for aim in struck:
            instance = self._client.get(self._left[aim])
            ended = instance.finished_at is not None and instance.finished_at.timestamp() < at / 1e9
            if aim.reached(instance) or not ended:
                del self._left[aim]
            else:
                self._begin(aim)


def strike_at_each(client: Client, strike: Callable[[], int]) -> list[Started]:
    """Strike until a run was struck at each moment; gives the runs that were started for that. ``strike`` says when it did."""
    aiming = Aiming(client)
    with ThreadPoolExecutor(len(AIMS)) as pool:
        while struck := aiming.await_some():
            calls = [pool.submit(aim.calls, client, instance) for aim, instance in struck.items()]
            at = strike()
            for call in calls:
                aiming.started.extend(call.result())
            aiming.note(struck, at=at)
    return aiming.started
