"""Reads and checks ``compensations``: which step undoes another one that has completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.declarations import Draft, is_step_class, label
from hephaestus_celery.core.definition.functions import hint
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.soundness import config_problems
from hephaestus_celery.core.definition.step import check_step, is_step
from hephaestus_celery.core.values.formatting import listed, shown

_EXAMPLE = "compensations = {Charge: Refund}"


def read_compensations(compensations: object, draft: Draft) -> None:
    """Read ``compensations``: a mapping of steps to the steps that undo them."""
    if not isinstance(compensations, Mapping):
        draft.report(f"compensations must be a mapping of steps to steps, as {_EXAMPLE}, not {shown(compensations)}")
        return
    for given, other in cast("Mapping[object, object]", compensations).items():
        if not is_step_class(given):
            draft.report(f"compensations has {label(given)}, which is no step{hint(given) or _in_place_of_step(given)}")
        elif given is Done:
            draft.report("compensations has Done, which is the end: there is nothing to undo")
        elif not is_step_class(other):
            advice = hint(other) or _in_place_of_compensation(other)
            draft.report(f"compensations: what undoes {given.__name__} must be a step, not {label(other)}{advice}")
        else:
            draft.compensations[given] = other


def _in_place_of_step(given: object) -> str:
    step, beside = _pair(given)
    if step is None or not isinstance(beside, str):
        return ""
    return f"; a step is undone whatever its event was: write {step.__name__} alone"


def _in_place_of_compensation(given: object) -> str:
    if isinstance(given, list):
        return "; one step undoes another, so let one do all of it"
    step, _ = _pair(given)
    return "" if step is None else f"; it is given no config: write {step.__name__} alone"


def _pair(given: object) -> tuple[StepClass | None, object]:
    # A step, and what stands beside it in a tuple.
    match cast("tuple[object, ...]", given) if isinstance(given, tuple) else ():
        case (step, beside) if is_step_class(step):
            return step, beside
        case _:
            return None, None


def check_compensations(draft: Draft) -> None:
    """Report compensations of steps that the workflow has not, and those that can't undo anything."""
    steps = draft.steps()
    known, keys = set(steps), {step.key: step for step in steps}
    undone: dict[StepClass, StepClass] = {}
    for step, other in draft.compensations.items():
        if step not in known:
            draft.report(f"compensations has {step.__name__}, which is no step of the workflow")
        for problem in _problems(other):
            draft.report(f"compensations: {other.__name__}, which is to undo {step.__name__}, {problem}")
        if other in undone:
            draft.report(
                f"compensations: {other.__name__} is to undo both {undone[other].__name__} and {step.__name__}; each step that "
                f"is undone has its own, so use {other.__name__}.named('another_key') for one of them"
            )
        elif other in known and other is not Done:
            draft.report(
                f"compensations: {other.__name__}, which is to undo {step.__name__}, stands in the graph too; use "
                f"{other.__name__}.named('another_key')"
            )
        elif other is not Done and (holder := keys.get(other.key)) is not None:
            draft.report(
                f"compensations: {other.__name__} and {holder.__name__} have one key, {shown(other.key)}; use "
                f"{other.__name__}.named('another_key')"
            )
        undone.setdefault(other, step)
        keys.setdefault(other.key, other)


def _problems(step: StepClass) -> list[str]:
    # What is wrong with a step that is to undo another one, the end of a sentence each.
    if step is Done:
        return ["is the end of a workflow"]
    if not is_step(step):
        return ["is an unknown step: it has no execute, or no events"]
    found = [f"is no sound step: {problem}" for problem in check_step(step)]
    if found:
        return found
    if step.key == Done.key:
        found.append("has the key 'done', which is Done's")
    if len(step.events) != 1:
        found.append(f"must have one event, and has {listed([repr(event) for event in step.events])}")
    return found + [f"is given no config, and needs one: {problem}" for problem in config_problems(Target(step))]
