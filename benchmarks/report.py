"""What was found, as text, as JSON and as a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contest import Compared, Result, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All results of one run, and what they were taken on."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    server: Mapping[str, str]
    scale: str
    results: Sequence[Result]

    @property
    def setting(self) -> str:
        """The setting in a few sentences."""
        machine = "; ".join(f"{name}: {text}" for name, text in self.machine.items())
        packages = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        server = ", ".join(f"{name} {text}" for name, text in self.server.items())
        return f"Machine: {machine}.\nPackages: {packages}.\nServer: {server}.\nScale: {self.scale}."


def as_text(result: Result) -> str:
    """One contest as a block of lines."""
    rounds = "1 round" if len(result.rounds) == 1 else f"{len(result.rounds)} rounds"
    rows = [f"{result.name}: {result.title} [{rounds}, {result.seconds:.0f} s]"]
    if result.failure is not None:
        rows.append(f"  FAILED: {result.failure}")
    rows += [f"  {name:44} {_cells(values)}  {result.unit}" for name, values in result.figures().items()]
    rows += [
        f"  {found.line.title:44} {_cells(found.values)}  {found.line.unit:9} {_verdict(found)}".rstrip()
        for found in result.compared()
    ]
    rows += [f"  ({note})" for note in result.notes]
    return "\n".join(rows)


def as_json(report: Report) -> str:
    """Everything, every round included."""
    return json.dumps(
        {
            "machine": report.machine,
            "versions": report.versions,
            "server": report.server,
            "scale": report.scale,
            "contests": [_plain(result) for result in report.results],
        },
        indent=2,
    )


def as_markdown(report: Report) -> str:
    """The tables of a page: budgets first, then everything that was measured."""
    budgets = [
        f"| {result.title} | {found.line.title} | {_value(found.values, found.line.unit)} "
        f"| {found.line.budget.text} | {'yes' if found.met else 'no'} |"
        for result in report.results
        for found in result.compared()
        if found.line.budget is not None
    ]
    lines = [
        "# Benchmarks",
        "",
        "Printed by `make bench OPTIONS=--publish`.",
        "",
        "![The ratios, with their ranges and budgets](benchmarks.svg)",
        "",
        *report.setting.replace(".\n", ".  \n").splitlines(),
        "",
        "Medians of the rounds, their range in brackets. A ratio is that of two figures of one round.",
        "",
        "| What | Compared | Found | Budget | Kept |",
        "|---|---|---|---|---|",
        *budgets,
        "",
        *(line for result in report.results for line in _section(result)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def number(value: float) -> str:
    """Three digits that say something."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def _section(result: Result) -> list[str]:
    lines = [f"### {result.title}", ""]
    if result.failure is not None:
        lines += [f"Failed: {result.failure.splitlines()[0]}", ""]
    if result.rounds:
        lines += ["| | Found |", "|---|---|"]
        lines += [f"| {name} | {_value(values, result.unit)} |" for name, values in result.figures().items()]
        lines += [f"| {found.line.title} | {_value(found.values, found.line.unit)} |" for found in result.compared()]
        lines.append("")
    lines += [f"- {note}" for note in result.notes]
    return [*lines, ""] if result.notes else lines


def _cells(values: Spread) -> str:
    return f"{number(values.median):>8}  {number(values.low):>8} .. {number(values.high):<8}"


def _value(values: Spread, unit: str) -> str:
    text = f"{number(values.median)} {unit}"
    return text if values.low == values.high else f"{text} ({number(values.low)} to {number(values.high)})"


def _verdict(found: Compared) -> str:
    if found.line.budget is None:
        return ""
    return f"budget {found.line.budget.text}: {'met' if found.met else 'MISSED'}"


def _plain(result: Result) -> Mapping[str, object]:
    return {
        "name": result.name,
        "title": result.title,
        "unit": result.unit,
        "seconds": round(result.seconds, 1),
        "failure": result.failure,
        "notes": result.notes,
        "rounds": result.rounds,
        "lines": [
            {
                "title": found.line.title,
                "unit": found.line.unit,
                "median": found.values.median,
                "low": found.values.low,
                "high": found.values.high,
                "budget": found.line.budget and found.line.budget.text,
                "met": found.met,
            }
            for found in result.compared()
        ],
    }
