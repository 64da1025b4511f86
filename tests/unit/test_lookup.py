"""Which run an id means: of which workflow, of which version, and where a run id or a UUID stands in its place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery import Async, Done, Hephaestus, InstanceNotFoundError, MemoryStorage, Ok, Step, Unique, Workflow

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
