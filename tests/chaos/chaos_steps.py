"""The steps of the chaos suite.

No step depends on luck: each may be attempted twenty times, so that attempts which a fault has killed never run out. A
step's body takes 3 to 100 ms, so that faults strike inside it, and notes each of its executions.
"""

from __future__ import annotations

import random
import time

import recorder

from hephaestus_celery import Ok, RetryPolicy, Step

PATIENT = RetryPolicy(max_attempts=20, base=0.1, max_backoff=1.0)
BODY_SECONDS = (0.003, 0.1)


class Work(Step):
    """Notes that it is executed, and takes a moment."""

    events = ("done",)
    seconds = BODY_SECONDS

    def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key)
        time.sleep(random.uniform(*self.seconds))
        return self.answer(instance, config, context)

    def answer(self, instance, config, context):
        return Ok("done", {"by": self.key})


class A(Work): ...


class B(Work): ...


class C(Work): ...


class D(Work): ...
