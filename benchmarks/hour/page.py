"""The page of the docs: scenes with a sentence each, and all that was typed and shown, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TEST = "tests/examples/test_hour.py"
_HEAD = """\
# An operator's hour

What the operator of a small shop types in a bad hour, and what the terminal shows: real workers, real faults, nothing left out.

This page was made on {date} by `make hour`, on {machine}, with {server}. It took {seconds:.0f} seconds. Each
line was executed in a shell whose terminal is {columns} columns wide, and each exit code was checked. Run ids, times and numbers are as they
were. [Operating](operating.md) explains the calls behind the commands, and [Command line](../reference/command-line.md) lists them all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A part of the hour; ``language`` is that of its ``text``."""

    title: str
    sentence: str
    text: str
    language: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """When and on what it was recorded."""

    date: str
    machine: str
    server: str
    seconds: float
    columns: int


def render(scenes: Sequence[Scene], circumstances: Circumstances) -> str:
    """The page."""
    values = {name: getattr(circumstances, name) for name in Circumstances.__dataclass_fields__}
    return _HEAD.format(**values) + "".join(_section(scene) for scene in scenes)


def _section(scene: Scene) -> str:
    block = f"<!-- run by: {TEST} -->\n```{scene.language}\n{scene.text}\n```\n"
    title = f"\n## {scene.title}\n" if scene.title else ""
    return f"{title}\n{scene.sentence}\n\n{block}"
