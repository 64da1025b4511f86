"""Reads the declarations of a workflow class into a table, and collects the problems that it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard, cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.functions import hint
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.route import Route
from hephaestus_celery.core.definition.step import Step, StepConfig, check_events, check_spelling, is_step
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.names import FAILED

Pair = tuple[StepClass, str]
ALONE = ""
"""In a pair that is read, the event of a step that stands alone; no event has this name."""


@dataclass(slots=True)
class Draft:
    """A graph while it is read, with the problems found so far, each once."""

    problems: dict[str, None] = field(default_factory=dict[str, None])
    initials: tuple[Target, ...] = ()
    table: dict[Pair, tuple[Target, ...]] = field(default_factory=dict[Pair, tuple[Target, ...]])
    routes: dict[Pair, str] = field(default_factory=dict[Pair, str])
    targets: list[Target] = field(default_factory=list[Target])
    joins: dict[StepClass, object] = field(default_factory=dict[StepClass, object])
    compensations: dict[StepClass, StepClass] = field(default_factory=dict[StepClass, StepClass])

    def report(self, problem: str) -> None:
        """Note what is wrong, a sentence."""
        self.problems[problem] = None

    def steps(self) -> list[StepClass]:
        """Every step that is named anywhere, in the order of reading."""
        found = dict.fromkeys(initial.step for initial in self.initials)
        for (source, _), targets in self.table.items():
            found[source] = None
            for target in targets:
                found[target.step] = None
        return list(found)

    def events(self) -> dict[StepClass, list[str]]:
        """The events that have a transition, by step."""
        found: dict[StepClass, list[str]] = {}
        for source, event in self.table:
            found.setdefault(source, []).append(event)
        return found

    def successors(self) -> dict[StepClass, list[StepClass]]:
        """The steps that a step leads to, for every step that leads anywhere."""
        found: dict[StepClass, list[StepClass]] = {}
        for (source, _), targets in self.table.items():
            found.setdefault(source, []).extend(target.step for target in targets)
        return found


def read_initials(given: object, draft: Draft) -> None:
    """Read ``initial_step``: a step, ``(step, config)``, or a list of them; None where it is not declared."""
    if given is None:
        draft.report("initial_step is missing: name the step, or (step, config), that comes first, or a list of them")
        return
    draft.initials = _read_targets(given, "initial_step", draft)
    if isinstance(given, list) and any(initial.step is Done for initial in draft.initials):
        draft.report("initial_step has Done in a list; a workflow of nothing but its end has initial_step = Done")


def read_transitions(transitions: object, draft: Draft) -> None:
    """Read ``transitions``."""
    if not isinstance(transitions, Mapping):
        draft.report(
            f"transitions must be a mapping of (step, event), or of a step with one event, to targets, not {shown(transitions)}"
        )
        return
    for pair, value in cast("Mapping[object, object]", transitions).items():
        source = _read_pair(pair, "transitions", draft)
        where = f"transition {_pair_label(pair)}"
        targets = _read_targets(value, where, draft)
        if source is not None:
            draft.table[source] = targets


def read_route(name: str, noted: Route, draft: Draft) -> None:
    """Read the declaration that ``@route`` has stored on the method of this name."""
    where = f"route {name}"
    key = noted.source if noted.event is None else (noted.source, noted.event)
    pair = _read_pair(key, where, draft)
    targets: object = noted.targets
    if not isinstance(targets, (list, tuple)):
        draft.report(f"{where}: targets must be a list of steps, not {shown(targets)}")
        return
    read = _read_targets(list(cast("Sequence[object]", targets)), where, draft)
    if pair is None:
        return
    if pair in draft.routes:
        draft.report(f"{where}: {_pair_label(key)} is computed by {draft.routes[pair]} already")
    elif pair in draft.table:
        draft.report(f"{where}: {_pair_label(key)} stands in transitions too")
    draft.routes[pair] = name
    draft.table[pair] = read


def _read_pair(pair: object, where: str, draft: Draft) -> Pair | None:
    split = (pair, ALONE) if is_step_class(pair) else _two(pair)
    if split is None:
        draft.report(f"{where} has the key {shown(pair)}, which is neither (step, event) nor a step{hint(pair)}")
        return None
    source, event = split
    if not is_step_class(source):
        draft.report(f"{where} has the source {label(source)}, which is no step{hint(source)}")
        return None
    if source is Done:
        draft.report(f"{where}: Done is the end; nothing follows it")
        return None
    if not is_step(source):
        _report_unknown(source, where, draft)
        return None
    problems = check_events(source)
    if not problems and pair is not source and event not in (*source.events, FAILED):
        declared = listed([repr(name) for name in source.events])
        problems = [f"{where}: {source.__name__} does not declare the event {shown(event)} (it declares {declared})"]
    for problem in problems:
        draft.report(problem)
    return None if problems else (source, cast("str", event))


def _read_targets(value: object, where: str, draft: Draft) -> tuple[Target, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    if not items:
        draft.report(f"{where} has an empty list of {'steps' if where == 'initial_step' else 'targets'}")
    result: dict[StepClass, Target] = {}
    for item in items:
        target = _read_target(item, where, draft)
        if target is None:
            continue
        if target.step in result:
            kind = "step" if where == "initial_step" else "target"
            draft.report(f"{where} names the {kind} {target.step.__name__} twice")
            continue
        result[target.step] = target
        draft.targets.append(target)
    return tuple(result.values())


def _read_target(item: object, where: str, draft: Draft) -> Target | None:
    target = as_target(item)
    if target is None:
        if isinstance(item, type):
            _report_unknown(item, where, draft)
        else:
            draft.report(f"{where} has {label(item)}, which is neither a step nor (step, config){_hint(item)}")
        return None
    if not is_step(target.step):
        _report_unknown(target.step, where, draft)
        return None
    if isinstance(target.config, type):
        draft.report(f"{where} has {label(item)}, a tuple, which is (step, config); several steps are a list")
        return None
    return target


def as_target(item: object) -> Target | None:
    """A step or ``(step, config)`` as a target; None for anything else."""
    if is_step_class(item):
        return Target(item)
    split = _two(item)
    if split is not None:
        step, config = split
        if is_step_class(step):
            return Target(step, cast("StepConfig", config))
    return None


def _hint(item: object) -> str:
    split = _two(item)
    return hint(item if split is None else split[0])


def _report_unknown(step: type, where: str, draft: Draft) -> None:
    if not issubclass(step, Step):
        draft.report(f"{where} has {step.__name__}, an unknown step: it is no subclass of Step")
        return
    known = cast("StepClass", step)
    missing = [
        *([] if known.execute is not Step.execute else ["no execute"]),
        *([] if known.events else ["no events"]),
    ]
    hints = "".join(f"; {hint}" for hint in check_spelling(known))
    draft.report(f"{where} has {step.__name__}, an unknown step: it has {' and '.join(missing)}{hints}")


def _pair_label(pair: object) -> str:
    split = _two(pair)
    return label(pair) if split is None else f"({label(split[0])}, {shown(split[1])})"


def is_step_class(value: object) -> TypeGuard[StepClass]:
    """Whether a value is a subclass of ``Step``."""
    return isinstance(value, type) and issubclass(value, Step)


def _two(value: object) -> tuple[object, object] | None:
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    match items:
        case (first, second):
            return first, second
        case _:
            return None


def label(value: object) -> str:
    """How an error message names a step, or a value in the place of a step."""
    return value.__name__ if isinstance(value, type) else shown(value)
