"""What a listing and the page of a run say of its deadline."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
from defining import A, a_step, define
from stage import eventually

from hephaestus_celery import Async, Done, Error, Hephaestus, RetryPolicy
from hephaestus_celery.cli.instance_documents import brief_document
from hephaestus_celery.reports.reasons import reason_lines
from hephaestus_celery.reports.whereabouts import whereabouts

SLEEPS = a_step("Sleeps", "ok", execute=lambda self, instance, config, context: Async())
BREAKS = a_step(
    "Breaks", "ok", execute=lambda self, instance, config, context: Error("no"), retry=RetryPolicy(max_attempts=1)
)


@pytest.fixture
def runtime():
    with Hephaestus() as runtime:
        yield runtime


@pytest.fixture
def waiting(runtime):
    """A run that waits, and whose deadline is in an hour."""
    name = f"listed.{secrets.token_hex(6)}"
    flow = define(name=name, initial_step=SLEEPS, transitions={SLEEPS: Done}, deadline=timedelta(hours=1))
    handle = runtime.start_instance(flow, {}, id="x1")
    eventually(lambda: handle.get().status == "waiting", what="it waits")
    return handle.get()


def test_a_listing_says_how_long_it_is_to_the_deadline(waiting):
    now = waiting.started_at + timedelta(minutes=15)
    assert whereabouts(waiting, {}, now=now).endswith("; 45m to its deadline")
    assert whereabouts(waiting, {}, now=waiting.deadline).endswith("; its deadline is over")


def test_the_page_of_a_run_that_does_not_move_names_its_deadline(waiting):
    [(about, text)] = reason_lines(waiting, (), now=waiting.started_at + timedelta(minutes=15), application="APP")[-1:]
    assert about == "the run"
    assert text.startswith("fails at ")
    assert text.endswith(" (in 45m) unless it has ended by then: that is its deadline")


def test_a_deadline_that_no_scheduler_has_seen_is_said_to_be_over(waiting):
    [(_, text)] = reason_lines(waiting, (), now=waiting.deadline + timedelta(seconds=30), application="APP")[-1:]
    assert text.startswith("fails as soon as a scheduler looks, since its deadline was at ")
    assert text.endswith("(30s ago)")


def test_documents_have_the_deadline(waiting):
    assert brief_document(waiting, {})["deadline"] is not None


def test_a_run_that_undoes_what_has_completed_has_no_deadline_to_name(runtime):
    undo = a_step("Undo", "ok", execute=lambda self, instance, config, context: Async())
    flow = define(
        name=f"listed.{secrets.token_hex(6)}",
        initial_step=A,
        transitions={A: BREAKS, BREAKS: Done},
        compensations={A: undo},
        deadline=timedelta(hours=1),
    )
    handle = runtime.start_instance(flow, {}, id="x1")
    eventually(lambda: handle.get().compensating, what="it undoes")
    instance = handle.get()
    assert "deadline" not in whereabouts(instance, {}, now=instance.started_at)
    assert "deadline" not in str(reason_lines(instance, (), now=instance.started_at, application="APP"))
