"""Behaviour 7.4 and 7.6: many starts, deletions, and calls about many runs, in this process."""

from __future__ import annotations

import pytest

from hephaestus_celery import (
    AlreadyRunningError,
    Async,
    BulkResult,
    DataError,
    Done,
    Hephaestus,
    InstanceNotFoundError,
    NotDeletableError,
    RunStateError,
    Status,
    Step,
    Unique,
    Workflow,
)
from hephaestus_celery.testing import EventCapture
from hephaestus_celery.testing.conformance.conditions import eventually


class Ask(Step):
    events = ("answered",)

    def execute(self, instance, config, context):
        return Async()


class Asking(Workflow):
    unique = Unique("asking")
    initial_step = Ask
    transitions = {(Ask, "answered"): Done}


class Ready(Workflow):
    unique = Unique("ready")
    initial_step = Done


@pytest.fixture
def hephaestus():
    with Hephaestus() as runtime:
        yield runtime


@pytest.fixture
def captured():
    with EventCapture() as capture:
        yield capture


def ready(value):
    handle = Ready.start(value)
    assert handle.wait(10).status == "completed"
    return handle


def test_many_starts_give_handles_in_the_order_given(hephaestus):
    handles = Asking.start_many((f"v{number}", {"number": number}) for number in range(250))
    assert [handle.id for handle in handles] == [f"asking::v{number}" for number in range(250)]
    assert handles[249].get().context.initial == {"number": 249}
    assert hephaestus.count() == Asking.count() == 250


def test_many_starts_of_nothing_give_nothing(hephaestus):
    assert hephaestus.start_many(Asking, []) == []


def test_what_is_refused_is_raised_when_all_were_tried(hephaestus):
    held = Asking.start("held")
    with pytest.raises(ExceptionGroup) as raised:
        Asking.start_many(
            [("a", {}), ("held", {}), ("b c", {}), ("d", {"n": object()}), "no pair", ("e", {}), ("a", {})]
        )
    kinds = [type(error) for error in raised.value.exceptions]
    assert kinds == [AlreadyRunningError, ValueError, DataError, ValueError, AlreadyRunningError]
    assert str(raised.value).startswith("5 of 7 starts were refused")
    assert {instance.id for instance in hephaestus.list()} == {"asking::a", "asking::e", held.id}


def test_a_refusal_says_which_start_it_was(hephaestus):
    with pytest.raises(ExceptionGroup) as raised:
        Asking.start_many([("d", {"n": object()})])
    assert raised.value.exceptions[0].__notes__ == ["in the start of 'd'"]


def test_a_conflict_may_be_skipped(hephaestus):
    Asking.start("held")
    handles = Asking.start_many([("a", {}), ("held", {}), ("b", {})], on_conflict="skip")
    assert [handle and handle.id for handle in handles] == ["asking::a", None, "asking::b"]


def test_a_bad_value_is_not_skipped(hephaestus):
    with pytest.raises(ExceptionGroup):
        Asking.start_many([("a", {}), ("b c", {})], on_conflict="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_conflict": "ignore"}, "on_conflict must be 'raise' or 'skip', not 'ignore'"),
        ({"version": 7}, "version"),
        ({"telemetry_metadata": {"workflow": 1}}, "telemetry_metadata.workflow"),
    ],
)
def test_what_is_wrong_with_all_starts_starts_nothing(hephaestus, options, message):
    with pytest.raises((ValueError, DataError), match=message):
        Asking.start_many([("a", {})], **options)
    assert hephaestus.count() == 0


def test_an_error_of_the_iterable_is_raised(hephaestus):
    def starts():
        yield from [(f"v{number}", {}) for number in range(150)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Asking.start_many(starts())
    assert hephaestus.count() == 100


def test_an_ended_run_is_deleted(hephaestus):
    handle = ready("a")
    assert Ready.delete("a") is None
    with pytest.raises(InstanceNotFoundError):
        handle.get()
    with pytest.raises(InstanceNotFoundError):
        hephaestus.delete(handle.run_id)


def test_an_active_run_is_not_deleted(hephaestus):
    handle = Asking.start("a")
    with pytest.raises(NotDeletableError, match=r"asking::a: run .* is active .*only a run that has ended") as refused:
        hephaestus.delete(handle.id)
    assert isinstance(refused.value, RunStateError)
    assert handle.get().status is not None


def test_an_id_means_its_newest_run(hephaestus):
    first, second = ready("a"), ready("a")
    Ready.delete("a")
    assert Ready.get("a").run_id == first.run_id
    with pytest.raises(InstanceNotFoundError):
        second.get()


def test_all_that_match_are_cancelled(hephaestus, captured):
    handles = Asking.start_many([(f"v{number}", {}) for number in range(230)])
    done = ready("a")
    seen = []
    result = hephaestus.cancel_many(workflow=Asking, reason="enough", by="ada", progress=seen.append)
    assert result == BulkResult(230, {})
    assert seen == [100, 200, 230]
    assert {handle.get().status for handle in handles} == {"cancelled"}
    assert handles[0].get().cancel_reason == "enough"
    entry = handles[0].history()[-1]
    assert (entry.kind, entry.by, entry.reason) == ("cancel", "ada", "enough")
    assert done.get().status == "completed"
    events = captured.of(("hephaestus", "workflow", "cancel"))
    assert {event.metadata["instance_id"] for event in events} == {handle.id for handle in handles}


def test_what_has_ended_is_refused_and_says_why(hephaestus):
    done = ready("a")
    Asking.start("b")
    result = hephaestus.cancel_many(status_in=list(Status))
    assert result.done == 1
    assert result.refused == {done.run_id: "it has ended already (completed); only an active run can be cancelled"}


def test_all_ended_runs_that_match_are_deleted(hephaestus):
    ended = [ready(f"v{number}") for number in range(3)]
    active = Asking.start("a")
    result = hephaestus.delete_many(status_in=["completed", "waiting", "pending", "running"])
    assert result.done == len(ended)
    assert list(result.refused) == [active.run_id]
    assert "is active" in result.refused[active.run_id]
    assert hephaestus.count() == 1


@pytest.mark.parametrize("call", ["cancel_many", "retry_many", "pause_many", "unpause_many", "delete_many"])
@pytest.mark.parametrize("filters", [{}, {"tag": None, "workflow": None}])
def test_a_call_about_every_run_is_refused(hephaestus, call, filters):
    with pytest.raises(ValueError, match=f"{call} needs a filter"):
        getattr(hephaestus, call)(**filters)


@pytest.mark.parametrize("call", ["cancel_many", "retry_many", "pause_many", "unpause_many", "delete_many"])
def test_unknown_filters_are_refused(hephaestus, call):
    with pytest.raises(TypeError, match=f"{call} has no filter 'colour'"):
        getattr(hephaestus, call)(colour="red")
    with pytest.raises(TypeError, match=f"{call} has no pages"):
        getattr(hephaestus, call)(tag="x", limit=5)


def test_one_run_may_be_meant_by_its_run_id(hephaestus):
    first, second = Asking.start_many([("a", {}), ("b", {})])
    assert hephaestus.cancel_many(id=first.run_id) == BulkResult(1, {})
    assert not second.get().status.final


@pytest.mark.parametrize("by", ["", "two\nlines", 5, "x" * 201])
def test_who_makes_a_call_is_a_line_of_text(hephaestus, by):
    handle = Asking.start("a")
    for call in (
        lambda: handle.cancel(by=by),
        lambda: handle.resume("answered", by=by),
        lambda: handle.pause(by=by),
        lambda: hephaestus.cancel_many(id=handle.id, by=by),
        lambda: hephaestus.retry_many(id=handle.id, by=by),
        lambda: hephaestus.pause_many(id=handle.id, by=by),
        lambda: hephaestus.unpause_many(id=handle.id, by=by),
    ):
        with pytest.raises(DataError, match="by must be a string of 1 to 200 printable characters"):
            call()


def test_the_history_says_who_has_resumed_and_cancelled(hephaestus):
    resumed, cancelled = Asking.start_many([("a", {}), ("b", {})])
    eventually(lambda: resumed.status == "waiting")
    resumed.resume("answered", by="ada")
    resumed.wait(10)
    cancelled.cancel(by="bob")
    assert [(entry.kind, entry.by) for entry in resumed.history() if entry.by] == [("resume", "ada")]
    assert [(entry.kind, entry.by) for entry in cancelled.history() if entry.by] == [("cancel", "bob")]


@pytest.mark.parametrize(("after", "limit"), [(-1, None), (True, None), ("1", None), (0, 0), (0, -1), (0, 1.5)])
def test_the_page_of_a_history_is_asked_for_by_numbers(hephaestus, after, limit):
    handle = Asking.start("a")
    with pytest.raises(ValueError, match="must be"):
        handle.history(after=after, limit=limit)


def test_a_history_is_read_by_pages(hephaestus):
    handle = ready("a")
    whole = handle.history()
    found, after = [], 0
    while page := Ready.history("a", after=after, limit=1):
        found.extend(page)
        after = page[-1].sequence
    assert found == whole
