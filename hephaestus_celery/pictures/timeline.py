"""Draws what has happened in a run as SVG: a row for each step, on an axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.pictures.axis import Axis, told
from hephaestus_celery.pictures.bars import BARS, MOMENTS, Bar, Moment, Row, rows_of
from hephaestus_celery.pictures.links import Links
from hephaestus_celery.pictures.markup import element, linked, picture, safe, shortened, text, title
from hephaestus_celery.pictures.patterns import FILLS, SYMBOLS, patterns
from hephaestus_celery.pictures.view import TimelineView
from hephaestus_celery.reports.text import columns
from hephaestus_celery.reports.times import length

_MARGIN, _TOP, _ROW, _LEGEND = 16, 54, 26, 40
_NAME = 7.3
"""Pixels of a column of a name."""
_MOST_COLUMNS = 28
_HEIGHTS = {"queued": 6, "backoff": 8, "waiting": 8}
"""Pixels of the bars of a kind; the others have ``_HEIGHT``."""
_HEIGHT = 14
_LEAST = 2.0
"""Pixels of the shortest bar."""


def timeline_svg(
    instance: Instance,
    entries: Sequence[HistoryEntry],
    *,
    now: datetime,
    title: str,
    view: TimelineView | None = None,
    links: Links | None = None,
    width: int = 960,
    standalone: bool = False,
) -> str:
    """An SVG element with the history of a run; ``width`` is that of the axis in pixels, without the names beside it.

    ``entries`` are all of ``history(id)``; ``now`` is an aware time on the clock of the store, until which what goes on is
    drawn. Of more than 60 steps a page is shown, with links to the others. See :func:`.graph.graph_svg` for ``standalone``.
    """
    view, links = view or TimelineView(), links or Links()
    rows = rows_of(instance, entries, now=now)
    end = max([(instance.finished_at or now), *(row.end for row in rows)])
    whole = max((end - instance.started_at).total_seconds(), 0.001)
    begin, until = (0.0, whole) if view.begin is None or view.end is None else (view.begin, view.end)
    drawing = _Drawing(
        start=instance.started_at, axis=Axis(begin=begin, end=until, width=width), view=view, links=links
    )
    shown = drawing.chosen(rows)
    return drawing.draw(shown, rows, _pauses(entries, end), title=title, standalone=standalone)


def _pauses(entries: Sequence[HistoryEntry], end: datetime) -> Sequence[tuple[datetime, datetime]]:
    found: list[tuple[datetime, datetime]] = []
    since: datetime | None = None
    for entry in entries:
        if entry.kind == "pause" and since is None:
            since = entry.finished_at
        elif entry.kind == "unpause" and since is not None and entry.finished_at is not None:
            found.append((since, entry.finished_at))
            since = None
    return found if since is None else [*found, (since, end)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    start: datetime
    axis: Axis
    view: TimelineView
    links: Links

    def chosen(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of the stretch of time that is looked at, in the order that is asked for."""
        begin, end = (self.start + timedelta(seconds=at) for at in (self.axis.begin, self.axis.end))
        rows = [row for row in rows if row.begin <= end and row.end >= begin]
        return sorted(rows, key=lambda row: row.begin - row.end) if self.view.sort == "longest" else rows

    def draw(
        self,
        rows: Sequence[Row],
        known: Sequence[Row],
        pauses: Sequence[tuple[datetime, datetime]],
        *,
        title: str,
        standalone: bool,
    ) -> str:
        first = self._first(rows)
        page = rows[first : first + (self.view.most or len(rows))]
        names = min(max([8, *(columns(safe(row.step)) for row in page)]), _MOST_COLUMNS)
        left = round(names * _NAME) + 20
        bottom = _TOP + len(page) * _ROW
        content = [
            patterns(),
            *self._pause(pauses, bottom),
            *self._axis(bottom),
            *(self._row(row, _TOP + number * _ROW, left, names) for number, row in enumerate(page)),
            *self._pages(first, len(page), len(rows), left),
            *_legend(page, bottom + 14, paused=bool(pauses)),
        ]
        moved = element("g", "\n".join(content), transform=f"translate({_MARGIN + left} {_MARGIN})")
        run = length(timedelta(seconds=self.axis.end - self.axis.begin))
        return picture(
            [moved],
            width=_MARGIN * 2 + left + self.axis.width + 30,
            height=_MARGIN * 2 + bottom + _LEGEND,
            about=(title, f"{len(known):,} steps in {run}, from {self.start:%Y-%m-%d %H:%M:%S} UTC."),
            kind="timeline",
            standalone=standalone,
        )

    def _first(self, rows: Sequence[Row]) -> int:
        if self.view.first is not None:
            return min(self.view.first, max(0, len(rows) - 1))
        wanted = next((number for number, row in enumerate(rows) if self._found(row)), 0)
        return wanted // self.view.most * self.view.most if self.view.most else 0

    def _found(self, row: Row) -> bool:
        text = self.view.find.strip().casefold()
        return bool(text) and text in row.step.casefold()

    def _seconds(self, at: datetime) -> float:
        return (at - self.start).total_seconds()

    def _axis(self, bottom: float) -> Iterator[str]:
        ticks = self.axis.ticks()
        yield text(f"{self.start:%Y-%m-%d %H:%M:%S} UTC", x=0, y=12, class_="detail")
        if self.view.begin is not None and self.links.times is not None:
            yield linked(self.links.times(self.view.whole()), text("show all of it", x=170, y=12, class_="link"))
        step = ticks[1] - ticks[0] if len(ticks) > 1 else None
        for at in ticks:
            x = self.axis.x(at)
            yield element("path", class_="tick", d=f"M{x:g} {_TOP - 8}V{bottom:g}")
            label = text(told(at), x=x + 4, y=_TOP - 14, class_="tick-label")
            near = None if step is None or self.links.times is None else self.view.between(max(0.0, at), at + step)
            href = None if near is None or self.links.times is None else self.links.times(near)
            yield linked(href, label)
        yield element("path", class_="axis", d=f"M0 {_TOP - 8}H{self.axis.width:g}")

    def _pause(self, pauses: Sequence[tuple[datetime, datetime]], bottom: float) -> Iterator[str]:
        for begin, end in pauses:
            x, right = self.axis.x(self._seconds(begin)), self.axis.x(self._seconds(end))
            if right > 0 and x < self.axis.width:
                about = title(f"paused, {length(end - begin)}")
                wide = max(right - x, _LEAST)
                yield element(
                    "g", element("rect", class_="pause", x=x, y=_TOP - 8, width=wide, height=bottom - _TOP + 8) + about
                )

    def _row(self, row: Row, y: float, left: float, names: int) -> str:
        middle = y + _ROW / 2
        parts: list[str] = []
        if self._found(row):
            parts.append(
                element("rect", class_="mark", x=-left, y=y + 1, width=left + self.axis.width, height=_ROW - 2)
            )
        parts.append(element("path", class_="rule", d=f"M{-left:g} {y + _ROW:g}H{self.axis.width:g}"))
        about = f"{safe(row.step)}, undoes {safe(row.undoes)}" if row.undoes else safe(row.step)
        name = text(shortened(row.step, names), x=-left, y=middle + 4, class_="name row-name") + title(about)
        parts.append(linked(self.links.step(row.step) if self.links.step else None, element("g", name)))
        parts += filter(None, (self._bar(bar, middle) for bar in row.bars))
        parts += filter(None, (self._moment(each, middle) for each in row.moments))
        return element("g", parts, class_="row undoing-row" if row.undoes else "row")

    def _bar(self, bar: Bar, middle: float) -> str | None:
        begin, end = self._seconds(bar.begin), self._seconds(bar.end)
        if end < self.axis.begin or begin > self.axis.end:
            return None
        x, right = self.axis.x(begin), self.axis.x(end)
        wide, high = max(right - x, _LEAST), _HEIGHTS.get(bar.kind, _HEIGHT)
        drawn = element(
            "rect", class_=f"bar {bar.kind}", x=x, y=middle - high / 2, width=wide, height=high, rx=min(2.0, wide / 2),
            fill=FILLS.get(bar.kind),
        )  # fmt: skip
        if bar.goes_on and end <= self.axis.end:
            drawn += element("path", class_=f"goes-on {bar.kind}", d=f"M{x + wide + 3:g} {middle - 5:g}l5 5l-5 5")
        return element("g", drawn + title(bar.about))

    def _moment(self, each: Moment, middle: float) -> str | None:
        at = self._seconds(each.at)
        if not self.axis.begin <= at <= self.axis.end:
            return None
        symbol = element(
            "path",
            class_=f"moment {each.kind}",
            d=SYMBOLS[each.kind],
            transform=f"translate({self.axis.x(at):g} {middle:g})",
        )
        return element("g", symbol + title(each.about))

    def _pages(self, first: int, count: int, total: int, left: float) -> Iterator[str]:
        if count == total:
            return
        most = self.view.most or total
        yield text(f"{first + 1:,} to {first + count:,} of {total:,} steps", x=-left, y=12, class_="detail")
        at = -left
        for label, row in (("earlier", first - most), ("later", first + most)):
            href = self.links.times(self.view.at_row(row)) if self.links.times else None
            if href is not None and -most < row < total:
                yield linked(href, text(f"{label} steps", x=at, y=30, class_="link"))
                at += 90


def _legend(rows: Sequence[Row], y: float, *, paused: bool) -> Iterator[str]:
    """Samples of what is shown, with what each means."""
    kinds = {bar.kind for row in rows for bar in row.bars}
    moments = {each.kind for row in rows for each in row.moments}
    x = 0.0
    for kind, word in BARS.items():
        if kind in kinds:
            high = _HEIGHTS.get(kind, _HEIGHT)
            yield element(
                "rect",
                class_=f"bar {kind}",
                x=x,
                y=y + 10 - high / 2,
                width=22,
                height=high,
                rx=2,
                fill=FILLS.get(kind),
            )
            yield text(word, x=x + 28, y=y + 14, class_="detail")
            x += 28 + len(word) * 6.4 + 18
    for kind, word in MOMENTS.items():
        if kind in moments:
            yield element(
                "path", class_=f"moment {kind}", d=SYMBOLS[kind], transform=f"translate({x + 8:g} {y + 10:g})"
            )
            yield text(word, x=x + 20, y=y + 14, class_="detail")
            x += 20 + len(word) * 6.4 + 18
    if paused:
        yield element("rect", class_="pause", x=x, y=y + 3, width=22, height=14)
        yield text("paused", x=x + 28, y=y + 14, class_="detail")
