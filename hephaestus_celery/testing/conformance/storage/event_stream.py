"""Tests of the event stream: each commit tells its events once and in order, and groups miss nothing without a gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hephaestus_celery.core.execution.stream_groups import NOTHING_READ, place_of
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.told_events import events_of
from hephaestus_celery.testing.conformance.driven import DrivenRun, DrivenStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS
from hephaestus_celery.testing.conformance.trips import failing

TOLD = replace(DURATIONS, stream=10_000)
CAPPED = replace(DURATIONS, stream=1)
MANY = 400
"""Commits after which a stream that keeps about one has surely dropped some: a store may keep a hundred more."""


@pytest.fixture
def told(storage: Storage, drive: Callable[..., DrivenStorage]) -> DrivenStorage:
    """The storage, driven by hand; its event stream is told of every commit."""
    return drive(storage, durations=TOLD)


def events(storage: Storage) -> list[Any]:
    """All that the stream keeps."""
    reading = storage.browse_events(0, after=None, limit=100_000)
    return [event for entry in reading.entries if entry.told is not None for event in events_of(entry.told)]


def names(storage: Storage) -> list[str]:
    """The same, briefly: the name of each event and its step."""
    return [" ".join(filter(None, (*event.name[1:], event.step_key))) for event in events(storage)]


def read(storage: Storage, consumer: str = "one", *, group: str = "g", limit: int = 1000, **fields: Any) -> list[Any]:
    """What a consumer is given."""
    return list(storage.read_events(0, group=group, consumer=consumer, limit=limit, **fields).entries)


def take_over(storage: Storage, consumer: str = "two", *, group: str = "g") -> list[Any]:
    """What a consumer is given of what others have had in hands."""
    return list(
        storage.take_over_events(0, group=group, consumer=consumer, limit=1000, idle=0, start=NOTHING_READ).entries
    )


def ids(entries: list[Any]) -> list[str]:
    """The ids of entries."""
    return [entry.id for entry in entries]


def fail_often(told: DrivenStorage, count: int) -> DrivenRun:
    """A run with so many commits, or a few more."""
    run = told.start(max_attempts=100_000, scope="none")
    for attempt in range(1, count // 2 + 1):
        told.entries() if attempt > 1 else None
        run.claim("a", attempt)
        run.retry("a")
    return run


def test_a_run_tells_every_event_once_and_in_order(told):
    run = told.start()
    run.step("a")
    run.step("b")
    assert names(told.storage) == [
        *("workflow start", "engine advance", "step start a"),
        *("step stop a", "workflow transition a", "engine advance"),
        *("step start b", "step stop b", "workflow transition b", "engine advance"),
        *("step start done", "step stop done", "workflow transition done", "workflow stop"),
    ]
    found = events(told.storage)
    assert [event.sequence for event in found] == list(range(1, 15))
    assert run.load().sequence == 14
    assert {(event.run_id, event.id, event.workflow, event.version) for event in found} == {
        (run.id, "order::a", "shop.Order", 1)
    }


def test_nothing_is_told_where_the_stream_is_off(stand):
    stand.start().step("a")
    assert events(stand.storage) == []


def test_a_repeated_call_tells_nothing_more(told):
    run = told.start()
    run.claim("a", fence="f")
    run.claim("a", fence="f")
    completion = run.completion("a")
    told.storage.commit(completion)
    told.storage.commit(completion)
    assert [event.sequence for event in events(told.storage)] == [1, 2, 3, 4, 5, 6]


def test_a_failed_attempt_tells_its_failure_and_when_the_next_one_is_due(told):
    run = told.start()
    run.claim("a")
    entry = '{"kind":"attempt","step":"a","attempt":1,"reason":"KeyError: 3","worker":"w","task_id":":a.1"}'
    run.retry("a", delay=2_000_000, entry=entry, kind="exit", took=5_000_000_001)
    failed = events(told.storage)[-1]
    assert failed.name == ("hephaestus", "step", "exception")
    assert (failed.kind, failed.reason, failed.attempt) == ("exit", "KeyError: 3", 1)
    assert (failed.retry_in, failed.duration) == (2_000_000_000, 5_000_000_001)
    assert (failed.worker, failed.task_id) == ("w", f"{run.id}:a.1")


def test_the_end_of_a_failed_run_is_told_with_its_reason_and_its_length(told):
    run = told.start()
    run.claim("a")
    run.fail("a", entry='{"kind":"attempt","step":"a","reason":"ValueError: no"}')
    attempt, end = events(told.storage)[-2:]
    assert (attempt.name[2], end.name) == ("exception", ("hephaestus", "workflow", "exception"))
    assert (end.step_key, end.kind, end.reason) == ("a", "error", "ValueError: no")
    loaded = run.load()
    assert end.duration == loaded.finished_at * 1000 - int(loaded.start)
    assert end.retry_in is None


def test_a_run_that_is_stuck_tells_why(told):
    run = told.start({("a", "ok"): ["b"], ("a", "x"): ["b"], ("b", "ok"): ["done"]})
    run.claim("a")
    run.complete("a", settlement=replace(run.completion("a").settlement, taken=(), dead=("b",)))
    assert events(told.storage)[-1].reason == "Error: stuck"
    assert events(told.storage)[-1].sequence == run.load().sequence


def test_a_wait_and_its_event_are_told(told):
    run = told.start()
    run.wait_at("a")
    run.deliver()
    run.claim("a")
    run.complete("a", entry='{"kind":"resume","step":"a","event":"ok"}')
    assert names(told.storage)[3:6] == ["step async a", "step resume a", "workflow transition a"]
    assert events(told.storage)[4].wait_duration >= 0
    assert events(told.storage)[4].event == "ok"


def test_what_is_told_of_a_later_round_says_which(told):
    run = told.start()
    run.rounds("a", 1)
    run.claim("a", round=2, holder="task")
    run.seize("a", holder="task")
    assert [(event.name[-1], event.round) for event in events(told.storage)][-2:] == [("start", 2), ("rescue", 2)]


def test_what_is_told_of_a_compensation_says_what_it_undoes(told):
    run = failing(told)
    run.fail("c")
    run.claim("undo_b", holder="task")
    run.seize("undo_b", holder="task")
    found = [(event.name[-1], event.compensates) for event in events(told.storage)][-3:]
    assert found == [("compensate", None), ("start", "b"), ("rescue", "b")]


def test_a_rescue_is_told(told):
    run = told.start()
    run.claim("a", holder="task")
    assert run.seize("a", holder="task") is not None
    run.retry("a")
    assert names(told.storage)[3:] == ["step rescue a", "step exception a"]


def test_a_message_that_is_sent_again_is_told(told):
    run = told.start(lane="0:q")
    assert len(run.resend("a")) == 1
    assert names(told.storage) == ["step rescue a"]
    assert "not claimed" in events(told.storage)[0].reason


def test_a_pause_and_its_end_are_told(told):
    run = told.start()
    run.pause()
    run.unpause()
    assert names(told.storage) == ["workflow pause", "workflow unpause"]


def test_a_cancellation_is_told_and_so_is_what_comes_after_it(told):
    run = told.start()
    run.claim("a")
    run.cancel("no more")
    run.complete("a", entry='{"kind":"attempt","step":"a","event":"ok"}')
    assert names(told.storage)[3:] == ["workflow cancel", "step stop a"]
    assert [event.sequence for event in events(told.storage)] == [1, 2, 3, 4, 5]


def test_a_new_group_begins_with_the_oldest_entry(told):
    told.start().step("a")
    first, second = read(told.storage, group="g"), read(told.storage, group="h")
    assert ids(first) == ids(second)
    assert len(first) == 2
    assert [entry.read_before for entry in first] == [None, None]


def test_each_new_entry_goes_to_one_consumer(told):
    told.start().step("a")
    assert len(read(told.storage, "one", limit=1)) == 1
    assert len(read(told.storage, "two")) == 1
    assert read(told.storage, "one") == read(told.storage, "two") == []


def test_a_consumer_is_given_again_what_it_has_not_acknowledged(told):
    told.start().step("a")
    first, second = ids(read(told.storage))
    told.storage.acknowledge_events(0, group="g", ids=[first])
    assert ids(read(told.storage, after=NOTHING_READ)) == [second]
    assert read(told.storage, after=second) == []
    assert read(told.storage, "two", after=NOTHING_READ) == []
    told.storage.acknowledge_events(0, group="g", ids=[second, second])
    assert read(told.storage, after=NOTHING_READ) == []


def test_events_of_an_entry_are_acknowledged_one_by_one(told):
    told.start().step("a")
    first, second = ids(read(told.storage))
    told.storage.acknowledge_events_in_part(0, group="g", id=first, places=[0, 2])
    again = read(told.storage, after=NOTHING_READ)
    assert [entry.acknowledged for entry in again] == [{0, 2}, set()]
    assert take_over(told.storage)[0].acknowledged == {0, 2}
    told.storage.acknowledge_events(0, group="g", ids=[first])
    assert ids(take_over(told.storage)) == [second]


def test_what_a_consumer_has_left_in_its_hands_is_taken_over(told):
    told.start().step("a")
    left = ids(read(told.storage, "one"))
    told.storage.leave_events(0, group="g", consumer="one")
    assert ids(take_over(told.storage, "two")) == left
    assert ids(read(told.storage, "two", after=NOTHING_READ)) == left
    assert read(told.storage, "one", after=NOTHING_READ) == []


def test_what_was_just_handed_out_is_not_taken_over(told):
    told.start().step("a")
    read(told.storage, "one")
    reading = told.storage.take_over_events(0, group="g", consumer="two", limit=10, idle=60_000_000, start=NOTHING_READ)
    assert list(reading.entries) == []


def test_a_gap_is_counted_and_is_told_until_what_follows_it_is_acknowledged(storage, drive):
    told = drive(storage, durations=CAPPED)
    told.start(scope="none").claim("a")
    [first] = ids(read(storage))
    storage.acknowledge_events(0, group="g", ids=[first])
    fail_often(told, MANY)
    kept = read(storage)
    assert kept[0].read_before == first
    assert all(entry.read_before is None for entry in kept[1:])
    counted = place_of(kept[0].id)[1] - kept[0].told.telling.count - place_of(first)[1]
    everything = place_of(storage.browse_events(0, after=None, limit=1).newest)[1]
    assert counted == everything - 3 - sum(entry.told.telling.count for entry in kept) > 0
    assert read(storage, after=NOTHING_READ)[0].read_before == first
    assert take_over(storage)[0].read_before == first
    storage.acknowledge_events(0, group="g", ids=[kept[0].id])
    assert all(entry.read_before is None for entry in take_over(storage))


def test_no_gap_is_told_where_the_cap_has_taken_only_what_was_read(storage, drive):
    told = drive(storage, durations=replace(CAPPED, stream=60))
    told.start(scope="none").claim("a")
    read(storage)
    for _ in range(MANY // 50):
        fail_often(told, 50)
        assert all(entry.read_before is None for entry in read(storage))


def test_what_was_handed_out_and_then_dropped_is_given_as_lost(storage, drive):
    told = drive(storage, durations=CAPPED)
    told.start(scope="none").claim("a")
    [first] = ids(read(storage))
    fail_often(told, MANY)
    assert [(entry.id, entry.told) for entry in read(storage, after=NOTHING_READ)] == [(first, None)]
    assert [(entry.id, entry.told) for entry in take_over(storage)] == [(first, None)]


def test_waiting_ends_when_something_is_told(told):
    newest = told.storage.browse_events(0, after=None, limit=1).newest
    assert not told.storage.await_events(0, newest=newest, timeout=0.01)
    told.start(scope="none").claim("a")
    assert told.storage.await_events(0, newest=newest, timeout=5)
