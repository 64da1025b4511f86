"""Workflows as on the pages of patterns, for real workers: a race in a run of its own, and a cleanup that always runs."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import recorder
from stage import eventually

from hephaestus_celery import (
    FAILED,
    AlreadyRunningError,
    Done,
    NonRetryableError,
    RetryPolicy,
    Unique,
    WaitForEvent,
    Workflow,
    step,
)

TWICE = RetryPolicy(max_attempts=2, base=0.05, jitter=False)


def note(instance, key):
    recorder.note("executed", run_id=instance.run_id, step=key)


def searching(run_id):
    """Whether the slow search of a run has begun."""
    notes = recorder.read(Path(os.environ[recorder.FOLDER]), "executed")
    return any(note["step"] == "slow_search" and note["run_id"] == run_id for note in notes)


@step
def slow_search(instance, context):
    note(instance, "slow_search")
    end = time.monotonic() + 60
    while not context.cancelled() and time.monotonic() < end:
        time.sleep(0.05)
    recorder.note("withdrawn", run_id=instance.run_id)


@step
def quick_search(instance):
    eventually(lambda: searching(instance.run_id), timeout=60, what="the slow one is executed")
    note(instance, "quick_search")
    return {"found": 7}


@step(retry=RetryPolicy(max_attempts=5, base=0.05, jitter=False))
def tell(instance, context):
    note(instance, "tell")
    found = context.result(quick_search)["found"]
    Trip.resume(context.initial["trip"], "found", {"offer": found}, keep_early=True, key="race")
    if instance.step_states["tell"].attempt <= context.initial["deaths"]:  # after the other run has its event
        os.kill(os.getpid(), signal.SIGKILL)


class SearchRace(Workflow):
    name = "searchrace"
    unique = Unique("searchrace")
    initial_step = [slow_search, quick_search]
    transitions = {slow_search: tell, quick_search: tell, tell: Done}
    joins = {tell: 1}


@step
def search(context):
    with suppress(AlreadyRunningError):  # an attempt before this one has started it
        SearchRace.start(context.initial["trip"], context.initial)


@step
def book(instance, context):
    note(instance, "book")
    return {"booked": context.result(Found)["offer"]}


Found = WaitForEvent.named("found")


class Trip(Workflow):
    name = "trip"
    unique = Unique("trip")
    initial_step = search
    transitions = {search: (Found, {"event_name": "found"}), Found: book, book: Done}


@step(retry=TWICE)
def train(instance, context):
    note(instance, "train")
    if context.initial["way"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("no such data")


@step
def measure(instance):
    note(instance, "measure")


@step
def release(instance):
    note(instance, "release")


@step
def verdict(context):
    failure = context.failure(train)
    if failure is not None:
        raise NonRetryableError(f"{failure.type}: {failure.message}")


class Training(Workflow):
    name = "training"
    unique = Unique("training")
    initial_step = [train, measure]
    transitions = {train: release, (train, FAILED): release, measure: release, release: verdict, verdict: Done}
