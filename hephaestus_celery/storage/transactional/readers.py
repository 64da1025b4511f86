"""What a store over transactions tells of runs: states, data and histories, listings, and why they do not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hephaestus_celery.core.execution.due_items import StepDue
from hephaestus_celery.core.execution.standing import RunFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.storage.history_entries import page_of
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.transactional.clocked import Clocked
from hephaestus_celery.storage.transactional.reads import (
    count_in,
    data_of,
    ids_in,
    known_run,
    page_in,
    runs_beginning_in,
)
from hephaestus_celery.storage.transactional.record import stored
from hephaestus_celery.storage.transactional.rounds import history_of
from hephaestus_celery.storage.transactional.standing import facts_in


class Readers(Clocked):
    """The calls of the port that change nothing."""

    def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        del steps  # this store leaves nothing out
        with self.transaction() as transaction:
            record = transaction.find_run(run_id)
            if record is None:
                return None
            return stored(record, workflow_pause=transaction.pauses().get(record.new.family))

    def read_initial(self, run_id: str) -> str:
        with self.transaction() as transaction:
            return known_run(transaction, run_id).new.initial

    def read_states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        with self.transaction() as transaction:
            states = known_run(transaction, run_id).state.steps
            return dict(states) if steps is None else {step: states[step] for step in steps if step in states}

    def read_data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        with self.transaction() as transaction:
            return data_of(known_run(transaction, run_id), kind, steps)

    def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        with self.transaction() as transaction:
            record = transaction.find_run(run_id)
            entries = [] if record is None else history_of(record)
            return page_of([entry for entry in entries if entry.sequence > after], limit)

    def list_runs(self, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
        with self.transaction() as transaction:
            return page_in(transaction, query)

    def list_run_ids(self, query: Query) -> tuple[Sequence[str], str | None]:
        with self.transaction() as transaction:
            return ids_in(transaction, query)

    def count_runs(self, query: Query) -> int:
        with self.transaction() as transaction:
            return count_in(transaction, query)

    def runs_beginning_with(self, beginning: str, *, limit: int) -> Sequence[str]:
        with self.transaction() as transaction:
            return runs_beginning_in(transaction, beginning, limit=limit)

    def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        with self.transaction() as transaction:
            times = self._times()
            found = [transaction.due_at(run_id, StepDue(step)) for run_id, step in steps]
            return [None if at is None else at - times.moment + times.now for at in found]

    def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        with self.transaction() as transaction:
            times = self._times()
            return facts_in(transaction, run_id, steps, now=times.now, shift=times.now - times.moment)

    def paused_workflows(self) -> Mapping[str, PauseMark]:
        with self.transaction() as transaction:
            return dict(transaction.pauses())
