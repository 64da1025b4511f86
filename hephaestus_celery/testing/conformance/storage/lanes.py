"""Tests of queues: a message is late when its lane has come past it or nobody takes it; a backlog is no loss."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.limits import TURNED_AWAY
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.claims import Refused

LANE, OTHER = "0:work", "5:work"
TIMEOUT = timedelta(milliseconds=60)
HOUR = 3_600_000_000
FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


@pytest.fixture
def hurried(stand_with):
    """A storage in which a message is late after 60 ms."""
    return stand_with(dispatch_timeout=TIMEOUT)


def start(hurried, number=0, **fields):
    return hurried.start(instance_id=f"order::a{number}", lane=LANE, **fields)


def pass_by(hurried, duration):
    """Let time pass on the clock of the storage."""
    until = hurried.storage.now() + duration // timedelta(microseconds=1)
    while hurried.storage.now() <= until:
        pass


def reports(hurried):
    """The reports on lanes of the next looks, for at least eight dispatch timeouts or until there is one."""
    end = time.monotonic() + 8 * TIMEOUT.total_seconds()
    while time.monotonic() < end:
        tick = hurried.tick()
        assert list(tick.entries) == []
        if tick.lanes:
            return list(tick.lanes)
    return []


def late(hurried, wanted):
    """What the looks report, until all that is wanted was among it: run id and step, and whether it was passed."""
    found = {}
    end = time.monotonic() + 20
    while not wanted <= set(found):
        for report in hurried.tick().lanes:
            for message in report.outstanding:
                found[message.run_id, message.dispatch.activation.step] = message.passed
        assert time.monotonic() < end, f"{wanted} were to be reported, and these were: {found}"
    return found


def test_a_message_waits_in_its_lane_and_not_in_the_due_set(hurried):
    run = start(hurried)
    assert (run.lanes(), run.due()) == ({"a": LANE}, {})


def test_who_claims_takes_it_from_its_lane(hurried):
    run = start(hurried)
    run.claim("a", lane=LANE, token=1)
    assert (run.lanes(), set(run.due())) == ({}, {"a"})


def test_what_a_commit_starts_waits_in_the_lanes_that_the_commit_names(hurried):
    run = start(hurried, edges=FORK)
    run.claim("a")
    run.complete("a", lanes={"b": LANE, "c": OTHER})
    assert (run.lanes(), run.due()) == ({"b": LANE, "c": OTHER}, {})


def test_what_is_sent_where_that_is_not_known_has_a_timer(hurried):
    run = start(hurried, edges=FORK)
    run.claim("a")
    run.complete("a", lanes={"b": LANE})
    assert (run.lanes(), set(run.due())) == ({"b": LANE}, {"c"})


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_the_end_of_a_run_takes_what_waits_from_its_lane(hurried, end):
    run = start(hurried, edges=FORK)
    run.step("a")
    run.claim("b")
    if end == "fail":
        run.fail("b")
    else:
        run.cancel()
    assert run.lanes() == {}


def test_the_next_attempt_waits_in_the_lane_that_the_last_one_came_from(hurried):
    run = start(hurried)
    run.claim("a", lane=OTHER)
    run.retry("a")
    assert run.lanes() == {}
    [entry] = hurried.entries(1)
    assert (entry.kind, run.lanes(), run.due()) == (Due.RETRY, {"a": OTHER}, {})


@pytest.mark.parametrize("early", [True, False])
def test_a_delivered_event_waits_in_the_lane_of_its_step(hurried, early):
    run = start(hurried)
    run.claim("a")
    if early:
        run.deliver("go", keep=True)
    run.suspend("a", timeout=60_000_000)
    run.deliver("go")
    assert (run.lanes(), run.due()) == ({"a": LANE}, {})


def test_a_timeout_waits_in_the_lane_of_its_step(hurried):
    run = start(hurried)
    run.wait_at("a", accepts={"timeout": "timeout"}, timeout=0)
    [entry] = hurried.entries(1)
    assert (entry.kind, run.lanes(), run.due()) == (Due.TIMEOUT, {"a": LANE}, {})


def test_where_nobody_claims_all_is_late_and_nothing_is_passed(hurried):
    runs = [start(hurried, number) for number in range(3)]
    pass_by(hurried, 2 * TIMEOUT)
    [report] = reports(hurried)
    assert (report.lane, report.moves) == (LANE, False)
    assert [(message.run_id, message.passed) for message in report.outstanding] == [(run.id, False) for run in runs]
    assert report.outstanding[0].dispatch == DispatchStep(Activation("a"), 1, 1)
    assert hurried.storage.outstanding(LANE) == 3


def test_what_was_sent_before_a_message_that_was_claimed_is_passed(hurried):
    first, second, third = (start(hurried, number) for number in range(3))
    second.claim("a", lane=LANE, token=1)
    found = {(first.id, "a"): False}
    while not found[first.id, "a"]:
        found = late(hurried, {(first.id, "a")})
    [report] = reports(hurried)
    assert {message.run_id: message.passed for message in report.outstanding} == {first.id: True, third.id: False}


def test_what_was_sent_by_one_commit_is_not_passed_by_a_part_of_it(hurried):
    run = start(
        hurried,
        edges={("a", "ok"): ["b", "c", "e"], ("b", "ok"): ["done"], ("c", "ok"): ["done"], ("e", "ok"): ["done"]},
    )
    run.claim("a", lane=LANE, token=1)
    run.complete("a", lanes=dict.fromkeys("bce", LANE))
    run.claim("c", lane=LANE, token=1)
    pass_by(hurried, 4 * TIMEOUT)
    assert set(late(hurried, {(run.id, "b"), (run.id, "e")}).values()) == {False}


def test_a_lane_that_moves_on_is_not_looked_through(hurried):
    runs = [start(hurried, number) for number in range(100)]
    for run in runs:  # in the order of sending, for as long as many dispatch timeouts
        run.claim("a", lane=LANE, token=1)
        pass_by(hurried, TIMEOUT / 10)
        assert list(hurried.tick().lanes) == []


def test_a_claim_in_another_lane_passes_nothing(hurried):
    waiting = start(hurried)
    other = start(hurried, 1)
    other.claim("a", lane=OTHER, token=1)
    for _ in range(3):
        assert late(hurried, {(waiting.id, "a")}) == {(waiting.id, "a"): False}


def test_many_are_looked_through_piece_by_piece(hurried):
    runs = {(start(hurried, number).id, "a") for number in range(120)}
    pieces = [len(report.outstanding) for report in reports(hurried)]
    assert 0 < sum(pieces) < 120
    assert set(late(hurried, runs)) == runs


def test_a_lost_message_is_sent_again_and_emitted_without_its_run(hurried):
    run = start(hurried)
    [entry] = run.resend("a")
    assert (entry.kind, entry.dispatch, run.lanes()) == (
        Due.REDISPATCH,
        DispatchStep(Activation("a"), 1, 2),
        {"a": LANE},
    )
    assert entry.run.header == run.new.header
    assert entry.run.step == run.load().steps["a"]
    [stored] = run.history()
    assert (stored.sequence, stored.outcome) == (entry.sequence, "")


def test_where_all_is_lost_look_after_look_follows_at_once(hurried):
    """A broker that has lost a long queue is made good within seconds, not a piece at a time."""
    runs = {(start(hurried, number).id, "a") for number in range(220)}
    again, looks = set(), 0
    pass_by(hurried, TIMEOUT)
    while again != runs:
        tick = hurried.tick()
        looks += 1
        for report in tick.lanes:
            lost = dict.fromkeys(report.outstanding)
            entries = hurried.storage.resend(
                0, lost, lane=LANE, operation=f"op{looks}", worker="w1", durations=hurried.durations
            )
            again |= {(entry.run_id, entry.dispatch.activation.step) for entry in entries}
    assert looks <= 20


def test_a_message_is_sent_again_to_where_it_goes_now(hurried):
    run = start(hurried)
    run.resend("a", lane=OTHER)
    assert run.lanes() == {"a": OTHER}


def test_a_message_that_went_elsewhere_waits_there_since_it_was_sent(hurried):
    known, unknown = start(hurried), hurried.start(instance_id="order::b")
    for run in (known, unknown, known):
        run.redirect("a", lane=OTHER)
        assert (run.lanes(), run.due()) == ({"a": OTHER}, {})
    assert (hurried.storage.outstanding(LANE), hurried.storage.outstanding(OTHER)) == (0, 2)
    assert hurried.storage.outstanding(LANE, OTHER) == 2
    assert late(hurried, {(known.id, "a"), (unknown.id, "a")})


@pytest.mark.parametrize("moved", ["claimed", "another attempt", "another message", "cancelled", "unknown"])
def test_what_has_moved_on_is_not_redirected(hurried, moved):
    run = start(hurried)
    attempt = token = 1
    match moved:
        case "claimed":
            run.claim("a")
        case "another attempt":
            attempt = 2
        case "another message":
            token = 2
        case "cancelled":
            run.cancel()
    before = run.load(), run.lanes(), run.history()
    run.redirect("unheard" if moved == "unknown" else "a", attempt, token, lane=OTHER)
    assert (run.load(), run.lanes(), run.history()) == before


@pytest.mark.parametrize(("attempt", "token"), [(1, 2), (2, 1)])
def test_another_message_than_the_last_is_not_lost(hurried, attempt, token):
    run = start(hurried)
    assert list(run.resend("a", attempt, token)) == []


@pytest.mark.parametrize("moved", ["claimed", "cancelled"])
def test_what_has_moved_on_is_not_sent_again(hurried, moved):
    run = start(hurried)
    if moved == "claimed":
        run.claim("a")
    else:
        run.cancel()
    assert list(run.resend("a")) == []


def test_a_message_that_was_sent_again_gets_twice_the_time(hurried):
    run = start(hurried)
    late(hurried, {(run.id, "a")})
    began = hurried.storage.now()  # before it is sent again: the machine may stop for a while after that
    run.resend("a")
    late(hurried, {(run.id, "a")})
    assert hurried.storage.now() - began >= 2 * 0.75 * TIMEOUT.total_seconds() * 1e6


@pytest.mark.parametrize(("token", "passed"), [(1, False), (2, True)])
def test_only_the_last_message_of_a_step_says_how_far_its_lane_has_come(hurried, token, passed):
    again = start(hurried)
    waiting = start(hurried, 1)
    again.resend("a")
    again.claim("a", lane=LANE, token=token)
    for _ in range(3):
        found = late(hurried, {(waiting.id, "a")})
    assert found == {(waiting.id, "a"): passed}


def test_a_message_that_was_turned_away_is_sent_again_soon(stand_with):
    hurried = stand_with(dispatch_timeout=timedelta(seconds=30))
    run = start(hurried)
    assert run.claim("a", versions=()).reason is Refused.UNKNOWN_VERSION
    assert run.lanes() == {"a": LANE}
    [entry] = hurried.entries(1)
    assert (entry.kind, entry.dispatch, run.lanes(), run.due()) == (
        Due.REDISPATCH,
        DispatchStep(Activation("a"), 1, 2),
        {"a": LANE},
        {},
    )


def test_a_message_that_is_turned_away_again_keeps_its_time(stand_with):
    run = start(stand_with(dispatch_timeout=timedelta(seconds=30)))
    run.claim("a", versions=())
    due = run.due()
    run.claim("a", versions=())
    assert (run.due(), run.lanes()) == (due, {"a": LANE})


def test_a_message_that_is_turned_away_is_sent_again_soon_whatever_its_lane_is_looked_for(hurried):
    run = start(hurried)
    run.claim("a", versions=())
    assert run.due() == {}  # it is looked for sooner than it would be sent again
    run.probe.set_due(hurried.storage, run.id, "a", hurried.storage.now() + HOUR)
    run.claim("a", versions=())
    assert set(run.due()) == {"a"}
    assert run.due()["a"] <= hurried.storage.now() + TURNED_AWAY


def test_what_living_workers_hold_is_known_for_as_long_as_they_say(hurried):
    storage = hurried.storage
    storage.report("w1", '{"n":1}', lifetime=60_000_000)
    storage.report("w2", '{"n":2}', lifetime=1000)
    storage.report("w3", '{"n":3}', lifetime=60_000_000)
    storage.report("w3", None, lifetime=60_000_000)
    storage.report("w1", '{"n":4}', lifetime=60_000_000)
    pass_by(hurried, timedelta(milliseconds=2))
    assert list(storage.reports()) == ['{"n":4}']
