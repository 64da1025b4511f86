"""The laws of undoing: random steps, random ends, in any order, with losses and repetitions at any moment."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery import Status
from hephaestus_celery.core.execution import transitions as rules
from hephaestus_celery.core.execution import waiting
from hephaestus_celery.core.execution.due import due
from hephaestus_celery.core.execution.joins import Row, Settlement
from hephaestus_celery.core.execution.rounds import again
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.execution.undoing import begun
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.undo import Undo

STEPS = ("a", "b", "c", "d", "e")
UNDONE = {"a": "undo_a", "b": "undo_b", "d": "undo_d"}
NOTHING = Settlement(taken=(), dead=(), rows={})
LAST = {key: Settlement(taken=("done",), dead=(), rows={"done": Row(predecessors=len(STEPS))}) for key in STEPS}
ENDS = ("complete", "complete", "complete", "fail", "retry", "suspend", "again", "lose", "due")


class Run:
    """Steps side by side, three of which can be undone; what happens to them is noted."""

    def __init__(self):
        self.clock = 0
        self.state = rules.create(initials=dict.fromkeys(STEPS, 2), times=self.times(), compensates=True).state
        self.undone, self.completed = [], []
        self.stopped_at = None

    def times(self):
        self.clock += 1_000_000
        return Times(now=self.clock, lease=100, dispatch_timeout=100)

    def decide(self, decision):
        before = self.state
        assert decision.verdict is not Verdict.CONFLICT
        if decision.verdict is Verdict.STALE:
            assert decision.state == before or before.steps != decision.state.steps  # of a step that is hastened
            return decision
        assert decision.state.sequence == before.sequence + decision.reserved
        self.state = decision.state
        started = [key for key in self.state.steps if key not in before.steps]
        for key in started:
            assert before.undoing is not None or self.state.undoing is not None or key == "done"
            assert not any(step.fence for step in self.state.steps.values())
            self.undone.append(self.state.steps[key].compensates)
        assert len(started) <= 1
        return decision

    def claim(self, key):
        step = self.state.steps[key]
        decision = rules.claim(
            self.state,
            Activation(key),
            attempt=step.attempt,
            round=step.round,
            fence=f"f{self.clock}",
            launch=False,
            times=self.times(),
        )
        if decision.verdict is Verdict.APPLIED:
            assert self.state.undoing is None or step.compensates is not None
        self.decide(decision)

    def end(self, key, how):
        step, times = self.state.steps[key], self.times()
        activation, fence = Activation(key), step.fence
        if how == "complete":
            compensation = UNDONE.get(key)
            undo = compensation and Undo(step=key, compensation=compensation, max_attempts=2)
            settlement = LAST.get(key, NOTHING)
            decision = rules.complete(
                self.state,
                activation,
                fence=fence,
                event="ok",
                settlement=settlement,
                attempts={"done": 1},
                times=times,
                undo=undo or None,
            )
            if decision.verdict is not Verdict.STALE and key in STEPS:
                self.completed.append(key)
        elif how == "fail":
            decision = rules.fail(self.state, activation, fence=fence, times=times)
        elif how == "retry" or step.attempt > 1:
            decision = rules.retry(self.state, activation, fence=fence, delay=1, times=times)
        elif how == "suspend":
            decision = waiting.suspend(
                self.state, activation, fence=fence, accepts={"go": "ok"}, timeout=1, times=times
            )
        else:
            decision = again(self.state, activation, fence=fence, delay=1, times=times)
        self.decide(decision)
        if decision.verdict is not Verdict.STALE:  # its repetition changes nothing
            repeated = rules.fail(self.state, activation, fence=fence, times=times)
            assert repeated.verdict is Verdict.STALE

    def come_due(self, key):
        kind, decision = due(self.state, Activation(key), fence=f"s{self.clock}", times=self.times())
        del kind
        self.decide(decision)


def perform(run, data):
    key = data.draw(st.sampled_from(sorted(run.state.steps)))
    step = run.state.steps[key]
    how = data.draw(st.sampled_from(ENDS))
    if how == "due":
        run.come_due(key)
    elif step.fence is None:
        run.claim(key)
    elif how == "lose":
        run.come_due(key)
    else:
        run.end(key, how)


def finish(run, data):
    """Nothing is left alone: what is executed ends, what waits comes due, until the run has ended."""
    for _ in range(300):
        if run.state.status.final:
            return
        for key, step in list(run.state.steps.items()):
            if step.fence is not None:
                run.end(key, data.draw(st.sampled_from(["complete", "fail"])))
            elif step.status is StepStatus.WAITING and step.resume is None:
                run.come_due(key)
            elif step.status in (StepStatus.ACTIVE, StepStatus.WAITING):
                run.come_due(key)
                run.claim(key)
            if run.state.status.final:
                return
    raise AssertionError(f"the run does not end: {run.state}")


@given(st.data(), st.integers(0, 25), st.sampled_from(["fail", "cancel", "nothing"]))
def test_each_completed_step_is_undone_once_the_last_one_first(data, count, how):
    run = Run()
    for _ in range(count):
        if not run.state.status.final:
            perform(run, data)
    if how == "cancel" and not run.state.status.final:
        run.decide(rules.cancel(run.state, times=run.times(), compensate=True))
    finish(run, data)
    wanted = [key for key in reversed(run.completed) if key in UNDONE]
    if run.state.status is Status.COMPLETED:
        assert run.undone in ([None], [])
        return
    assert [key for key in run.undone if key is not None] == wanted
    assert begun(run.state) == set(wanted)
    assert run.state.undoing.left == 0
    live = (StepStatus.ACTIVE, StepStatus.WAITING)
    assert not [key for key, step in run.state.steps.items() if step.status in live]
    after = rules.cancel(run.state, times=run.times())
    assert after.verdict is Verdict.STALE


@given(st.data(), st.integers(0, 25))
def test_a_cancellation_ends_a_run_that_undoes_at_once(data, count):
    run = Run()
    for _ in range(count):
        if not run.state.status.final:
            perform(run, data)
    if not run.state.status.final:
        run.decide(rules.cancel(run.state, times=run.times(), compensate=True))
    if run.state.status.final:
        return
    failed = replace(run.state, failed_step="x")
    decision = rules.cancel(failed, times=run.times())
    assert (decision.state.status, decision.state.failed_step) == (Status.CANCELLED, "x")
    assert decision.reserved == 1
