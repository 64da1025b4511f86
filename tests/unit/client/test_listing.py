"""Behaviour 5.7: filters of a listing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest
from defining import define, sound

from hephaestus_celery import Status, Unique, Workflow
from hephaestus_celery.client.listing import Page, read_conditions, read_query
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.storage.queries import Query

RUN_ID = "0190f0f0-0000-7000-8000-000000000001"
PLAIN = define(**sound(name="shop.plain"))
MEMBER = type("Member", (Workflow,), sound(name="shop.member", version=3))
UMBRELLA = type(
    "Umbrella",
    (Workflow,),
    {"unique": Unique("orderid"), "name": "shop.umbrella", "versions": {3: MEMBER}, "current": 3},
)


class Nowhere(tzinfo):
    def utcoffset(self, moment):
        return None


class Abstract(Workflow, abstract=True):
    pass


def read(**filters):
    return read_query(filters)


def refusal_of(**filters):
    with pytest.raises(ValueError, match=r"must be|is no status") as refused:
        read(**filters)
    return str(refused.value)


def test_without_filters_everything_is_listed():
    assert read() == Query()


@pytest.mark.parametrize("name", ["status", "workflow", "version", "id", "tag", "limit", "cursor", "started_after"])
def test_a_filter_of_none_filters_nothing(name):
    assert read(**{name: None}) == Query()


def test_an_unknown_filter_is_a_type_error_that_names_the_known_ones():
    with pytest.raises(TypeError) as refused:
        read(statuses="failed")
    assert str(refused.value) == (
        "list has no filter 'statuses'; filters are status, status_in, workflow, version, workflow_family, id, tag, "
        "started_after, started_before, waiting_for, waiting_since_before, failed_step, retried, paused, limit, cursor"
    )


@pytest.mark.parametrize("status", ["failed", Status.FAILED])
def test_a_status_is_a_name_or_a_member(status):
    assert read(status=status) == Query(statuses=frozenset({Status.FAILED}))


@pytest.mark.parametrize("status", ["done", "", 5, ["failed"], "FAILED"])
def test_an_unknown_status_names_the_known_ones(status):
    assert refusal_of(status=status) == (
        f"status has {status!r}, which is no status; one of pending, running, waiting, completed, failed, cancelled"
    )


@pytest.mark.parametrize("statuses", [["failed", "waiting"], ("failed", Status.WAITING), {"failed", "waiting"}])
def test_several_statuses_may_be_wanted(statuses):
    assert read(status_in=statuses) == Query(statuses=frozenset({Status.FAILED, Status.WAITING}))


@pytest.mark.parametrize("statuses", ["failed", 5])
def test_statuses_that_are_no_list_are_refused(statuses):
    assert refusal_of(status_in=statuses) == f"status_in must be a list of statuses, not {statuses!r}"


def test_an_unknown_status_in_a_list_is_refused():
    assert refusal_of(status_in=["failed", "done"]).startswith("status_in has 'done', which is no status")


def test_both_kinds_of_status_must_match():
    assert read(status="failed", status_in=["failed", "waiting"]).statuses == {Status.FAILED}


def test_two_statuses_that_exclude_each_other_match_nothing():
    assert read(status="failed", status_in=["waiting"]).statuses == frozenset()


def test_a_workflow_may_be_a_class():
    assert read(workflow=PLAIN) == Query(name="shop.plain", family="shop.plain")


def test_a_workflow_may_be_a_name():
    assert read(workflow="shop.gone") == Query(name="shop.gone")


def test_an_umbrella_means_all_its_versions():
    assert read(workflow=UMBRELLA) == Query(family="shop.umbrella")


def test_a_version_of_an_umbrella_means_that_version():
    assert read(workflow=MEMBER) == Query(name="shop.member", family="shop.umbrella", version=3)


@pytest.mark.parametrize("workflow", [5, "", int, Workflow, Abstract, b"shop"])
def test_what_is_no_workflow_is_refused(workflow):
    assert refusal_of(workflow=workflow) == f"workflow must be a workflow class or its name, not {workflow!r}"


@pytest.mark.parametrize(("family", "name"), [(UMBRELLA, "shop.umbrella"), (MEMBER, "shop.umbrella"), ("x", "x")])
def test_a_family_is_a_class_or_a_name(family, name):
    assert read(workflow_family=family) == Query(family=name)


@pytest.mark.parametrize("family", [5, "", int, Workflow])
def test_what_is_no_family_is_refused(family):
    assert refusal_of(workflow_family=family) == f"workflow_family must be a non-empty string, not {family!r}"


def test_an_umbrella_and_a_version_must_both_match():
    assert read(workflow=UMBRELLA, version=3) == Query(family="shop.umbrella", version=3)


@pytest.mark.parametrize(
    "filters",
    [
        {"workflow": UMBRELLA, "workflow_family": "shop.other"},
        {"workflow_family": "shop.other", "workflow": UMBRELLA},
        {"workflow": MEMBER, "version": 4},
        {"version": 4, "workflow": MEMBER},
    ],
    ids="-".join,
)
def test_filters_that_exclude_each_other_match_nothing(filters):
    assert read_query(filters).statuses == frozenset()


def test_filters_that_say_the_same_twice_agree():
    assert read(workflow=MEMBER, version=3).statuses == frozenset(Status)


@pytest.mark.parametrize("name", ["version", "limit"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1"])
def test_a_number_that_is_no_positive_int_is_refused(name, value):
    assert refusal_of(**{name: value}) == f"{name} must be a positive int, not {value!r}"


def test_numbers_are_positive_ints():
    assert read(version=2, limit=1) == Query(version=2, limit=1)


def test_a_page_has_100_instances_by_default():
    assert read().limit == 100


@pytest.mark.parametrize("name", ["id", "tag"])
@pytest.mark.parametrize("value", ["", 5, b"x", ["x"]])
def test_a_text_that_is_none_is_refused(name, value):
    assert refusal_of(**{name: value}) == f"{name} must be a non-empty string, not {value!r}"


def test_texts_are_strings():
    assert read(id="orderid::a1", tag="shop") == Query(id="orderid::a1", tag="shop")


@pytest.mark.parametrize("name", ["started_after", "started_before"])
@pytest.mark.parametrize(
    "value",
    [datetime(2024, 1, 1), date(2024, 1, 1), "2024-01-01", 1704067200, datetime(2024, 1, 1, tzinfo=Nowhere())],  # noqa: DTZ001
)
def test_a_time_that_is_no_aware_datetime_is_refused(name, value):
    assert refusal_of(**{name: value}) == f"{name} must be an aware datetime, not {shown(value)}"


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45))])
def test_times_are_compared_in_microseconds(zone):
    moment = datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC).astimezone(zone)
    assert read(started_after=moment) == Query(started_after=1_704_067_200_000_001)


def test_a_run_may_have_to_have_started_before_a_time():
    assert read(started_before=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == Query(started_before=1_000_000)


def test_runs_may_have_to_wait_for_an_event_since_before_a_time():
    moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert read(waiting_for="paid", waiting_since_before=moment) == Query(
        waiting_for="paid", waiting_since_before=1_000_000
    )


@pytest.mark.parametrize("event", ["", "two words", "a|b", 5, b"paid", "x" * 101])
def test_what_names_no_event_is_refused(event):
    assert refusal_of(waiting_for=event) == f"waiting_for must be the name of an event, not {shown(event)}"


@pytest.mark.parametrize("value", [True, False])
def test_paused_is_true_or_false(value):
    assert read(paused=value) == Query(paused=value)


def test_paused_is_no_text():
    assert refusal_of(paused="no") == "paused must be True or False, not 'no'"


def test_a_failed_step_is_a_class_or_a_key():
    step = next(iter(PLAIN.graph.by_key.values()))
    assert read(failed_step=step) == read(failed_step=step.key) == Query(failed_step=step.key)


@pytest.mark.parametrize("step", ["", "a b", 5, int, PLAIN])
def test_what_is_no_step_is_refused(step):
    assert refusal_of(failed_step=step) == f"failed_step must be a step class or its key, not {shown(step)}"


@pytest.mark.parametrize("name", ["limit", "cursor"])
def test_a_call_without_pages_takes_neither_limit_nor_cursor(name):
    with pytest.raises(TypeError, match=f"count has no pages, so it takes no {name}"):
        read_conditions({name: 5}, call="count")


@pytest.mark.parametrize("cursor", ["", "x", f"١:{RUN_ID}", f"1:{RUN_ID}\n", RUN_ID, 5, f"-1:{RUN_ID}"])  # noqa: RUF001
def test_a_cursor_that_is_of_no_page_is_refused(cursor):
    assert refusal_of(cursor=cursor) == f"cursor must be the next_cursor of a page, not {cursor!r}"


def test_a_cursor_is_that_of_a_page():
    assert read(cursor=f"1704067200000001:{RUN_ID}").cursor == f"1704067200000001:{RUN_ID}"


def test_a_page_iterates_over_its_instances():
    assert list(Page(instances=("first", "second"), next_cursor=None)) == ["first", "second"]


def test_a_page_has_a_length():
    assert len(Page(instances=("first", "second"), next_cursor=None)) == 2
