"""The worker that ``celery -A shop hephaestus worker`` runs, and when it refuses to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode

_SHOWN = 3


def run_worker(app: Any, context: click.Context, arguments: Sequence[str], *, with_other_tasks: bool) -> None:
    """Run it until it is stopped; ends the command before anything is taken where other tasks would lose messages."""
    from hephaestus_celery.runners.celery.worker_command import PreparedWorker  # imports Celery's worker

    worker = PreparedWorker(app, context, arguments)
    if with_other_tasks:
        if not worker.keeps_list and worker.endangered():
            raise CommandFailedError(
                "the setting broker_transport_options has ack_emulation off, so other tasks would lose messages; "
                "leave it on, and this command turns it off where that is safe",
                ExitCode.REFUSED,
            )
    else:
        endangered = worker.endangered()
        if endangered:
            raise CommandFailedError(_refusal(endangered), ExitCode.REFUSED)
        worker.drop_list()
    worker.run()


def _refusal(endangered: Mapping[str, Sequence[str]]) -> str:
    queues = ", ".join(sorted(endangered))
    names = list(dict.fromkeys(name for each in endangered.values() for name in each))
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return (
        f"messages of other tasks come to {queues} too ({', '.join(names[:_SHOWN])}{more}), and without the list of "
        "unacknowledged messages they are lost when this worker is killed: take from queues that have steps alone "
        "(-Q, hephaestus_default_queue, task_routes), or keep the list with --with-other-tasks"
    )
