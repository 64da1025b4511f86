"""The argument RUN: an instance id, a run id, or the beginning of one."""

from __future__ import annotations

import re

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.identity import is_run_id

MOST_TOLD = 10
_BEGINNING = re.compile(r"[0-9a-f-]{8,35}")

run_argument = click.argument("run", metavar="RUN")


def find_run_id(runtime: Hephaestus, text: str, *, newest: bool = False) -> str:
    """The run id that RUN means; ends the command where none or several may be meant.

    An instance id means its active run, else its newest; with ``newest`` always that.
    """
    beginning = text.lower()
    if is_run_id(beginning) or not _BEGINNING.fullmatch(beginning):
        if newest and text and (found := runtime.list(id=text, limit=1).instances):
            return found[0].run_id
        return runtime.get(beginning if is_run_id(beginning) else text).run_id
    found = runtime.storage.runs_beginning_with(beginning, limit=MOST_TOLD + 1)
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandFailedError(f"no run id begins with {text}", ExitCode.NOT_FOUND)
    more = " and more" if len(found) > MOST_TOLD else ""
    raise CommandFailedError(
        f"{text} may be {', '.join(found[:MOST_TOLD])}{more}: give more of the run id", ExitCode.REFUSED
    )
