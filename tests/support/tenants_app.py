"""The application of `tests/acceptance/test_surroundings.py`, in its workers."""

from __future__ import annotations

import contextlib

import tenants
import worker_app

from hephaestus_celery import Hephaestus

app = worker_app.make_app(tenants.Everything)
app.conf.task_routes = [tenants.route]
hephaestus = Hephaestus(app)
_kept = contextlib.ExitStack()
_kept.enter_context(tenants.everything())
