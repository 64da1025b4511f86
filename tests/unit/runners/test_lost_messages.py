"""Which late messages are lost: those that nobody holds, where the lane has come past them or the queue is empty."""

from __future__ import annotations

from datetime import timedelta

import pytest
from given_time import GivenClock

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.runners.fleet import BrokerAwayError, Holdings, attempt_of
from hephaestus_celery.runners.lost_messages import FEW, LostMessageWatch, report_interval
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.storage.due import LaneReport, Outstanding
from hephaestus_celery.storage.memory import MemoryStorage

LANE = Lane("work", 3)
OTHER = Lane("work", 9)
TIMEOUT = timedelta(seconds=30)
RUN = "01a20351-48e5-7078-aaf5-44dfe4e463{:02x}"


class Fleet:
    """Workers and a queue as a test says: ``held`` are the numbers of messages that a worker holds."""

    def __init__(self, *, length, held=(), many=(), queues=("work",), beside=()):
        self.queue_length, self.beside = length, beside
        messages = frozenset(attempt_of(message_of(number).task_id) for number in held)
        counts = {str(LANE): len(messages)}
        self.reported = [Holdings(queues=frozenset(queues), messages=messages, many=frozenset(many), counts=counts)]

    def holdings(self, storage):
        return self.reported

    def counted(self, lane):
        return [lane, *self.beside]

    def length(self, lane):
        assert lane == LANE
        if isinstance(self.queue_length, Exception):
            raise self.queue_length
        return self.queue_length


def message_of(number, *, token=1):
    return Message(run_id=RUN.format(number), workflow="shop.Order", activation=Activation("a"), attempt=1, token=token)


def late(number, *, passed=True, token=1):
    dispatch = DispatchStep(Activation("a"), 1, token)
    return Outstanding(run_id=RUN.format(number), name="shop.Order", version=1, dispatch=dispatch, passed=passed)


def report(count, *, passed=True, moves=True):
    return LaneReport(lane=str(LANE), moves=moves, outstanding=[late(number, passed=passed) for number in range(count)])


@pytest.fixture
def clock():
    return GivenClock()


@pytest.fixture
def time_passes(clock):
    """``time_passes(seconds)``, on a clock of the test's own."""
    return clock.sleep


@pytest.fixture
def judge(clock):
    """``judge(fleet, report, outstanding=...)``: the numbers of the messages that are lost; ``judge.watch`` is who says so."""

    class Judge:
        watch = None

        def __call__(self, fleet, given, *, outstanding=None, beside=0):
            self.watch = self.watch or LostMessageWatch(fleet, dispatch_timeout=TIMEOUT, clock=clock)
            storage = MemoryStorage()
            for number in range(len(given.outstanding) if outstanding is None else outstanding):
                storage._memory.enter_lane(str(LANE), (RUN.format(number), "a"), 1)
            for number in range(beside):
                storage._memory.enter_lane(str(OTHER), (RUN.format(number), "b"), 1)
            return [int(message.run_id[-2:], 16) for message in self.watch.lost(given, storage)]

    return Judge()


def test_what_is_passed_and_missing_is_lost(judge):
    assert judge(Fleet(length=100), report(3), outstanding=103) == [0, 1, 2]


def test_what_a_living_worker_holds_is_only_late(judge):
    assert judge(Fleet(length=100, held=[0, 2]), report(3), outstanding=103) == [1]


def test_a_worker_that_holds_an_older_message_for_the_attempt_holds_the_attempt(judge):
    given = LaneReport(lane=str(LANE), moves=True, outstanding=[late(0, token=7)])
    assert judge(Fleet(length=100, held=[0]), given, outstanding=101) == []


def test_a_worker_that_holds_more_of_a_task_than_it_lists_may_hold_any(judge):
    assert judge(Fleet(length=0, many=["shop.Order.a"]), report(3)) == []


def test_no_more_is_sent_again_than_is_missing_but_for_a_few(judge, time_passes):
    fleet = Fleet(length=100)
    assert judge(fleet, report(50), outstanding=100) == list(range(FEW))
    assert judge(fleet, report(50), outstanding=100) == []
    time_passes(30)
    assert judge(fleet, report(50), outstanding=100) == list(range(FEW))
    time_passes(30)
    assert judge(fleet, report(50), outstanding=100) == []
    assert judge(fleet, report(50), outstanding=140) == list(range(40))


def test_where_nothing_is_passed_and_something_waits_it_is_a_backlog(judge):
    assert judge(Fleet(length=3), report(3, passed=False)) == []


def test_what_was_lost_with_a_whole_queue_is_sent_again_without_further_doubts(judge, time_passes):
    fleet = Fleet(length=0)
    assert judge(fleet, report(2, passed=False)) == []
    time_passes(2 * report_interval(TIMEOUT))
    [again] = judge.watch.unconfirmed()
    assert judge(fleet, again) == [0, 1]
    for _ in range(5):  # the lane has come past what was lost with it, and is empty again and again
        time_passes(2 * report_interval(TIMEOUT) - 1)
        assert judge(fleet, report(50)) == list(range(50))
    time_passes(2 * report_interval(TIMEOUT) + 1)
    assert judge(fleet, report(2)) == []


def test_an_empty_queue_is_believed_when_workers_have_had_the_time_to_say_what_they_hold(judge, time_passes):
    assert judge(Fleet(length=0), report(2, passed=False)) == []
    assert judge.watch.unconfirmed() == []
    assert judge.watch.next_in() == 2 * report_interval(TIMEOUT)
    time_passes(2 * report_interval(TIMEOUT))
    [again] = judge.watch.unconfirmed()
    assert judge(None, again) == [0, 1]
    assert judge.watch.next_in() is None


def test_an_empty_queue_that_nobody_is_known_to_take_from_may_be_in_the_hands_of_a_new_worker(judge, time_passes):
    fleet = Fleet(length=0, queues=())
    assert judge(fleet, report(3, passed=False)) == []
    time_passes(2 * report_interval(TIMEOUT))
    [again] = judge.watch.unconfirmed()
    assert judge(fleet, again) == [0, 1, 2]


def test_where_nothing_can_be_known_what_is_late_is_sent_again(judge):
    assert judge(Fleet(length=None), report(2, passed=False)) == [0, 1]


def test_while_the_broker_is_away_nothing_is_lost(judge):
    assert judge(Fleet(length=BrokerAwayError("gone")), report(2)) == []


def test_among_messages_of_others_one_is_sent_again_at_growing_intervals(judge, time_passes):
    fleet, given = Fleet(length=500), report(3, passed=False, moves=False)
    sent = []
    for _ in range(40):  # ten minutes
        sent.append(judge(fleet, given))
        time_passes(15)
    assert [number for number, lost in enumerate(sent) if lost == [0]] == [1, 3, 7, 15, 31]
    assert all(lost in ([], [0]) for lost in sent)


def test_a_queue_without_a_worker_gets_nothing_more_and_is_logged_once(judge, caplog, time_passes):
    fleet, given = Fleet(length=500, queues=("another",)), report(3, passed=False, moves=False)
    for _ in range(10):
        assert judge(fleet, given) == []
        time_passes(60)
    [record] = caplog.records
    assert "500 message(s) wait in queue work (priority 3)" in record.message
    assert "-Q work" in record.message


def test_a_report_is_read_as_it_was_written():
    held = Holdings(queues=frozenset(["a", "b"]), messages=frozenset(["m1"]), many=frozenset(["t"]), counts={"0:a": 3})
    assert Holdings.decode(held.encode()) == held


@pytest.mark.parametrize("lane", [Lane("work"), Lane("a:b:c", 9), Lane("", 0)])
def test_a_lane_is_read_as_it_was_written(lane):
    assert Lane.parse(str(lane)) == lane


@pytest.mark.parametrize(("length", "lost"), [(103, []), (101, [0])])
def test_what_waits_in_the_same_queue_with_another_priority_is_not_taken_for_others(judge, time_passes, length, lost):
    """A queue of RabbitMQ reports its length over all priorities: those that wait behind them are not looked for."""
    fleet, given = Fleet(length=length, beside=[OTHER]), report(3, passed=False, moves=False)
    assert judge(fleet, given, beside=100) == []
    time_passes(1)
    assert judge(fleet, given, beside=100) == lost
