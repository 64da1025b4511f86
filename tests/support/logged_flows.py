"""Steps that write to logs, for `tests/acceptance/test_logs.py`."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import recorder
from celery.utils.log import get_task_logger
from stage import eventually

from hephaestus_celery import Done, RetryPolicy, Unique, Workflow, step

LOG = logging.getLogger("shop.of_the_logged")
TASK_LOG = get_task_logger("shop.of_the_logged.tasks")


def others_are_there() -> bool:
    """Whether steps of two runs have come here."""
    notes = recorder.read(Path(os.environ[recorder.FOLDER]), "met")
    return len({note["run"] for note in notes}) > 1


@step(retry=RetryPolicy(max_attempts=2, backoff="constant", base=0.05))
def speaks(instance, context):
    """Logs, meets the step of another run where both can be executed at once, logs again, and fails the first time."""
    attempt = instance.step(speaks).attempt
    LOG.warning("speaks")
    recorder.note("met", run=instance.id)
    if context.initial["meet"]:
        eventually(others_are_there, what="the other run's step is executed")
    TASK_LOG.warning("speaks to Celery")
    if attempt == 1:
        raise ValueError("the first attempt")
    return {}


@step
async def speaks_later():
    """Logs on the event loop."""
    await asyncio.sleep(0)
    LOG.warning("speaks later")


class Logged(Workflow):
    """Both, one after the other."""

    name = "logged"
    unique = Unique("of")
    initial_step = speaks
    transitions = {speaks: speaks_later, speaks_later: Done}
