"""Steps that stand alone as keys of transitions: each means its only event."""

from __future__ import annotations

from hephaestus_celery.core.definition.declarations import ALONE, Draft, Pair
from hephaestus_celery.core.definition.graph import StepClass, Target
from hephaestus_celery.core.definition.soundness import config_problems
from hephaestus_celery.core.values.formatting import listed, shown


def name_events(draft: Draft) -> None:
    """Put its event to each step that stands alone, once everything is read: a config may leave a step one of its events.

    Where that fails it is a problem, and the step leads to these targets by all of its events: so one mistake is one problem.
    """
    alone = dict.fromkeys(source for source, event in draft.table if event == ALONE)
    if not alone:
        return
    configured = _configured(alone, draft)
    table: dict[Pair, tuple[Target, ...]] = {}
    for pair, targets in draft.table.items():
        if pair[1] != ALONE:
            table[pair] = targets
            continue
        for meant in _pairs_of(pair[0], configured[pair[0]], draft):
            table[meant] = targets
            if pair in draft.routes:
                draft.routes[meant] = draft.routes[pair]
    for source in alone:
        draft.routes.pop((source, ALONE), None)
    draft.table = table


def _configured(alone: dict[StepClass, None], draft: Draft) -> dict[StepClass, list[Target]]:
    found: dict[StepClass, list[Target]] = {step: [] for step in alone}
    for target in draft.targets:
        if target.step in found:
            found[target.step].append(target)
    return found


def _pairs_of(source: StepClass, placed: list[Target], draft: Draft) -> list[Pair]:
    events = _possible_events(source, placed)
    named = [event for event in source.events if (source, event) in draft.table]
    if len(events) == 1 and not named:
        return [(source, events[0])]
    if len(events) == 1:
        draft.report(
            f"{source.__name__} stands alone as a key, which means its event {shown(events[0])}, and "
            f"({source.__name__}, {shown(named[0])}) stands there too: keep one of them"
        )
    elif not any(config_problems(target) for target in placed):  # else it is not known what they leave
        declared = listed([repr(event) for event in source.events])
        draft.report(
            f"{source.__name__} stands alone as a key, which only a step with one event can, and it has several ({declared}): "
            f"write ({source.__name__}, {shown(events[0])})"
        )
    return [(source, event) for event in events if (source, event) not in draft.table]


def _possible_events(source: StepClass, placed: list[Target]) -> tuple[str, ...]:
    """The events that the step may give with the configs that it is given; all where these leave none, or are wrong."""
    declared = tuple(source.events)
    if len(declared) == 1:
        return declared
    sound = [target.config for target in placed if not config_problems(target)]
    return tuple(dict.fromkeys(event for config in sound for event in source.events_for(config))) or declared
