"""Small Python distributions that the demo adds to those installed, so that each outcome of a run occurs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

CHANGED, UNREADABLE, STALLED = "demochanged", "demounreadable", "demostalled"
"""Their names: a file was edited after it was installed, RECORD is garbage, the disk does not answer (chaos only)."""


def make_specimens(folder: Path) -> dict[str, str]:
    """Write the two that are always there into ``folder``; their names, and the folders of their metadata."""
    return {CHANGED: str(_changed(folder)), UNREADABLE: str(_unreadable(folder))}


class Stalled:
    """A sound distribution whose files can't be verified before :meth:`release`; leaving the ``with`` block does that too.

    It is the demo's deliberate pause: one of the files is a named pipe at first, and to open that takes as long as if the
    disk did not answer.
    """

    _CONTENT = b'GREETING = "Hello"\n'

    def __init__(self, folder: Path) -> None:
        self._file = folder / "demo_stalled.py"
        self._file.write_bytes(self._CONTENT)
        self.metadata = _metadata(folder, "demo_stalled")
        _record(folder, self.metadata, [self._file])
        self._file.unlink()
        os.mkfifo(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the file be read, also by who waits for it; again is the same as once."""
        if not self._file.is_fifo():
            return
        whole = self._file.with_suffix(".new")
        whole.write_bytes(self._CONTENT)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # nobody waits
                pipe = os.open(self._file, os.O_WRONLY | os.O_NONBLOCK)
                stack.callback(os.close, pipe)
                os.write(pipe, self._CONTENT)
            whole.replace(self._file)


def _changed(folder: Path) -> Path:
    source = folder / "demo_changed.py"
    source.write_text('GREETING = "Hello"\n')
    metadata = _metadata(folder, "demo_changed")
    _record(folder, metadata, [source])
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


def _record(folder: Path, metadata: Path, files: Iterable[Path]) -> None:
    hashed = [*files, metadata / "METADATA"]
    lines = [f"{file.relative_to(folder)},{_digest(file)},{file.stat().st_size}" for file in hashed]
    lines.append(f"{metadata.name}/RECORD,,")
    (metadata / "RECORD").write_text("\n".join(lines) + "\n")


def _digest(file: Path) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
