"""A snapshot of a stored run; data that did not come with it is read from the store when it is first accessed.

A result never changes once its step has completed, and each completion has a number. So data that is read later still shows
the moment of the snapshot. Steps that completed since count as active: at that moment they were, or were about to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.names import DONE, FAILED
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.async_port import AsyncReader
from hephaestus_celery.storage.queries import DataKind, Reader, StoredRun

_UNFINISHED = 1 << 62


def in_order(states: Mapping[str, StepState]) -> dict[str, StepState]:
    """Completed steps in the order of their completion, then the others by name."""
    return dict(
        sorted(states.items(), key=lambda item: (_UNFINISHED if item[1].order is None else item[1].order, item[0]))
    )


class Snapshot:
    """A stored run; ``reader`` reads what it lacks. JSON texts stay texts. States and results are read once, and kept.

    ``read`` holds results that were read for an earlier moment of the run; results that are read now are added to it.
    """

    def __init__(
        self, run: StoredRun, *, run_id: str, reader: Reader | None, read: dict[str, str] | None = None
    ) -> None:
        self._run = run
        self._run_id = run_id
        self._reader = reader
        self._read: dict[str, str] = {} if read is None else read
        self._states: dict[str, StepState] | None = None
        self._asked_for: dict[str, StepState | None] = {}

    def initial(self) -> str:
        """The initial context."""
        return self._run.initial if self._run.initial is not None else self._asked.read_initial(self._run_id)

    @property
    def states(self) -> dict[str, StepState]:
        """The states of the steps: completed steps in the order of their completion, then the others."""
        if self._states is None:
            self._states = self._read_states()
        return self._states

    def state(self, step: str) -> StepState | None:
        """The state of one step; None if the run had not reached it."""
        state = self._run.steps.get(step)
        if state is None and self._run.lacks_steps and self._states is not None:
            return self._states.get(step)
        if state is None and self._run.lacks_steps:
            if step not in self._asked_for:
                self._asked_for[step] = self._asked.read_states(self._run_id, [step]).get(step)
            state = self._asked_for[step]
        return None if state is None else self._as_of(state)

    def _read_states(self) -> dict[str, StepState]:
        found = self._run.steps
        if self._run.lacks_steps:
            found = {**self._asked.read_states(self._run_id), **found}
        return in_order({key: self._as_of(state) for key, state in found.items()})

    def results(self) -> dict[str, str | None]:
        """The result of each completed step, in the order of completion; None for a step without a result."""
        completed = [key for key, state in self.states.items() if state.order is not None]
        steps = [key for key in completed if key != DONE]  # what is stored of that is the result of the run
        texts = self._data(DataKind.RESULT, {**self._run.results, **self._read}, steps)
        self._read.update(texts)
        return {key: None if key == DONE else texts.get(key) for key in completed}

    def result(self, step: str) -> str | None:
        """The result of one step, or None; ``KeyError`` if it had not completed."""
        state = self.state(step)
        if state is None or state.order is None:
            raise KeyError(step)
        if step == DONE:
            return None
        if step not in self._read:
            self._read.update(self._data(DataKind.RESULT, self._run.results, [step]))
        return self._read.get(step)

    def outcome(self) -> str | None:
        """The result of the run itself; None where it is empty. Only a run that has completed has one."""
        return self._data(DataKind.RESULT, self._run.results, [DONE]).get(DONE)

    def event(self, step: str) -> str | None:
        """The event of one step that has completed."""
        state = self.state(step)
        return None if state is None else state.event

    def failures(self) -> dict[str, str]:
        """The failure of each completed step that has failed, in the order of completion."""
        failed = [key for key, state in self.states.items() if state.order is not None and state.event == FAILED]
        texts = self._data(DataKind.RESULT, {**self._run.results, **self._read}, failed) if failed else {}
        self._read.update(texts)
        return texts

    def metadata(self) -> dict[str, str]:
        """The metadata that completed steps gave, in the order of their completion."""
        if not (self._run.metadata or self._run.lacks_data):
            return {}
        completed = [key for key, state in self.states.items() if state.order is not None]
        texts = self._data(DataKind.METADATA, self._run.metadata, completed)
        return {key: texts[key] for key in completed if key in texts}

    def configs(self) -> Mapping[str, str]:
        """The configs that steps were given."""
        held = self._run.configs
        return self._data(DataKind.CONFIG, held, list(self.states)) if self._run.lacks_data else held

    def undo(self) -> list[Undo]:
        """How completed steps are undone, in the order of their completion."""
        numbers = undo_numbers(self._run)
        texts = self._data(DataKind.UNDO, self._run.undo, numbers)
        return [Undo.parse(texts[number]) for number in numbers]

    def undone(self) -> tuple[tuple[str, str], ...]:
        """The steps that are to be undone, and their compensations, in the order of undoing."""
        return tuple((entry.step, entry.compensation) for entry in reversed(self.undo()))

    @property
    def _asked(self) -> Reader:
        if self._reader is None:
            raise ValueError(f"run {self._run_id} was read without all that it has, and there is nobody to ask")
        return self._reader

    def _data(self, kind: DataKind, held: Mapping[str, str], steps: Sequence[str]) -> dict[str, str]:
        missing = [step for step in steps if step not in held] if self._run.lacks_data else []
        read: Mapping[str, str] = self._asked.read_data(self._run_id, kind, missing) if missing else {}
        return {**{step: held[step] for step in steps if step in held}, **read}

    def _as_of(self, state: StepState) -> StepState:
        if state.order is None or state.order <= self._run.sequence:
            return state.as_of(self._run.status)
        return replace(state, status=StepStatus.ACTIVE, event=None, order=None, targets=None)


def undo_numbers(run: StoredRun) -> list[str]:
    """The numbers of what a run knows of how its completed steps are undone."""
    return [str(number) for number in range(1, (run.undo_count or 0) + 1)]


async def whole(run: StoredRun, *, run_id: str, reader: AsyncReader) -> StoredRun:
    """The same run with all that it lacks, read in bounded calls: there is nothing left to read at a first access."""
    if not (run.lacks_steps or run.lacks_data or run.initial is None):
        return run
    steps = run.steps
    if run.lacks_steps:
        steps = {**await reader.read_states(run_id), **steps}
    initial = await reader.read_initial(run_id) if run.initial is None else run.initial
    undo = run.undo
    if run.lacks_data and run.undo_count:
        missing = [number for number in undo_numbers(run) if number not in undo]
        undo = {**undo, **(await reader.read_data(run_id, DataKind.UNDO, missing) if missing else {})}
    data = {DataKind.RESULT: run.results, DataKind.METADATA: run.metadata, DataKind.CONFIG: run.configs}
    if run.lacks_data:
        completed = [key for key, state in steps.items() if state.order is not None and state.order <= run.sequence]
        for kind, held in data.items():
            asked = list(steps) if kind is DataKind.CONFIG else completed
            missing = [key for key in asked if key not in held]
            data[kind] = {**held, **(await reader.read_data(run_id, kind, missing) if missing else {})}
    return replace(
        run,
        initial=initial,
        steps=steps,
        results=data[DataKind.RESULT],
        metadata=data[DataKind.METADATA],
        configs=data[DataKind.CONFIG],
        undo=undo,
        lacks_steps=False,
        lacks_data=False,
    )
