"""The command ``celery -A shop hephaestus graph``: the graph of a workflow."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime, find_workflow
from hephaestus_celery.cli.completion import complete_workflows
from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.pictures.graph import graph_svg
from hephaestus_celery.pictures.view import MOST_BOXES, GraphView
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.workflows import undone_by


@options.example("graph OrderFlow", "graph OrderFlow --mermaid > order.mmd", "graph OrderFlow --svg > order.svg")
@click.command("graph", short_help="Show the graph of a workflow.")
@click.argument("workflow", metavar="WORKFLOW", shell_complete=complete_workflows)
@click.option("--version", type=click.IntRange(min=1), help="This version; else the current one.")
@click.option("--mermaid", is_flag=True, help="Print it as a Mermaid flowchart, for documents.")
@click.option("--svg", is_flag=True, help="Print it as a picture, for browsers.")
@click.option("--full", is_flag=True, help="With --svg: a box for every step, however many there are.")
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
    as_document: bool,
) -> None:
    """Show the graph of a workflow: which event of each step leads to which steps.

    The picture of --svg has its colours in it, light and dark. In that of a large workflow, steps that are alike, or follow
    each other, share a box.
    """
    if sum((mermaid, svg, as_document)) > 1:
        raise click.UsageError("--mermaid, --svg and --json exclude each other")
    if full and not svg:
        raise click.UsageError("--full goes with --svg")
    find_runtime(context)
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
        view = GraphView(most=None if full else MOST_BOXES)
        title = f"{found.name}, version {found.version}"
        screen.show(graph_svg(found.graph, title=title, view=view, standalone=True))
    else:
        screen.show((found.to_mermaid() if mermaid else found.to_text()).rstrip("\n"))


def _version(workflow: type[WorkflowDefinition], version: int | None) -> type[WorkflowDefinition]:
    if version is None or version == workflow.version:
        return workflow
    if version in workflow.versions:
        return workflow.versions[version]
    known = ", ".join(map(str, workflow.versions or [workflow.version]))
    raise CommandFailedError(f"{workflow.name} has no version {version}; it has {known}", ExitCode.NOT_FOUND)
