"""What scripts do with runs that are wide or large takes the server a few milliseconds."""

from __future__ import annotations

import json

import pytest
from wide_runs import WIDE, fan, fanned

from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.testing.conformance.driven_values import DURATIONS


def test_a_join_of_a_hundred_megabytes(longest):
    def prepare(stand):
        run = fan(stand, 1000)
        run.step("a")
        for branch in run.branches:
            run.step(branch, result=json.dumps("x" * 100_000))
        return run

    def join(run, storage):
        claim = run.claim("join", predecessors=run.branches)
        context = decode_instance(claim.run, reader=storage).context
        assert len(context.result("b7")) == 100_000
        assert len(context.steps) == 1001
        run.complete("join")
        instance = decode_instance(run.load(), reader=storage)
        assert (instance.status, len(instance.context.steps)) == ("completed", 1003)
        assert len(run.history()) == 1003

    assert longest(join, prepare) == {}


def test_a_step_of_thousands(longest):
    def step(run, storage):
        run.claim("b7", predecessors=["a"])
        run.complete("b7")
        instance = decode_instance(run.load(), reader=storage)
        assert len(instance.step_states) == WIDE + 1

    assert longest(step, fanned) == {}


@pytest.mark.parametrize("width", [500, 2 * WIDE])
@pytest.mark.parametrize("event", ["ok", "no"])
def test_a_step_that_thousands_follow(longest, width, event):
    def fan_out(run, storage):
        run.claim("a")
        assert run.complete("a", event, lanes=dict.fromkeys(run.branches, "0:celery")).activated
        instance = decode_instance(run.load(), reader=storage)
        assert len(instance.step_states) > width

    assert longest(fan_out, lambda stand: fan(stand, width)) == {}


def test_a_run_that_begins_with_thousands(longest):
    branches = [f"b{number}" for number in range(2 * WIDE)]

    def begin(run, storage):
        assert len(storage.create(run.new)) == 2 * WIDE

    assert longest(begin, lambda stand: stand.prepare({(branch, "ok"): ["done"] for branch in branches})) == {}


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_the_end_of_a_run_of_thousands(longest, how):
    def end(run, storage):
        run.claim("b7")
        run.claim("b9")
        if how == "fail":
            assert run.fail("b7").completed == ["a"]
        else:
            assert set(run.cancel().held) == {"b7", "b9"}
        assert run.load().status.final
        assert len(run.due()) > 1
        while storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS).more:
            pass
        assert run.due() == {}

    assert longest(end, fanned) == {}


def test_an_event_for_one_of_thousands(longest):
    def delivered(run, storage):
        run.wait_at("b7")
        assert run.deliver().outcome == "accepted"

    assert longest(delivered, fanned) == {}


def test_what_is_due_of_thousands(longest):
    def due(run, storage):
        for _ in range(3):
            storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS)

    assert longest(due, fanned) == {}


def test_a_run_of_thousands_is_deleted(longest):
    def deleted(run, storage):
        run.wait_at("b7")
        run.cancel()
        assert run.delete() is None
        assert run.load() is None

    assert longest(deleted, fanned) == {}


def test_the_first_of_thousands_ends_the_run(longest):
    def ended(run, storage):
        run.step("b7")
        run.claim("b8")
        run.step("join")
        run.complete("b8")
        while storage.tick(0, owner="me", worker="w", seize=True, durations=DURATIONS).more:
            pass

    def raced(stand):
        run = fan(stand, joins={"join": 1})
        run.step("a")
        return run

    assert longest(ended, raced) == {}


def test_a_round_of_thousands_with_a_large_state(longest):
    def again(run, storage):
        for number in range(1, 4):
            run.claim("b7", round=number)
            assert run.again("b7", state='{"rows":"%s"}' % ("x" * 500_000)).verdict == "applied"
        assert run.history(limit=100)

    assert longest(again, fanned) == {}


def test_the_history_of_a_run_with_many_rounds(longest):
    def read(run, storage):
        after = 0
        while page := run.history(after=after, limit=50):
            after = page[-1].sequence

    def went_on(stand):
        run = stand.start()
        run.rounds("a", 250)
        return run

    assert longest(read, went_on) == {}
