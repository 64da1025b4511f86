"""Random workflows, and runs of them in which chance decides who comes next.

A :class:`RandomWorkflow` is a workflow together with the event that each step will give and whether it waits first; so two
runs of one workflow differ in nothing but the order of things. A :class:`SimulatedRun` is such a run, driven through the pure
transitions of ``core.execution``; it keeps the law on sequence numbers and notes who was started when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from hephaestus_celery import FAILED, Done, Ok, Step, Unique, Workflow
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution import deadlines
from hephaestus_celery.core.execution import transitions as run
from hephaestus_celery.core.execution import waiting as waits
from hephaestus_celery.core.execution.delivery import receive, waiting_for
from hephaestus_celery.core.execution.due import due
from hephaestus_celery.core.execution.joins import Settlement
from hephaestus_celery.core.execution.state import AtDone, Decision, RunState, Verdict
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.lifecycle import Status, StepStatus

Transitions = Mapping[tuple[str, str], tuple[str, ...]]
Operation = tuple[str, str]


@dataclass(frozen=True)
class RandomWorkflow:
    """``transitions`` by key, as they were drawn; ``answers``: the event of each step; ``waits``: who suspends first."""

    flow: type[Workflow] = field(repr=False)
    transitions: Transitions
    answers: Mapping[str, str]
    waits: frozenset[str]
    joins: Mapping[str, int | str] = field(default_factory=dict)

    def needed(self, key: str) -> int:
        """The number of a counted join, else 0."""
        return self.flow.graph.needed(self.flow.graph.by_key[key])

    @property
    def keys(self) -> list[str]:
        return [*self.answers, "done"]

    def predecessors(self, key: str) -> set[str]:
        return {source for (source, _), targets in self.transitions.items() if key in targets}


@st.composite
def transition_tables(draw, max_steps=7, min_steps=1):
    """Transitions by key, every step leading to ``done`` in the end; a run begins with whatever nothing leads to."""
    count = draw(st.integers(min_steps, max_steps))
    events = [draw(st.integers(1, 3)) for _ in range(count)]
    table = {
        (f"s{number}", f"e{event}"): set(draw(st.sets(st.integers(number + 1, count), max_size=3)))
        for number in range(count)
        for event in range(events[number])
    }
    for number in draw(st.sets(st.integers(0, count - 1), max_size=2)):
        table[f"s{number}", FAILED] = set(draw(st.sets(st.integers(number + 1, count), max_size=3)))
    for number in range(draw(st.integers(1, count)), count):
        source = draw(st.integers(0, number - 1))
        event = draw(st.integers(0, events[source] - 1))
        if not any(number in targets for targets in table.values()):
            table[f"s{source}", f"e{event}"].add(number)
    return {
        pair: tuple(f"s{target}" if target < count else "done" for target in sorted(targets or {count}))
        for pair, targets in table.items()
    }


def initials_of(transitions: Transitions) -> list[str]:
    """The keys of the steps that nothing leads to."""
    reached = {target for targets in transitions.values() for target in targets}
    return [key for key in dict.fromkeys(source for source, _ in transitions) if key not in reached]


def joining(transitions: Transitions) -> dict[str, int]:
    """The steps that may have an entry in ``joins``, with how many predecessors they have."""
    sources: dict[str, set[str]] = {}
    for (source, _), targets in transitions.items():
        for target in targets:
            sources.setdefault(target, set()).add(source)
    return {key: len(found) for key, found in sources.items() if len(found) > 1 and key != "done"}


def workflow_of(transitions: Transitions, joins: Mapping[str, int | str] | None = None) -> type[Workflow]:
    """A real workflow with these transitions; without ``joins`` each join has whatever can still come."""
    joins = dict.fromkeys(joining(transitions), "any") if joins is None else joins
    steps = {"done": Done}
    for source in dict.fromkeys(source for source, _ in transitions):
        events = tuple(event for key, event in transitions if key == source and event != FAILED)
        steps[source] = type(source.upper(), (Step,), {"events": events, "execute": _execute, "key": source})
    table = {
        (steps[source], event): [steps[target] for target in targets]
        for (source, event), targets in transitions.items()
    }
    initials = [steps[key] for key in initials_of(transitions)]
    first = initials if len(initials) > 1 else initials[0]
    return type(
        "RandomFlow",
        (Workflow,),
        {
            "unique": Unique("random"),
            "name": "random.Flow",
            "initial_step": first,
            "transitions": table,
            "joins": {steps[key]: number for key, number in joins.items()},
        },
    )


@st.composite
def random_workflows(draw, max_steps=7, *, counted=False):
    """Workflows of plain joins; if ``counted``, of counted ones too."""
    transitions = draw(transition_tables(max_steps))
    keys = list(dict.fromkeys(source for source, _ in transitions))
    answers = {key: draw(st.sampled_from([event for source, event in transitions if source == key])) for key in keys}
    waits = draw(st.sets(st.sampled_from(keys)))
    numbers = [] if not counted else ["all", 1, 2, 3]
    joins = {
        key: draw(st.sampled_from(["any", *(number for number in numbers if number == "all" or number <= count)]))
        for key, count in joining(transitions).items()
    }
    return RandomWorkflow(
        flow=workflow_of(transitions, joins),
        transitions=transitions,
        answers=answers,
        waits=frozenset(waits),
        joins=joins,
    )


class SimulatedRun:
    """One run of a workflow, in which so many workers and messages are lost."""

    checks = False  # whether its steps may drop events
    timeout: int | None = None  # of the steps that wait

    def __init__(self, workflow: RandomWorkflow, *, losses: int = 0) -> None:
        self.workflow = workflow
        self.losses = losses
        self.now = 0
        self.started: list[str] = []
        self.state: RunState = RunState(status=Status.PENDING, steps={})
        self.waited: set[str] = set()
        self.kept: set[str] = set()
        initials = initials_of(workflow.transitions)
        decision = run.create(initials=dict.fromkeys(initials, 1), times=self._times())
        self._note(decision, activated=tuple(initials))

    def possible(self) -> list[Operation]:
        """All that could happen next if nothing fails."""
        if self.state.status.final:
            return []
        found: list[Operation] = []
        for key in sorted(self.workflow.waits - self.kept):
            step = self.state.steps.get(key)
            if step is None or (step.status is StepStatus.ACTIVE and key not in self.waited):
                found.append(("keep", key))
        for key, step in sorted(self.state.steps.items()):
            if step.status is StepStatus.WAITING and step.resume is None:
                found.append(("deliver", key))
            elif step.status in (StepStatus.ACTIVE, StepStatus.WAITING):
                found.extend((name, key) for name in self._possible_for(key))
        return found

    def _possible_for(self, key: str) -> list[str]:
        step = self.state.steps[key]
        if step.backing_off:
            return ["due"]
        if step.fence not in (None, self.fence(key)):
            return ["rescue"]
        loss = ["due"] if self.losses else []
        return ["claim" if step.fence is None else "answer", *loss]

    def executing(self) -> list[str]:
        """Whom a worker holds."""
        return [key for key, step in sorted(self.state.steps.items()) if step.fence == self.fence(key)]

    def rescued(self) -> list[str]:
        """Who was taken from a worker that is gone, and whose attempt is to be failed."""
        return [key for key, step in sorted(self.state.steps.items()) if step.fence == self._rescue(key)]

    def fence(self, key: str) -> str:
        """The fence of the worker that has, or had, the present attempt."""
        step = self.state.steps.get(key)
        return f"{key}:{step.attempt if step else 1}"

    def perform(self, operation: Operation) -> Decision:
        """Let it happen; gives what was decided."""
        name, key = operation
        decision = self.decide(operation)
        if name == "answer" and decision.verdict is Verdict.APPLIED and self.suspends(key):
            self.waited.add(key)
        if name == "keep":
            self.kept.add(key)
        if name == "due" and not self.state.steps[key].backing_off:
            self.losses -= 1
        self._note(decision)
        return decision

    def decide(self, operation: Operation) -> Decision:
        """What the engine says to an operation now; nothing is changed by asking."""
        name, key = operation
        times = self._times()
        step = self.state.steps.get(key)
        attempt, held = (step.attempt, step.fence) if step else (1, None)
        number = step.round if step else 1
        fence, rescue = self.fence(key), self._rescue(key)
        decisions = {
            "claim": lambda: run.claim(
                self.state,
                Activation.parse(key),
                attempt=attempt,
                fence=fence,
                launch=key == "done",
                times=times,
                round=number,
            ),
            "answer": lambda: self.suspend(key) if self.suspends(key) else self.complete(key),
            "fail": lambda: run.fail(self.state, Activation.parse(key), fence=held or fence, times=times),
            "retry": lambda: run.retry(self.state, Activation.parse(key), fence=fence, delay=1, times=times),
            "rescue": lambda: run.retry(self.state, Activation.parse(key), fence=rescue, delay=1, times=times),
            "due": lambda: due(self.state, Activation.parse(key), fence=rescue, times=times)[1],
            "deliver": lambda: waits.deliver(
                self.state, Activation.parse(key), name=_event(key), source="external", times=times
            ),
            "keep": lambda: receive(self.state, name=_event(key), step=None, keep=True, key=key, times=times).decision,
            "cancel": lambda: run.cancel(self.state, times=times),
            "expire": lambda: deadlines.expire(self.state, times=times),
        }
        return decisions[name]()

    def suspends(self, key: str) -> bool:
        return key in self.workflow.waits and key not in self.waited

    def complete(
        self, key: str, *, fence: str | None = None, at_done: AtDone = AtDone.COMPLETES, expected: int | None = None
    ) -> Decision:
        if key == "done":
            event, settlement = "done", Settlement(taken=(), dead=(), rows={})
        else:
            flow, event = self.workflow.flow, self.workflow.answers[key]
            step = flow.graph.by_key[key]
            settlement = plan(flow.graph, step, flow.graph.table[step, event])
        return run.complete(
            self.state,
            Activation.parse(key),
            fence=fence or self.fence(key),
            event=event,
            settlement=settlement,
            attempts=dict.fromkeys(self.workflow.keys, 1),
            times=self._times(),
            expected=expected,
            at_done=at_done,
        )

    def suspend(self, key: str, *, fence: str | None = None) -> Decision:
        accepts = {_event(key): self.workflow.answers[key]}
        return waits.suspend(
            self.state,
            Activation.parse(key),
            fence=fence or self.fence(key),
            accepts=accepts,
            timeout=self.timeout,
            times=self._times(),
            checks=self.checks,
        )

    def waits_for_its_event(self, key: str) -> bool:
        return key in waiting_for(self.state, _event(key))

    def finish(self, choose) -> SimulatedRun:
        """Go on until nothing is possible; ``choose`` picks one of the possible operations."""
        while operations := self.possible():
            self.perform(choose(operations))
        return self

    def outcome(self) -> dict[str, object]:
        """Where the run stands, without what depends on the order of things: times, tokens, the order of completion."""
        return {
            "status": self.state.status,
            "steps": {key: (step.status, step.event) for key, step in self.state.steps.items()},
            "arrivals": self.state.arrivals,
            "sequence": self.state.sequence,
            "advances": self.state.advances,
            "applied": self.state.applied,
        }

    def settled(self) -> set[str]:
        ended = (StepStatus.COMPLETED, StepStatus.SKIPPED)
        return {key for key, step in self.state.steps.items() if step.status in ended}

    def _note(self, decision: Decision, activated: tuple[str, ...] | None = None) -> None:
        if decision.reserved:
            assert decision.sequence == self.state.sequence + 1, "a number was given out twice, or left out"
        assert decision.state.sequence == self.state.sequence + decision.reserved
        self.state = decision.state
        for key in decision.activated if activated is None else activated:
            if not self.workflow.needed(key):
                missing = self.workflow.predecessors(key) - self.settled()
                assert not missing, f"{key} was started before {missing} were settled"
            self.started.append(key)

    def _rescue(self, key: str) -> str:
        return f"rescue of {self.fence(key)}"

    def _times(self) -> Times:
        self.now += 1
        return Times(now=self.now, dispatch_timeout=100, lease=100)


def _execute(self, instance, config, context):
    return Ok(self.events[0])


def _event(key: str) -> str:
    return f"go-{key}"
