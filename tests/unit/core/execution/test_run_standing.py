"""Why a run does not move as a whole: each reason follows from facts."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.run_standing import kept_by_pause, without_steps
from hephaestus_celery.core.execution.standing import Cause, Reason, RunFacts, SchedulerFacts
from hephaestus_celery.core.values.pause import NOT_PAUSED, PauseMark, Pauses

NOW = 1_700_000_000_000_000
OWN, WHOLE = PauseMark(at=NOW - 5, by="ada"), PauseMark(at=NOW - 9)


def kept(cause, pauses):
    found = Reason(step="pay", cause=cause, waits_for="that", since=NOW - 3, until=NOW + 3, moved_by="those")
    return found, kept_by_pause(found, pauses, family="order")


@pytest.mark.parametrize("cause", Cause)
def test_a_run_that_is_not_paused_keeps_its_reasons(cause):
    found, told = kept(cause, NOT_PAUSED)
    assert told is found


@pytest.mark.parametrize("cause", Cause)
def test_only_what_a_worker_has_begun_goes_on_under_a_pause(cause):
    found, told = kept(cause, Pauses(run=OWN))
    if cause in (Cause.EXECUTING, Cause.APPLYING):
        assert told is found
    else:
        assert (told.step, told.cause, told.since, told.until) == ("pay", Cause.PAUSED, OWN.at, None)
        assert told.moved_by.startswith("unpause RUN")


@pytest.mark.parametrize(
    ("pauses", "waits_for", "since", "moved_by"),
    [
        (Pauses(run=OWN), "its run (set by ada)", OWN.at, "unpause RUN"),
        (Pauses(workflow=WHOLE), "its workflow", WHOLE.at, "unpause --whole order"),
        (
            Pauses(run=OWN, workflow=WHOLE),
            "its run (set by ada) and of its workflow",
            WHOLE.at,
            "unpause RUN and unpause --whole order",
        ),
    ],
)
def test_a_pause_has_whose_it_is_since_when_and_what_ends_it(pauses, waits_for, since, moved_by):
    _, told = kept(Cause.SENT, pauses)
    assert (told.waits_for, told.since, told.moved_by) == (f"the end of the pause of {waits_for}", since, moved_by)


@pytest.mark.parametrize("cause", [Cause.BACKOFF, Cause.EVENT, Cause.TIMER])
def test_a_pause_has_what_is_waited_for_then(cause):
    _, told = kept(cause, Pauses(run=OWN))
    assert told.waits_for.endswith(", then for that")
    assert ("an event that comes before is kept" in told.moved_by) == (cause is Cause.EVENT)


@pytest.mark.parametrize(("copies", "cause"), [("run0", Cause.COPYING), (None, Cause.STARTING)])
@pytest.mark.parametrize(("seen", "silent"), [(NOW, False), (None, True)])
def test_a_run_without_steps_is_copied_or_starts_its_next(copies, cause, seen, silent):
    facts = RunFacts(at=NOW, copies=copies, scheduler=SchedulerFacts(owner="s", seen_at=seen))
    told = without_steps(facts, since=NOW - 7)
    assert (told.step, told.cause) == (None, cause)
    assert told.since == (NOW - 7 if copies else None)
    assert ("none is at work" in told.moved_by) == silent
