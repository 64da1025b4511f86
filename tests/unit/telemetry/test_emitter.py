from __future__ import annotations

import inspect
import threading
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery import telemetry
from hephaestus_celery.clock import SystemClock
from hephaestus_celery.telemetry import emitter
from hephaestus_celery.telemetry.catalogue.entries import CATALOGUE, Presence
from hephaestus_celery.testing.capture import EventCapture

START = 1_700_000_000_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = [".".join(entry.name) for entry in CATALOGUE]
REASON = ValueError("card declined")


def at(nanoseconds):
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


@pytest.fixture
def capture():
    with EventCapture() as capture:
        yield capture


@pytest.fixture
def emit(instance, validate, charge):
    """Emit the event of this name with the given extra."""
    emitters = {
        "hephaestus.workflow.start": lambda extra: telemetry.workflow_start(instance, extra),
        "hephaestus.workflow.stop": lambda extra: telemetry.workflow_stop(instance, extra),
        "hephaestus.workflow.exception": lambda extra: telemetry.workflow_exception(
            instance, "error", REASON, None, extra
        ),
        "hephaestus.workflow.transition": lambda extra: telemetry.workflow_transition(
            instance, validate, "valid", [charge], extra
        ),
        "hephaestus.step.start": lambda extra: telemetry.step_start(instance, charge, extra),
        "hephaestus.step.stop": lambda extra: telemetry.step_stop(instance, charge, 5, extra),
        "hephaestus.step.exception": lambda extra: telemetry.step_exception(
            instance, charge, 5, "error", REASON, None, extra
        ),
        "hephaestus.step.async": lambda extra: telemetry.step_async(instance, charge, 5, extra),
        "hephaestus.step.resume": lambda extra: telemetry.step_resume(instance, charge, extra),
        "hephaestus.engine.advance": lambda extra: telemetry.engine_advance(instance, 5, extra),
        "hephaestus.runner.init": telemetry.runner_init,
        "hephaestus.workflow.cancel": lambda extra: telemetry.workflow_cancel(instance, extra),
        "hephaestus.workflow.compensate": lambda extra: telemetry.workflow_compensate(instance, extra),
        "hephaestus.workflow.fork": lambda extra: telemetry.workflow_fork(instance, extra),
        "hephaestus.workflow.pause": lambda extra: telemetry.workflow_pause(instance, extra),
        "hephaestus.workflow.unpause": lambda extra: telemetry.workflow_unpause(instance, extra),
        "hephaestus.step.rescue": lambda extra: telemetry.step_rescue(instance, charge, extra),
        "hephaestus.step.discard": lambda extra: telemetry.step_discard(instance, charge, extra),
    }
    return lambda name, extra: emitters[name](extra)


def fields(described, *presences):
    return {field.name for field in described if field.presence in presences}


# --- every event, against the catalogue


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_an_event_has_the_name_of_its_function(capture, emit, entry):
    emit(".".join(entry.name), {})
    assert capture.names() == [entry.name]


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_without_extra_an_event_measures_what_it_always_measures(capture, emit, entry):
    emit(".".join(entry.name), {})
    assert set(capture.events[0].measurements) == fields(entry.measurements, Presence.ALWAYS)


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_without_extra_an_event_has_the_metadata_that_it_always_has(capture, emit, entry):
    emit(".".join(entry.name), {})
    assert set(capture.events[0].metadata) == fields(entry.metadata, Presence.ALWAYS)


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_what_an_event_takes_from_extra_is_measured(capture, emit, entry):
    taken = dict.fromkeys(fields(entry.measurements, Presence.FROM_RUNNER), 42)
    emit(".".join(entry.name), taken)
    assert taken.items() <= capture.events[0].measurements.items()


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_what_is_measured_from_extra_is_no_metadata(capture, emit, entry):
    taken = dict.fromkeys(fields(entry.measurements, Presence.FROM_RUNNER), 42)
    emit(".".join(entry.name), taken)
    assert not taken.keys() & capture.events[0].metadata.keys()


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_the_rest_of_extra_is_metadata(capture, emit, entry):
    rest = {name: f"a {name}" for name in fields(entry.metadata, Presence.FROM_RUNNER)} | {"beyond": "the catalogue"}
    emit(".".join(entry.name), rest)
    assert rest.items() <= capture.events[0].metadata.items()


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_extra_is_left_as_it_was(capture, emit, entry):
    extra = {field.name: 1 for field in (*entry.measurements, *entry.metadata)}
    before = dict(extra)
    emit(".".join(entry.name), extra)
    assert extra == before


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_the_catalogue_gives_the_signature_of_the_function(entry):
    function = getattr(emitter, entry.emitter.partition("(")[0])
    assert entry.emitter == f"{function.__name__}({', '.join(inspect.signature(function).parameters)})"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_built_when_nobody_listens(emit, name):
    class Untouchable(dict):
        def keys(self):
            pytest.fail("extra was read")

        __iter__ = keys

    emit(name, Untouchable(attempt=1))


# --- precedence


def test_extra_wins_over_the_callers_metadata(capture, make_instance):
    telemetry.workflow_start(make_instance(telemetry_metadata={"tenant": "caller"}), {"tenant": "extra"})
    assert capture.events[0].metadata["tenant"] == "extra"


def test_the_callers_metadata_is_in_the_event(capture, make_instance):
    telemetry.workflow_start(make_instance(telemetry_metadata={"tenant": "t1"}), {})
    assert capture.events[0].metadata["tenant"] == "t1"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("instance_id", "orderid::a1001"),
        ("run_id", "0190f0f0-0000-7000-8000-000000000001"),
        ("status", "completed"),
        ("workflow_version", 3),
    ],
)
def test_what_is_always_there_wins_over_extra(capture, instance, field, expected):
    telemetry.workflow_stop(instance, {field: "forged"})
    assert capture.events[0].metadata[field] == expected


def test_what_is_always_there_wins_over_the_callers_metadata(capture, make_instance, charge):
    telemetry.step_start(make_instance(telemetry_metadata={"step": "forged"}), charge, {})
    assert capture.events[0].metadata["step"] is charge


# --- values


def test_the_workflow_is_the_class(capture, instance, order_flow):
    telemetry.workflow_start(instance, {})
    assert capture.events[0].metadata["workflow"] is order_flow


def test_a_cancel_where_the_workflow_is_not_defined_has_its_name(capture, make_instance):
    telemetry.workflow_cancel(make_instance(definition=None), {})
    assert capture.events[0].metadata["workflow"] == "shop.telemetry.OrderFlow"


def test_the_system_time_is_a_whole_number(capture, instance):
    telemetry.workflow_start(instance, {})
    assert type(capture.events[0].measurements["system_time"]) is int


def test_a_failed_workflow_names_kind_reason_and_stacktrace(capture, instance):
    telemetry.workflow_exception(instance, "exit", REASON, [], {})
    metadata = capture.events[0].metadata
    assert (metadata["kind"], metadata["reason"], metadata["stacktrace"]) == ("exit", REASON, [])


def test_a_failed_workflow_keeps_its_counts_in_the_metadata(capture, instance):
    telemetry.workflow_exception(instance, "error", "declined", None, {"step_count": 2, "advance_count": 3})
    assert (capture.events[0].metadata["step_count"], capture.events[0].metadata["advance_count"]) == (2, 3)


def test_a_failed_attempt_names_kind_reason_and_stacktrace(capture, instance, charge):
    telemetry.step_exception(instance, charge, 7, "throw", REASON, None, {})
    metadata = capture.events[0].metadata
    assert (metadata["kind"], metadata["reason"], metadata["stacktrace"]) == ("throw", REASON, None)


def test_the_duration_of_a_step_is_passed_on(capture, instance, charge):
    telemetry.step_stop(instance, charge, 123, {})
    assert capture.events[0].measurements == {"duration": 123}


def test_a_measurement_that_is_none_in_extra_is_none(capture, instance, charge):
    telemetry.step_resume(instance, charge, {"wait_duration": None})
    assert capture.events[0].measurements["wait_duration"] is None


@pytest.mark.parametrize(("count", "fan_out"), [(0, False), (1, False), (2, True)])
def test_a_transition_to_several_steps_is_a_fan_out(capture, instance, charge, count, fan_out):
    telemetry.workflow_transition(instance, charge, "charged", [charge] * count, {})
    event = capture.events[0]
    assert (event.measurements["targets_count"], event.metadata["fan_out"]) == (count, fan_out)


def test_the_targets_of_a_transition_are_a_list_of_classes(capture, instance, validate, charge):
    telemetry.workflow_transition(instance, validate, "valid", (charge,), {})
    assert capture.events[0].metadata["targets"] == [charge]


# --- the duration of a run


def ended(make_instance, start, end):
    return make_instance(telemetry_start_time=start, finished_at=end)


def test_the_duration_of_a_run_is_its_end_minus_its_start(capture, make_instance):
    telemetry.workflow_stop(ended(make_instance, START, at(START + 1_234_567_000)), {})
    assert capture.events[0].measurements["duration"] == 1_234_567_000


def test_a_failed_run_has_its_duration(capture, make_instance):
    telemetry.workflow_exception(ended(make_instance, START, at(START + 5_000)), "error", "x", None, {})
    assert capture.events[0].measurements["duration"] == 5_000


def test_a_cancelled_run_has_its_duration(capture, make_instance):
    telemetry.workflow_cancel(ended(make_instance, START, at(START + 5_000)), {})
    assert capture.events[0].measurements["duration"] == 5_000


def test_a_run_that_ends_as_it_starts_took_no_time(capture, make_instance):
    telemetry.workflow_stop(ended(make_instance, START, at(START)), {})
    assert capture.events[0].measurements["duration"] == 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(None, at(START), id="the start is missing"),
        pytest.param(START, None, id="the end is missing"),
        pytest.param(START + 1_000, at(START), id="the start is later than the end"),
        pytest.param(str(START), at(START), id="the start is text"),
        pytest.param(float(START), at(START), id="the start is a float"),
        pytest.param(True, at(START), id="the start is a truth value"),
        pytest.param(START, at(START).replace(tzinfo=None), id="the end has no time zone"),
    ],
)
def test_the_duration_of_a_run_is_none_when(capture, make_instance, start, end):
    telemetry.workflow_stop(ended(make_instance, start, end), {"step_count": 3})
    assert capture.events[0].measurements == {"duration": None, "step_count": 3}


@given(
    start=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 - zone below
    micros=st.integers(min_value=0, max_value=10**13),
    offset=st.integers(min_value=-23, max_value=23),
)
def test_the_duration_of_a_run_is_exact(start, micros, offset):
    begin = (start.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1_000
    end = at(begin + micros * 1_000).astimezone(timezone(timedelta(hours=offset)))

    class Run:
        telemetry_start_time = begin
        finished_at = end

    assert emitter._duration(Run) == micros * 1_000


# --- the capture


def test_a_capture_records_events_of_all_threads(instance):
    with EventCapture() as capture:
        emitting = threading.Thread(target=telemetry.workflow_start, args=(instance,))
        emitting.start()
        emitting.join()
    assert capture.names() == [telemetry.workflow_start_event()]


def test_a_capture_records_nothing_once_it_is_closed(instance):
    with EventCapture() as capture:
        telemetry.workflow_start(instance, {})
    telemetry.workflow_start(instance, {})
    assert len(capture.events) == 1


def test_two_captures_may_be_open_at_once(instance):
    with EventCapture() as outer, EventCapture() as inner:
        telemetry.workflow_start(instance, {})
    assert outer.events == inner.events


def test_a_capture_finds_the_events_of_one_name(instance, charge):
    with EventCapture() as capture:
        telemetry.workflow_start(instance, {})
        telemetry.step_start(instance, charge, {})
    assert [captured.metadata["step"] for captured in capture.of(telemetry.step_start_event())] == [charge]


def test_a_capture_records_the_cancel(instance):
    with EventCapture() as capture:
        telemetry.workflow_cancel(instance, {"reason": "by hand"})
    assert [captured.metadata["reason"] for captured in capture.events] == ["by hand"]


def test_the_pause_of_a_whole_workflow_is_of_no_instance(order_flow):
    with EventCapture() as capture:
        telemetry.workflow_pause(None, {"workflow": order_flow, "by": "ann"})
        telemetry.workflow_unpause(None, {"workflow": order_flow, "by": None})
    assert [captured.metadata for captured in capture.events] == [
        {"workflow": order_flow, "by": "ann"},
        {"workflow": order_flow, "by": None},
    ]


def test_a_stand_in_with_the_documented_attributes_is_as_good_as_an_instance(capture, instance, order_flow):
    names = (
        "id",
        "run_id",
        "workflow",
        "workflow_version",
        "telemetry_metadata",
        "telemetry_start_time",
        "finished_at",
    )
    stand_in = SimpleNamespace(**{name: getattr(instance, name) for name in names})
    telemetry.workflow_stop(stand_in)
    assert capture.events[0].metadata["workflow"] is order_flow


@pytest.mark.parametrize("name", NAMES)
def test_extra_may_be_none(emit, capture, name):
    emit(name, None)
    emit(name, {})
    one, other = capture.events
    assert (one.metadata, one.measurements.keys()) == (other.metadata, other.measurements.keys())


def test_the_events_of_a_runtime_have_the_times_of_its_clock(attach, instance, validate):
    class StoppedClock(SystemClock):
        def time_ns(self):
            return 1_700

    found = []
    attach(
        "found",
        lambda _event, measurements, *_: found.append(measurements["system_time"]),
        telemetry.step_start_event(),
    )
    telemetry.Emitter(StoppedClock()).step_start(instance, validate)
    assert found == [1_700]
