"""The ratios as a picture: horizontal bars on a logarithmic scale that begin at 1 x, with their range and their budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.contest import Compared, Result
from benchmarks.report import number

_LABEL, _PLOT, _VALUE, _ROW, _HEAD, _FOOT = 470, 430, 150, 26, 54, 34
_WIDTH = _LABEL + _PLOT + _VALUE
_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.quiet { fill: #59636e; font-size: 12px }
.grid { stroke: #d1d9e0 } .one { stroke: #59636e }
.met { fill: #1a7f37 } .missed { fill: #cf222e } .plain { fill: #8c959f }
.range { stroke: #1f2328; stroke-width: 1.5 } .budget { stroke: #bc4c00; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.met { fill: #3fb950 } .missed { fill: #f85149 } .plain { fill: #656c76 }
.range { stroke: #f0f6fc } .budget { stroke: #f0883e }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    label: str
    found: Compared


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        """Where a ratio stands."""
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return round(_LABEL + share * _PLOT, 1)


def draw(results: Sequence[Result]) -> str:
    """An SVG of all lines that are ratios; it follows the reader's light or dark scheme."""
    bars = list(_bars(results))
    height = _HEAD + _ROW * len(bars) + _FOOT
    scale = _scale(bars)
    body = [*_frame(scale, height), *(part for row, bar in enumerate(bars) for part in _bar(bar, scale, row))]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
                'role="img" aria-label="Ratios of ours to theirs, with their range and their budget">'
            ),
            f"<style>{_STYLE}</style>",
            *body,
            "</svg>\n",
        ]
    )


def _bars(results: Sequence[Result]) -> Iterator[_Bar]:
    for result in results:
        for found in result.compared():
            if found.line.unit == "x" and found.values.low > 0:
                yield _Bar(label=f"{result.name} [{result.unit}]: {found.line.title}", found=found)


def _scale(bars: Sequence[_Bar]) -> _Scale:
    shown = [number for bar in bars for number in (bar.found.values.low, bar.found.values.high)]
    shown += [bar.found.line.budget.limit for bar in bars if bar.found.line.budget is not None]
    return _Scale(low=min([0.5, *shown]) / 1.15, high=max([2, *shown]) * 1.15)


def _frame(scale: _Scale, height: int) -> Iterator[str]:
    yield _text(0, 18, "Ratio of the first to the second, median and range of the rounds", kind="")
    yield _text(0, 38, "orange: the budget; green: met, red: missed, grey: for information", kind="quiet")
    for factor in _FACTORS:
        if scale.low <= factor <= scale.high:
            x, kind = scale.x(factor), "one" if factor == 1 else "grid"
            yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_HEAD - 6}" y2="{height - _FOOT + 6}"/>'
            yield _text(x, height - 10, f"{factor:g} x", kind="quiet", anchor="middle")


def _bar(bar: _Bar, scale: _Scale, row: int) -> Iterator[str]:
    top = _HEAD + row * _ROW
    middle = top + _ROW / 2
    one, end = scale.x(1), scale.x(bar.found.values.median)
    kind = {True: "met", False: "missed", None: "plain"}[bar.found.met]
    left, width = min(one, end), max(1.0, round(abs(end - one), 1))
    yield _text(_LABEL - 12, middle + 4, bar.label, kind="", anchor="end")
    yield f'<rect class="{kind}" x="{left}" y="{top + 6}" width="{width}" height="{_ROW - 12}" rx="2"/>'
    low, high = scale.x(bar.found.values.low), scale.x(bar.found.values.high)
    yield f'<line class="range" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    if bar.found.line.budget is not None:
        x = scale.x(bar.found.line.budget.limit)
        yield f'<line class="budget" x1="{x}" x2="{x}" y1="{top + 2}" y2="{top + _ROW - 2}"/>'
    budget = "" if bar.found.line.budget is None else f"  ({bar.found.line.budget.text})"
    yield _text(_LABEL + _PLOT + 12, middle + 4, f"{number(bar.found.values.median)} x{budget}", kind="")


def _text(x: float, y: float, text: str, *, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
