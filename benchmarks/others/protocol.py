"""How a benchmark talks with a rival: lines on standard input and output. The rival's side."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from benchmarks.marks import VARIABLE as MARKS_VARIABLE
from benchmarks.marks import Marks
from benchmarks.measure import burst_seconds, median_milliseconds

STEPS = 10
READY_SECONDS = 30.0


def serve(*, play: Callable[[], object], send: Callable[[Sequence[int]], None]) -> None:
    """Answer until standard input ends.

    ``play`` runs one pipeline of ten steps and returns at its end, or raises when there is nobody yet to run it;
    ``send`` starts one for each mark, which its last step sets. ``latency N`` is answered with milliseconds, ``burst N``
    with steps per second. Replies are the only thing on standard output.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    marks = Marks(Path(os.environ[MARKS_VARIABLE]))
    _warm_up(play)
    _reply(replies, 0.0)
    for line in sys.stdin:
        word, count = line.split()
        if word == "latency":
            _reply(replies, median_milliseconds(play, times=int(count)))
        else:
            _reply(replies, int(count) * STEPS / burst_seconds(marks, send, count=int(count)))


def _warm_up(play: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            play()
        except Exception:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _reply(replies: TextIO, figure: float) -> None:
    print(json.dumps(figure), file=replies, flush=True)
