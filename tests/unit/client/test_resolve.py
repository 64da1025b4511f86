"""Which run an id means: of which workflow, of which version, and where a run id or a UUID stands in its place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery import (
    Async,
    DataError,
    Done,
    Hephaestus,
    InstanceNotFoundError,
    MemoryStorage,
    Ok,
    Step,
    Unique,
    Workflow,
)

VERSION_7 = "01a2041a-b77c-7053-80cd-fe09e0e24f0e"


class Ask(Step):
    events = ("go",)

    def execute(self, instance, config, context):
        return Async()


class Go(Step):
    events = ("gone",)

    def execute(self, instance, config, context):
        return Ok("gone")


class Asking(Workflow):
    unique = Unique("lookup")
    initial_step = Ask
    transitions = {(Ask, "go"): Done}


class Going(Workflow):
    unique = Unique("lookup")
    initial_step = Go
    transitions = {(Go, "gone"): Done}
    tags = ("quick",)


class First(Workflow):
    version = 1
    initial_step = Ask
    transitions = {(Ask, "go"): Done}


class Second(First):
    version = 2


class Both(Workflow):
    unique = Unique("both", scope="version")
    versions = {1: First, 2: Second}
    current = 2


@pytest.fixture(params=["memory", "redis"])
def hephaestus(request):
    """A runtime on either storage; the second with its state in a real server."""
    storage = MemoryStorage() if request.param == "memory" else request.getfixturevalue("redis_storage")
    with Hephaestus(storage=storage) as hephaestus:
        yield hephaestus


def test_a_value_may_look_like_a_run_id(hephaestus):
    handle = Asking.start(VERSION_7)
    assert Asking.get(VERSION_7).run_id == handle.run_id
    Asking.cancel(VERSION_7)
    assert handle.get().status == "cancelled"


def test_a_run_id_goes_before_a_value_that_looks_like_it(hephaestus):
    handle = Asking.start("a1")
    Asking.start(handle.run_id)
    assert Asking.get(handle.run_id).id == "lookup::a1"


def test_a_run_of_another_workflow_is_not_found(hephaestus):
    handle = Asking.start("a1")
    for call in (Going.get, Going.cancel, lambda run_id: Going.resume(run_id, "go")):
        with pytest.raises(InstanceNotFoundError):
            call(handle.run_id)
    with pytest.raises(InstanceNotFoundError):
        hephaestus.resume(handle.run_id, "go", workflow=Going)
    assert not handle.get().status.final


def test_a_version_sees_its_own_runs_where_identity_is_by_version(hephaestus):
    second = Both.start("a1")
    for call in (First.get, First.cancel, lambda value: First.resume(value, "go")):
        with pytest.raises(InstanceNotFoundError):
            call("a1")
    first = Both.start("a1", version=1)
    assert (First.get("a1").run_id, Second.get("a1").run_id) == (first.run_id, second.run_id)
    First.cancel("a1")
    Second.cancel("a1")
    assert (First.get("a1").run_id, Second.get("a1").run_id) == (first.run_id, second.run_id)


def test_a_run_id_of_another_version_is_not_found_either(hephaestus):
    handle = Both.start("a1")
    with pytest.raises(InstanceNotFoundError):
        First.get(handle.run_id)
    assert Both.get(handle.run_id).run_id == Second.get(handle.run_id).run_id == handle.run_id


def test_a_listing_may_name_a_run(hephaestus):
    one, two = (Going.start("a1").wait(10).run_id for _ in range(2))
    for run_id in (one, two):
        page = hephaestus.list(id=run_id)
        assert ([instance.run_id for instance in page], page.next_cursor) == ([run_id], None)


def test_the_other_filters_count_for_a_run_that_is_named(hephaestus):
    instance = Going.start("a1").wait(10)
    started, moment = instance.started_at, timedelta(microseconds=1)
    for matching in (
        {"status": "completed"},
        {"workflow": Going},
        {"tag": "quick"},
        {"started_after": started - moment, "started_before": started + moment},
    ):
        assert len(hephaestus.list(id=instance.run_id, **matching)) == 1
    for other in ({"status": "failed"}, {"workflow": Asking}, {"started_after": started}, {"started_before": started}):
        assert len(hephaestus.list(id=instance.run_id, **other)) == 0


def test_a_run_that_is_not_there_is_on_no_page(hephaestus):
    assert len(hephaestus.list(id=VERSION_7)) == 0


def test_the_listing_of_a_workflow_takes_the_value_alone(hephaestus):
    handle = Asking.start("a1")
    for name in ("a1", "lookup::a1", handle.run_id):
        assert [instance.run_id for instance in Asking.list(id=name)] == [handle.run_id]
    assert len(Asking.list(id="b2")) == len(Going.list(id="a1")) == 0


ODD_IDS = ["", "\ud800", "lookup::\ud800", "a\x00b", "a\nb", "lookup::" + "x" * 100_000]
CALLS = {
    "get": lambda hephaestus, odd: hephaestus.get(odd),
    "wait": lambda hephaestus, odd: hephaestus.wait(odd, 0),
    "history": lambda hephaestus, odd: hephaestus.history(odd),
    "cancel": lambda hephaestus, odd: hephaestus.cancel(odd),
    "resume": lambda hephaestus, odd: hephaestus.resume(odd, "go"),
    "schedule_resume": lambda hephaestus, odd: hephaestus.schedule_resume(odd, Ask, 1),
    "list by id": lambda hephaestus, odd: hephaestus.list(id=odd),
    "list by tag": lambda hephaestus, odd: hephaestus.list(tag=odd),
    "list by family": lambda hephaestus, odd: hephaestus.list(workflow_family=odd),
    "list by workflow": lambda hephaestus, odd: hephaestus.list(workflow=odd),
}


@pytest.mark.parametrize("odd", ODD_IDS, ids=[repr(odd)[:20] for odd in ODD_IDS])
@pytest.mark.parametrize("call", CALLS)
def test_what_can_be_no_id_is_refused_in_a_text_that_can_be_printed(hephaestus, call, odd):
    with pytest.raises(ValueError, match=r".") as refused:
        CALLS[call](hephaestus, odd)
    assert type(refused.value) is ValueError
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


def test_a_reason_and_metadata_of_a_start_have_the_size_of_any_value(hephaestus):
    with pytest.raises(DataError, match=r"telemetry_metadata has 2,000,0.. bytes as JSON"):
        Asking.start("large", telemetry_metadata={"note": "x" * 2_000_000})
    handle = Asking.start("large")
    with pytest.raises(DataError, match=r"reason has 2,000,0.. bytes as JSON"):
        handle.cancel("x" * 2_000_000)
    assert not handle.get().status.final
    handle.cancel("a reason with \ud800, \x00 and \u2028")
    assert handle.get().cancel_reason == "a reason with \ud800, \x00 and \u2028"


def test_what_is_not_found_is_reported_with_whose_it_is_not_and_how_an_id_looks(hephaestus):
    Asking.start("a1")
    with pytest.raises(
        InstanceNotFoundError,
        match=r"^no instance lookup::a1 of Going; it was never started, its retention is over, or it was deleted$",
    ):
        Going.get("a1")
    with pytest.raises(
        InstanceNotFoundError,
        match=r"^no instance a1; .* the key of the workflow.s Unique and a value, such as orderid::a1$",
    ):
        hephaestus.get("a1")
