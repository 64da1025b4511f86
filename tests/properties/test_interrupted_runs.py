"""A run into which failures, losses, cancellations and repeats break at any moment, against a model of its status."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from random_runs import Play, plots

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus


class InterruptedRun(RuleBasedStateMachine):
    """The model knows three things: whether a worker has come, how the run ended, and who has answered already."""

    def __init__(self):
        super().__init__()
        self.play = None
        self.taken = False
        self.ended = None
        self.answered = set()
        self.terminals = 0

    @initialize(plot=plots(max_steps=6))
    def create(self, plot):
        self.play = Play(plot, losses=3)

    @precondition(lambda self: self.play.possible())
    @rule(data=st.data())
    def go_on(self, data):
        name, key = data.draw(st.sampled_from(self.play.possible()))
        suspends = self.play.suspends(key)
        decision = self.play.perform((name, key))
        assert decision.verdict is Verdict.APPLIED
        self.taken = self.taken or name == "claim"
        if name == "answer" and not suspends:
            self.answered.add(key)
        if decision.done:
            self._ends("completed")

    @precondition(lambda self: self.play.executing() and not self.ended)
    @rule(data=st.data())
    def fail_an_attempt(self, data):
        key = data.draw(st.sampled_from(self.play.executing()))
        attempt = self.play.state.steps[key].attempt
        fence = self.play.fence(key)
        assert self.play.perform(("retry", key)).verdict is Verdict.APPLIED
        assert self.play.state.steps[key].attempt == attempt + 1
        assert self.play.complete(key, fence=fence).verdict is Verdict.STALE
        assert self.play.decide(("claim", key)).verdict is Verdict.STALE

    @precondition(lambda self: self.play.rescued())
    @rule(data=st.data())
    def answer_of_a_lost_attempt(self, data):
        key = data.draw(st.sampled_from(self.play.rescued()))
        before = self.play.state
        for decision in (self.play.complete(key), self.play.suspend(key), self.play.decide(("retry", key))):
            assert (decision.verdict, decision.state) == (Verdict.STALE, before)

    @precondition(lambda self: self.play.executing() or self.play.rescued())
    @rule(data=st.data())
    def fail(self, data):
        key = data.draw(st.sampled_from(self.play.executing() + self.play.rescued()))
        decision = self.play.perform(("fail", key))
        if self.ended:
            assert decision.verdict is Verdict.DISCARDED
        else:
            assert decision.verdict is Verdict.APPLIED
            self._ends("failed")
        self.answered.add(key)

    @rule()
    def cancel(self):
        decision = self.play.perform(("cancel", ""))
        if self.ended:
            assert decision.verdict is Verdict.STALE
        else:
            self._ends("cancelled")

    @precondition(lambda self: self.ended and self.play.executing())
    @rule(data=st.data())
    def answer_too_late(self, data):
        key = data.draw(st.sampled_from(self.play.executing()))
        steps = {name: step.status for name, step in self.play.state.steps.items()}
        assert self.play.perform(("answer", key)).verdict is Verdict.DISCARDED
        assert {name: step.status for name, step in self.play.state.steps.items()} == steps
        self.answered.add(key)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def answer_again(self, data):
        key = data.draw(st.sampled_from(sorted(self.answered)))
        before = self.play.state
        for decision in (self.play.complete(key), self.play.suspend(key), self.play.decide(("fail", key))):
            assert (decision.verdict, decision.state) == (Verdict.STALE, before)

    @rule(data=st.data())
    def claim_what_is_not_to_be_had(self, data):
        key = data.draw(st.sampled_from(self.play.plot.keys))
        if ("claim", key) not in self.play.possible():
            decision = self.play.decide(("claim", key))
            assert decision.verdict in (Verdict.STALE, Verdict.TAKEN)
            assert decision.state is self.play.state

    @invariant()
    def the_status_follows_from_the_steps(self):
        if self.play is None:
            return
        statuses = [step.status for step in self.play.state.steps.values()]
        if self.ended:
            expected = self.ended
        elif not self.taken:
            expected = "pending"
        elif StepStatus.ACTIVE in statuses:
            expected = "running"
        else:
            expected = "waiting"
        assert self.play.state.status == expected

    @invariant()
    def nothing_is_left_after_the_end(self):
        if self.ended:
            assert self.play.state.count(StepStatus.ACTIVE) == self.play.state.count(StepStatus.WAITING) == 0

    @invariant()
    def the_end_comes_once(self):
        assert self.terminals == (1 if self.ended else 0)

    @invariant()
    def the_step_that_failed_the_run_is_named(self):
        if self.play is not None:
            failed = [key for key, step in self.play.state.steps.items() if step.status is StepStatus.FAILED]
            assert failed == ([self.play.state.failed_step] if self.ended == "failed" else [])

    def _ends(self, status):
        self.ended = status
        self.terminals += 1


class TestInterruptedRun(InterruptedRun.TestCase):
    settings = settings(settings.get_profile("ci"), stateful_step_count=40)
