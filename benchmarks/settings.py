"""The application of worker and client alike: one server is broker, result backend and state store."""

from __future__ import annotations

from celery import Celery

URL_VARIABLE = "HEPHAESTUS_BENCH_URL"
READY_VARIABLE = "HEPHAESTUS_BENCH_READY"
"""Environment variables: the server, and the file that a worker makes when it consumes."""

NAMESPACE = QUEUE = "bench"


def make_app(url: str, *, namespace: str = NAMESPACE, queue: str = QUEUE) -> Celery:
    """An application with Celery's defaults, but for where things are."""
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        hephaestus_namespace=namespace,
        task_default_queue=queue,
    )
    return app
