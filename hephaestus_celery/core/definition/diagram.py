"""Draws a graph as text: Mermaid for documents, plain lines for terminals."""

from __future__ import annotations

from hephaestus_celery.core.definition.graph import Graph

MOST_EDGES, MOST_TEXT = 500, 50_000
"""What Mermaid draws by default (``maxEdges``, ``maxTextSize``)."""


def to_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart: nodes in topological order, dotted arrows where a ``@route`` chooses.

    One that is beyond what Mermaid draws by default says so in a comment on its first line.
    """
    names = {step.key: f"s{rank}" for rank, step in enumerate(graph.topological_order)}
    lines = ["flowchart TD"]
    for step in graph.topological_order:
        label = _quoted(step.key)
        lines.append(f"    {names[step.key]}([{label}])" if step.key == "done" else f"    {names[step.key]}[{label}]")
    for edge in graph.edges:
        arrow = "-." if edge.dynamic else "--"
        end = ".->" if edge.dynamic else "-->"
        lines.append(f"    {names[edge.source.key]} {arrow} {_quoted(edge.event)} {end} {names[edge.target.key]}")
    text = "\n".join(lines) + "\n"
    edges = len(graph.edges)
    if edges <= MOST_EDGES and len(text) <= MOST_TEXT:
        return text
    return (
        f"%% {edges:,} edges in {len(text):,} characters: Mermaid draws {MOST_EDGES:,} in {MOST_TEXT:,} unless its "
        f"configuration has a larger maxEdges and maxTextSize; to_text() has no limit\n{text}"
    )


def to_text(graph: Graph) -> str:
    """One line per step and event, in topological order; ``?`` where a ``@route`` chooses among the targets."""
    lines: list[str] = []
    for step in graph.topological_order:
        for event in graph.events(step):
            chosen = "?" if (step, event) in graph.dynamic else ""
            targets = ", ".join(target.step.key for target in graph.table[step, event])
            lines.append(f"{step.key} --{event}--> {chosen}{targets}")
    if not lines:
        lines.append(graph.initial.step.key)
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
