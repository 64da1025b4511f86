"""Two small distributions that the demo adds to those installed, so that everything that can happen does."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

CHANGED, UNREADABLE = "demochanged", "demounreadable"
"""The names of the two: one of whose files was edited after it was installed, one whose RECORD is garbage."""


def make_specimens(folder: Path) -> dict[str, str]:
    """Write both below ``folder``; their names, and the folders of their metadata."""
    folder.mkdir(parents=True)
    return {CHANGED: str(_changed(folder)), UNREADABLE: str(_unreadable(folder))}


def _changed(folder: Path) -> Path:
    source = folder / "demo_changed.py"
    source.write_text('GREETING = "Hello"\n')
    metadata = _metadata(folder, "demo_changed")
    hashed = [source, metadata / "METADATA"]
    lines = [f"{file.relative_to(folder)},{_digest(file)},{file.stat().st_size}" for file in hashed]
    lines.append(f"{metadata.name}/RECORD,,")
    (metadata / "RECORD").write_text("\n".join(lines) + "\n")
    source.write_text('GREETING = "Goodbye"\n')
    return metadata


def _unreadable(folder: Path) -> Path:
    metadata = _metadata(folder, "demo_unreadable")
    (metadata / "RECORD").write_bytes(b"demo_unreadable.py,sha256=\xff\xfe,")
    return metadata


def _metadata(folder: Path, name: str) -> Path:
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    fields = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", "License-Expression: MIT"]
    fields += ["Requires-Dist: celery>=5", "Requires-Dist: there-is-no-such-distribution; extra == 'never'"]
    (metadata / "METADATA").write_text("\n".join(fields) + "\n")
    return metadata


def _digest(file: Path) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
