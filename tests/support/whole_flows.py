"""Random workflows with all that a workflow may have at once: failures that lead on, counted joins, rounds, waits, attempts that
fail, compensations, a deadline and a result.

How each step behaves is drawn beforehand, so two runs of one workflow differ in nothing but the order of things and in what is
lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from random_runs import Transitions, initials_of, joining, transition_tables

from hephaestus_celery import FAILED, Again, Async, Done, Error, Ok, RetryPolicy, Step, Unique, Workflow

MANY = RetryPolicy(max_attempts=60, backoff="constant", base=0.5, jitter=False)
"""More attempts than are ever lost."""
HOWS = ("answers", "answers", "fails", "waits", "times_out")
FIRST = ("answers", "answers", "answers", "waits", "times_out")
"""How the first steps behave, so that something has completed when others fail."""
UNDOING = ("answers", "answers", "fails", "times_out")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a step does: it takes so long, fails so many attempts of its first round, asks for so many rounds, and then ends so."""

    how: str
    event: str
    rounds: int
    failures: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WholeFlow:
    """A workflow, and how its steps behave, compensations too."""

    flow: type[Workflow] = field(repr=False)
    transitions: Transitions
    behaviours: dict[str, Behaviour]
    compensations: dict[str, str]
    joins: dict[str, int | str]
    deadline: float | None
    result: bool

    def needed(self, key: str) -> int:
        """The number of a counted join, else 0."""
        return self.flow.graph.needed(self.flow.graph.by_key[key])


@st.composite
def behaviours(draw, *, hows, events):
    how = draw(st.sampled_from(hows))
    return Behaviour(
        how=how,
        event="timeout" if how == "times_out" else draw(st.sampled_from(events)),
        rounds=draw(st.sampled_from([0, 0, 1, 2])),
        failures=draw(st.sampled_from([0, 0, 1])),
        seconds=draw(st.sampled_from([0.0, 0.5, 3.0])),
    )


@st.composite
def whole_flows(draw, world, *, settled=False):
    """Workflows whose steps tell ``world`` that they are executed, and ask it whether all is mended by now.

    ``settled``: whose runs all complete, and end alike in whatever order things happen.
    """
    transitions = dict(draw(transition_tables(7, min_steps=3)))
    keys = list(dict.fromkeys(source for source, _ in transitions))
    drawn: dict[str, Behaviour] = {}
    for number, key in enumerate(keys):
        events = [event for source, event in transitions if source == key and event != FAILED]
        fails = number > 1 and not (settled and (key, FAILED) not in transitions)
        drawn[key] = draw(behaviours(hows=HOWS if fails else FIRST, events=events))
        if drawn[key].how == "times_out":
            transitions[key, "timeout"] = transitions[key, events[0]]
    compensations = {key: f"undo_{key}" for key in keys if draw(st.integers(0, 3))}
    for undo in compensations.values():
        drawn[undo] = draw(behaviours(hows=UNDOING, events=["ok"]))
    joins = {
        key: "any" if settled else draw(st.sampled_from(["any", "all", *range(1, count + 1)]))
        for key, count in joining(transitions).items()
    }
    deadline = None if settled else draw(st.sampled_from([None, None, None, None, 8.0, 60.0]))
    fields = {
        "transitions": transitions,
        "behaviours": drawn,
        "compensations": compensations,
        "joins": joins,
        "deadline": deadline,
        "result": draw(st.booleans()),
    }
    return WholeFlow(flow=_workflow(world, **fields), **fields)


def _workflow(world, *, transitions, behaviours, compensations, joins, deadline, result):
    steps: dict[str, Any] = {"done": Done}
    for key in dict.fromkeys(source for source, _ in transitions):
        events = tuple(event for source, event in transitions if source == key and event != FAILED)
        steps[key] = _step(world, key, events, behaviours[key])
    undo = {
        steps[key]: _step(world, name, (behaviours[name].event,), behaviours[name])
        for key, name in compensations.items()
    }
    initials = [steps[key] for key in initials_of(transitions)]
    attributes: dict[str, Any] = {
        "unique": Unique("whole"),
        "name": "whole.Flow",
        "default_retry": MANY,
        "initial_step": initials if len(initials) > 1 else initials[0],
        "transitions": {
            (steps[source], event): [steps[target] for target in targets]
            for (source, event), targets in transitions.items()
        },
        "joins": {steps[key]: number for key, number in joins.items()},
        "compensations": undo,
        "deadline": deadline,
    }
    if result:
        attributes["result"] = staticmethod(_result)
    return type("WholeFlow", (Workflow,), attributes)


def _result(context):
    return {"of": sorted(context.steps)}


def _step(world, key, events, behaviour):
    def execute(self, instance, config, context):
        number = world.begin(key, context.round)
        world.clock.sleep(behaviour.seconds)
        if context.round == 1 and number <= behaviour.failures:
            raise ValueError("not yet")
        if context.round <= behaviour.rounds:
            assert context.state == ({"round": context.round - 1} if context.round > 1 else {})
            return Again(2.0 if context.round % 2 else 0, {"round": context.round})
        return answer(behaviour, mended=world.mended)

    return type(key.upper(), (Step,), {"key": key, "events": events, "execute": execute})


def answer(behaviour, *, mended):
    """What a step comes to in the end."""
    match behaviour.how:
        case "fails" if not mended:
            return Error("refused", retry=False)
        case "waits":
            return Async()
        case "times_out":
            return Async(timeout=1.5)
        case _:
            return Ok(behaviour.event, {"event": behaviour.event})
