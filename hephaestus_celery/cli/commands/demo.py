"""The command ``hephaestus-celery demo``: its options."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hephaestus_celery.cli.stop_signals import Interruption
from hephaestus_celery.exceptions import HephaestusError


@click.command()
@click.option("--limit", type=click.IntRange(min=0), help="Verify at most so many distributions (and the demo's two).")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the server's data, the logs and the noted events in this folder, which must be empty or not there yet.",
)
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="Verify each so often.")
@click.option(
    "--attach",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Start no server and no workers: the broker in HEPHAESTUS_BROKER has some, which share this folder with the "
    "demo and note their events in the folder `events` there (VERIFY_EVENTS).",
)
@click.option("--chaos", is_flag=True, help="Kill a worker in the middle: what it was doing is done by others.")
def demo(*, limit: int | None, times: int, keep: Path | None, attach: Path | None, chaos: bool) -> None:
    """Verify this Python environment, distribution by distribution.

    Starts a private Valkey and two Celery workers, runs one workflow for each installed distribution, gives the
    approval that one of them waits for, and shows what became of them with the commands that an operator would type,
    and which events were emitted. Nothing stays behind. Ctrl-C stops it all. With --chaos the history is that of a run that
    lost its worker.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty", param_hint="--keep")
    if attach is not None and (keep is not None or chaos):
        raise click.UsageError("--keep and --chaos are about the demo's own server and workers; --attach has neither")
    with Interruption() as interruption:
        # Imports Celery, which --help has no need of.
        from hephaestus_celery.cli.demo.run import Options, run_demo

        try:
            code = run_demo(interruption, Options(limit=limit, times=times, keep=keep, chaos=chaos, attach=attach))
        except (HephaestusError, click.ClickException) as error:
            raise click.ClickException(str(error)) from error  # exit code 1, whatever a command would have
    sys.exit(code)
