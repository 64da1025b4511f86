"""Markup of SVG: elements with escaped text, and names that are safe to show and short enough for their place."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from html import escape

from hephaestus_celery.pictures.stylesheet import stylesheet
from hephaestus_celery.reports.text import columns, fitted, printable

_LONGEST = 300
"""Characters of a name in a tooltip."""


def safe(text: str, *, limit: int = _LONGEST) -> str:
    """``text`` in one line, shortened; what XML does not have, and what could hide or turn other text, is escaped."""
    return printable(text, limit=limit)


def shortened(text: str, room: int) -> str:
    """``text`` made :func:`safe`, and where it takes more than ``room`` columns, without its middle: ends often tell names apart."""
    text = safe(text)
    if columns(text) <= room:
        return text
    end = (room - 1) // 3
    tail = fitted(text[::-1], end + 1)[:-1][::-1]
    return fitted(text, room - columns(tail)) + tail


def element(name: str, content: Iterable[str] | str | None = None, /, **attributes: object) -> str:
    """An element of SVG. ``content`` is markup; None makes an empty element.

    Attributes that are None are left out; in their names ``_`` stands for ``-``, and ``class_`` for ``class``.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = f"{value:g}" if isinstance(value, float) else escape(safe(str(value), limit=sys.maxsize))
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    begin = " ".join(parts)
    if content is None:
        return f"<{begin}/>"
    inner = content if isinstance(content, str) else "".join(content)
    return f"<{begin}>{inner}</{name}>"


def text(content: str, /, *, x: float, y: float, class_: str | None = None) -> str:
    """A line of text at its baseline; ``content`` is made :func:`safe`."""
    return element("text", escape(safe(content), quote=False), x=x, y=y, class_=class_)


def title(content: str) -> str:
    """What is shown where the pointer rests, and read out."""
    return element("title", escape(safe(content, limit=1000), quote=False))


def linked(href: str | None, content: str, *, class_: str | None = None) -> str:
    """``content`` as a link; as it is where there is no address."""
    return content if href is None else element("a", content, href=href, class_=class_)


def picture(
    content: Iterable[str],
    *,
    width: float,
    height: float,
    about: tuple[str, str],
    kind: str,
    zoom: float = 1.0,
    standalone: bool = False,
) -> str:
    """A whole SVG document. ``about`` is its title and description; ``standalone`` gives it a stylesheet of its own."""
    style = [element("style", f":root{{color-scheme:light dark}}\n{stylesheet()}")] if standalone else []
    heading, description = (escape(safe(each, limit=1000), quote=False) for each in about)
    return element(
        "svg",
        ["\n", element("title", heading), element("desc", description), *style, "\n", *content, "\n"],
        xmlns="http://www.w3.org/2000/svg",
        class_=f"hephaestus-picture {kind}",
        role="group",
        aria_label=safe(about[0]),
        width=round(width * zoom),
        height=round(height * zoom),
        viewBox=f"0 0 {width:g} {height:g}",
    )
