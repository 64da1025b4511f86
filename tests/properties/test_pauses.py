"""The laws of pauses, on the store in memory: random workflows, whose messages, events and pauses come in random orders."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from given_time import GivenChance, GivenClock
from hypothesis import given
from hypothesis import strategies as st
from random_runs import random_workflows

from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.storage.claims import Refusal, Refused
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.testing.conformance.driven import DrivenStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.sent import sent

LONG = dataclasses.replace(DURATIONS, lease=10**15, dispatch_timeout=10**15)
"""No message and no worker counts as lost here, so each second message of a step would be one too many."""
LANE = "0:work"
MOST_RETRIES = 2
ENOUGH = 200  # calls after the last pause, for runs of up to six steps


class PausedRun:
    """A run with all that happens around it: messages under way, workers that hold steps, and whoever pauses it."""

    def __init__(self, workflow, *, lane):
        self.workflow = workflow
        self.clock = GivenClock()
        self.stand = DrivenStorage(MemoryStorage(clock=self.clock, chance=GivenChance(1)), durations=LONG)
        self.run = self.stand.start(workflow.transitions, lane=lane)
        self.pauses = set()
        self.messages, self.under_way, self.waited, self.retries = set(), [], set(), MOST_RETRIES
        self.sent, self.dropped, self.claimed = Counter(), Counter(), Counter()
        self._send((str(each.activation), each.attempt, each.token) for each in self.run.dispatched)

    def possible(self):
        """What may happen next, beside pauses."""
        found = [("bring", place) for place in range(len(self.under_way))]
        for key, step in self.run.load().steps.items():
            if step.fence is not None and step.status is not StepStatus.COMPLETED:
                found.append(("answer", key))
                found += [("retry", key)] if self.retries and step.resume is None else []
            elif step.waits:
                found.append(("deliver", key))
        return [*found, ("tick", None)]

    def perform(self, name, what):
        self.clock.now_ns += 1_000_000
        getattr(self, name)(what)

    def bring(self, place):
        """A worker brings a message."""
        key, attempt, token = self.under_way.pop(place)
        claim = self.run.claim(key, attempt, lane=self.run.lane, token=token)
        if self.pauses:
            assert claim == Refusal(reason=Refused.PAUSED)
            self.dropped[key] += 1
        else:
            assert not isinstance(claim, Refusal), "what is not paused is claimed"
            self.claimed[key, attempt, claim.resume is not None] += 1

    def answer(self, key):
        if key in self.workflow.waits and key not in self.waited:
            self.waited.add(key)
            self._send_of(self.run.suspend(key, accepts={f"go-{key}": self.workflow.answers[key]}))
        else:
            self._send_of(self.run.complete(key, self.workflow.answers[key]), completion=True)

    def retry(self, key):
        self.retries -= 1
        self.run.retry(key)

    def deliver(self, key):
        self._send_of(self.run.deliver(f"go-{key}"))

    def tick(self, _):
        self._send(message[1:] for message in sent(self.stand.tick().entries))

    def pause(self, reason):
        self.pauses.add(reason)
        assert self.run.pause() if reason == "run" else self.stand.pause_workflow()

    def unpause(self, reason):
        self.pauses.discard(reason)
        assert self.run.unpause() if reason == "run" else self.stand.unpause_workflow()

    def _send_of(self, report, *, completion=False):
        messages = [(str(each.activation), each.attempt, each.token) for each in report.dispatches]
        self._send(messages, completion=completion)

    def _send(self, messages, *, completion=False):
        for message in messages:
            assert message not in self.messages, "each message has a token of its own"
            self.messages.add(message)
            assert not self.pauses or (completion and self.pauses == {"workflow"}), "a pause sends nothing"
            self.under_way.append(message)
            self.sent[message[0]] += 1


@given(random_workflows(max_steps=6), st.sampled_from([None, LANE]), st.data())
def test_no_step_is_claimed_in_a_pause_and_afterwards_none_is_lost_and_none_doubled(workflow, lane, data):
    paused = PausedRun(workflow, lane=lane)
    for _ in range(data.draw(st.integers(5, 60), label="how long it is paused now and then")):
        if paused.run.load().status.final:
            break
        changes = [("unpause" if reason in paused.pauses else "pause", reason) for reason in ("run", "workflow")]
        paused.perform(*data.draw(st.sampled_from([*paused.possible(), *changes]), label="next"))
    if not paused.run.load().status.final:
        for reason in sorted(paused.pauses):
            paused.perform("unpause", reason)
    for _ in range(ENOUGH):
        if paused.run.load().status.final:
            break
        possible = paused.possible()
        paused.perform(*(data.draw(st.sampled_from(possible[:-1]), label="then") if possible[1:] else possible[0]))
        paused.perform("tick", None)

    assert paused.run.load().status is Status.COMPLETED
    assert set(paused.claimed.values()) == {1}
    times = Counter(key for key, _, _ in paused.claimed)
    assert {key: paused.sent[key] - paused.dropped[key] for key in times} == times


@given(st.permutations("abcde"), st.booleans(), st.data())
def test_what_was_accepted_in_a_pause_goes_on_in_the_order_in_which_it_came(order, whole, data):
    transitions = {(key, "ok"): ("done",) for key in "abcde"}
    clock = GivenClock()
    stand = DrivenStorage(MemoryStorage(clock=clock, chance=GivenChance(1)), durations=LONG)
    run = stand.start(transitions)
    for key in "abcde":
        run.wait_at(key, accepts={f"go-{key}": "ok", "timeout": "ok"})
    (stand.pause_workflow if whole else run.pause)()
    for key in order:
        clock.now_ns += 1_000_000
        if data.draw(st.booleans(), label="by a timer"):
            run.schedule(key, reference=f"timer {key}")
            stand.tick()
        else:
            assert run.deliver(f"go-{key}").outcome == "accepted"
    (stand.unpause_workflow if whole else run.unpause)()
    clock.now_ns += 1_000_000
    assert [step for _, step, _, _ in sent(stand.tick().entries)] == list(order)


@pytest.mark.parametrize("whole", [True, False])
def test_pausing_and_going_on_again_and_again_changes_nothing(whole):
    clock = GivenClock()
    stand = DrivenStorage(MemoryStorage(clock=clock, chance=GivenChance(1)), durations=LONG)
    run = stand.start({("a", "ok"): ("done",)}, lane=LANE)
    before = run.load().steps
    for _ in range(3):
        (stand.pause_workflow if whole else run.pause)()
        clock.now_ns += 1_000_000
        assert list(stand.tick().entries) == []
        (stand.unpause_workflow if whole else run.unpause)()
    assert run.load().steps == before
