"""Workflows of the chaos suite whose runs fail; some undo what has completed by then."""

from __future__ import annotations

from chaos_steps import PATIENT, A, B, C, D, Work

from hephaestus_celery import Again, Async, Done, NonRetryableError, Ok, RetryPolicy, Unique, WaitForEvent, Workflow


class Refused(Work):
    """Fails for good at once."""

    retry = RetryPolicy(max_attempts=1)
    failure = "ValueError"

    def answer(self, instance, config, context):
        raise ValueError("refused")


class Slow(Work):
    seconds = (0.1, 0.5)


class UndoA(Work):
    """Waits for a moment."""

    events = ("timeout",)

    def answer(self, instance, config, context):
        return Async(timeout=0.1)


class UndoB(Work):
    """Asks for a second round."""

    def answer(self, instance, config, context):
        return Again(0.1) if context.round == 1 else Ok("done", {"by": self.key})


class UndoSlow(Slow): ...


COMPENSATIONS = {A: UndoA, B: UndoB, Slow: UndoSlow}


class Saga(Workflow):
    """Its last step fails, often while another is executed; what has completed by then is undone."""

    name = "chaos_saga"
    unique = Unique("chaossaga")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: B, B: [Slow, Refused], Slow: D, Refused: D, D: Done}
    compensations = COMPENSATIONS


class Stuck(Work):
    """Undoes nothing, whatever kills of its attempts."""

    retry = RetryPolicy(max_attempts=2, backoff="constant", base=0.05, jitter=False)

    def answer(self, instance, config, context):
        raise ValueError("stuck")


class Stained(Workflow):
    """One of its compensations fails for good, and the others go on."""

    name = "chaos_stained"
    unique = Unique("chaosstained")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: B, B: [Slow, Refused], Slow: D, Refused: D, D: Done}
    compensations = {**COMPENSATIONS, B: Stuck}


class Decide(Work):
    """Refuses until the initial context says that all is well."""

    failure = "hephaestus_celery.exceptions.NonRetryableError"

    def answer(self, instance, config, context):
        if context.initial.get("mended"):
            return Ok("done", {"by": self.key})
        raise NonRetryableError("refused")


class Redone(Workflow):
    """Fails, and undoes one of its branches; a retry or a fork with a mended context keeps the other, and completes."""

    name = "chaos_redone"
    unique = Unique("chaosredone")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: [B, C], B: Decide, C: Decide, Decide: Done}
    compensations = {B: UndoB, Decide: UndoA}


KEPT = {A, C}
"""What a rerun of such a run keeps."""

NEVER = (WaitForEvent, {"event_name": "never"})
OVERDUE = 1.5


class Overdue(Workflow):
    """A run that nothing but its deadline ends."""

    name = "chaos_overdue"
    unique = Unique("chaosoverdue")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: [NEVER, B], B: D, WaitForEvent: D, D: Done}
    deadline = OVERDUE


class Recalled(Workflow):
    """Its deadline comes, also while steps are executed; what has completed by then is undone, however long that takes."""

    name = "chaos_recalled"
    unique = Unique("chaosrecalled")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: [NEVER, B], B: Slow, Slow: C, C: D, WaitForEvent: D, D: Done}
    compensations = COMPENSATIONS
    deadline = OVERDUE


class Withdrawn(Workflow):
    """Is cancelled by the load; what has completed by then is undone."""

    name = "chaos_withdrawn"
    unique = Unique("chaoswithdrawn")
    default_retry = PATIENT
    initial_step = A
    transitions = {A: [NEVER, B], B: Slow, Slow: C, C: D, WaitForEvent: D, D: Done}
    compensations = COMPENSATIONS
