"""What the measured worker runs: ``celery -A benchmarks.worker_app worker``. It knows all contestants of Celery's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import signals

from benchmarks import flows  # noqa: F401 - defines the workflows
from benchmarks.canvas import Canvas
from benchmarks.settings import READY_VARIABLE, URL_VARIABLE, make_app
from hephaestus_celery import Hephaestus


def tell_ready(**_: Any) -> None:
    """Make the file that the benchmark waits for."""
    Path(os.environ[READY_VARIABLE]).touch()


app = make_app(os.environ[URL_VARIABLE])
canvas = Canvas(app)
hephaestus = Hephaestus(app)
signals.worker_ready.connect(tell_ready, weak=False)
