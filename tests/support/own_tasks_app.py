"""The application of `tests/acceptance/test_own_tasks.py`, in its workers."""

from __future__ import annotations

import own_tasks
import worker_app
from celery import Celery

from hephaestus_celery import Hephaestus


class OwnCelery(Celery):
    """With its own class of tasks."""

    task_cls = own_tasks.OwnTask


worker_app.hephaestus.close()
app = worker_app.make_app(OwnCelery)
app.conf.task_annotations = own_tasks.ANNOTATIONS
hephaestus = Hephaestus(app)
