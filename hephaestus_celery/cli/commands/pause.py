"""The commands ``celery -A shop hephaestus pause`` and ``unpause``: hold runs or a workflow, and let them go on."""

from __future__ import annotations

import functools
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_family, find_runtime, unknown_workflow
from hephaestus_celery.cli.completion import complete_workflows
from hephaestus_celery.cli.filters import as_typed
from hephaestus_celery.cli.many import (
    Bulk,
    Manner,
    act_on_many,
    ask,
    check_answerable,
    check_target,
    quietly,
    run_or_filters,
    yes,
)
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.pause import PausedBy
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import printable

_ACTIVE = [status for status in Status if not status.final]
_whole = click.option(
    "--whole",
    metavar="WORKFLOW",
    shell_complete=complete_workflows,
    help="In place of RUN, a whole workflow: all of its versions, and the runs that are started later.",
)


@options.example(
    "pause order::A-1001 --by ada",
    "pause --workflow OrderFlow --tag eu --yes",
    "pause --whole OrderFlow --yes",
)
@click.command("pause", short_help="Hold a run, many, or a whole workflow.")
@run_or_filters
@_whole
@options.by
@yes
@options.as_json
@quietly
@click.pass_context
def pause(
    context: click.Context,
    /,
    *,
    run: str | None,
    whole: str | None,
    by: str | None,
    yes: bool,
    as_document: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Hold a run: none of its steps begins any more, and what is being executed ends; timers and events are kept.

    Without RUN, all runs that match the filters are held, but none that is started later. With --whole, a workflow is
    held in all of its versions, with all runs that are started later.
    """
    _check_target(run, whole, given)
    runtime = find_runtime(context)
    manner = Manner(yes=yes, as_document=as_document, quiet=quiet)
    if whole is not None:
        _on_workflow(context, runtime, whole, manner, by=by, pauses=True)
    elif run is None:
        act = functools.partial(runtime.pause_many, by=by)
        act_on_many(context, runtime, Bulk(verb="pause", past="paused", act=act), given, manner)
    else:
        run_id = find_run_id(runtime, run)
        changed = runtime.pause(run_id, by=by)
        text = f"paused {run_id}" if changed else f"{run_id} was paused already"
        _show(context, text, {"run_id": run_id, "paused": True, "changed": changed}, run_id, manner)


@options.example(
    "unpause order::A-1001",
    "unpause --workflow OrderFlow --tag eu --yes",
    "unpause --whole OrderFlow --yes",
)
@click.command("unpause", short_help="Let a paused run, many, or a whole workflow go on.")
@run_or_filters
@_whole
@options.by
@yes
@options.as_json
@quietly
@click.pass_context
def unpause(
    context: click.Context,
    /,
    *,
    run: str | None,
    whole: str | None,
    by: str | None,
    yes: bool,
    as_document: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Let a paused run go on at once, with what was accepted meanwhile in the order in which it came.

    Without RUN, all paused runs that match the filters go on. With --whole, a workflow goes on; those of its runs that are
    paused themselves stay so.
    """
    _check_target(run, whole, given)
    runtime = find_runtime(context)
    manner = Manner(yes=yes, as_document=as_document, quiet=quiet)
    if whole is not None:
        _on_workflow(context, runtime, whole, manner, by=by, pauses=False)
    elif run is None:
        act = functools.partial(runtime.unpause_many, by=by)
        bulk = Bulk(verb="unpause", past="unpaused", act=act, also={"paused": True})
        act_on_many(context, runtime, bulk, given, manner)
    else:
        _unpause_one(context, runtime, find_run_id(runtime, run), manner, by=by)


def _check_target(run: str | None, whole: str | None, given: dict[str, Any]) -> None:
    if whole is None:
        check_target(run, given)
    elif run is not None or as_typed(given):
        raise click.UsageError("--whole names all that is meant: give neither a RUN nor filters with it")


def _unpause_one(context: click.Context, runtime: Hephaestus, run_id: str, manner: Manner, *, by: str | None) -> None:
    changed = runtime.unpause(run_id, by=by)
    instance = runtime.get(run_id)
    text = f"unpaused {run_id}" if changed else f"{run_id} was not paused"
    if any(pause.reason is PausedBy.WORKFLOW for pause in instance.pauses):
        name = printable(instance.workflow_family)
        text += f"{', but' if changed else ' itself, but'} its workflow is: unpause --whole {name} lets it go on"
    _show(context, text, {"run_id": run_id, "paused": instance.paused, "changed": changed}, run_id, manner)


def _on_workflow(
    context: click.Context, runtime: Hephaestus, name: str, manner: Manner, *, by: str | None, pauses: bool
) -> None:
    verb = "pause" if pauses else "unpause"
    check_answerable(f"{verb} --whole {name}", yes=manner.yes)
    family = find_family(name) or _family_elsewhere(runtime, name)
    if not manner.yes:
        active = runtime.count(workflow_family=family, status_in=_ACTIVE)
        ask(
            context,
            f"{verb.capitalize()} all of {family}, in all of its versions: {active:,} active runs, and those that are "
            "started later?",
        )
    changed = runtime.pause_workflow(family, by=by) if pauses else runtime.unpause_workflow(family, by=by)
    named = printable(family)
    unchanged = f"{named} was {'paused already' if pauses else 'not paused'}"
    text = f"{verb}d all of {named}" if changed else unchanged
    _show(context, text, {"workflow": family, "paused": pauses, "changed": changed}, family, manner)


def _family_elsewhere(runtime: Hephaestus, name: str) -> str:
    # Of a workflow that this process does not define, runs are stored, or its pause is.
    if runtime.count(workflow_family=name) or name in runtime.storage.paused_workflows():
        return name
    raise unknown_workflow(name)


def _show(context: click.Context, text: str, document: dict[str, Any], name: str, manner: Manner) -> None:
    screen = find_screen(context.obj)
    if manner.as_document:
        screen.show(as_json(document))
    else:
        screen.show(printable(name) if manner.quiet else text)
