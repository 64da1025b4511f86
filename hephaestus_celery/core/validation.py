"""The checks that a workflow passes when its class is defined. Every problem is found before any is reported."""

from __future__ import annotations

import inspect
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from hephaestus_celery.core.builtin import Done, Wait
from hephaestus_celery.core.context import check_mapping
from hephaestus_celery.core.graph import Graph, StepClass, Target
from hephaestus_celery.core.identity import Unique
from hephaestus_celery.core.retry import RetryPolicy
from hephaestus_celery.core.spelling import misspelt, nearest
from hephaestus_celery.core.step import (
    Step,
    StepConfig,
    check_events,
    check_spelling,
    check_step,
    is_same_name,
    is_step,
)
from hephaestus_celery.exceptions import DataError, NonRetryableError

if TYPE_CHECKING:
    from hephaestus_celery.core.workflow import Route, Workflow

OPTIONS = frozenset(
    [
        "unique",
        "initial_step",
        "transitions",
        "tags",
        "metadata",
        "version",
        "default_retry",
        "name",
        "hephaestus",
        "versions",
        "current",
    ]
)

_KNOWN = OPTIONS | {"graph", "family"}  # the latter two are set here, on a workflow that is subclassed
_METHODS = frozenset(["version_for"])

Pair = tuple[StepClass, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A graph, or the problems that stand in its way; ``routes`` names the method for each computed pair."""

    graph: Graph | None
    problems: tuple[str, ...]
    routes: dict[Pair, str]


@dataclass(slots=True)
class _Draft:
    """A graph that is being read, and what was found wrong on the way."""

    problems: list[str] = field(default_factory=list[str])
    table: dict[Pair, tuple[Target, ...]] = field(default_factory=dict[Pair, tuple[Target, ...]])
    routes: dict[Pair, str] = field(default_factory=dict[Pair, str])
    targets: list[Target] = field(default_factory=list[Target])

    def report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def check(workflow: type[Workflow], routes: Mapping[str, Route]) -> Checked:
    """Check a workflow's class attributes and its graph."""
    draft = _Draft()
    _check_options(workflow, draft)
    _check_unique(workflow, draft)
    initial = _read_initial(workflow, draft)
    _read_transitions(workflow, draft)
    for name, noted in routes.items():
        _read_route(name, noted, draft)
    steps = _steps(initial, draft)
    for step in steps:
        for problem in check_step(step):
            draft.report(problem)
    doubled = _check_keys(steps, draft)
    _check_configs(draft)
    if not doubled:  # else what leads where is not what was meant
        _check_sources(steps, draft)
        _check_cycles(draft)
    if initial is not None and not doubled:
        _check_reach(initial, steps, draft)
    if draft.problems or initial is None:
        return Checked(graph=None, problems=tuple(draft.problems), routes={})
    graph = Graph(initial=initial, table=draft.table, dynamic=frozenset(draft.routes))
    return Checked(graph=graph, problems=(), routes=draft.routes)


def check_options(workflow: type[Workflow]) -> tuple[str, ...]:
    """What is wrong with the class attributes that an umbrella has as well as any other workflow, a sentence each."""
    draft = _Draft()
    _check_options(workflow, draft)
    return tuple(draft.problems)


class RouteError(NonRetryableError, ValueError):
    """What a ``@route`` method gave is none of its targets, or an event leads nowhere: no further attempt mends that."""


def chosen(method: str, answer: object, declared: Sequence[Target]) -> tuple[Target, ...]:
    """What a ``@route`` method gave, as targets; :class:`RouteError` unless all of it was declared."""
    given = cast("Sequence[object]", answer) if isinstance(answer, list) else [answer]
    known = {target.step: target for target in declared}
    result: list[Target] = []
    for item in given:
        target = _as_target(item)
        if target is None or target.step not in known:
            names = ", ".join(step.__name__ for step in known)
            raise RouteError(f"route {method} gave {_label(item)}, which is none of its targets ({names})")
        if target.step in [seen.step for seen in result]:
            raise RouteError(f"route {method} gave {target.step.__name__} twice")
        result.append(target if target.config is not None else known[target.step])
    if not result:
        raise RouteError(f"route {method} gave no target")
    for target in result:
        if problems := _config_problems(target):
            raise RouteError(f"route {method}: {problems[0]}")
    return tuple(result)


def _check_options(workflow: type[Workflow], draft: _Draft) -> None:
    _check_unknown(workflow, draft)
    _check_tags(workflow, draft)
    try:
        check_mapping(workflow.metadata, "metadata")
    except DataError as error:
        draft.report(str(error))
    if not _is_version(workflow.version):
        draft.report(f"version must be a positive int, not {workflow.version!r}")
    retry: object = workflow.default_retry
    if retry is not None and not isinstance(retry, RetryPolicy):
        draft.report(f"default_retry must be a RetryPolicy or None, not {retry!r}")
    name: object = workflow.name
    if not isinstance(name, str) or not name or any(char.isspace() or char == "|" for char in name):
        draft.report(f"name must be a non-empty string without white space or |, not {name!r}")


def _check_unique(workflow: type[Workflow], draft: _Draft) -> None:
    unique: object = getattr(workflow, "unique", None)
    if unique is None:
        if not _is_member_to_be(workflow):
            draft.report("unique is missing: declare unique = Unique('key')")
    elif not isinstance(unique, Unique):
        draft.report(f"unique must be a Unique('key'), not {unique!r}")


def _is_member_to_be(workflow: type[Workflow]) -> bool:
    # A version of an umbrella inherits `unique` from it, and is defined before it. Such a class says that it is one by
    # its own `version`, or by standing in the body of another class; it can't be started until an umbrella takes it.
    parent = workflow.__qualname__.rpartition(".")[0]
    nested = bool(parent) and not parent.endswith("<locals>")
    return nested or _is_version(workflow.__dict__.get("version"))


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_unknown(workflow: type[Workflow], draft: _Draft) -> None:
    from hephaestus_celery.core.workflow import Workflow  # at call time: workflow.py imports this module

    for ancestor in workflow.__mro__:
        if ancestor is Workflow:
            break
        for name, value in vars(ancestor).items():
            if name.startswith("_") or name.isupper() or name in _KNOWN:
                continue
            meant, own = _meant(name, value)
            if meant is not None:
                draft.report(f"{name} is no option of a workflow; did you mean {meant}?")
            elif not own:
                draft.report(f"{name} is no option of a workflow; options are {', '.join(sorted(OPTIONS))}")


def _meant(name: str, value: object) -> tuple[str | None, bool]:
    """The option that an unknown attribute was meant to be, and whether it may be the user's own after all."""
    if isinstance(value, type):
        # A class that is defined in the workflow's body has its own name; any other was given one.
        return (None if value.__name__ == name else misspelt(name, OPTIONS)), True
    if isinstance(value, (FunctionType, staticmethod, classmethod)):
        return misspelt(name, _METHODS), True
    if isinstance(value, property) or inspect.isdatadescriptor(value):
        return None, True
    return nearest(name, OPTIONS), False


def _check_tags(workflow: type[Workflow], draft: _Draft) -> None:
    tags: object = workflow.tags
    if not isinstance(tags, (tuple, list, set, frozenset)):
        draft.report(f"tags must be a list or tuple of strings, not {tags!r}")
        return
    for tag in cast("Iterable[object]", tags):
        if not isinstance(tag, str) or not tag or not tag.isprintable():
            draft.report(f"tags has {tag!r}; tags are non-empty printable strings")


def _read_initial(workflow: type[Workflow], draft: _Draft) -> Target | None:
    if getattr(workflow, "initial_step", None) is None:
        draft.report("initial_step is missing: name the step, or (step, config), that comes first")
        return None
    target = _read_target(workflow.initial_step, "initial_step", draft)
    if target is not None:
        draft.targets.append(target)
    return target


def _read_transitions(workflow: type[Workflow], draft: _Draft) -> None:
    transitions: object = workflow.transitions
    if not isinstance(transitions, Mapping):
        draft.report(f"transitions must be a mapping of (step, event) to targets, not {transitions!r}")
        return
    for pair, value in cast("Mapping[object, object]", transitions).items():
        source = _read_pair(pair, "transitions", draft)
        where = f"transition {_pair_label(pair)}"
        targets = _read_targets(value, where, draft)
        if source is not None:
            draft.table[source] = targets


def _read_route(name: str, noted: Route, draft: _Draft) -> None:
    where = f"route {name}"
    pair = _read_pair((noted.source, noted.event), where, draft)
    targets: object = noted.targets
    if not isinstance(targets, (list, tuple)):
        draft.report(f"{where}: targets must be a list of steps, not {targets!r}")
        return
    read = _read_targets(list(cast("Sequence[object]", targets)), where, draft)
    if pair is None:
        return
    if pair in draft.routes:
        draft.report(f"{where}: {_pair_label(pair)} is computed by {draft.routes[pair]} already")
    elif pair in draft.table:
        draft.report(f"{where}: {_pair_label(pair)} stands in transitions too")
    draft.routes[pair] = name
    draft.table[pair] = read


def _read_pair(pair: object, where: str, draft: _Draft) -> Pair | None:
    split = _two(pair)
    if split is None:
        draft.report(f"{where} has the key {pair!r}, which is no (step, event)")
        return None
    source, event = split
    if not _is_step_class(source):
        draft.report(f"{where} has the source {_label(source)}, which is no step")
        return None
    if source is Done:
        draft.report(f"{where}: Done is the end; nothing follows it")
        return None
    if not is_step(source):
        _report_unknown(source, where, draft)
        return None
    problems = check_events(source)
    if not problems and event not in source.events:
        declared = ", ".join(map(repr, source.events))
        problems = [f"{where}: {source.__name__} does not declare the event {event!r} (it declares {declared})"]
    for problem in problems:
        draft.report(problem)
    return None if problems else (source, cast("str", event))


def _read_targets(value: object, where: str, draft: _Draft) -> tuple[Target, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    if not items:
        draft.report(f"{where} has an empty list of targets")
    result: list[Target] = []
    for item in items:
        target = _read_target(item, where, draft)
        if target is None:
            continue
        if any(seen.step is target.step for seen in result):
            draft.report(f"{where} names the target {target.step.__name__} twice")
            continue
        result.append(target)
        draft.targets.append(target)
    return tuple(result)


def _read_target(item: object, where: str, draft: _Draft) -> Target | None:
    target = _as_target(item)
    if target is None:
        if isinstance(item, type):
            _report_unknown(item, where, draft)
        else:
            draft.report(f"{where} has {_label(item)}, which is neither a step nor (step, config)")
        return None
    if not is_step(target.step):
        _report_unknown(target.step, where, draft)
        return None
    return target


def _as_target(item: object) -> Target | None:
    if _is_step_class(item):
        return Target(item)
    split = _two(item)
    if split is not None:
        step, config = split
        if _is_step_class(step):
            return Target(step, cast("StepConfig", config))
    return None


def _report_unknown(step: type, where: str, draft: _Draft) -> None:
    if not issubclass(step, Step):
        draft.report(f"{where} has {step.__name__}, an unknown step: it is no subclass of Step")
        return
    missing = [
        *([] if step.execute is not Step.execute else ["no execute"]),
        *([] if step.events else ["no events"]),
    ]
    hints = "".join(f"; {hint}" for hint in check_spelling(step))
    draft.report(f"{where} has {step.__name__}, an unknown step: it has {' and '.join(missing)}{hints}")


def _steps(initial: Target | None, draft: _Draft) -> list[StepClass]:
    found: dict[StepClass, None] = {}
    if initial is not None:
        found[initial.step] = None
    for (source, _), targets in draft.table.items():
        found[source] = None
        for target in targets:
            found[target.step] = None
    return list(found)


def _check_keys(steps: Iterable[StepClass], draft: _Draft) -> set[StepClass]:
    """Reports keys that are taken; gives the steps that are one step to whoever wrote them, made anew by ``named``."""
    holders: dict[str, StepClass] = {}
    doubled: set[StepClass] = set()
    for step in steps:
        if step.key == Done.key and step is not Done:
            draft.report(f"step {step.__name__} has the key 'done', which is Done's")
            continue
        holder = holders.setdefault(step.key, step)
        if holder is step:
            continue
        if is_same_name(holder, step):
            doubled |= {holder, step}
            draft.report(
                f"{step.__name__} stands here more than once, and each call of named makes another step: keep it in a "
                "variable, and use that"
            )
        else:
            draft.report(
                f"{holder.__name__} and {step.__name__} have one key, {step.key!r}; "
                f"use {step.__name__}.named('another_key')"
            )
    return doubled


def _check_configs(draft: _Draft) -> None:
    for target in draft.targets:
        for problem in _config_problems(target):
            draft.report(problem)


def _config_problems(target: Target) -> list[str]:
    config: object = target.config
    name = target.step.__name__
    if config is not None:
        plain = config
        if issubclass(target.step, Wait) and isinstance(config, Mapping):
            plain = {key: value for key, value in cast("Mapping[Any, Any]", config).items() if key != "duration"}
        try:
            check_mapping(plain, f"{name}: config")
        except DataError as error:
            return [str(error)]
    return [f"{name}: {problem}" for problem in target.step.check_config(target.config)]


def _check_sources(steps: Iterable[StepClass], draft: _Draft) -> None:
    for step in steps:
        if step is Done or check_events(step):
            continue
        declared = [event for source, event in draft.table if source is step]
        if not declared:
            events = ", ".join(repr(event) for event in step.events)
            draft.report(f"{step.__name__} is a leaf but not Done: its events ({events}) have no transition")
            continue
        wanted = _wanted_events(step, draft)
        for event in wanted:
            if event not in declared:
                draft.report(f"{step.__name__} declares the event {event!r}, which has no transition")
        for event in declared:
            if event not in wanted:
                draft.report(
                    f"{step.__name__} never gives {event!r} with its config, so that event must not have a transition"
                )


def _wanted_events(step: StepClass, draft: _Draft) -> list[str]:
    wanted: dict[str, None] = {}
    for target in draft.targets:
        if target.step is step and not _config_problems(target):
            wanted.update(dict.fromkeys(step.events_for(target.config)))
    return list(wanted) or list(step.events)


def _check_cycles(draft: _Draft) -> None:
    successors: dict[StepClass, list[StepClass]] = {}
    for (source, _), targets in draft.table.items():
        successors.setdefault(source, []).extend(target.step for target in targets)
    named: set[StepClass] = set()
    for step in _suspects(successors):
        if step not in named and (cycle := _cycle_through(step, successors)):
            named.update(cycle)
            draft.report(f"a cycle: {' -> '.join(step.__name__ for step in cycle)}")


def _suspects(successors: Mapping[StepClass, Sequence[StepClass]]) -> list[StepClass]:
    """What is left when steps that nothing leads to are taken away until there are none: cycles, and what follows them."""
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
    return list(left)


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


def _check_reach(initial: Target, steps: Iterable[StepClass], draft: _Draft) -> None:
    reached = {initial.step}
    pending = [initial.step]
    while pending:
        step = pending.pop()
        for (source, _), targets in draft.table.items():
            if source is step:
                new = {target.step for target in targets} - reached
                reached |= new
                pending.extend(new)
    for step in steps:
        if step not in reached:
            draft.report(f"{step.__name__} can't be reached from {initial.step.__name__}")


def _pair_label(pair: object) -> str:
    split = _two(pair)
    return repr(pair) if split is None else f"({_label(split[0])}, {split[1]!r})"


def _is_step_class(value: object) -> TypeGuard[StepClass]:
    return isinstance(value, type) and issubclass(value, Step)


def _two(value: object) -> tuple[object, object] | None:
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    match items:
        case (first, second):
            return first, second
        case _:
            return None


def _label(value: object) -> str:
    return _name(value) if isinstance(value, type) else repr(value)


def _name(value: type) -> str:
    return value.__name__
