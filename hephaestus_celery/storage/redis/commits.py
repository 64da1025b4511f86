"""Commits of step results in Redis.

Very many edges are staged before such a call and settled in slices after it: see :mod:`.wide_steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.execution.joins import Settlement
from hephaestus_celery.core.execution.state import AtDone, Verdict
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.coroutines import run_now
from hephaestus_celery.storage.commits import AnyCommit, Commit, Commitment, Complete, Fail, NextRound, Retry, Suspend
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.redis import replies
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters, attempts, places, retention_of, settlement_rows
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.settling import Settling
from hephaestus_celery.storage.redis.wide_steps import Edges, Progress

_NOTHING = Settlement(taken=(), dead=(), rows={})
_AT_DONE = {AtDone.COMPLETES: None, AtDone.ASKS: "asks", AtDone.STARTS: "starts"}
_OUTCOMES = {AtDone.COMPLETES: "gives", AtDone.FAILS: "fails"}
"""What ``complete.lua`` is told of ``at_done``, without and with an ``outcome``."""


class Commits:
    """Writes the commits of one storage; see ``commit`` and ``settle`` of ``Storage``."""

    def __init__(self, calls: Calls, reads: Reads, settling: Settling, *, chance: Chance) -> None:
        self._calls, self._reads, self._settling, self._chance = calls, reads, settling, chance

    def commit(self, commit: AnyCommit) -> Commitment:
        """Apply the step result of a claimed step."""
        match commit:
            case Complete():
                return self._complete(commit)
            case Suspend():
                reply = self._suspend(commit)
            case NextRound():
                reply = self._again(commit)
            case Retry():
                reply = self._retry(commit)
            case Fail():
                reply = self._fail(commit)
        return self._read(reply, commit)

    def settle(self, run_id: str, activation: Activation, *, durations: Durations) -> Commitment:
        """Settle a slice of a step's edges, for a scheduler that takes over."""
        commitment, _ = run_now(
            self._settling.slice(
                run_id, str(activation), operation=self._chance.token(), durations=durations, at_once=True
            )
        )
        return commitment

    def undo(self, run_id: str, *, durations: Durations) -> Commitment:
        """Go through a slice of a large run that undoes, for a scheduler."""
        parameters = as_parameters(
            run_id=run_id,
            op=self._chance.token(),
            dispatch_timeout=durations.dispatch_timeout,
            retention=retention_of(durations),
            stream=durations.stream or None,
        )
        reply: list[bytes] = self._calls.of_run("undo", run_id, parameters)
        with reading(run_id):
            return replies.read_commitment(
                reply, run_id=run_id, step="", states=lambda: run_now(self._reads.scan_states(run_id))
            )

    def _complete(self, commit: Complete) -> Commitment:
        edges = Edges.of_commit(commit)
        if edges is None:
            return self._completed(commit, targets=commit.targets)
        # The edges are settled after the commit, by whoever is there: so a result is computed by a worker that claims Done.
        at_done = AtDone.COMPLETES if commit.at_done is AtDone.COMPLETES else AtDone.STARTS
        bare = replace(
            commit, settlement=_NOTHING, attempts={}, configs={}, prepared={}, lanes={}, at_done=at_done, outcome=None
        )
        settling = run_now(self._settling.stage(edges, fence=commit.fence, name=self._chance.token()))
        commitment = self._completed(bare, targets=commit.targets, settling=settling)
        if commitment.verdict is not Verdict.APPLIED:
            return commitment
        progress = Progress(edges)
        run_now(self._settling.settle(progress, commit.operation, commit.durations))
        return progress.end(commitment)

    def _completed(self, commit: Complete, *, targets: Sequence[str] | None, settling: str | None = None) -> Commitment:
        configs = [part for item in commit.configs.items() for part in item]
        lists, prepared = places(commit.prepared)
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
                undo=None if commit.undo is None else commit.undo.text,
                at_done=_AT_DONE[commit.at_done] if commit.outcome is None else _OUTCOMES[commit.at_done],
                refused=commit.refused if commit.durations.stream else None,
            ),
            commit.entry,
            commit.done_entry,
            commit.result or "",
            commit.metadata or "",
            *configs,
            *(message.text for message in commit.prepared.values()),
            *(() if commit.outcome is None else [commit.outcome]),
            lists=lists,
        )
        return self._read(reply, commit, taken=commit.settlement.taken)

    def _read(self, reply: Sequence[bytes], commit: AnyCommit, *, taken: Sequence[str] = ()) -> Commitment:
        run_id = commit.run_id
        with reading(run_id):
            return replies.read_commitment(
                reply,
                run_id=run_id,
                step=str(commit.activation),
                taken=taken,
                states=lambda: run_now(self._reads.scan_states(run_id)),
            )

    def _suspend(self, commit: Suspend) -> list[bytes]:
        return self._calls.of_run(
            "suspend",
            commit.run_id,
            as_parameters(
                **_held(commit),
                accepts=dict(commit.accepts),
                names=list(commit.accepts),
                timeout=commit.timeout,
                checks=commit.checks or None,
                discards=commit.discards or None,
                dispatch_timeout=commit.durations.dispatch_timeout,
                retention=retention_of(commit.durations),
            ),
            commit.entry,
        )

    def _again(self, commit: NextRound) -> list[bytes]:
        return self._calls.of_run(
            "again",
            commit.run_id,
            as_parameters(
                **_held(commit),
                delay=commit.delay,
                key=commit.activation.step,
                dispatch_timeout=commit.durations.dispatch_timeout,
                retention=retention_of(commit.durations),
            ),
            commit.entry,
            commit.state or "",
        )

    def _retry(self, commit: Retry) -> list[bytes]:
        return self._calls.of_run(
            "retry",
            commit.run_id,
            as_parameters(
                **_held(commit),
                delay=commit.delay,
                dispatch_timeout=commit.durations.dispatch_timeout,
                retention=retention_of(commit.durations),
            ),
            commit.entry,
        )

    def _fail(self, commit: Fail) -> list[bytes]:
        return self._calls.of_run(
            "fail",
            commit.run_id,
            as_parameters(
                **_held(commit),
                dispatch_timeout=commit.durations.dispatch_timeout,
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
        **_told(commit),
    }


def _told(commit: Commit) -> dict[str, object]:
    # What the event stream is told beside that.
    if not commit.durations.stream:
        return {}
    kind = None if not isinstance(commit, (Complete, Retry, Fail)) else commit.kind
    return {"stream": commit.durations.stream, "took": str(commit.took), "kind": kind}


def _lanes(commit: Complete) -> dict[str, object]:
    # Usually all targets share one lane; then it is sent only once.
    lanes = commit.lanes
    sent = commit.settlement.rows.keys() - (frozenset() if commit.at_done is AtDone.STARTS else {Done.key})
    common = next(iter(lanes.values()), None) if lanes.keys() >= sent else None
    others = {key: lane for key, lane in lanes.items() if lane != common}
    return {"lane": common, "lanes": others or None}
