"""The command ``celery -A shop hephaestus graph``: the graph of a workflow."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime, find_workflow
from hephaestus_celery.cli.completion import complete_workflows
from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.run_argument import find_run_id
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.registry import find_definition
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.workflows import undone_by
from hephaestus_celery.storage.codec import moment


@options.example("graph OrderFlow", "graph OrderFlow --mermaid > order.mmd", "graph OrderFlow --svg > order.svg")
@click.command("graph", short_help="Show the graph of a workflow.")
@click.argument("workflow", metavar="WORKFLOW", shell_complete=complete_workflows)
@click.option("--version", type=click.IntRange(min=1), help="This version; else the current one.")
@click.option("--mermaid", is_flag=True, help="Print it as a Mermaid flowchart, for documents.")
@click.option("--svg", is_flag=True, help="Print it as a picture, for browsers.")
@click.option("--full", is_flag=True, help="With --svg: a box for every step, however many there are.")
@click.option(
    "--run", metavar="RUN", help="With --svg: how each step of this run stands, in its version of the workflow."
)
@options.as_json
@click.pass_context
def graph(
    context: click.Context,
    /,
    *,
    workflow: str,
    version: int | None,
    mermaid: bool,
    svg: bool,
    full: bool,
    run: str | None,
    as_document: bool,
) -> None:
    """Show the graph of a workflow: which event of each step leads to which steps.

    The picture of --svg has its colours in it, light and dark. In that of a large workflow, steps that are alike, or follow
    each other, share a box. The timeline of a run is printed by history --svg.
    """
    if sum((mermaid, svg, as_document)) > 1:
        raise click.UsageError("--mermaid, --svg and --json exclude each other")
    if (full or run is not None) and not svg:
        raise click.UsageError(f"{'--full' if full else '--run'} goes with --svg")
    runtime = find_runtime(context)
    found = _version(find_workflow(workflow), version)
    screen = find_screen(context.obj)
    if as_document:
        edges = [
            {"source": edge.source.key, "event": edge.event, "target": edge.target.key, "dynamic": edge.dynamic}
            for edge in found.graph.edges
        ]
        about = {
            "workflow": found.name,
            "version": found.version,
            "edges": edges,
            "joins": {step.key: number for step, number in found.graph.joins.items()},
            "compensations": undone_by(found.graph),
        }
        screen.show(as_json(about))
    elif svg:
        instance = None if run is None else _run_of(found, runtime, run, any_version=version is None)
        screen.show(_picture(found, runtime, instance, full=full))
    else:
        screen.show((found.to_mermaid() if mermaid else found.to_text()).rstrip("\n"))


def _run_of(workflow: type[WorkflowDefinition], runtime: Hephaestus, run: str, *, any_version: bool) -> Instance:
    instance = runtime.get(find_run_id(runtime, run))
    alike = instance.workflow_family == workflow.family
    if not alike or (not any_version and instance.workflow_version != workflow.version):
        raise CommandFailedError(
            f"{instance.id} is a run of {instance.workflow_name}, version {instance.workflow_version}, "
            f"and not of {workflow.name}, version {workflow.version}",
            ExitCode.MISUSE,
        )
    return instance


def _picture(workflow: type[WorkflowDefinition], runtime: Hephaestus, instance: Instance | None, *, full: bool) -> str:
    # Text does not wait for what a picture needs.
    from hephaestus_celery.pictures.graph import graph_svg
    from hephaestus_celery.pictures.standings import marks_of
    from hephaestus_celery.pictures.view import MOST_BOXES, GraphView

    view = GraphView(most=None if full else MOST_BOXES)
    if instance is None:
        title = f"{workflow.name}, version {workflow.version}"
        return graph_svg(workflow.graph, title=title, view=view, standalone=True)
    definition = find_definition(instance)
    if definition is None:
        raise CommandFailedError(
            f"{instance.workflow_name} has no version {instance.workflow_version} in this application",
            ExitCode.NOT_FOUND,
        )
    now = moment(runtime.storage.now())
    marks = marks_of(instance, now=now, entries=runtime.history(instance.run_id))
    return graph_svg(
        definition.graph, title=f"{instance.id}, {instance.status}", marks=marks, view=view, standalone=True
    )


def _version(workflow: type[WorkflowDefinition], version: int | None) -> type[WorkflowDefinition]:
    if version is None or version == workflow.version:
        return workflow
    if version in workflow.versions:
        return workflow.versions[version]
    known = ", ".join(map(str, workflow.versions or [workflow.version]))
    raise CommandFailedError(f"{workflow.name} has no version {version}; it has {known}", ExitCode.NOT_FOUND)
