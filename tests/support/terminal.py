"""A terminal of a width of its own, on which a command of ``celery -A worker_app hephaestus`` runs as a process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path
from typing import Any

STYLES = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(
    stage: Any, columns: int, *arguments: str, typed: str = "", at: str = "", **environment: str
) -> tuple[int, str]:
    """The exit code of a command, and what a terminal of so many columns shows of it.

    ``typed`` is typed when the terminal shows ``at``.
    """
    program = str(Path(sys.executable).with_name("celery"))
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        variables = {**stage.environment("client"), "PYTHONWARNINGS": "ignore", **environment}
        os.execve(program, [program, "-A", "worker_app", "hephaestus", *arguments], variables)
    shown, left = b"", typed
    with contextlib.suppress(OSError):  # the terminal is gone with its last program
        while True:
            if left and at.encode() in shown:
                os.write(screen, left.encode())
                left = ""
            shown += os.read(screen, 65_536)
    os.close(screen)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()
