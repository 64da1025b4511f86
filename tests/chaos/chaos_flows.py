"""Workflows of all shapes for the chaos suite; imported by its workers and by the client."""

from __future__ import annotations

import os
import random
import time
from datetime import timedelta
from typing import Any

import recorder
from celery import Celery
from chaos_steps import BODY_SECONDS, PATIENT, A, B, C, D, Work
from failing_flows import Decide, Overdue, Recalled, Redone, Refused, Saga, Stained, Withdrawn
from typing_extensions import TypedDict

from hephaestus_celery import (
    FAILED,
    Again,
    Async,
    Done,
    Ok,
    RetryPolicy,
    Unique,
    Wait,
    WaitForEvent,
    Workflow,
    step,
    task_step,
)


class Linear(Workflow):
    name = "chaos_linear"
    unique = Unique("chaoslinear")
    default_retry = PATIENT
    initial_step = A
    transitions = {(A, "done"): B, (B, "done"): C, (C, "done"): Done}


class Diamond(Workflow):
    name = "chaos_diamond"
    unique = Unique("chaosdiamond")
    default_retry = PATIENT
    initial_step = A
    transitions = {(A, "done"): [B, C], (B, "done"): D, (C, "done"): D, (D, "done"): Done}


BRANCHES = [type(f"Branch{number}", (Work,), {}) for number in range(8)]


class Wide(Workflow):
    name = "chaos_wide"
    unique = Unique("chaoswide")
    default_retry = PATIENT
    initial_step = A
    transitions = {
        (A, "done"): BRANCHES,
        **{(branch, "done"): D for branch in BRANCHES},
        (D, "done"): Done,
    }


class Choose(Work):
    events = ("left", "right")

    def answer(self, instance, config, context):
        return Ok("left" if context.initial["value"] % 2 else "right")


class Left(Work): ...


class Right(Work): ...


class Choice(Workflow):
    """An exclusive choice beside a parallel branch, and a merge behind both."""

    name = "chaos_choice"
    unique = Unique("chaoschoice")
    default_retry = PATIENT
    initial_step = A
    transitions = {
        (A, "done"): [Choose, B],
        (Choose, "left"): Left,
        (Choose, "right"): Right,
        (Left, "done"): D,
        (Right, "done"): D,
        (B, "done"): D,
        (D, "done"): Done,
    }


SHORT, LONG = Wait.named("short"), Wait.named("long")


class Naps(Workflow):
    """Two timers side by side."""

    name = "chaos_naps"
    unique = Unique("chaosnaps")
    default_retry = PATIENT
    initial_step = A
    transitions = {
        (A, "done"): [
            (SHORT, {"duration": timedelta(milliseconds=200)}),
            (LONG, {"duration": timedelta(seconds=1)}),
        ],
        (SHORT, "timeout"): B,
        (LONG, "timeout"): D,
        (B, "done"): D,
        (D, "done"): Done,
    }


class Deadline(Workflow):
    """A wait that either an event or its timeout ends, whichever comes first."""

    name = "chaos_deadline"
    unique = Unique("chaosdeadline")
    default_retry = PATIENT
    initial_step = A
    transitions = {
        (A, "done"): (WaitForEvent, {"event_name": "paid", "timeout_ms": 500}),
        (WaitForEvent, "received"): B,
        (WaitForEvent, "timeout"): C,
        (B, "done"): Done,
        (C, "done"): Done,
    }


class Ask(Work):
    events = ("approved",)

    def answer(self, instance, config, context):
        return Async()


class Approval(Workflow):
    """A step that waits without a limit, for an event that is sent early and kept."""

    name = "chaos_approval"
    unique = Unique("chaosapproval")
    default_retry = PATIENT
    initial_step = A
    transitions = {(A, "done"): [Ask, B], (Ask, "approved"): D, (B, "done"): D, (D, "done"): Done}


# The client of the load is older than the workers, and takes anything for a name.
Name = str if os.environ.get("HEPHAESTUS_TEST_ROLE") == "worker" else Any


class Payment(TypedDict):
    by: Name


class Paid(WaitForEvent[Payment]): ...


class Checked(Workflow):
    """A wait for an event with a type. The first that comes does not fit it, and is dropped; the second does."""

    name = "chaos_checked"
    unique = Unique("chaoschecked")
    default_retry = PATIENT
    initial_step = A
    transitions = {(A, "done"): [(Paid, {"event_name": "checked"}), B], Paid: D, (B, "done"): D, (D, "done"): Done}


@step
def weigh(instance):
    return _worked(instance.run_id, "weigh")


@Celery("chaos_tasks", set_as_current=False).task(bind=True, shared=False)
def label(self, by):
    """A task of an application, whose request has the id of the run in it."""
    return _worked(self.request.id.partition(":")[0], "label") | {"after": by}


def _worked(run_id, key):
    recorder.note("executed", run_id=run_id, step=key)
    time.sleep(random.uniform(*BODY_SECONDS))
    return {"by": key}


Label = task_step(label, arguments=lambda context: context.result(weigh), event="labelled")


weigh.answer = Label.answer = True  # which the checker looks for, in steps that note their executions


class Brief(Workflow):
    name = "chaos_brief"
    unique = Unique("chaosbrief")
    default_retry = PATIENT
    initial_step = weigh
    transitions = {weigh: Label, Label: Done}


class Declined(Work):
    """Fails for good, whatever kills of its attempts."""

    retry = RetryPolicy(max_attempts=3, backoff="constant", base=0.05, jitter=False)

    def answer(self, instance, config, context):
        raise ValueError("declined")


class Refund(Work):
    def answer(self, instance, config, context):
        return Ok("done", {"kind": context.failure(Declined).kind})


class Caught(Workflow):
    """A failure that a transition takes, beside a branch that goes on."""

    name = "chaos_caught"
    unique = Unique("chaoscaught")
    default_retry = PATIENT
    initial_step = [Declined, B]
    transitions = {
        (Declined, "done"): D,
        (Declined, FAILED): Refund,
        (Refund, "done"): D,
        (B, "done"): D,
        (D, "done"): Done,
    }


class FirstOf(Workflow):
    """A join that is content with the first of three; what is left behind is discarded, or never begun."""

    name = "chaos_first_of"
    unique = Unique("chaosfirstof")
    default_retry = PATIENT
    initial_step = A
    transitions = {
        (A, "done"): [B, C, Left],
        (B, "done"): D,
        (C, "done"): D,
        (Left, "done"): D,
        (D, "done"): Right,
        (Right, "done"): Done,
    }
    joins = {D: 1}


class Poll(Work):
    """Is ready in its fifth round; some of them begin at once."""

    events = ("ready",)

    def answer(self, instance, config, context):
        seen = context.state.get("seen", [])
        if context.round == POLLS:
            return Ok("ready", {"seen": seen})
        return Again(0 if context.round % 2 else 0.1, {"seen": [*seen, context.round]})


POLLS = 5


class Polling(Workflow):
    """A step that polls, beside a branch that goes on."""

    name = "chaos_polling"
    unique = Unique("chaospolling")
    default_retry = PATIENT
    initial_step = A
    transitions = {(A, "done"): [Poll, B], (Poll, "ready"): D, (B, "done"): D, (D, "done"): Done}


class Summed(Workflow):
    """Two branches, and a result of both that takes a moment."""

    name = "chaos_summed"
    unique = Unique("chaossummed")
    default_retry = PATIENT
    initial_step = [A, B]
    transitions = {(A, "done"): Done, (B, "done"): Done}

    @staticmethod
    def result(context):
        time.sleep(random.uniform(*BODY_SECONDS))
        return {"by": sorted(result["by"] for result in context.steps.values())}


FLOWS = (
    *(Linear, Diamond, Wide, Choice, Naps, Deadline, Approval, Brief, Caught, FirstOf, Checked, Polling, Summed),
    *(Saga, Overdue, Recalled, Withdrawn, Stained, Redone),
)
EVENTS = {Approval: "approved", Deadline: "paid", Checked: "checked"}
"""The event that a run of the workflow is sent right after its start, to be kept until its step waits."""
ENDINGS = {
    Saga: ("failed", Refused),
    Overdue: ("failed", None),
    Recalled: ("failed", None),
    Withdrawn: ("cancelled", None),
    Stained: ("failed", Refused),
    Redone: ("failed", Decide),
}
"""How runs of the workflow end that do not complete: their status, and the step that has failed; none where the deadline has
come, or the load has cancelled them. Their reruns complete."""
IDLE = {Overdue, Recalled, Withdrawn, Checked}
"""Whose runs stand still by themselves, until a deadline or the load moves them on."""
MENDED = {"mended": True}
"""The context with which reruns complete."""
MISFITS = {Checked: {"by": 7}}
"""The data of an event that comes before that one, and does not fit the type of its step."""


class Once(Work):
    """May be attempted once only: whatever counts as an attempt without one fails it."""

    retry = RetryPolicy(max_attempts=1)


class Fragile(Workflow):
    name = "chaos_fragile"
    unique = Unique("chaosfragile")
    initial_step = Once
    transitions = {(Once, "done"): Done}
