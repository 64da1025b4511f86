"""Retries and forks in a transaction: a new run is made of an earlier one, with all data that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.core.execution import reruns as rules
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.reruns import Beginning, Obstacle
from hephaestus_celery.core.execution.telling import of_fork
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.uniqueness import find_holder
from hephaestus_celery.storage.reruns import Rerun, refused
from hephaestus_celery.storage.starts import already_running
from hephaestus_celery.storage.transactional.deadlines import set_deadline
from hephaestus_celery.storage.transactional.effects import carry_out
from hephaestus_celery.storage.transactional.event_stream import tell
from hephaestus_celery.storage.transactional.pauses import hold_in
from hephaestus_celery.storage.transactional.reads import known_run
from hephaestus_celery.storage.transactional.record import Record, claimant, entry_of, stored
from hephaestus_celery.storage.transactional.transaction import Transaction


def rerun_in(transaction: Transaction, rerun: Rerun, times: Times) -> Sequence[DispatchStep]:
    """Make the new run; gives the messages of the steps that are active. The call may be repeated."""
    run = rerun.run
    if transaction.find_run(run.run_id) is not None:  # a repeated call: each has a new run id
        return tuple(first.dispatch for first in run.firsts)
    source = known_run(transaction, rerun.source)
    stored(source)  # raises for a run of a newer schema
    _check(transaction, source, rerun)
    holder = find_holder(claimant(run), transaction.runs_of(run.instance_id, active=True))
    if holder is not None:
        raise already_running(run, holder.run_id, family=holder.family, scope=holder.scope)
    decision = rules.create(
        kept=rerun.kept,
        skipped=rerun.skipped,
        arrivals=rerun.arrivals,
        active={
            first.step: Beginning(
                max_attempts=first.max_attempts, lane=first.lane, origin=first.origin, round=first.round
            )
            for first in run.firsts
        },
        times=times,
        shortfall=rerun.shortfall,
        undo=tuple(rerun.undo) if run.compensates else None,
    )
    state = rules.with_events(decision.state, source.state, retry=rerun.retry)
    record = Record(replace(run, initial=run.initial or source.new.initial), state, times.now, str(times.now * 1000))
    _copy(source, record, rerun)
    record.history.append(entry_of(1, "", finished_at=times.now, detail=rerun.entry))
    transaction.add_run(record)
    tell(transaction, record, of_fork(decision, times, detail=rerun.entry), stream=run.durations.stream)
    set_deadline(transaction, run, times)
    dispatches = carry_out(transaction, record, hold_in(transaction, record, replace(decision, state=state)), times)
    if rerun.retry:
        source.state = replace(source.state, retried_as=run.run_id)
        transaction.save_run(source)
    return dispatches


def _check(transaction: Transaction, source: Record, rerun: Rerun) -> None:
    same_id = source.new.instance_id == rerun.run.instance_id
    obstacle = rules.find_obstacle(source.state, retry=rerun.retry, same_id=same_id, left=rerun.left)
    if obstacle is None:
        return
    retried_as = source.state.retried_as
    after = None if retried_as is None else transaction.find_run(retried_as)
    raise refused(
        obstacle,
        instance_id=source.new.instance_id,
        source=rerun.source,
        retried_as=retried_as,
        active=obstacle is Obstacle.RETRIED and after is not None and not after.state.status.final,
    )


def _copy(source: Record, record: Record, rerun: Rerun) -> None:
    for key in rerun.kept:
        if key in source.results:
            record.results[key] = source.results[key]
        if key in source.metadata:
            record.metadata[key] = source.metadata[key]
    for key in (*rerun.kept, *rerun.given):
        if key in source.configs:
            record.configs[key] = source.configs[key]
    record.configs.update(rerun.configs)
    for first in rerun.run.firsts:
        if first.round > 1 and first.step in source.round_states:
            record.round_states[first.step] = source.round_states[first.step]
    record.early.update({event.number: source.early[event.number] for event in record.state.early})
