"""Tests of timers beside those of steps: they give a waiting step its timeout, once, and are kept for one that will wait."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.values.activation import Activation

FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}
HOUR = 3_600_000_000
ACCEPTS_TIMEOUT = {"go": "ok", "timeout": "timeout"}


def test_a_timer_gives_the_waiting_step_the_event_timeout(stand):
    run = stand.start()
    run.wait_at("a")
    assert run.schedule("a") is True
    [entry] = stand.tick().entries
    assert (entry.kind, entry.dispatch, entry.sequence) == (Due.TIMEOUT, DispatchStep(Activation("a"), 1, 2), 0)
    assert run.load().steps["a"].resume.source == "timeout"


def test_a_timer_fires_once(stand):
    run = stand.start()
    run.wait_at("a")
    run.schedule("a")
    stand.entries(1)
    stand.calm()
    assert set(run.due()) == {"a"}


def test_before_its_time_a_timer_does_not_fire(stand):
    run = stand.start()
    run.wait_at("a")
    run.schedule("a", delay=HOUR)
    assert list(stand.tick().entries) == []
    assert set(run.due()) == {"a|ref"}


def test_several_timers_of_one_step_give_one_timeout(stand):
    run = stand.start()
    run.wait_at("a")
    for number in range(5):
        run.schedule("a", reference=f"ref{number}")
    assert len(stand.tick().entries) == 1
    assert set(run.due()) == {"a"}


@pytest.mark.parametrize("first", ["timeout", "timer"])
def test_a_timer_and_the_timeout_of_a_step_at_once_give_one_timeout_and_no_rescue(stand, first):
    run = stand.start()
    run.claim("a")
    if first == "timer":
        run.suspend("a", timeout=1000)
        run.schedule("a")
    else:
        run.suspend("a", timeout=0)
        run.schedule("a", delay=1000)
    due = max(run.due().values())
    while stand.storage.now() <= due:
        pass
    assert [entry.kind for entry in stand.tick().entries] == [Due.TIMEOUT]
    assert [entry.outcome for entry in run.history()] == ["waiting"]


def test_a_timer_before_the_timeout_of_its_step_puts_the_timeout_off(stand):
    run = stand.start()
    run.wait_at("a", timeout=HOUR)
    run.schedule("a")
    stand.entries(1)
    assert run.due() == {"a": run.load().steps["a"].resume.at + 30_000_000}


@pytest.mark.parametrize("where", ["unreached", "queued", "claimed", "backing_off"])
def test_a_timer_of_a_step_that_does_not_wait_yet_is_kept_for_it(stand, where):
    run = stand.start()
    if where in ("claimed", "backing_off"):
        run.claim("a")
    if where == "backing_off":
        run.retry("a", delay=HOUR)
    key = "b" if where == "unreached" else "a"
    run.schedule(key)
    assert list(stand.tick().entries) == []
    assert f"{key}|ref" not in run.due()


@pytest.mark.parametrize("accepts", [{}, {"go": "ok"}, ACCEPTS_TIMEOUT])
def test_a_kept_timer_fires_the_moment_its_step_waits(stand, accepts):
    run = stand.start()
    run.claim("a")
    run.schedule("a")
    stand.tick()
    commitment = run.suspend("a", accepts=accepts)
    assert (commitment.resumed, list(commitment.dispatches)) == (True, [DispatchStep(Activation("a"), 1, 2)])


def test_a_kept_timer_is_a_timeout_like_any_other(stand):
    run = stand.start()
    run.claim("a")
    run.schedule("a")
    stand.tick()
    run.suspend("a", accepts=ACCEPTS_TIMEOUT)
    claim = run.claim("a")
    assert (claim.resume.event, claim.resume.source, claim.data) == ("timeout", "timeout", None)


def test_a_timer_kept_for_a_step_that_nothing_had_reached_fires_when_it_waits(stand):
    run = stand.start()
    run.schedule("b")
    stand.tick()
    run.step("a")
    assert run.wait_at("b").resumed is True


def test_a_timer_kept_for_a_step_is_not_for_another(stand):
    run = stand.start(FORK)
    run.step("a")
    run.schedule("b")
    stand.tick()
    assert run.wait_at("c", accepts=ACCEPTS_TIMEOUT).resumed is False
    assert run.wait_at("b", accepts=ACCEPTS_TIMEOUT).resumed is True


def test_a_kept_timer_leaves_an_event_named_timeout_its_data(stand):
    run = stand.start()
    run.deliver("timeout", '{"n":1}', step="a", keep=True)
    run.schedule("a")
    stand.tick()
    run.wait_at("a", accepts={"timeout": "received"})
    claim = run.claim("a")
    assert (claim.resume.event, claim.resume.source, claim.data) == ("received", "external", '{"n":1}')


@pytest.mark.parametrize("where", ["resumed", "applied", "completed", "skipped"])
def test_a_timer_means_nothing_once_its_step_waits_no_more(stand, where):
    run = stand.start(
        {("z", "ok"): ["a"], ("z", "other"): ["b"], ("a", "ok"): ["c"], ("b", "ok"): ["c"], ("c", "ok"): ["done"]}
    )
    run.step("z", "other" if where == "skipped" else "ok")
    if where != "skipped":
        run.wait_at("a")
        run.deliver("go")
    if where in ("applied", "completed"):
        run.claim("a")
    if where == "completed":
        run.complete("a")
    run.schedule("a")
    before = run.load()
    stand.calm()
    assert run.load() == before
    assert "a|ref" not in run.due()


def test_a_timer_that_has_fired_leaves_nothing_for_a_later_step(stand):
    run = stand.start()
    run.wait_at("a", accepts=ACCEPTS_TIMEOUT)
    run.schedule("a")
    stand.entries(1)
    run.step("a")
    assert run.wait_at("b", accepts=ACCEPTS_TIMEOUT).resumed is False


def test_a_timer_can_be_taken_back(stand):
    run = stand.start()
    run.wait_at("a")
    run.schedule("a")
    assert run.unschedule("a") is True
    assert (list(stand.tick().entries), run.due()) == ([], {})


def test_a_timer_is_taken_back_once(stand):
    run = stand.start()
    run.wait_at("a")
    run.schedule("a")
    run.unschedule("a")
    assert run.unschedule("a") is False
    stand.calm()


def test_taking_one_timer_back_leaves_the_others(stand):
    run = stand.start()
    run.wait_at("a", timeout=HOUR)
    for reference in ("one", "two"):
        run.schedule("a", reference=reference, delay=HOUR)
    run.unschedule("a", reference="one")
    assert set(run.due()) == {"a", "a|two"}


def test_a_timer_that_has_fired_cannot_be_taken_back(stand):
    run = stand.start()
    run.wait_at("a")
    run.schedule("a")
    stand.entries(1)
    assert run.unschedule("a") is False


def test_a_timer_that_was_never_set_cannot_be_taken_back(stand):
    run = stand.start()
    assert run.unschedule("a") is False
    assert stand.prepare().unschedule("a") is False


def test_a_timer_of_an_ended_run_cannot_be_taken_back(stand):
    run = stand.start()
    run.schedule("a", delay=HOUR)
    run.cancel()
    assert run.unschedule("a") is False


def test_an_ended_run_takes_no_timer(stand):
    run = stand.start()
    run.cancel()
    assert (run.schedule("a"), run.due()) == (False, {})


def test_an_unknown_run_takes_no_timer(stand):
    assert stand.prepare().schedule("a") is False
    assert stand.tick().next_in is None


def test_a_timer_changes_nothing_until_it_fires(stand):
    run = stand.start()
    before = run.load(), list(run.history())
    run.schedule("a", delay=HOUR)
    assert (run.load(), list(run.history())) == before
