"""A terminal as people have one: a program runs on a pseudo-terminal, and what it shows is a screen of so many lines."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any, Self

import pyte

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
STYLES = re.compile(r"\x1b\[[0-9;]*m")


class PseudoTerminal:
    """Runs a program on a terminal of its own; ``text`` is what it shows now, ``raw`` all that it was sent."""

    def __init__(self, command: list[str], *, columns: int, lines: int, environment: dict[str, str]) -> None:
        self.raw = b""
        self.writes: list[bytes] = []
        self._columns, self._lines = columns, lines
        self._fed = 0
        self._main = pyte.Screen(columns, lines)
        self._alternate = pyte.Screen(columns, lines)
        self._shown = self._main
        self._streams = {id(each): pyte.Stream(each) for each in (self._main, self._alternate)}
        self._master, slave = os.openpty()
        self._set_size()
        # A session that has no terminal yet gets the one that its first process opens.
        shell = 'exec "$@" <"$0" >"$0" 2>&1'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", shell, os.ttyname(slave), *command],
            env={"TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        self._slave = slave
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join()
        os.close(self._master)
        os.close(self._slave)

    @property
    def text(self) -> str:
        """The lines of the screen, without the blanks behind them."""
        return "\n".join(self.screen_lines).rstrip()

    @property
    def screen_lines(self) -> list[str]:
        """Each line of the screen."""
        return [line.rstrip() for line in self._screen().display]

    @property
    def screen(self) -> pyte.Screen:
        """The screen, with the style of each character."""
        return self._screen()

    def is_alternate(self) -> bool:
        """Whether the alternate screen is shown."""
        return self._screen() is self._alternate

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self._screen()
        self._columns, self._lines = columns, lines
        for each in (self._main, self._alternate):
            each.resize(lines, columns)
        self._set_size()

    def type(self, text: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._master, text.encode())

    def wait(self, seconds: float = 60) -> int:
        """The exit code, once the program has ended and all that it wrote was read."""
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def _set_size(self) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", self._lines, self._columns, 0, 0))

    def _read(self) -> None:
        while True:
            ended = self.process.poll() is not None
            ready, _, _ = select.select([self._master], [], [], 0.02)
            if ready:
                found = os.read(self._master, 1 << 20)
                self.writes.append(found)
                self.raw += found
            elif ended:
                return

    def _screen(self) -> pyte.Screen:
        text = self.raw.decode(errors="ignore")
        fresh, self._fed = text[self._fed :], len(text)
        for part in re.split(f"({re.escape(ENTER)}|{re.escape(LEAVE)})", fresh):
            if part in (ENTER, LEAVE):
                self._shown = self._alternate if part == ENTER else self._main
            else:
                self._streams[id(self._shown)].feed(part)
        return self._shown


def celery_on_a_terminal(
    stage: Any, *arguments: str, columns: int = 80, lines: int = 24, **environment: str
) -> PseudoTerminal:
    """``celery ARGUMENTS`` for the application of a stage."""
    program = str(Path(sys.executable).with_name("celery"))
    variables = {**stage.environment("client"), "PYTHONWARNINGS": "ignore", **environment}
    return PseudoTerminal([program, *arguments], columns=columns, lines=lines, environment=variables)
