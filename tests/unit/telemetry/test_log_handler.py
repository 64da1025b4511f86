from __future__ import annotations

import json
import logging

import pytest
import pythonjsonlogger.json
import structlog
from celery.app.log import TaskFormatter

from hephaestus_celery import telemetry
from hephaestus_celery.telemetry import log_handler

MS = 1_000_000
ID = "hephaestus-default-log-handler"


@pytest.fixture
def log(caplog):
    """The log handler attached, every level on; gives the records."""
    caplog.set_level(logging.DEBUG, logger="hephaestus_celery")
    log_handler.attach()
    yield caplog
    log_handler.detach()


@pytest.fixture
def attach_log(caplog):
    """Attach the log handler with options; detached after the test."""
    caplog.set_level(1, logger="hephaestus_celery")
    yield log_handler.attach
    if telemetry.list_handlers():
        log_handler.detach()


@pytest.fixture
def emit(instance, validate, charge):
    """Emit each event by its dotted name, the runners' metadata as a worker gives it."""
    emitters = {
        "workflow.start": lambda: telemetry.workflow_start(instance, {"initial_step": validate}),
        "workflow.stop": lambda: telemetry.workflow_stop(instance, {"step_count": 3}),
        "workflow.exception": lambda: telemetry.workflow_exception(
            instance, "error", ValueError("declined"), None, {"failed_step": charge}
        ),
        "workflow.transition": lambda: telemetry.workflow_transition(
            instance, validate, "valid", [charge, validate], {}
        ),
        "step.start": lambda: telemetry.step_start(
            instance, charge, {"step_key": "charge", "attempt": 2, "max_attempts": 5}
        ),
        "step.stop": lambda: telemetry.step_stop(instance, charge, 12 * MS, {"event": "charged"}),
        "step.exception": lambda: telemetry.step_exception(
            instance, charge, 7 * MS, "error", ValueError("100%d"), None, {"attempt": 1, "will_retry": True}
        ),
        "step.async": lambda: telemetry.step_async(instance, charge, 3 * MS + 999_999, {}),
        "step.resume": lambda: telemetry.step_resume(
            instance, charge, {"resume_event": "paid", "source": "external", "wait_duration": 1_500 * MS}
        ),
        "engine.advance": lambda: telemetry.engine_advance(
            instance, 2 * MS, {"status_before": "pending", "status_after": "running", "active_steps_count": 1}
        ),
        "runner.init": lambda: telemetry.runner_init({"name": "shop", "runner": dict, "storage": list}),
        "workflow.compensate": lambda: telemetry.workflow_compensate(instance),
        "workflow.fork": lambda: telemetry.workflow_fork(instance),
        "workflow.cancel": lambda: telemetry.workflow_cancel(instance, {"reason": "by hand"}),
    }
    return lambda name: emitters[name]()


LEVELS = {
    "workflow.start": "INFO",
    "workflow.stop": "INFO",
    "workflow.exception": "ERROR",
    "workflow.transition": "DEBUG",
    "step.start": "INFO",
    "step.stop": "INFO",
    "step.exception": "WARNING",  # it will be retried
    "step.async": "WARNING",
    "step.resume": "INFO",
    "engine.advance": "DEBUG",
    "runner.init": "INFO",
}

MESSAGES = {
    "workflow.start": "workflow shop.telemetry.OrderFlow started",
    "workflow.stop": "workflow shop.telemetry.OrderFlow completed in unknown time (3 steps)",
    "workflow.exception": "workflow shop.telemetry.OrderFlow failed after unknown time in step charge: "
    "ValueError: declined",
    "workflow.transition": "step validate_order gave valid, which starts charge, validate_order",
    "step.start": "step charge started (attempt 2 of 5)",
    "step.stop": "step charge completed with charged in 12 ms",
    "step.exception": "step charge failed after 7 ms (attempt 1), will be tried again: ValueError: 100%d",
    "step.async": "step charge waits after 3 ms",
    "step.resume": "step charge resumed with paid (external) after a wait of 1500 ms",
    "engine.advance": "engine advanced pending -> running in 2 ms, active steps: 1",
}


@pytest.mark.parametrize(("name", "level"), LEVELS.items())
def test_every_event_has_its_level(log, emit, name, level):
    emit(name)
    assert [record.levelname for record in log.records] == [level]


@pytest.mark.parametrize(("name", "message"), MESSAGES.items())
def test_a_message_says_what_happened_to_which_instance(log, emit, name, message):
    emit(name)
    assert log.messages == [f"[orderid::a1001] {message}"]


def test_the_message_of_a_runner_names_it_and_no_instance(log, emit):
    emit("runner.init")
    assert log.messages == ["runner shop is ready: builtins.dict with builtins.list"]


def test_everything_goes_to_the_logger_of_the_package(log, emit):
    emit("step.start")
    assert log.records[0].name == "hephaestus_celery"


def test_a_run_whose_times_are_known_shows_whole_milliseconds(log, make_instance, instance):
    finished = instance.started_at.replace(microsecond=5_999)
    telemetry.workflow_stop(make_instance(finished_at=finished), {"step_count": 1})
    assert log.messages[0].endswith("completed in 5 ms (1 step)")


def test_a_wait_of_unknown_length_says_so(log, instance, charge):
    telemetry.step_resume(instance, charge, {"resume_event": "paid", "wait_duration": None})
    assert log.messages[0].endswith("after a wait of unknown time")


def test_a_transition_to_nothing_says_so(log, instance, charge):
    telemetry.workflow_transition(instance, charge, "charged", [], {})
    assert log.messages[0].endswith("which starts nothing new")


def test_a_reason_that_is_no_exception_is_shown_as_it_is(log, instance, charge):
    telemetry.step_exception(instance, charge, 0, "error", "card declined", None, {})
    assert log.messages[0].endswith(": card declined")


def test_a_reason_that_cannot_be_printed_does_not_detach_the_log(log, instance, charge):
    class UnprintableError(Exception):
        def __str__(self):
            raise RuntimeError

    telemetry.step_exception(instance, charge, 0, "error", UnprintableError(), None, {})
    assert log.messages[0].endswith(": UnprintableError: <UnprintableError that cannot be printed>")


@pytest.mark.parametrize("name", LEVELS)
def test_an_event_without_anything_from_the_runner_is_logged(log, instance, charge, name):
    arguments = {
        "workflow.exception": ("error", "x", None),
        "workflow.transition": (charge, "charged", []),
        "step.start": (charge,),
        "step.stop": (charge, 1),
        "step.exception": (charge, 1, "error", "x", None),
        "step.async": (charge, 1),
        "step.resume": (charge,),
        "engine.advance": (1,),
    }
    subject = () if name == "runner.init" else (instance,)
    getattr(telemetry, name.replace(".", "_"))(*subject, *arguments.get(name, ()))
    assert len(log.records) == 1


# --- what the records carry


def carried(record):
    names = ("instance_id", "run_id", "workflow", "step", "hephaestus_event", "duration_ms", "telemetry_event")
    return {name: getattr(record, name) for name in names}


def test_a_record_of_a_step_carries_its_fields(log, emit, instance):
    emit("step.stop")
    assert carried(log.records[0]) == {
        "instance_id": "orderid::a1001",
        "run_id": instance.run_id,
        "workflow": "shop.telemetry.OrderFlow",
        "step": "charge",
        "hephaestus_event": "charged",
        "duration_ms": 12,
        "telemetry_event": "hephaestus.step.stop",
    }


def test_what_has_no_meaning_for_an_event_is_none(log, emit):
    emit("runner.init")
    assert carried(log.records[0]) == {
        "instance_id": None,
        "run_id": None,
        "workflow": None,
        "step": None,
        "hephaestus_event": None,
        "duration_ms": None,
        "telemetry_event": "hephaestus.runner.init",
    }


def test_an_unknown_duration_is_none_in_the_record(log, emit):
    emit("workflow.stop")
    assert log.records[0].duration_ms is None


def test_a_transition_carries_the_step_that_it_comes_from(log, emit):
    emit("workflow.transition")
    assert (log.records[0].step, log.records[0].hephaestus_event) == ("validate_order", "valid")


def test_a_failed_run_carries_the_step_that_failed_it(log, emit):
    emit("workflow.exception")
    assert log.records[0].step == "charge"


def test_a_resume_carries_the_event_that_came(log, emit):
    emit("step.resume")
    assert log.records[0].hephaestus_event == "paid"


# --- attach and detach


def test_the_log_handler_listens_to_the_eleven_events(attach_log):
    attach_log()
    assert {handler.event_name for handler in telemetry.list_handlers()} == set(telemetry.events())


def test_the_log_handler_has_its_well_known_id(attach_log):
    attach_log()
    assert {handler.id for handler in telemetry.list_handlers()} == {ID}


def test_the_log_handler_is_attached_once(attach_log):
    attach_log()
    with pytest.raises(telemetry.AlreadyAttachedError, match=ID):
        attach_log()


def test_detach_without_attach_raises():
    with pytest.raises(telemetry.NotAttachedError, match=ID):
        log_handler.detach()


def test_nothing_is_logged_after_detach(attach_log, emit, caplog):
    attach_log()
    log_handler.detach()
    emit("step.start")
    assert caplog.records == []


def test_events_limits_what_is_logged(attach_log, emit, caplog):
    attach_log(events=[telemetry.step_stop_event()])
    emit("step.start")
    emit("step.stop")
    assert [record.telemetry_event for record in caplog.records] == ["hephaestus.step.stop"]


@pytest.mark.parametrize("level", ["warning", "WARNING", logging.WARNING])
def test_a_level_is_a_name_or_a_number(attach_log, emit, caplog, level):
    attach_log(level={telemetry.step_start_event(): level})
    emit("step.start")
    assert caplog.records[0].levelname == "WARNING"


def test_the_level_of_one_event_leaves_the_others(attach_log, emit, caplog):
    attach_log(level={telemetry.step_start_event(): "warning"})
    emit("step.stop")
    assert caplog.records[0].levelname == "INFO"


def test_a_level_for_an_event_that_is_not_logged_attaches_nothing_more(attach_log):
    attach_log(level={telemetry.step_start_event(): "debug"}, events=[telemetry.step_stop_event()])
    assert [handler.event_name for handler in telemetry.list_handlers()] == [telemetry.step_stop_event()]


def test_a_level_of_the_users_own_may_be_named(attach_log, emit, caplog, monkeypatch):
    monkeypatch.setattr(logging, "_nameToLevel", {**logging._nameToLevel})
    monkeypatch.setattr(logging, "_levelToName", {**logging._levelToName})
    logging.addLevelName(25, "NOTICE")
    attach_log(level={telemetry.step_start_event(): "notice"})
    emit("step.start")
    assert caplog.records[0].levelno == 25


@pytest.mark.parametrize("level", ["loud", None, 1.5, True, -1])
def test_an_unknown_level_is_refused_with_the_known_ones(level):
    with pytest.raises(ValueError, match=r"level of hephaestus\.step\.start must be a number or one of .*warning"):
        log_handler.attach(level={telemetry.step_start_event(): level})


@pytest.mark.parametrize("options", [{"events": [("no", "such")]}, {"level": {("no", "such"): "info"}}])
def test_an_unknown_event_is_refused_with_the_known_ones(options):
    with pytest.raises(ValueError, match=r"\('no', 'such'\) is no event .*hephaestus\.workflow\.start"):
        log_handler.attach(**options)


def test_no_event_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one event"):
        log_handler.attach(events=[])


@pytest.mark.parametrize(
    "options",
    [
        {"events": [("hephaestus", "workflow", "cancel")]},
        {"level": {("hephaestus", "workflow", "cancel"): "info"}},
    ],
)
def test_an_extension_event_is_logged_when_it_is_named(attach_log, emit, caplog, options):
    attach_log(**options)
    emit("workflow.cancel")
    assert caplog.messages == [
        "[orderid::a1001] workflow shop.telemetry.OrderFlow cancelled after unknown time: by hand"
    ]


def test_a_level_that_is_off_builds_no_message(attach_log, instance, charge, caplog):
    printed = []

    class Reason:
        def __str__(self):
            printed.append(self)
            return "declined"

    attach_log()
    caplog.set_level(logging.CRITICAL, logger="hephaestus_celery")
    telemetry.step_exception(instance, charge, 1, "error", Reason(), None, {})
    assert printed == []


def test_a_failure_for_good_is_an_error(log, instance, charge):
    telemetry.step_exception(instance, charge, MS, "error", ValueError("no"), None, {"will_retry": False})
    assert [record.levelname for record in log.records] == ["ERROR"]


def test_a_level_given_for_failures_holds_for_those_that_will_be_retried_too(attach_log, caplog, emit):
    attach_log(level={telemetry.step_exception_event(): "info"})
    emit("step.exception")
    assert [record.levelname for record in caplog.records] == ["INFO"]


def through_structlog(record):
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    )
    return json.loads(formatter.format(record))


def through_json_logger(record):
    return json.loads(pythonjsonlogger.json.JsonFormatter("%(asctime)s %(message)s", timestamp=True).format(record))


def through_celery(record):
    shown = TaskFormatter("%(message)s|%(task_name)s").format(record)
    return {"message": shown.rpartition("|")[0], **vars(record)}


@pytest.mark.parametrize("formatter", [through_structlog, through_json_logger, through_celery])
@pytest.mark.parametrize("name", [*MESSAGES, "runner.init"])
def test_no_field_of_ours_hides_what_a_formatter_writes_itself(log, emit, name, formatter):
    emit(name)
    record = log.records[0]
    shown = formatter(record)
    assert shown["message"] == record.getMessage()
    fields = ("instance_id", "run_id", "workflow", "step", "hephaestus_event", "duration_ms", "telemetry_event")
    assert {field: shown[field] for field in fields} == {field: getattr(record, field) for field in fields}


def test_a_level_for_all_events_is_refused_with_where_it_is_set():
    with pytest.raises(ValueError, match=r"no 'debug'; how much .*getLogger\('hephaestus_celery'\)\.setLevel"):
        log_handler.attach(level="debug")
