"""The application that the workers of the chaos suite run: `celery -A chaos_app worker`."""

from __future__ import annotations

import json
import os

import chaos_flows  # noqa: F401 - defines the workflows
import recorder
from celery import Celery

from hephaestus_celery import Hephaestus, telemetry

app = Celery("chaos", broker=os.environ["HEPHAESTUS_TEST_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    hephaestus_namespace=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
    hephaestus_state_backend=os.environ["HEPHAESTUS_TEST_STATE"],
    task_default_queue=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
    worker_prefetch_multiplier=1,
    **json.loads(os.environ["HEPHAESTUS_TEST_SETTINGS"]),
)
hephaestus = Hephaestus(app)
telemetry.attach_many("recorder", [*telemetry.events(), *telemetry.extension_events()], recorder.on_event)
