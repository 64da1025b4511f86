"""The command ``celery -A shop hephaestus show``: all of one run, and why it is not moving."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.instance_documents import reason_document, whole_document
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id, run_argument
from hephaestus_celery.cli.run_page import show_run
from hephaestus_celery.client.standing import reasons
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.run_lines import origin_line
from hephaestus_celery.reports.whereabouts import read_due_times
from hephaestus_celery.storage.codec import moment


@options.example("show order::A-1001", "show 019a3f6c --full")
@click.command("show", short_help="Show a run, and why it is not moving.")
@run_argument
@click.option("--full", is_flag=True, help="Show all data, all steps and every attempt.")
@options.as_json
@options.wide
@click.pass_context
def show(context: click.Context, /, *, run: str, full: bool, as_document: bool, wide: bool) -> None:
    """Show all of one run: its graph and how each step stands, its data, its failure, and why it is not moving.

    Of each step that is active or waits, a line says what it waits for, since when, until when, and what would move it.
    """
    runtime = find_runtime(context)
    run_id = find_run_id(runtime, run)
    instance = runtime.get(run_id)
    entries = runtime.history(run_id)
    why = reasons(instance, runtime.storage, runtime.runner.fleet, entries)
    screen = find_screen(context.obj, wide=wide)
    if as_document:
        [due] = read_due_times([instance], runtime.storage)
        document = whole_document(instance, due)
        document["reasons"] = [reason_document(each) for each in why]
        document["history"] = [plain(entry) for entry in entries]
        screen.show(as_json(document))
        return
    show_run(
        screen,
        instance,
        entries,
        why,
        now=moment(runtime.storage.now()),
        full=full,
        origin=origin_line(runtime, instance, entries),
    )
