"""The operator's terminal: each line is executed by a shell on a terminal of its own, and what it shows is kept as text."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.shield import shielded
from benchmarks.worker import ROOT

COLUMNS, LINES = 100, 40
PATIENCE_SECONDS = 120
_FRAME = "\x1b[H"  # the cursor goes to the first line
_LEAVE = "\x1b[?1049l"  # frames were on another screen, which is left
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class UnexpectedError(Exception):
    """Something has not happened as the page would tell it."""


def expect(truth: object, what: str) -> None:
    """Go on if it is so; else ``UnexpectedError`` says what should be."""
    if not truth:
        raise UnexpectedError(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A line that was typed, what the terminal showed, and how it ended."""

    line: str
    text: str
    code: int
    seconds: float

    def has(self, *parts: str) -> Shown:
        """Itself, if all of these texts stand in it, whatever the blanks between their words."""
        whole = " ".join(self.text.split())
        for part in parts:
            expect(part in whole, f"`{self.line}` shows {part!r}, not:\n{self.text}")
        return self


@dataclass(slots=True, kw_only=True)
class Terminal:
    """Executes lines in ``folder``, and keeps all that was typed and shown since it was last emptied."""

    folder: Path
    environment: Mapping[str, str]
    kept: list[str] = field(default_factory=list)

    def type(self, line: str, *, code: int = 0) -> Shown:
        """Execute a line, and keep what it shows; ``UnexpectedError`` unless it ends with this exit code."""
        shown = self._execute(line, ())
        expect(shown.code == code, f"`{line}` ends with {code}, not {shown.code}:\n{shown.text}")
        self.keep(line, shown.text)
        return shown

    def watch(self, line: str, *, until: Sequence[str]) -> Shown:
        """Execute a line that draws frames in place, and press Ctrl-C when one of them has these texts; keep that frame."""
        shown = self._execute(line, until)
        expect(shown.code == 0, f"`{line}` ends with 0 at Ctrl-C, not {shown.code}:\n{shown.text}")
        self.keep(line, shown.has(*until).text)
        return shown

    def keep(self, line: str, text: str = "") -> None:
        """Keep that a line was typed, and what it showed."""
        self.kept.append("\n".join(filter(None, [f"$ {line}", text])))

    def _execute(self, line: str, until: Sequence[str]) -> Shown:
        began = time.monotonic()
        text, code = _executed(line, self.folder, self.environment, until)
        seconds = time.monotonic() - began
        return Shown(line=line, text=self._with_short_paths(_plain(text)), code=code, seconds=seconds)

    def _with_short_paths(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "~/shop/").replace(f"{ROOT}/", "…/")

    def emptied(self) -> str:
        """All that is kept, which is forgotten."""
        text = "\n\n".join(self.kept)
        self.kept.clear()
        return text


def environment(folder: Path) -> dict[str, str]:
    """What programs of the hour find: this Python first, nothing meant for another application, no colours."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "HEPHAESTUS_", "COLUMNS"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept | {
        "PATH": path,
        "TMPDIR": str(folder),
        "TERM": "xterm",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "C_FORCE_ROOT": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # a file that is mended in the same second is read anew
        # Messages between workers are of no use to two that live for a minute, and waiting for them takes a second.
        "CELERY_WORKER_WITHOUT_MINGLE": "1",
        "CELERY_WORKER_WITHOUT_GOSSIP": "1",
        "CELERY_WORKER_LOGLEVEL": "INFO",
    }


def _executed(line: str, folder: Path, variables: Mapping[str, str], until: Sequence[str]) -> tuple[bytes, int]:
    with shielded():
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        process = subprocess.Popen(
            ["sh", "-c", f"exec {line}" if until else line],  # else the shell, not the command, would tell how it ended
            cwd=folder,
            env=dict(variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
    text = b""
    try:
        with os.fdopen(ours, "rb", buffering=0) as screen:
            for part in _parts(screen.fileno()):
                text += part
                if until and all(each in " ".join(_plain(text).split()) for each in until):
                    os.killpg(process.pid, signal.SIGINT)
                    until = ()
        return text, process.wait(PATIENCE_SECONDS)
    except TimeoutError as error:
        raise UnexpectedError(f"`{line}` ends within {PATIENCE_SECONDS} s; it shows:\n{_plain(text)}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _parts(screen: int) -> Iterator[bytes]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while select.select([screen], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            part = os.read(screen, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # nobody writes to it any more
                return
            raise
        if not part:  # the same, on other systems
            return
        yield part
    raise TimeoutError


def _plain(text: bytes) -> str:
    """What stands there at the end: what came after the last frame, or that frame if nothing did."""
    frames, _, after = text.decode(errors="ignore").rpartition(_LEAVE)
    return _without_controls(after.split(_FRAME)[-1]) or _without_controls(frames.split(_FRAME)[-1])


def _without_controls(text: str) -> str:
    # Of a line that was written over, the last that was written.
    lines = [_CONTROL.sub("", line.split("\r")[-1]).rstrip() for line in re.sub(r"\r+\n", "\n", text).split("\n")]
    return "\n".join(lines).strip("\n")
