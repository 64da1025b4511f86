"""Starts of runs and commits of step results in Redis.

Very many edges are staged before such a call and settled in slices after it: see :mod:`.wide_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from redis.exceptions import RedisError

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.joins import Settlement
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.commits import Commit, Commitment, Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.errors import was_not_done
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters, attempts, retention_of, settlement_rows, whole
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.wide_steps import SLICE, Edges, Progress
from hephaestus_celery.storage.starts import NewRun, PreparedMessage, already_running

_NOTHING = Settlement(taken=(), dead=(), rows={})


class Commits:
    """Writes starts and commits of one storage; see ``create``, ``commit`` and ``settle`` of ``Storage``."""

    def __init__(self, calls: Calls, reads: Reads, *, chance: Chance) -> None:
        self._calls, self._reads, self._chance = calls, reads, chance

    def create(self, run: NewRun) -> Sequence[DispatchStep]:
        """Store a run and its start; if the run was certainly not stored, the error says so."""
        try:
            return self._create(run)
        except StorageError as error:
            # An error without a cause comes from the script itself: it refused a call that arrived too late.
            if not isinstance(error.__cause__, RedisError) or was_not_done(error.__cause__):
                error.stored = False
            raise

    def commit(self, commit: Complete | Suspend | Retry | Fail) -> Commitment:
        """Apply the step result of a claimed step."""
        match commit:
            case Complete():
                return self._complete(commit)
            case Suspend():
                reply = self._suspend(commit)
            case Retry():
                reply = self._retry(commit)
            case Fail():
                reply = self._fail(commit)
        return self._read(reply, commit)

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        """Settle a slice of a step's edges, for a scheduler that takes over."""
        nothing = Edges(run_id=run_id, source=str(activation), taken=(), rows={}, attempts={}, lanes={})
        commitment, _ = self._settling(nothing, self._chance.token(), durations, at_once=True)("", {})
        return commitment

    def _create(self, run: NewRun) -> Sequence[DispatchStep]:
        edges = Edges.of_start(run)
        if edges is None:
            return self._created(run)
        settling = edges.stage(self._calls.of_run, fence=None, name=self._chance.token())
        self._created(replace(run, firsts=()), settling=settling)
        progress = Progress(edges)
        with suppress(StorageError):  # the start is stored and so accepted: the scheduler settles the rest
            progress.settle(self._settling(edges, run.operation, run.durations))
        return progress.dispatches

    def _created(self, run: NewRun, *, settling: str | None = None) -> Sequence[DispatchStep]:
        lists, firsts, texts = _first_steps(run)
        reply = self._calls.of_run(
            "create",
            run.run_id,
            as_parameters(
                run_id=run.run_id,
                id=run.instance_id,
                name=run.name,
                family=run.family,
                version=str(run.version),
                scope=run.scope,
                tags=list(run.tags),
                firsts=firsts,
                schema=run.schema,
                lanes={first.step: first.lane for first in run.firsts if first.lane is not None} or None,
                dispatch_timeout=run.durations.dispatch_timeout,
                headers=run.message_headers,
                settling=settling,
            ),
            run.header,
            run.initial,
            *(first.config or "" for first in run.firsts),
            *texts,
            lists=lists,
        )
        match reply:
            case b"posted":
                return ()
            case b"ok":
                return [DispatchStep(Activation(first.step), 1, 1) for first in run.firsts]
            case _:
                holder, family, scope = (part.decode() for part in cast("list[bytes]", reply))
                raise already_running(run, holder, family=family, scope=scope)

    def _complete(self, commit: Complete) -> Commitment:
        edges = Edges.of_commit(commit)
        if edges is None:
            return self._completed(commit, targets=commit.targets)
        bare = replace(commit, settlement=_NOTHING, attempts={}, configs={}, prepared={}, lanes={})
        settling = edges.stage(self._calls.of_run, fence=commit.fence, name=self._chance.token())
        commitment = self._completed(bare, targets=commit.targets, settling=settling)
        if commitment.verdict is not Verdict.APPLIED:
            return commitment
        progress = Progress(edges)
        progress.settle(self._settling(edges, commit.operation, commit.durations))
        return progress.end(commitment)

    def _completed(self, commit: Complete, *, targets: Sequence[str] | None, settling: str | None = None) -> Commitment:
        configs = [part for item in commit.configs.items() for part in item]
        lists, prepared = _places(commit.prepared)
        reply = self._calls.of_run(
            "complete",
            commit.run_id,
            as_parameters(
                **_held(commit),
                event=commit.event,
                taken=list(commit.settlement.taken),
                dead=list(commit.settlement.dead),
                rows=settlement_rows(commit.settlement),
                **attempts(commit.attempts),
                rank=commit.rank,
                stuck=commit.stuck or None,
                expected=commit.expected,
                targets=targets,
                configs=len(commit.configs),
                prepared=prepared or None,
                **_lanes(commit),
                dispatch_timeout=commit.durations.dispatch_timeout,
                retention=retention_of(commit.durations),
                settling=settling,
            ),
            commit.entry,
            commit.done_entry,
            commit.result or "",
            commit.metadata or "",
            *configs,
            *(message.text for message in commit.prepared.values()),
            lists=lists,
        )
        return self._read(reply, commit, taken=commit.settlement.taken)

    def _read(
        self, reply: Sequence[bytes], commit: Complete | Suspend | Retry | Fail, *, taken: Sequence[str] = ()
    ) -> Commitment:
        run_id = commit.run_id
        with reading(run_id):
            return replies.read_commitment(
                reply,
                run_id=run_id,
                step=str(commit.activation),
                taken=taken,
                states=lambda: self._reads.scan_states(run_id),
            )

    def _settling(
        self, edges: Edges, operation: str, durations: Durations, *, at_once: bool = False
    ) -> Callable[[str, Mapping[str, PreparedMessage]], tuple[Commitment, replies.Slice | None]]:
        def settle(number: str, prepared: Mapping[str, PreparedMessage]) -> tuple[Commitment, replies.Slice | None]:
            lists, places = _places(prepared)
            reply = self._calls.of_run(
                "settle",
                edges.run_id,
                as_parameters(
                    run_id=edges.run_id,
                    op=f"{operation}{number}",
                    source=edges.source,
                    limit=SLICE,
                    at_once=at_once or None,
                    prepared=places or None,
                    dispatch_timeout=durations.dispatch_timeout,
                    retention=retention_of(durations),
                ),
                *(message.text for message in prepared.values()),
                lists=lists,
            )
            with reading(edges.run_id):
                return replies.read_slice(
                    reply, run_id=edges.run_id, states=lambda: self._reads.scan_states(edges.run_id)
                )

        return settle

    def _suspend(self, commit: Suspend) -> list[bytes]:
        return self._calls.of_run(
            "suspend",
            commit.run_id,
            as_parameters(
                **_held(commit),
                accepts=dict(commit.accepts),
                names=list(commit.accepts),
                timeout=commit.timeout,
                dispatch_timeout=commit.durations.dispatch_timeout,
            ),
            commit.entry,
        )

    def _retry(self, commit: Retry) -> list[bytes]:
        return self._calls.of_run(
            "retry",
            commit.run_id,
            as_parameters(
                **_held(commit),
                delay=commit.delay,
            ),
            commit.entry,
        )

    def _fail(self, commit: Fail) -> list[bytes]:
        return self._calls.of_run(
            "fail",
            commit.run_id,
            as_parameters(
                **_held(commit),
                retention=retention_of(commit.durations),
            ),
            commit.entry,
            commit.failure,
        )


def _held(commit: Commit) -> dict[str, object]:
    # The parameters that every commit has.
    return {
        "run_id": commit.run_id,
        "op": commit.operation,
        "step": str(commit.activation),
        "fence": commit.fence,
    }


def _first_steps(run: NewRun) -> tuple[list[str], list[list[object]], list[str]]:
    # The lists for messages, the first steps in the form of ``create.lua``, and the texts of the messages.
    prepared = [first.prepared_message for first in run.firsts if first.prepared_message is not None]
    lists = sorted({message.list for message in prepared})
    firsts: list[list[object]] = []
    for first in run.firsts:
        message = first.prepared_message
        place = [] if message is None else [lists.index(message.list) + 1, prepared.index(message) + 1]
        firsts.append([first.step, whole(first.max_attempts), *place])
    return lists, firsts, [message.text for message in prepared]


def _places(prepared: Mapping[str, PreparedMessage]) -> tuple[list[str], dict[str, list[int]]]:
    # The lists for messages and, by step key, the numbers of its list and its message.
    lists = sorted({message.list for message in prepared.values()})
    numbered = enumerate(prepared.items(), 1)
    return lists, {key: [lists.index(message.list) + 1, position] for position, (key, message) in numbered}


def _lanes(commit: Complete) -> dict[str, object]:
    # Usually all targets share one lane; then it is sent only once.
    lanes = commit.lanes
    common = next(iter(lanes.values()), None) if lanes.keys() >= commit.settlement.rows.keys() - {Done.key} else None
    others = {key: lane for key, lane in lanes.items() if lane != common}
    return {"lane": common, "lanes": others or None}
