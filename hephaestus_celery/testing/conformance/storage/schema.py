"""Tests of schema numbers: code that can't read a newer run leaves it to code that can."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.claims import Refused
from hephaestus_celery.storage.queries import Query
from hephaestus_celery.storage.schema import SCHEMA

NEWER = SCHEMA + 1


def put_aside(stand, run):
    """All that a run has in the due set is due."""
    for member in run.due():
        run.probe.set_due(stand.storage, run.id, member, 1)


@pytest.mark.parametrize("versions", [(1,), ()])
def test_a_worker_that_is_older_than_a_run_is_turned_away_and_another_message_is_sent_soon(stand, versions):
    run = stand.start(schema=NEWER)
    before = run.due()
    refusal = run.claim("a", versions=versions)
    assert (refusal.reason, refusal.detail) == (Refused.NEWER_SCHEMA, str(NEWER))
    assert run.due()["a"] < before["a"]


@pytest.mark.parametrize("call", ["load", "cancel", "list"])
def test_the_error_for_a_run_that_is_newer_names_it_and_says_what_to_do(stand, call):
    run = stand.start(schema=NEWER)
    calls = {"load": run.load, "cancel": run.cancel, "list": lambda: stand.storage.list_runs(Query())}
    with pytest.raises(StorageError, match=rf"^run {run.id} was written by a newer hephaestus-celery \(schema {NEWER}"):
        calls[call]()
    assert list(run.history()) == []
    assert run.due() != {}


def test_what_comes_due_of_a_run_that_is_newer_is_left_to_a_newer_scheduler(stand):
    run, other = stand.start(schema=NEWER), stand.start(instance_id="order::b")
    other.wait_at("a", timeout=0)
    run.schedule("b", reference="ref")
    put_aside(stand, run)
    tick = stand.tick()
    assert [entry.run_id for entry in tick.entries] == [other.id]
    assert list(tick.problems) == []
    assert set(run.due()) == {"a", "b|ref"}
    assert min(run.due().values()) > stand.storage.now()


def test_a_run_of_this_schema_is_nobodys_newer_one(stand):
    run = stand.start()
    run.claim("a")
    assert run.load().status is Status.RUNNING
