"""The application of worker and client alike: one server is broker, result backend and state store."""

from __future__ import annotations

import json
import os

from celery import Celery

URL_VARIABLE = "HEPHAESTUS_BENCH_URL"
READY_VARIABLE = "HEPHAESTUS_BENCH_READY"
TRANSPORT_VARIABLE = "HEPHAESTUS_BENCH_TRANSPORT"
"""Environment variables: the server, the file that a worker makes when it consumes, ``broker_transport_options`` as JSON."""

UNLISTED = {"ack_emulation": False}
"""Transport options of a worker that runs workflows only: Redis holds no list of unacknowledged messages."""

NAMESPACE = QUEUE = "bench"


def make_app(url: str, *, namespace: str = NAMESPACE, queue: str = QUEUE) -> Celery:
    """An application with Celery's defaults, but for where things are, and the transport options of the environment."""
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options=json.loads(os.environ.get(TRANSPORT_VARIABLE, "{}")),
        hephaestus_namespace=namespace,
        task_default_queue=queue,
    )
    return app
