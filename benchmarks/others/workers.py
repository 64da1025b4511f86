"""The workers of a rival, as children of its client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

STOP_SECONDS = 1.0


@contextmanager
def workers(module: str, *arguments: str) -> Generator[None]:
    """Run ``python -m module`` while the block runs; who does not end when asked is killed with the client's group."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, stdout=2)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
