"""Runs that were played in this process, and how to doctor what is known of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import checker
import endings
from episode import Started
from stage import eventually

from hephaestus_celery import Hephaestus, telemetry

LAWS = (
    checker._commits,
    checker._rounds,
    checker._drops,
    checker._results,
    checker._joins,
    checker._numbers,
    checker._durations,
)


def key_of(step):
    return getattr(step, "key", None)


def played(flow, cancel_after=None, rerun=None):
    """A run in this process, with all that it has emitted; it may be cancelled when a step has completed.

    With ``rerun``, which gets its handle, that of the run that this makes of it.
    """
    events = []

    def note(event, measurements, metadata, config):
        plain = {**metadata, **{name: key_of(metadata.get(name)) for name in ("step", "from_step")}}
        events.append({"event": ".".join(event[1:]), "measurements": dict(measurements), "metadata": plain})

    telemetry.attach_many("doctored", [*telemetry.events(), *telemetry.extension_events()], note)
    try:
        with Hephaestus() as hephaestus:
            handle = hephaestus.start_instance(flow, {"value": 1}, id="x1")
            if cancel_after is not None:
                eventually(lambda: handle.get().context.steps.get(cancel_after) is not None)
                handle.cancel(compensate=True)
            instance = handle.wait(30)
            if rerun is not None:
                handle = rerun(handle)
                instance = handle.wait(30)
            history = handle.history()
    finally:
        telemetry.detach("doctored")
    return checker.Run(
        started=Started(run_id=instance.run_id, at=0),
        instance=instance,
        history=history,
        events=sorted(
            (event for event in events if event["metadata"].get("run_id") == instance.run_id),
            key=lambda e: e["metadata"]["sequence"],
        ),
        executions=Counter(
            {entry.step for entry in history if hasattr(instance.workflow.graph.by_key.get(entry.step), "answer")}
        ),
    )


def broken(run, *, silences=False):
    found = [problem for law in (*LAWS, endings.laws) for problem in law(run)]
    return [*found, *checker._tellings(run, silences=silences)]


def entries(run, change):
    return replace(run, history=change(list(run.history)))


def of(run, step):
    return next(position for position, entry in enumerate(run.history) if entry.step == step)
