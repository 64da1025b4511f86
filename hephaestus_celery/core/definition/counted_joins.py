"""Reads and checks ``joins``: how many predecessors must come to a step before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.declarations import Draft, is_step_class, label
from hephaestus_celery.core.definition.graph import StepClass
from hephaestus_celery.core.values.formatting import listed, shown
from hephaestus_celery.core.values.names import FAILED

ALL, ANY = "all", "any"


def read_joins(joins: object, draft: Draft) -> None:
    """Read ``joins``: a mapping of steps to numbers, ``"all"`` or ``"any"``."""
    if not isinstance(joins, Mapping):
        draft.report(
            f"joins must be a mapping of steps to numbers, 'all' or 'any', as joins = {{Ship: 2}}, not {shown(joins)}"
        )
        return
    for given, number in cast("Mapping[object, object]", joins).items():
        step = given if is_step_class(given) else None
        if step is None:
            draft.report(f"joins has {label(given)}, which is no step")
        elif step is Done:
            draft.report(
                "joins has Done, which takes no number: it ends the run when no branch can come to it any more"
            )
        elif not _is_number(number):
            draft.report(
                f"joins: {step.__name__} must join 'all', 'any' or a number of steps, from 1 on, not {shown(number)}"
            )
        else:
            draft.joins[step] = number


def _is_number(value: object) -> bool:
    return value in (ALL, ANY) or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def check_joins(draft: Draft) -> None:
    """Report joins that can't come about, and steps that would start without the branch of a failure."""
    sources = _predecessors(draft)
    known = set(draft.steps())
    for step, number in draft.joins.items():
        before = list(sources.get(step, ()))
        if step not in known:
            draft.report(f"joins has {step.__name__}, which is no step of the workflow")
        elif len(before) < 2:  # noqa: PLR2004 - one step needs no join
            only = f"one predecessor ({before[0].__name__})" if before else "no predecessor"
            draft.report(f"joins has {step.__name__}, which has {only}, and so nothing to join")
        elif isinstance(number, int) and number > len(before):
            names = listed([source.__name__ for source in before])
            draft.report(
                f"joins: {step.__name__} can't join {number} steps, since it has {len(before)} predecessors: {names}"
            )
    order = _topological(draft)
    if order is not None:
        for failing, step in _without_branch(draft, order, sources):
            name = step.__name__
            draft.report(
                f"{name} would start without the branch of a failed {failing.__name__}: its FAILED leads elsewhere, and other "
                f"steps lead to {name} too; write joins = {{{name}: 'all'}} (where all must come) or {{{name}: 'any'}} "
                "(whatever can still come)"
            )


def numbers_of(draft: Draft) -> dict[StepClass, int]:
    """The numbers of the counted joins of a sound draft; ``"any"`` is the law on joins, as for steps without an entry."""
    sources = _predecessors(draft)
    return {
        step: len(sources[step]) if number == ALL else cast("int", number)
        for step, number in draft.joins.items()
        if number != ANY
    }


def _predecessors(draft: Draft) -> dict[StepClass, dict[StepClass, None]]:
    found: dict[StepClass, dict[StepClass, None]] = {}
    for (source, _), targets in draft.table.items():
        for target in targets:
            found.setdefault(target.step, {})[source] = None
    return found


def _topological(draft: Draft) -> list[StepClass] | None:
    """The steps, each after its predecessors; None where there is a cycle."""
    successors = draft.successors()
    incoming = dict.fromkeys(draft.steps(), 0)
    for targets in successors.values():
        for target in targets:
            incoming[target] += 1
    ready = [step for step, count in incoming.items() if not count]
    order: list[StepClass] = []
    while ready:
        step = ready.pop()
        order.append(step)
        for target in successors.get(step, ()):
            incoming[target] -= 1
            if not incoming[target]:
                ready.append(target)
    return order if len(order) == len(incoming) else None


def _without_branch(
    draft: Draft, order: Sequence[StepClass], sources: Mapping[StepClass, Mapping[StepClass, None]]
) -> Iterator[tuple[StepClass, StepClass]]:
    """Each step whose failure a transition takes, with each plain join after it that would not wait for that branch.

    Sets of steps are numbers here, a bit for each step: a workflow may have ten thousand of these.
    """
    if not any(event == FAILED for _, event in draft.table):
        return
    bit = {step: 1 << number for number, step in enumerate(order)}
    reach = _reach(draft, order, bit)
    joins, before = 0, dict[StepClass, int]()
    for step, found in sources.items():
        if len(found) > 1 and step is not Done and step not in draft.joins:
            joins |= bit[step]
            before[step] = sum(bit[source] for source in found)
    for failing in dict.fromkeys(source for source, event in draft.table if event == FAILED):
        normally, failed = reach[failing]
        candidates = normally & ~failed & joins
        beside = ~(normally | failed | bit[failing])
        while candidates:
            step = order[(candidates & -candidates).bit_length() - 1]
            candidates ^= bit[step]
            if before[step] & beside:
                yield failing, step


def _reach(draft: Draft, order: Sequence[StepClass], bit: Mapping[StepClass, int]) -> dict[StepClass, tuple[int, int]]:
    """The steps after each step, by its events, and by its failure."""
    leads: dict[StepClass, list[tuple[str, Sequence[StepClass]]]] = {}
    for (source, event), targets in draft.table.items():
        leads.setdefault(source, []).append((event, [target.step for target in targets]))
    found: dict[StepClass, tuple[int, int]] = {}
    for step in reversed(order):
        after = {True: 0, False: 0}
        for event, targets in leads.get(step, ()):
            for target in targets:
                normally, failed = found[target]
                after[event == FAILED] |= bit[target] | normally | failed
        found[step] = after[False], after[True]
    return found
