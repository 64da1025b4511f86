"""Lays out an acyclic graph, top down: in rows, where many boxes that are linked alike share a block.

A block has boxes in a grid, with one way in and one way out. It stands in its row as one box would, so a wide fan grows in
height as much as in width, and sets of steps that all lead to each other are linked once and not each to each.
"""

from __future__ import annotations

from collections.abc import Sequence

from hephaestus_celery.core.definition.layered import layered
from hephaestus_celery.core.definition.layout_blocks import blocks_of, contracted, expanded
from hephaestus_celery.core.definition.layout_values import Box, Layout, Link, Spacing


def lay_out(boxes: Sequence[Box], links: Sequence[Link], spacing: Spacing | None = None) -> Layout:
    """Places for all boxes, the same for the same arguments; the upper left corner is at 0, 0.

    ``boxes`` come in topological order: a link that leads to an earlier box, or to its own, is a ``ValueError``.
    """
    spacing = spacing or Spacing()
    number = {box.key: index for index, box in enumerate(boxes)}
    pairs = [(number[link.source], number[link.target]) for link in links]
    back = next((link for link, (source, target) in zip(links, pairs, strict=True) if source >= target), None)
    if back is not None:
        raise ValueError(f"a link leads back, from {back.source!r} to {back.target!r}")
    blocks = blocks_of(boxes, links, spacing)
    if not blocks:
        return layered(boxes, links, spacing)
    fewer = contracted(boxes, links, blocks)
    return expanded(boxes, links, fewer, layered(fewer.boxes, fewer.links, spacing))
