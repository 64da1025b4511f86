"""Behaviour 2.5 and law 8: what is read equals what was written."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import pickle
import uuid
from copy import copy, deepcopy
from dataclasses import asdict, replace
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest
from defining import A, define, sound
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery import DataError, Failure, HistoryEntry, Status, StorageError
from hephaestus_celery.core.values.json_values import check_value
from hephaestus_celery.core.values.lifecycle import StepStatus
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage import codec
from hephaestus_celery.storage.history_entries import decode_entry, encode_entry
from hephaestus_celery.storage.instances import decode_instance, encode_header, read_start
from hephaestus_celery.storage.queries import StoredEntry, StoredRun
from hephaestus_celery.storage.schema import SCHEMA

RUN_ID = "0190f0f0-0000-7000-8000-000000000001"
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)  # noqa: DTZ001 - a naive one is carried too

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    FINITE,
    st.text(),
    st.dates(),
    st.datetimes(allow_imaginary=False),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.times(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
KEYS = st.one_of(st.text(), st.sampled_from(["$type", "value", '"$type":', '$type"']))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))

CARRIED = [
    None,
    True,
    0,
    10**4300 - 1,
    1.5,
    -0.0,
    5e-324,
    "",
    "\x00 é 😀 \ud800 \u2028",
    [],
    {},
    {"a": [1, {"b": None}]},
    MOMENT,
    MOMENT.replace(tzinfo=dt.UTC),
    MOMENT.replace(tzinfo=dt.timezone(-dt.timedelta(hours=5, minutes=45, seconds=7))),
    MOMENT.replace(tzinfo=ZoneInfo("Europe/Vienna")),
    dt.datetime.min,  # noqa: DTZ901 - a naive one
    dt.datetime.max,  # noqa: DTZ901 - a naive one
    MOMENT.date(),
    MOMENT.time(),
    MOMENT.time().replace(tzinfo=dt.UTC),
    decimal.Decimal("1.10"),
    decimal.Decimal("-1E+1000"),
    decimal.Decimal("-Infinity"),
    uuid.UUID(int=5),
    {"$type": "datetime", "value": "2024-01-01"},
    {"$type": None},
    {"$type": {"$type": "uuid"}},
    {"$type": [MOMENT, {"$type": 1}], "other": decimal.Decimal(1)},
    [{"$type": "nonsense"}],
    {'"$type":': 1},
    '{"$type":"uuid"}',
]


# Local hours that are there twice, or not at all
TURNS = [
    ("Europe/Berlin", "2026-10-25T02:30"),
    ("Europe/Berlin", "2026-03-29T02:30"),
    ("America/New_York", "2026-11-01T01:30"),
    ("Australia/Lord_Howe", "2026-04-05T01:45"),
    ("Africa/Casablanca", "2026-02-15T02:30"),
    ("Pacific/Apia", "2011-12-30T12:00"),
    ("Europe/Dublin", "1971-10-31T02:30"),
    ("Pacific/Chatham", "2026-04-05T03:00"),
]


@st.composite
def turning_times(draw):
    """Times near a turn of their zone, before and after it."""
    zone, turn = draw(st.sampled_from(TURNS))
    moment = dt.datetime.fromisoformat(turn) + dt.timedelta(
        minutes=draw(st.integers(-180, 180)), microseconds=draw(st.integers(0, 999_999))
    )
    return moment.replace(tzinfo=ZoneInfo(zone), fold=draw(st.integers(0, 1)))


@given(turning_times() | st.datetimes(timezones=st.timezones()) | st.datetimes() | st.times())
def test_a_time_is_read_back_equal_in_its_zone_whatever_hour_it_is(moment):
    assert check_value(moment, "context") == moment
    read = codec.decode(codec.encode({"at": moment}))["at"]
    assert read == moment
    assert (read.tzinfo, read.fold, read.isoformat()) == (moment.tzinfo, moment.fold, moment.isoformat())


@pytest.mark.parametrize("fold", [0, 1])
def test_a_local_time_of_an_hour_that_is_there_twice_is_refused_where_its_zone_has_no_name_to_find_it_by(fold):
    zone = ZoneInfo.no_cache("Europe/Berlin")
    twice = dt.datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold)
    with pytest.raises(
        DataError, match=r"^context.at\[0\] can't be carried: .* is ambiguous in its time zone, or does not exist there"
    ):
        check_value({"at": [twice]}, "context")
    once = dt.datetime(2026, 10, 26, 2, 30, tzinfo=zone)
    assert codec.decode(codec.encode(check_value(once, "context"))) == once


def test_a_time_of_a_zone_that_is_not_known_here_is_read_with_its_offset():
    text = codec.encode(dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
    elsewhere = codec.decode(text.replace("Europe/Berlin", "Mars/Olympus"))
    assert elsewhere == dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC)


def test_a_time_of_a_zone_whose_rules_have_changed_is_read_as_the_moment_that_it_was():
    written = '{"$type":"datetime","value":"2026-07-01T12:00:00+05:00","zone":"Europe/Berlin"}'
    assert codec.decode(written) == dt.datetime(2026, 7, 1, 7, tzinfo=dt.UTC)


def test_a_time_that_was_written_before_zones_were_is_read():
    written = '{"$type":"datetime","value":"2026-07-01T12:00:00+02:00"}'
    assert codec.decode(written) == dt.datetime(2026, 7, 1, 10, tzinfo=dt.UTC)


def names(value):
    return repr(value)[:40].encode("ascii", "replace").decode()


@pytest.mark.parametrize("value", CARRIED, ids=names)
def test_a_value_is_read_as_it_was_written(value):
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("value", CARRIED, ids=names)
def test_a_value_is_read_with_the_type_that_it_had(value):
    assert type(codec.decode(codec.encode(value))) is type(value)


@given(VALUES)
def test_whatever_may_enter_is_read_as_it_was_written(value):
    assert codec.decode(codec.encode(check_value(value, "context"))) == value


@given(VALUES)
def test_whatever_may_enter_is_plain_json(value):
    assert codec.encode(value).isascii()


def test_the_digits_of_a_decimal_are_kept():
    assert str(codec.decode(codec.encode(decimal.Decimal("1.10")))) == "1.10"


def test_the_offset_of_a_datetime_is_kept():
    given = MOMENT.replace(tzinfo=ZoneInfo("Asia/Kathmandu"))
    assert codec.decode(codec.encode(given)).utcoffset() == dt.timedelta(hours=5, minutes=45)


def test_a_naive_datetime_stays_naive():
    assert codec.decode(codec.encode(MOMENT)).tzinfo is None


def test_what_was_never_checked_is_refused():
    with pytest.raises(DataError, match=r"\{1\} \(set\) can't be carried"):
        codec.encode({"a": {1}})


def test_a_value_of_just_the_limit_is_accepted():
    assert codec.encode_limited("x" * 8, "context", limit=10) == '"xxxxxxxx"'


def test_a_value_beyond_the_limit_is_refused_with_its_path():
    with pytest.raises(DataError) as refused:
        codec.encode_limited("x" * 1998, "step charge: context", limit=1999)
    assert str(refused.value) == (
        "step charge: context has 2,000 bytes as JSON, more than hephaestus_max_payload allows (1,999); "
        "store it elsewhere and pass a reference"
    )


def test_the_limit_counts_bytes_and_not_characters():
    with pytest.raises(DataError, match="has 14 bytes"):
        codec.encode_limited("éé", "context", limit=13)


@pytest.fixture
def flow():
    return define(**sound(name="shop.codec", version=2, tags=("b", "a"), metadata={"team": "x"}))


@pytest.fixture
def stored(flow):
    """The stored form of a run of that workflow; `stored(status=...)` gives it other fields."""

    def make(**fields):
        header = encode_header(id="orderid::a1", run_id=RUN_ID, workflow=flow, telemetry={"trace": "t"})
        values = {
            "header": header,
            "initial": '{"items":3}',
            "status": Status.RUNNING,
            "started_at": 1_500_000,
            "sequence": 99,
        }
        return StoredRun(**{**values, **fields})

    return make


@pytest.fixture
def read(stored):
    return lambda **fields: decode_instance(stored(**fields))


def completed(order):
    return StepState(status=StepStatus.COMPLETED, event="ok", order=order)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "orderid::a1"),
        ("run_id", RUN_ID),
        ("workflow_name", "shop.codec"),
        ("workflow_version", 2),
        ("workflow_family", "shop.codec"),
        ("status", Status.RUNNING),
        ("tags", ("a", "b")),
        ("metadata", {"team": "x"}),
        ("telemetry_metadata", {"trace": "t"}),
        ("runtime_metadata", {}),
        ("started_at", dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)),
        ("finished_at", None),
        ("failure", None),
        ("failed_key", None),
        ("cancel_reason", None),
        ("telemetry_start_time", None),
    ],
)
def test_a_stored_run_is_read_as_an_instance(read, name, value):
    assert getattr(read(), name) == value


def test_an_instance_finds_its_workflow(read, flow):
    assert read().workflow is flow


def test_an_instance_of_a_workflow_that_is_gone_is_read_too(stored):
    header = json.loads(stored().header) | {"name": "shop.gone"}
    assert decode_instance(stored(header=json.dumps(header))).definition is None


def test_the_metadata_of_a_workflow_may_be_any_mapping():
    flow = define(**sound(metadata=MappingProxyType({"a": MappingProxyType({"b": dt.date(2024, 1, 1)})})))
    header = encode_header(id="orderid::a1", run_id=RUN_ID, workflow=flow, telemetry={})
    assert codec.decode(header)["metadata"] == {"a": {"b": dt.date(2024, 1, 1)}}


def test_a_document_of_a_newer_schema_is_refused(stored):
    header = json.loads(stored().header) | {"schema": SCHEMA + 1}
    with pytest.raises(
        StorageError, match=rf"run {RUN_ID} was written by a newer hephaestus-celery \(schema {SCHEMA + 1},"
    ):
        decode_instance(stored(header=json.dumps(header)))


def test_the_initial_context_is_read(read):
    assert read().context.initial == {"items": 3}


USES = {
    "json.dumps": lambda instance: (
        json.loads(json.dumps(instance.context.initial)),
        json.loads(json.dumps(instance.context.steps)),
    ),
    "deepcopy": lambda instance: (deepcopy(instance).context.initial, deepcopy(instance.context).steps),
    "copy": lambda instance: (copy(instance).context.initial, copy(instance.context).steps),
    "pickle": lambda instance: (
        pickle.loads(pickle.dumps(instance)).context.initial,
        pickle.loads(pickle.dumps(instance.context)).steps,
    ),
    "asdict": lambda instance: (asdict(instance)["context"]["initial"], asdict(instance)["context"]["steps"]),
    "replace": lambda instance: (replace(instance, id="x").context.initial, replace(instance, id="x").context.steps),
}


@pytest.mark.parametrize("use", USES)
def test_a_context_is_plain_whatever_is_done_with_it(read, use):
    instance = read(
        steps={"a": completed(3)}, results={"a": '{"n":[1]}'}, metadata={"a": '{"m":1}'}, configs={"a": "{}"}
    )
    initial, steps = USES[use](instance)
    assert (type(initial), initial) == (dict, {"items": 3})
    assert (type(steps), steps) == (dict, {"a": {"n": [1]}})


def test_a_pickled_instance_is_what_it_was_and_knows_its_workflow(read, flow):
    instance = read(steps={"a": completed(3)}, metadata={"a": '{"m":1}'}, configs={"a": '{"limit":3}'})
    again = pickle.loads(pickle.dumps(instance))
    assert again == instance
    assert (again.workflow, again.runtime_metadata, again.configs) == (flow, {"m": 1}, {"a": {"limit": 3}})


@pytest.mark.parametrize(
    "field", ["context", "runtime_metadata", "telemetry_metadata", "metadata", "step_states", "configs"]
)
def test_nothing_that_is_done_to_an_instance_is_seen_by_one_apart_from_it(read, field):
    run = {"steps": {"a": completed(3)}, "results": {"a": '{"n":[1]}'}, "metadata": {"a": '{"m":1}'}}
    instance, untouched = read(**run, configs={"a": '{"k":1}'}), read(**run, configs={"a": '{"k":1}'})
    _ = instance.telemetry_metadata, instance.context.initial  # has been looked at before
    handed = instance.apart()
    handed.context.initial["items"] = 9
    handed.context.steps["a"]["n"].append(2)
    for name in ("runtime_metadata", "telemetry_metadata", "metadata", "step_states", "configs"):
        getattr(handed, name).clear()
    assert getattr(instance, field) == getattr(untouched, field)


def test_one_result_is_read_by_step_or_by_key(read):
    context = read(steps={"a": completed(3), "b": completed(4)}, results={"a": '{"weight":9}'}).context
    assert (context.result(A), context.result("a"), context.result("b")) == ({"weight": 9}, {"weight": 9}, {})
    context.result("a")["weight"] = 1
    assert (context.result("a"), context.steps["a"]) == ({"weight": 9}, {"weight": 9})


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("state", [None, StepState(status=StepStatus.ACTIVE), completed(5)])
def test_a_step_that_had_not_completed_by_then_has_no_result(read, state, looked):
    context = read(steps={} if state is None else {"a": state}, results={"a": "{}"}, sequence=4).context
    if looked:
        assert context.steps == {}
    with pytest.raises(KeyError, match="step 'a' had not completed"):
        context.result(A)


def test_a_step_that_completed_later_counts_as_active(read, flow):
    steps = {"a": completed(3), "b": completed(5)}
    instance = read(steps=steps, metadata={"b": '{"m":1}'}, sequence=4)
    assert (instance.step_states["b"].status, instance.step_states["b"].event) == (StepStatus.ACTIVE, None)
    assert (list(instance.context.steps), instance.runtime_metadata) == (["a"], {})


def test_a_completed_step_has_its_result(read):
    instance = read(steps={"a": completed(3)}, results={"a": '{"weight":9}'})
    assert instance.context.steps == {"a": {"weight": 9}}


@pytest.mark.parametrize("key", ["a", "done"])
def test_a_completed_step_without_updates_has_an_empty_mapping(read, key):
    assert read(steps={key: completed(3)}).context.steps == {key: {}}


@pytest.mark.parametrize("status", [StepStatus.ACTIVE, StepStatus.WAITING, StepStatus.SKIPPED, StepStatus.FAILED])
def test_a_step_that_is_not_completed_has_no_result(read, status):
    assert read(steps={"a": StepState(status=status)}).context.steps == {}


def test_of_runtime_metadata_the_later_step_wins(read):
    instance = read(
        steps={"a": completed(9), "b": completed(4)}, metadata={"a": '{"x":"later"}', "b": '{"x":"earlier","y":1}'}
    )
    assert instance.runtime_metadata == {"x": "later", "y": 1}


def test_steps_are_in_the_order_of_their_completion(read):
    steps = {"a": StepState(status=StepStatus.ACTIVE), "b": completed(7), "c": completed(3)}
    assert list(read(steps=steps).step_states) == ["c", "b", "a"]


def test_configs_are_read(read):
    assert read(configs={"a": '{"limit":3}'}).configs == {"a": {"limit": 3}}


def test_a_failure_is_read(read):
    text = codec.encode({"kind": "error", "type": "ValueError", "message": "no", "stacktrace": "..."})
    instance = read(status=Status.FAILED, failure=text, failed_step="a")
    assert (instance.failure, instance.failed_key) == (
        Failure(kind="error", type="ValueError", message="no", stacktrace="..."),
        "a",
    )


def test_the_end_of_a_run_is_read(read):
    assert read(finished_at=2_000_000).finished_at == dt.datetime(1970, 1, 1, 0, 0, 2, tzinfo=dt.UTC)


def test_the_start_on_the_clock_of_the_store_is_read(read):
    assert read(start="1700000000000000000").telemetry_start_time == 1_700_000_000_000_000_000


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1.5", " 1", "1\n", "١", "1" * 20])  # noqa: RUF001
def test_a_start_that_cannot_be_read_is_unknown(text):
    assert read_start(text) is None


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_a_moment_is_kept_to_the_microsecond(moment):
    assert codec.moment(codec.microseconds(moment)) == moment


def test_a_history_entry_is_read_as_it_was_written():
    detail = encode_entry(kind="attempt", step="a", attempt=2, event="ok", reason="r", worker="w1", task_id="t1")
    entry = StoredEntry(sequence=5, outcome="completed", queued_at=1, started_at=2, finished_at=3, detail=detail)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert decode_entry(entry, run_id=RUN_ID) == HistoryEntry(
        sequence=5,
        kind="attempt",
        step="a",
        attempt=2,
        outcome="completed",
        event="ok",
        reason="r",
        queued_at=epoch + dt.timedelta(microseconds=1),
        started_at=epoch + dt.timedelta(microseconds=2),
        finished_at=epoch + dt.timedelta(microseconds=3),
        worker="w1",
        task_id="t1",
    )


@pytest.mark.parametrize(("task_id", "stored"), [(f"{RUN_ID}:a:1.1", ":a:1.1"), ("another", "another")])
def test_the_id_of_a_task_does_not_repeat_that_of_the_run(task_id, stored):
    detail = encode_entry(kind="attempt", task_id=task_id, run_id=RUN_ID)
    assert json.loads(detail)["task_id"] == stored
    entry = StoredEntry(sequence=5, outcome="", queued_at=None, started_at=None, finished_at=None, detail=detail)
    assert decode_entry(entry, run_id=RUN_ID).task_id == task_id


def test_fields_of_a_history_entry_that_do_not_apply_are_none():
    entry = StoredEntry(
        sequence=5,
        outcome="",
        queued_at=None,
        started_at=None,
        finished_at=None,
        detail=encode_entry(kind="cancel"),
    )
    assert decode_entry(entry, run_id=RUN_ID) == HistoryEntry(sequence=5, kind="cancel")


@pytest.mark.parametrize("newer", [{"by": "ada"}, {"by": 'a"|$type', "other_run": RUN_ID}, {"other_run": RUN_ID}])
def test_older_code_reads_a_history_entry_without_the_fields_that_it_does_not_know(newer):
    detail = encode_entry(kind="resume", step="a", attempt=1, event="ok", worker="w1", task_id="t1", **newer)
    assert codec.decode(detail) == {
        "kind": "resume",
        "step": "a",
        "attempt": 1,
        "event": "ok",
        "worker": "w1",
        "task_id": "t1",
    }
    entry = StoredEntry(sequence=5, outcome="", queued_at=None, started_at=None, finished_at=None, detail=detail)
    read = decode_entry(entry, run_id=RUN_ID)
    assert (read.by, read.run_id, read.worker) == (newer.get("by"), newer.get("other_run"), "w1")


def test_a_history_entry_of_fields_that_older_code_knows_is_stored_as_ever():
    assert encode_entry(kind="cancel", reason="r") == '{"kind":"cancel","reason":"r"}'


@pytest.mark.parametrize(
    "detail",
    [
        '{"kind":"cancel","reason":"r","by":"ada","colour":"red"}',
        '{"$type":"mapping","value":[["kind","cancel"],["reason","r"]],"by":"ada","colour":"red"}',
        '{"$type":"mapping","value":[["kind","cancel"],["reason","r"],["colour","red"]],"by":"ada"}',
    ],
)
def test_fields_of_a_history_entry_that_only_newer_code_knows_are_passed_over(detail):
    entry = StoredEntry(sequence=5, outcome="", queued_at=None, started_at=None, finished_at=None, detail=detail)
    assert decode_entry(entry, run_id=RUN_ID) == HistoryEntry(sequence=5, kind="cancel", reason="r", by="ada")
