"""Computes the result of a run, where a commit reaches ``Done``: the method ``result`` of a workflow is the user's code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.registry import definition_of
from hephaestus_celery.core.definition.run_result import call_result
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.formatting import named
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.runners.attempt import HeldAttempt
from hephaestus_celery.runners.execution import MOST_INTERRUPTIONS, Executor, failed_in
from hephaestus_celery.runners.retrying_reader import RetryingReader
from hephaestus_celery.runners.step_exceptions import Failed
from hephaestus_celery.runners.step_result import Completed, RunResult
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.instances import Given, decode_context
from hephaestus_celery.storage.queries import StoredRun

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_SHOWN = 200  # characters of what the method returned


class RunResults:
    """Computes results of runs, in the attempts whose commits reach ``Done``. ``limit`` is the most bytes of one."""

    def __init__(self, *, reader: RetryingReader, executor: Executor, limit: int) -> None:
        self._reader = reader
        self._executor = executor
        self._limit = limit

    def compute(
        self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str]
    ) -> RunResult | Failed:
        """The result of the run, which stands as ``run`` says and completes by this ``result`` of a step.

        A failure is that of the attempt: its time was over meanwhile. ``read`` has results that were read before.
        """
        workflow = definition_of(attempt.instance)
        interruptions = 0
        while True:
            try:
                computed = RunResult(text=self._text(workflow, self._context(attempt, result, run, read)))
            except BaseException as error:  # noqa: BLE001 - the method is the user's code; its failure is that of the run
                if interruptions < MOST_INTERRUPTIONS and self._executor.was_meant_for_another(attempt, error):
                    interruptions += 1
                    continue
                failed = failed_in(attempt, error)
                if issubclass(type(error), attempt.worker.stop_exceptions):
                    return failed
                computed = RunResult(failed=failed)
            if result.failed is None:  # the time of a failed attempt may be over
                late = self._executor.in_time(attempt, result, since=attempt.began)
                if isinstance(late, Failed):
                    return late
            return computed

    def _context(self, attempt: HeldAttempt, result: Completed, run: StoredRun, read: dict[str, str]) -> Context[Any]:
        step = attempt.source.step
        given = None if step is Done else Given(step=step.key, event=result.event, result=result.result)
        workflow = definition_of(attempt.instance)
        return decode_context(
            run, run_id=attempt.instance.run_id, reader=self._reader, definition=workflow, given=given, read=read
        )

    def _text(self, workflow: type[WorkflowDefinition], context: Context[Any]) -> str | None:
        where = f"{workflow.__qualname__}.result"
        returned = call_result(workflow, context)
        if not isinstance(returned, Mapping):
            raise TypeError(f"{where} returned {named(returned, limit=_SHOWN)}; it must return a mapping")
        checked = check_mapping(cast("Mapping[str, Any]", returned), where)
        return codec.encode_limited(checked, where, limit=self._limit) if checked else None
