"""The command ``celery -A shop hephaestus worker``: Celery's own worker with what suits workflows."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_app, runtimes_of
from hephaestus_celery.cli.worker_process import run_worker

_OURS = frozenset({"--with-other-tasks", "--help"})


class _WorkerCommand(click.Command):
    """Reads its own options, and leaves all others to Celery's worker."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        others = [each for each in args if each not in _OURS]
        super().parse_args(ctx, [each for each in args if each in _OURS])
        ctx.args = others
        return others


@options.example("worker -Q orders -c 8 -l INFO", "worker --with-other-tasks -l INFO")
@click.command(
    "worker",
    cls=_WorkerCommand,
    short_help="Celery's own worker, with what suits workflows.",
    options_metavar="[OPTIONS OF CELERY WORKER]",
)
@click.option(
    "--with-other-tasks",
    is_flag=True,
    help="Its queues have other tasks, too: keep the list of unacknowledged messages, so that they lose nothing.",
)
@click.pass_context
def worker(context: click.Context, /, *, with_other_tasks: bool) -> None:
    """Run Celery's own worker with what suits workflows; it takes all options of `celery worker`.

    It takes no messages in advance but one for each process, unless the application or `--prefetch-multiplier` says otherwise.
    Steps are acknowledged late, by any worker. With a broker in Redis, kombu keeps no list of unacknowledged messages, which
    halves the work of a worker, and which steps don't need. Other tasks do: if the application routes one to a queue of
    this worker, it refuses to start.
    """
    app = find_app(context)
    runtimes_of(app)
    run_worker(app, context, context.args, with_other_tasks=with_other_tasks)
