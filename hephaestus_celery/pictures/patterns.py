"""The patterns and symbols of a timeline: what its colours say is said by shapes, too."""

from __future__ import annotations

from hephaestus_celery.pictures.markup import element

FILLS = {kind: f"url(#hephaestus-{kind})" for kind in ("backoff", "waiting", "failed", "lost", "discarded", "rounds")}
"""The fills of bars that have a pattern; an attribute, since addresses in a stylesheet are looked for in its own file."""
SYMBOLS = {
    "resume": "M0-6L6 0L0 6L-6 0z",
    "timer": "M0-5a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
    "rescue": "M0-7L7 6H-7z",
}
"""The symbols of moments, around their middle."""
_LINES = {
    "waiting": ("M0 0v7", 7, 45),
    "failed": ("M0 0v5", 5, -45),
    "lost": ("M0 0v6M0 3h6", 6, 45),
    "discarded": ("M0 0h4", 4, 0),
    "backoff": ("M2 2h.1", 5, 0),
    "rounds": ("M0 0v4", 4, 0),
}


def patterns() -> str:
    """The definitions that :data:`FILLS` names."""
    made = [
        element(
            "pattern",
            element("rect", class_=f"ground {kind}", width=size, height=size)
            + element("path", class_=f"line {kind}", d=path),
            id=f"hephaestus-{kind}",
            patternUnits="userSpaceOnUse",
            width=size,
            height=size,
            patternTransform=f"rotate({turn})" if turn else None,
        )
        for kind, (path, size, turn) in _LINES.items()
    ]
    return element("defs", made)
