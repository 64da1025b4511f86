"""What a driven run is made again as: a retry or a fork of it, with defaults for what a test leaves out."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.plan import shape_of
from hephaestus_celery.core.execution.reruns import kept_states, kept_undo, standing, unfinished
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import DataKind
from hephaestus_celery.storage.reruns import Rerun
from hephaestus_celery.storage.schema import RERUN, ROUNDS
from hephaestus_celery.storage.starts import FirstStep, NewRun
from hephaestus_celery.testing.conformance.driven_values import graph_of, header


class Rerunnable:
    """A run of which others may be made."""

    storage: Storage
    graph: Graph
    new: NewRun
    id: str
    lane: str | None

    def rerun(
        self,
        *,
        again: Sequence[str] | None = None,
        retry: bool = True,
        graph: Mapping[tuple[str, str], Any] | None = None,
        given: Sequence[str] | None = None,
        configs: Mapping[str, tuple[int, str]] | None = None,
        **fields: Any,
    ) -> Rerun:
        """What makes a new run of this one: a retry; or with ``again`` a fork, in which these steps and all after them run."""
        states = self.storage.read_states(self.id)
        shape = shape_of(self.graph if graph is None else graph_of(graph))
        follows = frozenset[str]().union(*(shape.following(step) for step in again or ()))
        undo, left = self._undo_of_this()
        begun = [entry.step for entry in undo[len(undo) if left is None else left :]]
        if retry:
            follows = follows.union(*(shape.following(step) for step in begun))
        completed = {
            key
            for key, state in states.items()
            if state.status == "completed" and state.compensates is None and key not in follows
        }
        kept = kept_states(states, completed, source=self.id)
        started = frozenset(again or ()) | (unfinished(states) - follows)
        where = standing(shape, kept={key: self._taken(key, state) for key, state in kept.items()}, again=started)
        instance_id = fields.get("instance_id", self.new.instance_id)
        run_id = fields.pop("run_id", None) or new_run_id(
            milliseconds=SYSTEM_CLOCK.time_ns() // 1_000_000, instance_id=instance_id, random_bits=secrets.randbits(58)
        )
        first = {"config": None, "max_attempts": 5, "prepared_message": None, "lane": self.lane}
        first = {name: fields.pop(name, value) for name, value in first.items()}
        origins = {
            key: states[key].origin or self.id for key in started if key in states and retry and key not in follows
        }
        rounds = {key: states[key].round for key in origins}
        new = dataclasses.replace(
            self.new,
            operation=run_id,
            run_id=run_id,
            header=header(run_id, instance_id),
            schema=max(RERUN, *(ROUNDS if number > 1 else 0 for number in [1, *rounds.values()])),
            firsts=[
                FirstStep(step=key, origin=origins.get(key), round=rounds.get(key, 1), **first) for key in where.active
            ],
            **{"instance_id": instance_id, "initial": "", **fields},
        )
        return Rerun(
            run=new,
            source=self.id,
            retry=retry,
            entry=json.dumps({"kind": "fork", "run_id": self.id}),
            kept=kept,
            skipped=where.skipped,
            arrivals={key: counts for key, counts in where.arrivals.items() if shape.predecessors[key] > 1},
            shortfall=where.shortfall,
            given=where.active if given is None else given,
            configs=configs or {},
            undo=kept_undo(undo, kept, retry=retry),
            left=left,
        )

    def _undo_of_this(self) -> tuple[list[Undo], int | None]:
        run = self.storage.load(self.id, steps=())
        count = 0 if run is None or run.undo_count is None else run.undo_count
        numbers = [str(number) for number in range(1, count + 1)]
        texts = self.storage.read_data(self.id, DataKind.UNDO, numbers) if numbers else {}
        left = None if run is None or run.undoing is None else run.undoing.left
        return [Undo.parse(texts[number]) for number in numbers], left

    def _taken(self, key: str, state: Any) -> Sequence[str]:
        if state.targets is not None:
            return state.targets
        return [target.step.key for target in self.graph.table.get((self.graph.by_key[key], state.event), ())]
