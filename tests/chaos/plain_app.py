"""Plain Celery for comparison: chains and chords, with the settings that a careful user would choose.

Late acknowledgement, no lost task dropped, one message prefetched, publishes retried (Celery's default), and a visibility
timeout that is longer than any task and any freeze of the suite.
"""

from __future__ import annotations

import os
import random
import time

import recorder
from celery import Celery, chain, chord

VISIBILITY_SECONDS = 10
WIDTH = 8


def make_app(url: str, queue: str) -> Celery:
    """The application of the workers, and of the client."""
    app = Celery("plain", broker=url, backend=url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
        result_backend_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        result_expires=900,
    )
    app.task(work, name="plain.work", bind=True)
    return app


def work(task, _before, run, step):
    """A step: notes that it is executed, and takes a moment."""
    recorder.note("executed", run_id=run, step=step)
    time.sleep(random.uniform(0.003, 0.1))
    recorder.note("done", run_id=run, step=step)
    return step


def canvas(app: Celery, run: str, number: int):
    """A chain of four, or a chord of eight between two steps."""

    def step(name):
        return app.tasks["plain.work"].s(run, name)

    first = app.tasks["plain.work"].s(None, run, "first")
    if number % 2:
        return chain(first, step("second"), step("third"), step("last"))
    return chain(first, chord([step(f"branch{branch}") for branch in range(WIDTH)], step("last")))


def steps_before_last(number: int) -> set[str]:
    """What must be done before the last step of a run may begin."""
    return {"first", "second", "third"} if number % 2 else {"first", *(f"branch{branch}" for branch in range(WIDTH))}


if os.environ.get("HEPHAESTUS_TEST_ROLE") == "worker":
    app = make_app(os.environ["HEPHAESTUS_TEST_BROKER"], os.environ["HEPHAESTUS_TEST_NAMESPACE"])
