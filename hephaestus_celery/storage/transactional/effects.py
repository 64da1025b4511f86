"""Carries out the commands of a decision in a transaction: state, due entries, lanes, the end of a run."""

from __future__ import annotations

from hephaestus_celery.core.execution.commands import (
    ClearTimer,
    DispatchStep,
    EnterLane,
    Finish,
    LeaveLane,
    Park,
    SetTimer,
)
from hephaestus_celery.core.execution.due_items import StepDue
from hephaestus_celery.core.execution.state import Decision
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.transactional.lanes import enter_lane, leave_lane, move_lane
from hephaestus_celery.storage.transactional.record import Record
from hephaestus_celery.storage.transactional.transaction import Transaction


def carry_out(transaction: Transaction, record: Record, decision: Decision, times: Times) -> tuple[DispatchStep, ...]:
    """Save a decision about a run; gives the messages to be sent."""
    run_id = record.new.run_id
    record.state = decision.state
    dispatches: list[DispatchStep] = []
    for command in decision.commands:
        match command:
            case DispatchStep():
                dispatches.append(command)
            case SetTimer():
                transaction.set_due(run_id, StepDue(command.activation), command.at)
            case ClearTimer():
                transaction.clear_due(run_id, StepDue(command.activation))
            case EnterLane():
                member = run_id, str(command.activation)
                enter_lane(transaction, command.lane, member, command.at, timeout=times.dispatch_timeout)
            case LeaveLane():
                leave_lane(transaction, command.left, (run_id, str(command.activation)))
                move_lane(transaction, command.lane, command.at)
            case Park():
                transaction.clear_due(run_id, StepDue(command.activation))
                leave_lane(transaction, command.lane, (run_id, str(command.activation)))
            case Finish(status):
                transaction.clear_all_due(run_id)
                transaction.leave_lanes(run_id)
                if status is Status.COMPLETED:
                    record.early.clear()  # of other runs, a retry delivers them
    transaction.save_run(record)
    return tuple(dispatches)
