"""The command ``celery -A shop hephaestus cancel``: ends a run, or all that match filters."""

from __future__ import annotations

import functools
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.many import Bulk, Manner, act_on_many, check_target, quietly, run_or_filters, yes
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.reports.documents import as_json


@options.example('cancel order::A-1001 --reason "ordered twice"', "cancel --workflow OrderFlow --status waiting --yes")
@click.command("cancel", short_help="End a run, or many.")
@run_or_filters
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@click.option("--compensate", is_flag=True, help="Undo first what has completed, by the compensations of the workflow.")
@click.option("--terminate", is_flag=True, help="Interrupt the steps that are being executed, where their pool can.")
@options.by
@yes
@options.as_json
@quietly
@click.pass_context
def cancel(
    context: click.Context,
    /,
    *,
    run: str | None,
    reason: str | None,
    compensate: bool,
    terminate: bool,
    by: str | None,
    yes: bool,
    as_document: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """End a run: no step of it starts any more, and its id is free at once.

    What is being executed goes on, and its result is discarded. With --compensate what has completed is undone first, and the
    run ends, and frees its id, after that. Without RUN, all runs that match the filters are ended.
    """
    check_target(run, given)
    for name, given_flag in (("--terminate", terminate), ("--compensate", compensate)):
        if run is None and given_flag:
            raise click.UsageError(f"{name} is for one RUN")
    runtime = find_runtime(context)
    manner = Manner(yes=yes, as_document=as_document, quiet=quiet)
    if run is None:
        act = functools.partial(runtime.cancel_many, reason=reason, by=by)
        act_on_many(context, runtime, Bulk(verb="cancel", past="cancelled", act=act), given, manner)
    else:
        act_on_one = functools.partial(runtime.cancel, reason=reason, compensate=compensate, terminate=terminate, by=by)
        _cancel_one(context, runtime, act_on_one, run, manner, compensate=compensate)


def _cancel_one(
    context: click.Context, runtime: Hephaestus, act: Any, run: str, manner: Manner, *, compensate: bool
) -> None:
    run_id = find_run_id(runtime, run)
    report = act(run_id)
    undoes = compensate and runtime.get(run_id).compensating
    screen = find_screen(context.obj)
    if manner.as_document:
        about = {"executing": report.executing, "interrupted": report.interrupted}
        screen.show(as_json({"run_id": run_id, "status": "running" if undoes else "cancelled", **about}))
    elif manner.quiet:
        screen.show(run_id)
    else:
        left = sorted(set(report.executing) - set(report.interrupted))
        done = f"{run_id} undoes what has completed, and is cancelled then" if undoes else f"cancelled {run_id}"
        screen.show(done + (f"; still being executed: {', '.join(left)}" if left else ""))
