"""The legend of a run's hash: what each field means, and each field of a step's state in it."""

from __future__ import annotations

from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "id": "the instance id",
    "name": "the name of the workflow",
    "family": "what the versions of the workflow have in common",
    "version": "the version of the workflow",
    "tags": "the tags of the workflow, a JSON list; missing where there are none",
    "schema": "how the run is stored: who knows only older schemas leaves it alone",
    "h": "the header: what is known of the instance from its start on (JSON)",
    "i": "the initial context (JSON)",
    "il": "1 where the initial context is large",
    "mh": "the headers that every message of the run repeats (JSON); missing where there are none",
    "st": "the status",
    "t0": "when the run was created, in microseconds",
    "t1": "when it ended, in microseconds",
    "seq": "the last event number given out",
    "adv": "how often the run has advanced: its start, and each step that completed",
    "app": "how many results have been applied: a computed transition is decided against this number",
    "act": "how many steps are active",
    "wai": "how many steps are waiting",
    "sz": "the bytes of data that the run holds; missing where that is not known, and then it counts as much",
    "fs": "the step that failed the run",
    "f": "the failure of the run (JSON)",
    "cr": "the reason of its cancellation, a JSON text",
    "sf": "the last counted join that was skipped: its number, how many predecessors it has, how many came, and its key; missing where there is none",
    "dl": "the deadline, in microseconds from the start; missing where there is none",
    "un": "how many completed steps have a compensation; missing where the workflow has none",
    "ue": "how the run is to end when it has undone what had completed; missing where it undoes nothing",
    "ul": "with `ue`, how many of the compensations have not begun",
    "ur": "with `ue`, how many steps are still executed that were begun before",
    "us": "with `ue`, how far a large run is gone through for steps that nobody has begun; missing when that is done",
    "ra": "the run that a retry has made of this one; missing where there is none",
    "cp": "what is still to be copied of the earlier run (JSON): where it is staged, and of which run; missing where the run is whole",
    "en": "the number of the last early event that was kept; missing where there never was one",
    "ek": "how many keys of events the run has taken; missing where there is none",
    "pa": "the run's own pause: since when, its schema number before it, and who has set it (JSON), with `|` between them",
    "pk": "1 where steps of the run are held by a pause",
    "sw": "how far the scheduler has come in clearing away what the end of a large run has left",
    "s:<step>": "the state of a step (JSON, see below)",
    "r:<step>": "the result of a step (JSON); of `done` that of the run, missing where it is empty",
    "m:<step>": "the metadata of a step's result (JSON)",
    "c:<step>": "the config of a step: the rank of who gave it, `|`, and its JSON",
    "a:<step>": "what a round of an `Again` was given (JSON); missing where that is nothing, and of a step that has completed",
    "rg": "1 where `rounds:<run_id>` exists",
    "d:<step>": "the data of an event that is to be applied (JSON)",
    "p:<step>": "of a join: how many of its edges are settled, and 65536 for each that is taken",
    "u:<number>": "how a completed step is undone, a JSON list: its key, its compensation, the most attempts and the lane of that",
    "t:<reference>": "a timer beside the step's own: the step that it is for",
    "b:<number>": "who has sent the early event with this number; missing where that is not known",
    "e:<step>||timeout": "a timer that came due before its step waited, or while it had an event that may be dropped",
    "e:<step>|<event>": "an early event, as older versions kept it; the step is empty where the event is for any",
    "g:<step>": "edges of a step that are still to be settled in slices (JSON): the name of what was staged, and how far it is",
}
"""What each field of a run's hash holds. A field that ends with ``<step>`` exists once per step."""

STEP_FIELDS: Mapping[str, str] = {
    "s": "the status",
    "a": "the attempt, from 1 on; 0 where the step is skipped",
    "m": "how many attempts it may have at most",
    "d": "the token of its last message: counts the messages that were sent",
    "f": "the fence of who holds the attempt",
    "h": "the task that holds it",
    "u": "the worker that executes it",
    "q": "since when the attempt was there to be claimed, in microseconds",
    "c": "when it was claimed, in microseconds",
    "l": "when its time limit is over, on the steady clock",
    "w": "since when it waits, in microseconds",
    "x": "the events that it accepts while it waits, each with the event of the step that follows",
    "r": "the event to be applied: `e` its name, `s` its source, `at` when it came, `n` how often it was lost, `b` who has sent it, `k` its key if the step has `ck`",
    "b": "1 while it backs off before the next attempt, or waits for its next round",
    "e": "the event that it completed with",
    "o": "the event number of its completion: the order in which steps completed",
    "k": "the lane of its message",
    "t": "when that was sent, on the steady clock; missing where the other clock says the same",
    "n": "how often a message was sent again for this attempt",
    "g": "the steps that a computed route led to when it completed; missing where they follow from its event and the graph",
    "p": "1 where a pause holds its message, 2 where that may still wait in a queue",
    "v": "the run whose idempotency key it repeats; missing where that is its own",
    "ck": "1 if the worker that applies an event may drop it, since the result of the step has a type",
    "to": "with `ck`, when its timeout comes due, on the steady clock",
    "ro": "the round of an `Again`, from 2 on; missing in the first",
    "no": "how many rounds the history of this run has noted",
    "cp": "the step that this one undoes; missing where it undoes none",
    "uw": "1 where it counts in `ur` of the run",
    "i": "true where its claim was the first of the run",
    "j": "the first event number that its claim was given",
    "y": "the operation that has sent its message again last",
    "z": "the event number of its last rescue",
}
"""What each field of a step's state holds; defaults are omitted."""


def kind_of(field: str) -> str | None:
    """The name of a field in the legend; None if the legend does not have it."""
    if field in FIELDS:
        return field
    kind, _, rest = field.partition(":")
    if kind == "e":
        return "e:<step>||timeout" if rest.endswith("||timeout") else "e:<step>|<event>"
    return next(
        (known for known in FIELDS if known in (f"{kind}:<step>", f"{kind}:<reference>", f"{kind}:<number>")), None
    )


def render() -> str:
    """The legend as a part of the reference page on keys."""
    return (
        "\n## The fields of a run\n\n`run:<run_id>` is a hash. Times are on the server's clock.\n\n"
        "| Field | Meaning |\n|---|---|\n"
        + "".join(f"| `{_cell(name)}` | {meaning} |\n" for name, meaning in FIELDS.items())
        + "\n## The state of a step\n\n`s:<step>` is a JSON object. What is missing has its default.\n\n"
        "| Field | Meaning |\n|---|---|\n"
        + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in STEP_FIELDS.items())
    )


def _cell(name: str) -> str:
    return name.replace("|", "\\|")
