"""Receivers of Celery's signals: ``task_prerun`` claims the attempt, the later ones emit its events.

They are connected once per process, for all runtimes: the sender is the task, and the task knows its runner. They are
idempotent, since Celery sends some signals twice (``task_failure`` after a hard time limit). They catch no errors: Celery
logs what a receiver raises, and goes on.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from hephaestus_celery.runners.celery.task import StepTask

_UID = "hephaestus_celery.{}"


def connect() -> None:
    """Connect the receivers; a repetition changes nothing."""
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
    """Claim, and emit that the attempt began (and the run, if it is its first attempt)."""
    if not isinstance(sender, StepTask):
        return
    sender.claim()
    sender.emit_start()


def on_ended(sender: Any = None, **_: Any) -> None:
    """Emit what the task's body has committed, and send what follows."""
    if isinstance(sender, StepTask):
        sender.follow()


def on_postrun(sender: Any = None, retval: Any = None, **_: Any) -> None:
    """Stop renewing the lease of a task that has ended, in whatever way."""
    if isinstance(sender, StepTask):
        sender.conclude(retval)


def on_lost(sender: Any = None, task_id: str = "", exception: Any = None, args: Any = None, **_: Any) -> None:
    """In a worker's main process: the process that executed an attempt is gone, or was killed at its time limit."""
    if not isinstance(sender, StepTask):
        return
    if isinstance(exception, WorkerLostError):
        sender.runner.recovery.fail(task_id, args, reason="its worker process was lost")
    elif isinstance(exception, TimeLimitExceeded):
        sender.runner.recovery.fail(task_id, args, reason="time limit exceeded", timed_out=True)


def on_revoked(sender: Any = None, request: Any = None, terminated: Any = None, expired: Any = None, **_: Any) -> None:
    """In a worker's main process: somebody revoked the task of an attempt, before or while it was executed.

    Celery calls a message that has expired revoked, too; that is no failure of its step.
    """
    if not isinstance(sender, StepTask) or request is None:
        return
    if terminated:
        sender.runner.recovery.fail(request.id, request.args, reason="its task was terminated")
    elif expired:
        sender.runner.recovery.send_again(sender.workflow_name, sender.step_key, args=request.args)
    else:
        sender.runner.recovery.revoke(
            sender.workflow_name,
            sender.step_key,
            task_id=request.id,
            args=request.args,
            reason="its task was revoked",
        )
