"""A run into which failures, losses, cancellations and repeats break at any moment, against a model of its status."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from random_runs import SimulatedRun, random_workflows

from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.lifecycle import StepStatus


class InterruptedRun(RuleBasedStateMachine):
    """The model knows three things: whether a worker has come, how the run ended, and who has answered already."""

    def __init__(self):
        super().__init__()
        self.run = None
        self.taken = False
        self.ended = None
        self.over_time = False
        self.answered = set()
        self.terminals = 0

    @initialize(workflow=random_workflows(max_steps=6))
    def create(self, workflow):
        self.run = SimulatedRun(workflow, losses=3)

    @precondition(lambda self: self.run.possible())
    @rule(data=st.data())
    def go_on(self, data):
        name, key = data.draw(st.sampled_from(self.run.possible()))
        suspends = self.run.suspends(key)
        decision = self.run.perform((name, key))
        assert decision.verdict is Verdict.APPLIED
        self.taken = self.taken or name == "claim"
        if name == "answer" and not suspends:
            self.answered.add(key)
        if decision.done:
            self._ends("completed")

    @precondition(lambda self: self.run.executing() and not self.ended)
    @rule(data=st.data())
    def fail_an_attempt(self, data):
        key = data.draw(st.sampled_from(self.run.executing()))
        attempt = self.run.state.steps[key].attempt
        fence = self.run.fence(key)
        assert self.run.perform(("retry", key)).verdict is Verdict.APPLIED
        assert self.run.state.steps[key].attempt == attempt + 1
        assert self.run.complete(key, fence=fence).verdict is Verdict.STALE
        assert self.run.decide(("claim", key)).verdict is Verdict.STALE

    @precondition(lambda self: self.run.rescued())
    @rule(data=st.data())
    def answer_of_a_lost_attempt(self, data):
        key = data.draw(st.sampled_from(self.run.rescued()))
        before = self.run.state
        for decision in (self.run.complete(key), self.run.suspend(key), self.run.decide(("retry", key))):
            assert (decision.verdict, decision.state) == (Verdict.STALE, before)

    @precondition(lambda self: self.run.executing() or self.run.rescued())
    @rule(data=st.data())
    def fail(self, data):
        key = data.draw(st.sampled_from(self.run.executing() + self.run.rescued()))
        decision = self.run.perform(("fail", key))
        if self.ended:
            assert decision.verdict is Verdict.DISCARDED
        else:
            assert decision.verdict is Verdict.APPLIED
            self._ends("failed")
        self.answered.add(key)

    @rule()
    def cancel(self):
        decision = self.run.perform(("cancel", ""))
        if self.ended:
            assert decision.verdict is Verdict.STALE
        else:
            self._ends("cancelled")

    @rule()
    def exceed_the_deadline(self):
        before = self.run.state
        decision = self.run.perform(("expire", ""))
        if self.ended:
            assert (decision.verdict, decision.state) == (Verdict.STALE, before)
        else:
            assert decision.state.sequence == before.sequence + 1
            self.over_time = True
            self._ends("failed")

    @precondition(lambda self: self.ended and self.run.executing())
    @rule(data=st.data())
    def answer_too_late(self, data):
        key = data.draw(st.sampled_from(self.run.executing()))
        steps = {name: step.status for name, step in self.run.state.steps.items()}
        assert self.run.perform(("answer", key)).verdict is Verdict.DISCARDED
        assert {name: step.status for name, step in self.run.state.steps.items()} == steps
        self.answered.add(key)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def answer_again(self, data):
        key = data.draw(st.sampled_from(sorted(self.answered)))
        before = self.run.state
        for decision in (self.run.complete(key), self.run.suspend(key), self.run.decide(("fail", key))):
            assert (decision.verdict, decision.state) == (Verdict.STALE, before)

    @rule(data=st.data())
    def claim_what_is_not_to_be_had(self, data):
        key = data.draw(st.sampled_from(self.run.workflow.keys))
        if ("claim", key) not in self.run.possible():
            decision = self.run.decide(("claim", key))
            assert decision.verdict in (Verdict.STALE, Verdict.TAKEN)
            assert decision.state is self.run.state

    @invariant()
    def the_status_follows_from_the_steps(self):
        if self.run is None:
            return
        statuses = [step.status for step in self.run.state.steps.values()]
        if self.ended:
            expected = self.ended
        elif not self.taken:
            expected = "pending"
        elif StepStatus.ACTIVE in statuses:
            expected = "running"
        else:
            expected = "waiting"
        assert self.run.state.status == expected

    @invariant()
    def nothing_is_left_after_the_end(self):
        if self.ended:
            assert self.run.state.count(StepStatus.ACTIVE) == self.run.state.count(StepStatus.WAITING) == 0

    @invariant()
    def the_end_comes_once(self):
        assert self.terminals == (1 if self.ended else 0)

    @invariant()
    def the_step_that_failed_the_run_is_named(self):
        if self.run is not None:
            failed = [key for key, step in self.run.state.steps.items() if step.status is StepStatus.FAILED]
            alone = self.ended == "failed" and not self.over_time
            assert failed == ([self.run.state.failed_step] if alone else [])
            assert self.over_time is False or self.run.state.failed_step is None

    def _ends(self, status):
        self.ended = status
        self.terminals += 1


class TestInterruptedRun(InterruptedRun.TestCase):
    settings = settings(settings.get_profile("ci"), stateful_step_count=40)
