"""Reads what steps wait for in Redis: facts of a run, and when steps of several runs come due. All are coroutines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hephaestus_celery.core.execution.due_items import StepDue, encode_member
from hephaestus_celery.core.execution.standing import LaneFacts, RunFacts, SchedulerFacts, StepFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.stored_runs import read_states
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer

_MOST_ASKED = 100  # steps that one script call reads
_MOST_SCORES = 500  # entries of the due set that one command reads


class Standings:
    """Reads what steps of the runs of one storage wait for."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def facts(self, run_id: str, steps: Sequence[Activation]) -> RunFacts | None:
        """The facts of these steps, a hundred at most, of one moment."""
        asked = [str(step) for step in steps[:_MOST_ASKED]]
        reply = named(await self._calls.of_run("standing", run_id, as_parameters(run_id=run_id), *asked))
        if not reply["at"]:
            return None
        schema = int(reply["schema"] or b"1")
        if schema > SCHEMA:
            raise written_by_newer(run_id, schema)
        with reading(run_id):
            return RunFacts(
                at=int(reply["at"]),
                steps=_read_steps(json.loads(reply["steps"])),
                lanes={name: _read_lane(found) for name, found in json.loads(reply["lanes"]).items()},
                scheduler=_read_scheduler(json.loads(reply["scheduler"])),
                copies=json.loads(reply["copy"]).get("source") if reply["copy"] else None,
            )

    async def due_times(self, steps: Sequence[tuple[str, Activation]]) -> Sequence[int | None]:
        """When the due entries of steps come due; all of one partition in one round trip for each few hundred."""
        found: list[int | None] = [None] * len(steps)
        of_prefix: dict[str, list[int]] = {}
        for number, (run_id, _) in enumerate(steps):
            of_prefix.setdefault(self._calls.keys.of_run(run_id).prefix, []).append(number)
        for prefix, numbers in of_prefix.items():
            for start in range(0, len(numbers), _MOST_SCORES):
                asked = numbers[start : start + _MOST_SCORES]
                times = await self._due_times(prefix, [steps[number] for number in asked])
                for number, at in zip(asked, times, strict=True):
                    found[number] = at
        return found

    async def _due_times(self, prefix: str, steps: Sequence[tuple[str, Activation]]) -> list[int | None]:
        members = [encode_member(run_id, StepDue(step)) for run_id, step in steps]
        scores, [offset] = await self._calls.commands(
            [("ZMSCORE", f"{prefix}due", *members), ("HMGET", f"{prefix}seat", "offset")], fits=_is_numbers
        )
        return [None if score is None else int(float(score)) - int(offset or 0) for score in scores]


def _read_steps(found: Mapping[str, Mapping[str, Any]]) -> Mapping[str, StepFacts]:
    states = read_states({key: step["state"] for key, step in found.items()})
    return {
        key: StepFacts(
            state=states[key], due_at=_number(step.get("due")), sent_at=_number(step.get("sent")), before=step["before"]
        )
        for key, step in found.items()
    }


def _read_lane(found: Mapping[str, Any]) -> LaneFacts:
    return LaneFacts(waiting=found["waiting"], mark=_number(found.get("mark")), next_look=_number(found.get("look")))


def _read_scheduler(found: Mapping[str, Any]) -> SchedulerFacts:
    return SchedulerFacts(owner=found.get("owner"), seen_at=_number(found.get("seen")), late=int(found["late"]))


def _is_numbers(reply: Any) -> bool:
    # The client turns scores into floats, which hold every time exactly.
    return type(reply) is list and all(
        part is None or type(part) in (float, bytes) for part in cast("list[Any]", reply)
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
