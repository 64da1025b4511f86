"""Workflows that give a result, which notes each time that it is computed."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import recorder
from flows import A, B, Recorded

from hephaestus_celery import FAILED, Done, Ok, RetryPolicy, Unique, Wait, Workflow

AT_ONCE = RetryPolicy(max_attempts=2, base=0, jitter=False)


class Giving(Workflow, abstract=True):
    """Notes, and does what it is told, in the place where its result is computed."""

    unique = Unique("giving")
    default_retry = AT_ONCE

    @classmethod
    def result(cls, context):
        recorder.note("computed", flow=cls.name, steps=sorted(context.steps))
        way = context.initial.get("way")
        if way == "raise":
            raise ValueError("nothing to give")
        if way == "die" and len(recorder.read(Path(os.environ[recorder.FOLDER]), "computed")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "large":
            return {"text": "x" * 1_000_000}
        return {"steps": sorted(context.steps)}


class GivesAfterTwo(Giving):
    """A join of two at its end."""

    name = "gives_after_two"
    initial_step = [A, B]
    transitions = {(A, "done"): Done, (B, "done"): Done}


class GivesAfterOne(Giving):
    name = "gives_after_one"
    initial_step = A
    transitions = {(A, "done"): Done}


class GivesAfterTimer(Giving):
    name = "gives_after_timer"
    initial_step = (Wait, {"duration": timedelta(milliseconds=50)})
    transitions = {(Wait, "timeout"): Done}


class GivesAtOnce(Giving):
    name = "gives_at_once"
    initial_step = Done


class Dies(Recorded):
    """Ends its process each time."""

    retry = RetryPolicy(max_attempts=1)

    def answer(self, instance, config, context):
        os.kill(os.getpid(), signal.SIGKILL)


class GivesAfterRescue(Giving):
    """Its only step is always lost, and a transition takes that."""

    name = "gives_after_rescue"
    initial_step = Dies
    transitions = {(Dies, "done"): Done, (Dies, FAILED): Done}


WIDE = [type(f"Wide{number}", (Recorded,), {}) for number in range(600)]


class Ends(Recorded):
    events = ("end", "more")

    def answer(self, instance, config, context):
        return Ok("end", {"by": self.key})


class GivesBesideMany(Giving):
    """Its end is reached by more edges than one script settles."""

    name = "gives_beside_many"
    initial_step = Ends
    transitions = {(Ends, "end"): Done, (Ends, "more"): WIDE, **{(step, "done"): Done for step in WIDE}}
