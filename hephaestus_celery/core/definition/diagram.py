"""Draws a graph as text: Mermaid for documents, plain lines for terminals."""

from __future__ import annotations

from hephaestus_celery.core.definition.graph import Graph, StepClass
from hephaestus_celery.core.values.names import FAILED

MOST_EDGES, MOST_TEXT = 500, 50_000
"""What Mermaid draws by default (``maxEdges``, ``maxTextSize``)."""
_ARROWS = {"plain": ("--", "-->"), "failed": ("==", "==>"), "dynamic": ("-.", ".->")}


def to_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart: nodes in topological order, dotted arrows where a ``@route`` chooses, failures thick and red.

    A counted join has its number beside its key. A compensation hangs on the step that it undoes, by an edge ``undo`` with a circle.
    One that is beyond what Mermaid draws by default says so in a comment on its first line.
    """
    names = {step.key: f"s{rank}" for rank, step in enumerate(graph.topological_order)}
    lines = ["flowchart TD"]
    for step in graph.topological_order:
        label = _quoted(step.key if step not in graph.joins else f"{step.key} ({_number(graph, step)})")
        lines.append(f"    {names[step.key]}([{label}])" if step.key == "done" else f"    {names[step.key]}[{label}]")
    for edge in graph.edges:
        kind = "dynamic" if edge.dynamic else "failed" if edge.event == FAILED else "plain"
        arrow, end = _ARROWS[kind]
        lines.append(f"    {names[edge.source.key]} {arrow} {_quoted(edge.event)} {end} {names[edge.target.key]}")
    for number, (step, other) in enumerate(graph.compensations.items()):
        lines.append(f"    c{number}[{_quoted(other.key)}]")
        lines.append(f'    {names[step.key]} -- "undo" --o c{number}')
    failures = [str(number) for number, edge in enumerate(graph.edges) if edge.event == FAILED]
    if failures:
        lines.append(f"    linkStyle {','.join(failures)} stroke:#c00")
    text = "\n".join(lines) + "\n"
    edges = len(graph.edges)
    if edges <= MOST_EDGES and len(text) <= MOST_TEXT:
        return text
    return (
        f"%% {edges:,} edges in {len(text):,} characters: Mermaid draws {MOST_EDGES:,} in {MOST_TEXT:,} unless its "
        f"configuration has a larger maxEdges and maxTextSize; to_text() has no limit\n{text}"
    )


def to_text(graph: Graph) -> str:
    """One line per step and event, in topological order; ``?`` where a ``@route`` chooses among the targets.

    The arrow of a failure is a double one. Counted joins, and compensations, have lines of their own.
    """
    lines: list[str] = []
    for step in graph.topological_order:
        if step in graph.joins:
            lines.append(f"{step.key} joins {_number(graph, step)}")
        for event in graph.events(step):
            chosen = "?" if (step, event) in graph.dynamic else ""
            targets = ", ".join(target.step.key for target in graph.table[step, event])
            line = "==" if event == FAILED else "--"
            lines.append(f"{step.key} {line}{event}{line}> {chosen}{targets}")
        if step in graph.compensations:
            lines.append(f"{step.key} is undone by {graph.compensations[step].key}")
    if not lines:
        lines.append(graph.initial.step.key)
    return "\n".join(lines) + "\n"


def _number(graph: Graph, step: StepClass) -> str:
    needed, predecessors = graph.needed(step), len(graph.predecessors(step))
    return f"all {needed}" if needed == predecessors else f"{needed} of {predecessors}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
