"""An application that writes its log as JSON lines, with the log filter; as Celery's handlers or as its own."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import logged_flows  # noqa: F401 - defines the workflow
import recorder
import worker_app
from celery import signals
from pythonjsonlogger.json import JsonFormatter

from hephaestus_celery import Hephaestus
from hephaestus_celery.logs import ContextFilter

FILE = "written.log"

worker_app.hephaestus.close()
app = worker_app.make_app()
hephaestus = Hephaestus(app)


def handler() -> logging.Handler:
    """Writes to a file of the test, and knows the step of each record."""
    made = logging.FileHandler(Path(os.environ[recorder.FOLDER]) / FILE)
    made.addFilter(ContextFilter())
    made.setFormatter(JsonFormatter("%(message)s %(name)s %(levelname)s"))
    return made


def beside_celerys(logger: logging.Logger, **_: object) -> None:
    """Celery sets up its logging, and the application adds to it."""
    logger.addHandler(handler())


signals.after_setup_task_logger.connect(beside_celerys, weak=False)  # Celery sets up this logger in any case
if app.conf.worker_hijack_root_logger:
    signals.after_setup_logger.connect(beside_celerys, weak=False)
else:
    logging.basicConfig(level=logging.INFO, handlers=[handler(), logging.StreamHandler()])
