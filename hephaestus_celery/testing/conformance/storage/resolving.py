"""Tests of resolving: which run an event is for, by run id or by instance id."""

from __future__ import annotations

import itertools

import pytest

from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.resume_and_cancel import Delivery
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

NUMBERS = itertools.count()


@pytest.fixture
def deliver(storage):
    """``deliver(id, ...)``: deliver "go" to the run that this reference means."""

    def to(id="order::a", *, operation=None, keep=False, **reference):
        return storage.deliver(
            Delivery(
                operation=operation or f"operation{next(NUMBERS)}",
                run=RunReference(id=id, **reference),
                name="go",
                data='{"x":1}',
                step=None,
                keep=keep,
                durations=DURATIONS,
            )
        )

    return to


@pytest.fixture
def waiting(stand):
    """``waiting(...)``: a run whose first step waits for "go"."""

    def begin(**fields):
        run = stand.start(scope=fields.pop("scope", "none"), **fields)
        run.claim("a", workflow=run.new.name, versions=(run.new.version,))
        run.suspend("a")
        return run

    return begin


def test_an_id_means_its_active_run(waiting, deliver):
    waiting().cancel()
    active = waiting()
    waiting().cancel()
    report = deliver()
    assert (report.outcome, report.run.run_id) == (Delivered.ACCEPTED, active.id)
    assert active.claim("a").data == '{"x":1}'


def test_an_id_of_ended_runs_means_the_newest(waiting, deliver):
    waiting().cancel()
    newest = waiting()
    newest.cancel()
    report = deliver(keep=True)
    assert (report.outcome, report.run.run_id, report.status) == (Delivered.NOT_WAITING, newest.id, "cancelled")


def test_an_unknown_id_means_no_run(waiting, deliver):
    waiting(instance_id="order::b")
    assert deliver().outcome is Delivered.UNKNOWN_RUN


def test_of_several_active_runs_none_is_given_the_event(waiting, deliver):
    runs = [waiting(), waiting()]
    report = deliver()
    assert (report.outcome, sorted(report.active), report.run) == (
        Delivered.SEVERAL,
        sorted(run.id for run in runs),
        None,
    )
    assert all(run.load().steps["a"].resume is None for run in runs)


def test_a_version_decides_between_several_active_runs(waiting, deliver):
    first, second = waiting(version=1), waiting(version=2)
    assert deliver(family="shop.Order", version=2).run.run_id == second.id
    second.cancel()
    assert deliver(family="shop.Order", version=2).run.run_id == first.id


def test_runs_of_another_version_do_not_count_where_the_version_is_exact(waiting, deliver):
    first = waiting(version=1)
    assert deliver(family="shop.Order", version=2, exact=True).outcome is Delivered.UNKNOWN_RUN
    assert deliver(family="shop.Order", version=1, exact=True).run.run_id == first.id


def test_runs_of_another_family_do_not_count(waiting, deliver):
    run = waiting()
    assert deliver(family="shop.Other").outcome is Delivered.UNKNOWN_RUN
    assert deliver(run.id, family="shop.Other").outcome is Delivered.UNKNOWN_RUN
    assert deliver(run.id, family="shop.Order", version=2, exact=True).outcome is Delivered.UNKNOWN_RUN
    assert deliver(run.id, family="shop.Order").outcome is Delivered.ACCEPTED


def test_the_newest_run_is_found_behind_many_of_others(waiting, deliver, stand):
    wanted = waiting(name="shop.Old")
    wanted.cancel()
    for _ in range(600):
        stand.start(scope="none").cancel()
    report = deliver(family="shop.Old")
    assert (report.outcome, report.run.run_id) == (Delivered.NOT_WAITING, wanted.id)


def test_a_repeat_is_answered_for_the_run_that_was_meant_then(waiting, deliver):
    first = waiting()
    report = deliver(operation="same")
    first.cancel()
    second = waiting()
    if first.storage.name == "redis":
        assert deliver(operation="same") == report
        assert second.load().steps["a"].resume is None


def test_an_accepted_event_brings_all_that_its_message_needs(waiting, deliver):
    run = waiting(message_headers='{"tenant":"acme"}', version=3)
    address = deliver().run
    assert (address.run_id, address.name, address.version, address.message_headers) == (
        run.id,
        "shop.Order",
        3,
        '{"tenant":"acme"}',
    )


def test_a_run_that_a_newer_version_has_written_is_left_alone(stand, deliver):
    run = stand.start(schema=SCHEMA + 1)
    with pytest.raises(StorageError, match=rf"run {run.id} was written by a newer"):
        deliver(keep=True)
