"""The commands ``celery -A shop hephaestus retry`` and ``fork``: a new run of an earlier one."""

from __future__ import annotations

import functools
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.many import Bulk, Manner, act_on_many, check_target, quietly, run_or_filters, yes
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id, run_argument
from hephaestus_celery.cli.step_names import step_of
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import printable

_context = click.option(
    "--context",
    "data",
    type=options.JsonMapping(),
    metavar="JSON",
    help="Laid over the initial context, key by key; - reads it from standard input.",
)


@options.example(
    "retry order::A-1001",
    'retry order::A-1001 --context \'{"bank": "other"}\'',
    "retry --workflow OrderFlow --status failed --yes",
)
@click.command("retry", short_help="Go on with a failed or cancelled run, or many.")
@run_or_filters
@_context
@options.by
@yes
@options.as_json
@quietly
@click.pass_context
def retry(
    context: click.Context,
    /,
    *,
    run: str | None,
    data: dict[str, Any] | None,
    by: str | None,
    yes: bool,
    as_document: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Go on with a run that failed or was cancelled, as a new run of the same id; what had completed stays completed.

    Without RUN, all runs that match the filters are retried; those that were retried before do not match.
    """
    check_target(run, given)
    if run is None and data is not None:
        raise click.UsageError("--context is for one RUN")
    runtime = find_runtime(context)
    manner = Manner(yes=yes, as_document=as_document, quiet=quiet)
    if run is None:
        act = functools.partial(runtime.retry_many, by=by)
        bulk = Bulk(verb="retry", past="retried", act=act, also={"retried": False})
        act_on_many(context, runtime, bulk, given, manner)
    else:
        run_id = find_run_id(runtime, run)
        _show_new_run(context, runtime.retry(run_id, context=data, by=by), run_id, "retried", manner)


@options.example("fork order::A-1001 charge", "fork order::A-1001 charge --value A-1001-b --version 2")
@click.command("fork", short_help="Run a step of a run, and all that follows, again.")
@run_argument
@click.argument("step", metavar="STEP")
@click.option("--value", metavar="VALUE", help="The new run has this value in its id; needed while RUN is active.")
@click.option("--version", type=click.IntRange(min=1), help="The new run belongs to this version of the workflow.")
@_context
@options.by
@options.as_json
@options.quietly
@click.pass_context
def fork(
    context: click.Context,
    /,
    *,
    run: str,
    step: str,
    value: str | None,
    version: int | None,
    data: dict[str, Any] | None,
    by: str | None,
    as_document: bool,
    quiet: bool,
) -> None:
    """Make a new run of RUN, in which STEP and all that follows it run again; the rest stays completed.

    STEP is the key of a step, or the name of its class.
    """
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    earlier = runtime.get(run_id)
    key = step_of(earlier, step)
    handle = runtime.fork(run_id, key, value=value, version=version, context=data, by=by)
    moved = None if version == earlier.workflow_version else version
    manner = Manner(yes=True, as_document=as_document, quiet=quiet)
    _show_new_run(context, handle, run_id, "forked", manner, version=moved)


def _show_new_run(
    context: click.Context,
    handle: InstanceHandle,
    earlier: str,
    past: str,
    manner: Manner,
    *,
    version: int | None = None,
) -> None:
    screen = find_screen(context.obj)
    if manner.as_document:
        screen.show(as_json({"id": handle.id, "run_id": handle.run_id, "forked_from": earlier}))
    elif manner.quiet:
        screen.show(handle.run_id)
    else:
        of_version = "" if version is None else f" of version {version}"
        screen.show(f"{past} {earlier}: {printable(handle.id)} goes on as run {handle.run_id}{of_version}")
