"""An application with a workflow of ten thousand steps, of which a run takes some hundred and then waits.

It imports nothing of the other applications of the tests: what its workers take is measured.
"""

from __future__ import annotations

import os

from celery import Celery

from hephaestus_celery import Async, Done, Hephaestus, Ok, Step, Unique, Workflow

MANY = 10_000
TAKEN = 300


def execute(self, instance, config, context):
    """Go on, but for one."""
    return Async() if self.key == f"s{TAKEN}" else Ok("ok")


STEPS = [type(f"S{number}", (Step,), {"events": ("ok",), "execute": execute}) for number in range(MANY)]


class Large(Workflow):
    name = "large"
    unique = Unique("large")
    initial_step = STEPS[0]
    transitions = {(step, "ok"): after for step, after in zip(STEPS, [*STEPS[1:], Done], strict=True)}


app = Celery("acceptance", broker=os.environ["HEPHAESTUS_TEST_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    hephaestus_namespace=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
    hephaestus_state_backend=os.environ["HEPHAESTUS_TEST_STATE"],
    task_default_queue=os.environ["HEPHAESTUS_TEST_NAMESPACE"],
)
hephaestus = Hephaestus(app)
