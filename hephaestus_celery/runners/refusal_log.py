"""Logs why a worker drops a message: each kind at its level, and what concerns many messages only once."""

from __future__ import annotations

import logging
from typing import assert_never

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.schema import SCHEMA

logger = logging.getLogger("hephaestus_celery")


class RefusalLog:
    """Logs the refusals of a worker's store; those of a workflow, version or schema once in the life of the worker."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, refusal: Refusal, *, task: str, run_id: str, step: str) -> None:
        """Log that the message of a task was refused."""
        match refusal.reason:
            case Refused.UNKNOWN_RUN:
                logger.warning(
                    "task %s was sent for run %s, which the store does not know (pruned, or another store); dropped",
                    task,
                    run_id,
                )
            case Refused.FOREIGN:
                logger.error(
                    "task %s was sent for run %s, which is of workflow %s; dropped, and the run was not touched",
                    task,
                    run_id,
                    refusal.detail,
                )
            case Refused.UNKNOWN_VERSION | Refused.NEWER_SCHEMA:
                self.note_left(refusal, step=step)
            case Refused.UNREADABLE:
                pass  # the driver has logged it
            case Refused.PAUSED:
                logger.debug("run %s step %s: the run is paused; another message is sent when it goes on", run_id, step)
            case Refused.STALE | Refused.TAKEN:
                logger.debug("run %s step %s: a late or doubled message (%s)", run_id, step, refusal.reason)
            case _:
                assert_never(refusal.reason)

    def note_left(self, refusal: Refusal, *, step: str) -> None:
        """Log, once, that this worker leaves runs of a workflow, version or schema to other workers."""
        if refusal.detail in self._logged:
            return
        if refusal.reason is Refused.UNKNOWN_VERSION:
            self._logged.add(refusal.detail)
            logger.warning("%s", left_to_others(refusal.detail, step))
        elif refusal.reason is Refused.NEWER_SCHEMA:
            self._logged.add(refusal.detail)
            logger.warning("%s", left_to_newer(refusal.detail))


def left_to_newer(schema: str) -> str:
    """The text that a worker logs once about runs that it can't read; ``schema`` is the detail of a ``NEWER_SCHEMA``."""
    return (
        f"there are runs that a newer hephaestus-celery has written (schema {schema}, this worker reads up to {SCHEMA}); "
        "their steps are left to workers of that. Upgrade this one"
    )


def left_to_others(detail: str, step: str) -> str:
    """The text that a worker logs about a step that it leaves to others; ``detail`` is that of an ``UNKNOWN_VERSION``."""
    name, _, version = detail.partition(" version ")
    if version.isdecimal() and WORKFLOWS.find(name, int(version)) is not None:
        return (
            f"this worker's workflow {detail} has no step {step!r}, and a run of it is to execute that; it is left to "
            "workers that have the step. A changed workflow needs a new version: bring the step back, give the change a "
            "version of its own, or keep workers of the old deployment until its runs have ended"
        )
    return (
        f"this worker does not know workflow {detail}; its steps are left to workers that do. Deploy the code that "
        "defines it, or keep workers of the old deployment until its runs have ended"
    )
