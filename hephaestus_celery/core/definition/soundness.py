"""Checks of a workflow's graph: its steps and events, no cycles, nothing out of reach.

Each check takes time that grows with the number of edges, and no faster: definitions of ten thousand steps are normal.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from hephaestus_celery.core.definition.builtin import Done, Wait, WaitForEvent
from hephaestus_celery.core.definition.declarations import Draft
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.step import check_events, check_step, same_call
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.exceptions import DataError

MOST_PREDECESSORS = 0xFFFF
"""How many settled predecessors the store can count."""
_REPORTED_CYCLES, _SHOWN_OF_A_CYCLE = 20, 50


def check_graph(draft: Draft) -> None:
    """Report what is wrong with a graph that was read."""
    steps = draft.steps()
    for step in steps:
        for problem in check_step(step):
            draft.report(problem)
    eventful = dict.fromkeys(step for step in steps if step is not Done and not check_events(step))
    doubled = _check_keys(steps, draft)
    wanted = _check_configs(eventful, draft)
    if not doubled:  # otherwise the edges are not what the author meant
        _check_sources(eventful, wanted, draft)
        _check_cycles(draft)
        _check_width(draft)
        _check_reach(steps, draft)


def _check_keys(steps: Iterable[StepClass], draft: Draft) -> set[StepClass]:
    """Report keys that several steps have; returns the steps that repeated calls of ``named`` have made twice."""
    holders: dict[str, StepClass] = {}
    doubled: set[StepClass] = set()
    for step in steps:
        if step.key == Done.key and step is not Done:
            draft.report(f"step {step.__name__} has the key 'done', which is Done's")
            continue
        holder = holders.setdefault(step.key, step)
        if holder is step:
            continue
        if call := same_call(holder, step):
            doubled |= {holder, step}
            draft.report(
                f"{step.__name__} stands here more than once, and each call of {call} makes another step: keep it in a "
                "variable, and use that"
            )
        else:
            draft.report(
                f"{holder.__name__} and {step.__name__} have one key, {shown(step.key)}; "
                f"use {step.__name__}.named('another_key')"
            )
    return doubled


def _check_configs(eventful: Collection[StepClass], draft: Draft) -> dict[StepClass, dict[str, None]]:
    """The events that need a transition, by step, from the configs that the step is given.

    A wrong config needs no transition: its events are not known until it is corrected.
    """
    wanted: dict[StepClass, dict[str, None]] = {}
    for target in draft.targets:
        problems = config_problems(target)
        for problem in problems:
            draft.report(problem)
        if target.step in eventful:
            needed = () if problems else target.step.events_for(target.config)
            wanted.setdefault(target.step, {}).update(dict.fromkeys(needed))
    return wanted


def config_problems(target: Target) -> list[str]:
    """What is wrong with the config that a target gives its step, a sentence each."""
    config: object = target.config
    name = target.step.__name__
    if config is not None:
        plain = config
        if issubclass(target.step, (Wait, WaitForEvent)) and isinstance(config, Mapping):  # both take timedeltas
            given = cast("Mapping[Any, Any]", config)
            plain = {key: value for key, value in given.items() if key not in ("duration", "timeout")}
        try:
            check_mapping(plain, f"{name}: config")
        except DataError as error:
            return [str(error)]
    return [f"{name}: {problem}" for problem in target.step.check_config(target.config)]


def _check_sources(eventful: Iterable[StepClass], wanted: Mapping[StepClass, Mapping[str, None]], draft: Draft) -> None:
    declared = draft.events()
    for step in eventful:
        given = declared.get(step)
        if not given:
            events = listed([repr(event) for event in step.events])
            draft.report(f"{step.__name__} is a leaf but not Done: its events ({events}) have no transition")
            continue
        needed = wanted.get(step, dict.fromkeys(step.events))
        for event in needed:
            if event not in given:
                draft.report(f"{step.__name__} declares the event {event!r}, which has no transition")
        for event in given:
            if needed and event not in needed and event != FAILED:  # any step may fail
                draft.report(
                    f"{step.__name__} never gives {event!r} with its config, so that event must not have a transition"
                )


def _check_cycles(draft: Draft) -> None:
    successors = draft.successors()
    named: set[StepClass] = set()
    found = 0
    for step in _suspects(successors):
        if found == _REPORTED_CYCLES:
            draft.report(f"more cycles than the {found} above: correct these first")
            break
        if step not in named and (cycle := _cycle_through(step, successors)):
            named.update(cycle)
            found += 1
            names = [step.__name__ for step in cycle[:-1]]
            if len(names) > _SHOWN_OF_A_CYCLE:
                names[_SHOWN_OF_A_CYCLE:] = [f"({len(names) - _SHOWN_OF_A_CYCLE} more)"]
            draft.report(f"a cycle: {' -> '.join([*names, cycle[-1].__name__])}{_second_wait(cycle)}")


def _second_wait(cycle: Sequence[StepClass]) -> str:
    # The author of two waits in a row means no cycle: the same class is only used twice.
    wait = next((step for step in cycle if issubclass(step, (Wait, WaitForEvent))), None)
    if wait is None:
        return ""
    return f"; a second {wait.__name__} of the workflow needs a key of its own: {wait.__name__}.named('another_key')"


def _suspects(successors: Mapping[StepClass, Sequence[StepClass]]) -> list[StepClass]:
    """The steps of cycles, and those between them.

    They are what remains after removing, again and again, the steps without predecessors and then those without successors.
    """
    left = _without_free(successors)
    backwards: dict[StepClass, list[StepClass]] = {step: [] for step in left}
    for step in left:
        for target in successors[step]:
            if target in backwards:
                backwards[target].append(step)
    both = _without_free(backwards)
    return [step for step in left if step in both]


def _without_free(successors: Mapping[StepClass, Sequence[StepClass]]) -> dict[StepClass, None]:
    incoming = Counter(target for targets in successors.values() for target in targets)
    free = [step for step in successors if not incoming[step]]
    left = dict.fromkeys(successors)
    while free:
        step = free.pop()
        del left[step]
        for target in successors[step]:
            incoming[target] -= 1
            if not incoming[target] and target in left:
                free.append(target)
    return left


def _cycle_through(step: StepClass, successors: Mapping[StepClass, Sequence[StepClass]]) -> list[StepClass]:
    """The shortest way from a step back to itself; empty where there is none."""
    came_from: dict[StepClass, StepClass] = {}
    pending = deque([step])
    while pending:
        source = pending.popleft()
        for target in successors.get(source, ()):
            if target is step:
                path = [step, source]
                while path[-1] is not step:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if target not in came_from:
                came_from[target] = source
                pending.append(target)
    return []


def _check_width(draft: Draft) -> None:
    before: dict[StepClass, set[StepClass]] = {}
    for (source, _), targets in draft.table.items():
        for target in targets:
            before.setdefault(target.step, set()).add(source)
    for step, sources in before.items():
        if len(sources) > MOST_PREDECESSORS:
            draft.report(
                f"{step.__name__} has {len(sources):,} predecessors; a step can join {MOST_PREDECESSORS:,} at most: give "
                "it some that each join a part of them"
            )


def _check_reach(steps: Iterable[StepClass], draft: Draft) -> None:
    if not draft.initials:
        return
    firsts = dict.fromkeys(initial.step for initial in draft.initials)
    successors = draft.successors()
    reached = set(firsts)
    pending = deque(firsts)
    while pending:
        source = pending.popleft()
        for target in successors.get(source, ()):
            if target in firsts and len(firsts) > 1:
                draft.report(
                    f"initial_step has {target.__name__}, which {source.__name__} leads to: it would start twice; leave it "
                    "out of one of them"
                )
            elif target not in reached:
                reached.add(target)
                pending.append(target)
    names = listed([step.__name__ for step in firsts])
    for step in steps:
        if step not in reached:
            draft.report(f"{step.__name__} can't be reached from {names}")
