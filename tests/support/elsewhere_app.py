"""The application of :mod:`elsewhere`, in its workers."""

from __future__ import annotations

import contextlib

import elsewhere
import worker_app

from hephaestus_celery import Hephaestus

app = worker_app.make_app(elsewhere.Sends)
hephaestus = Hephaestus(app)
_kept = contextlib.ExitStack()
_kept.enter_context(elsewhere.preferring())
