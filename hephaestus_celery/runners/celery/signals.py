"""Receivers of Celery's signals: where telemetry is told, in the process that did the thing.

Connected once per process, whatever the number of runtimes: the sender says which task, the task which runner. They are
idempotent, since Celery sends some signals twice (a hard time limit sends ``task_failure`` so), and they swallow nothing:
Celery logs what a receiver raises and goes on.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.app.task import Context
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from hephaestus_celery.runners.celery.task import OUTCOME, StepTask
from hephaestus_celery.runners.jobs import Outcome

_TOLD = "hephaestus_told"
_UID = "hephaestus_celery.{}"


def connect() -> None:
    """Connect the receivers; again is the same as once."""
    for signal, receiver in (
        (signals.task_prerun, on_prerun),
        (signals.task_success, on_ended),
        (signals.task_failure, on_ended),
        (signals.task_retry, on_ended),
        (signals.task_postrun, on_postrun),
        (signals.task_failure, on_lost),
        (signals.task_revoked, on_revoked),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=_UID.format(receiver.__name__))


def on_prerun(sender: Any = None, **_: Any) -> None:
    """Claim, and tell that the attempt began (and the run with it, if it is its first)."""
    if not isinstance(sender, StepTask):
        return
    sender.claim()
    sender.announce()


def on_ended(sender: Any = None, **_: Any) -> None:
    """Tell what the task's body has committed."""
    if not isinstance(sender, StepTask):
        return
    request: Context = sender.request
    outcome: Outcome | None = getattr(request, OUTCOME, None)
    if outcome is not None and _once(request, _TOLD):
        outcome.tell()


def on_postrun(sender: Any = None, retval: Any = None, **_: Any) -> None:
    """However the task has ended: its attempt is over, and its lease is kept no longer."""
    if isinstance(sender, StepTask):
        sender.conclude(retval)


def on_lost(sender: Any = None, task_id: str = "", exception: Any = None, args: Any = None, **_: Any) -> None:
    """In a worker's main process: the process that executed an attempt is gone, or was killed at its time limit."""
    if not isinstance(sender, StepTask):
        return
    if isinstance(exception, WorkerLostError):
        sender.runner.lose(task_id, args, reason="its worker process was lost")
    elif isinstance(exception, TimeLimitExceeded):
        sender.runner.lose(task_id, args, reason="its time limit is over")


def on_revoked(sender: Any = None, request: Any = None, terminated: Any = None, **_: Any) -> None:
    """In a worker's main process: somebody revoked the task of an attempt, before or while it was executed."""
    if not isinstance(sender, StepTask) or request is None:
        return
    if terminated:
        sender.runner.lose(request.id, request.args, reason="its task was terminated")
    else:
        sender.runner.forgo(sender, request.id, request.args, reason="its task was revoked")


def _once(request: Context, mark: str) -> bool:
    if getattr(request, mark, False):
        return False
    setattr(request, mark, True)
    return True
