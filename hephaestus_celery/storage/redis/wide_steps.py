"""Wide steps, with more than 500 edges: edges are staged before the commit, and settled in slices after it.

The commit records that they are staged. Then the committing process settles them; if it is lost, the scheduler does: see
``lua/parts/joins.lua``. More than 500 first steps of a run are settled in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Row
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.commits import Commitment, Complete
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.parameters import as_parameters, settling_row
from hephaestus_celery.storage.starts import NewRun, PreparedMessage

AT_ONCE = 500
"""The most steps that the script of a commit settles itself."""
STAGED = 500
"""The most edges, or rows of steps, that one script stages."""
SLICE = 200
"""The most edges that one script settles after the commit."""

_EMITTED = 3  # events of a step that completes


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The edges of ``source``: ``taken`` and ``dead`` keys of targets, and facts about every step that they may settle."""

    run_id: str
    source: str
    taken: Sequence[str]
    dead: Sequence[str] = ()
    rows: Mapping[str, Row]
    attempts: Mapping[str, int]
    lanes: Mapping[str, str]
    rank: int = 0
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    prepared: Mapping[str, PreparedMessage] = field(default_factory=dict[str, PreparedMessage])

    @classmethod
    def of_commit(cls, commit: Complete) -> Edges | None:
        """The edges of a step's event, if they are too many for the script of the commit; else None."""
        settlement = commit.settlement
        if len(settlement.rows) <= AT_ONCE:
            return None
        return cls(
            run_id=commit.run_id,
            source=str(commit.activation),
            taken=settlement.taken,
            dead=settlement.dead,
            rows=settlement.rows,
            attempts=commit.attempts,
            lanes=commit.lanes,
            rank=commit.rank,
            configs=commit.configs,
            prepared=commit.prepared,
        )

    @classmethod
    def of_start(cls, run: NewRun) -> Edges | None:
        """The edges into the first steps of a run, if they are too many for the script that creates it; else None."""
        if len(run.firsts) <= AT_ONCE:
            return None
        return cls(
            run_id=run.run_id,
            source="",
            taken=[first.step for first in run.firsts],
            rows={first.step: Row(predecessors=1) for first in run.firsts},
            attempts={first.step: first.max_attempts for first in run.firsts},
            lanes={first.step: first.lane for first in run.firsts if first.lane is not None},
            configs={first.step: first.config for first in run.firsts if first.config is not None},
            prepared={first.step: first.prepared_message for first in run.firsts if first.prepared_message is not None},
        )

    def stages(self, *, fence: str | None, name: str) -> Iterator[tuple[str, Sequence[str]]]:
        """The parameters and the data of each script call that stages a slice of the edges under this ``name``."""
        position = 0
        edges = [*(f"1{key}" for key in self.taken), *(f"0{key}" for key in self.dead)]
        for some, rows in zip_longest(_slices(edges), _slices(list(self.rows)), fillvalue=()):
            parameters = as_parameters(
                run_id=self.run_id,
                id=name,
                position=position,
                edges=len(some),
                step=self.source or None,
                fence=fence,
            )
            yield parameters, [*some, *self._fields(rows)]
            position += len(some)

    def _fields(self, rows: Iterable[str]) -> Iterator[str]:
        for key in rows:
            yield key
            yield settling_row(self.rows[key], attempts=self.attempts[key], lane=self.lanes.get(key))
            if key in self.configs:
                yield f"|{key}"
                yield f"{self.rank}|{self.configs[key]}"

    def next_prepared(self, position: int) -> Mapping[str, PreparedMessage]:
        """The messages of the steps that the slice from this edge on may start."""
        keys = self.taken[position : position + SLICE]
        return {key: self.prepared[key] for key in keys if key in self.prepared}

    def surely(self, start: int, end: int | None) -> list[str]:
        """The targets that the edges from ``start`` on have certainly started, whatever else has settled."""
        return [key for key in self.taken[start:end] if self.rows[key].predecessors == 1]


@dataclass(slots=True)
class Progress:
    """The result of all slices of one commit, for the process that has committed.

    It does not know the slices that others have settled: a scheduler, or this process before an interruption. It sends the
    messages of steps that these certainly started once more, which does no harm.
    """

    edges: Edges
    position: int = 0
    activated: list[str] = field(default_factory=list[str])
    dispatches: list[DispatchStep] = field(default_factory=list[DispatchStep])
    last: Commitment | None = None

    def _add(self, settled: Commitment, place: replies.Slice) -> None:
        self._miss(place.position)
        self.activated.extend(settled.activated)
        self.dispatches.extend(settled.dispatches)
        self.position = place.position + place.settled
        self.last = settled

    def end(self, commitment: Commitment) -> Commitment:
        """The whole result: the commitment of the commit itself, and of all slices."""
        last = self.last
        whole = replace(commitment, activated=self.activated, dispatches=self.dispatches)
        if last is None:
            return whole
        return replace(
            whole,
            status_after=last.status_after,
            active=last.active,
            ending=None if last.ending == commitment.sequence + _EMITTED else last.ending,
            completed=last.completed,
            finished_at=last.finished_at,
            start=last.start,
            shortfall=last.shortfall,
            undoes=last.undoes,
            dispatches=last.dispatches if last.undoes else self.dispatches,  # what has just started is dropped
        )

    def _miss(self, end: int | None) -> None:
        missed = self.edges.surely(self.position, end)
        self.activated.extend(missed)
        self.dispatches.extend(DispatchStep(Activation.parse(key), 1, 1) for key in missed)

    def note(self, settled: Commitment, place: replies.Slice | None) -> bool:
        """Add what a slice came to; whether another one follows."""
        if settled.verdict is not Verdict.APPLIED or place is None:
            self._miss(None)  # others have settled the rest, or the run has ended
            return False
        self._add(settled, place)
        return place.left > 0


def _slices(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + STAGED] for start in range(0, len(keys), STAGED))
