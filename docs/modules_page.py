"""The page of the package's modules and scripts: one line each, read from their own first line."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hephaestus_celery"


def render() -> str:
    """A table for each folder, from the top down."""
    lines = [
        "# Modules",
        "",
        "Every module and script of the package, with the first line of its own text. Folders import downwards: `cli` and",
        "`testing`, then `client`, `runners`, `storage`, `telemetry`, `core`. See `CONTRIBUTING.md` for the walks through them.",
    ]
    folders: dict[Path, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*")):
        if file.suffix in {".py", ".lua"}:
            folders.setdefault(file.parent.relative_to(PACKAGE), []).append(file)
    for folder, files in sorted(folders.items()):
        title = "hephaestus_celery" if folder == Path() else f"hephaestus_celery/{folder.as_posix()}"
        lines += ["", f"## `{title}`", ""]
        lines += [line for file in files if file.name == "__init__.py" for line in (_first_line(file), "")]
        rows = [f"| `{file.name}` | {_first_line(file)} |" for file in files if file.name != "__init__.py"]
        if rows:
            lines += ["| file | what it is for |", "| --- | --- |", *rows]
    return "\n".join(lines).rstrip() + "\n"


def _first_line(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        line = _paragraph(ast.get_docstring(ast.parse(text)) or "").replace("``", "`")
    else:
        line = text.split("\n", 1)[0].removeprefix("--").strip()
    return line.replace("|", "\\|")


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", 1)[0].split())
