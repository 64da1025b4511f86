"""The log filter: which step of which run a record comes from."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import secrets
import sys
import threading
import types

import pytest
import pythonjsonlogger.json
import structlog
from celery import Celery
from defining import define
from stage import eventually

from hephaestus_celery import Done, Hephaestus, Ok, Step, logs
from hephaestus_celery.telemetry import log_handler

LOG = logging.getLogger("shop.of_others")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOTHING = dict.fromkeys(logs.FIELDS)


class Keeps(logging.Handler):
    """A handler of an application, with the filter."""

    def __init__(self):
        super().__init__()
        self.addFilter(logs.ContextFilter())
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def said(self, text):
        """The fields of the records that say this."""
        found = [record for record in self.records if text in record.getMessage()]
        return [{name: getattr(record, name) for name in logs.FIELDS} for record in found]


@pytest.fixture
def handler():
    root = logging.getLogger()
    kept, level = Keeps(), root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)


@pytest.fixture
def runtime():
    with Hephaestus() as hephaestus:
        yield hephaestus


class Says(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        LOG.info("in a step")
        return Ok("ok")


class SaysLater(Step):
    events = ("ok",)

    async def execute(self, instance, config, context):
        await asyncio.sleep(0)
        LOG.info("on a loop")
        return Ok("ok")


class SaysElsewhere(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        for run in (contextvars.copy_context().run, lambda call, text: call(text)):
            thread = threading.Thread(target=run, args=(LOG.info, "on a thread"))
            thread.start()
            thread.join()
        return Ok("ok")


class FailsOnce(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        LOG.info("an attempt")
        if instance.step(FailsOnce).attempt == 1:
            raise ValueError("the first")
        return Ok("ok")


def a_flow(step):
    name = f"logged.{secrets.token_hex(6)}"
    return define(name=name, initial_step=step, transitions={(step, "ok"): Done})


def run(runtime, flow, id="x1"):
    handle = runtime.start_instance(flow, {}, id=id)
    assert handle.wait(30).status == "completed"
    return handle


def of(handle, flow, step, **others):
    found = {"instance_id": handle.id, "run_id": handle.run_id, "workflow": flow.name, "step": step.key}
    return {**NOTHING, **found, "attempt": 1, **others}


@pytest.mark.parametrize(("step", "text"), [(Says, "in a step"), (SaysLater, "on a loop")])
def test_a_record_of_a_step_says_where_it_comes_from(runtime, handler, step, text):
    flow = a_flow(step)
    handle = run(runtime, flow)
    assert handler.said(text) == [of(handle, flow, step)]


def test_each_attempt_has_its_number(runtime, handler):
    flow = a_flow(FailsOnce)
    handle = run(runtime, flow)
    assert handler.said("an attempt") == [of(handle, flow, FailsOnce, attempt=number) for number in (1, 2)]


def test_a_thread_of_the_step_knows_it_within_a_copy_of_its_context(runtime, handler):
    flow = a_flow(SaysElsewhere)
    handle = run(runtime, flow)
    assert handler.said("on a thread") == [of(handle, flow, SaysElsewhere), NOTHING]


def test_a_hook_around_the_attempt_is_within_it(runtime, handler):
    @runtime.hooks.around_attempt
    def hook(attempt):
        LOG.info("in a hook")
        return contextlib.nullcontext()

    flow = a_flow(Says)
    handle = run(runtime, flow)
    assert handler.said("in a hook") == [of(handle, flow, Says)]


def test_outside_of_steps_the_fields_are_there_and_empty(handler):
    LOG.info("elsewhere")
    assert handler.said("elsewhere") == [NOTHING]
    assert logs.context() == NOTHING


def test_what_a_record_has_by_itself_is_kept(runtime, handler):
    class SaysOwn(Step):
        events = ("ok",)

        def execute(self, instance, config, context):
            LOG.info("with its own", extra={"step": "mine", "trace_id": "t1"})
            LOG.info("of another", extra={"run_id": "another"})
            return Ok("ok")

    flow = a_flow(SaysOwn)
    handle = run(runtime, flow)
    assert handler.said("with its own") == [{**of(handle, flow, SaysOwn), "step": "mine", "trace_id": "t1"}]
    assert handler.said("of another") == [{**NOTHING, "run_id": "another"}]


def test_a_run_that_a_step_starts_has_its_own_context(handler):
    # On the caller's thread, where the inner run is executed in the middle of the outer step.
    inner = a_flow(Says)
    with Hephaestus(Celery("eager", task_always_eager=True, set_as_current=False)) as nested:

        class Starts(Step):
            events = ("ok",)

            def execute(self, instance, config, context):
                run(nested, inner, id="inner")
                LOG.info("after it")
                return Ok("ok")

        outer = a_flow(Starts)
        handle = run(nested, outer)
    assert handler.said("after it") == [of(handle, outer, Starts)]
    assert [found["instance_id"] for found in handler.said("in a step")] == ["orderid::inner"]


def test_the_trace_of_a_run_is_that_of_its_header(runtime, handler):
    given = {"sound": f"00-{TRACE}-00f067aa0ba902b7-01"}
    given |= {
        "none": f"00-{'0' * 32}-00f067aa0ba902b7-01",
        "odd": "00-1-2-3",
        "hostile": f"00-{TRACE}\n-x",
        "number": 7,
    }
    flow = a_flow(Says)
    for name, value in given.items():
        runtime.hooks.on_start(lambda headers, value=value: headers.update(traceparent=value))
        handle = run(runtime, flow, id=name)
        expected = TRACE if name == "sound" else None
        assert handler.said("in a step")[-1] == of(handle, flow, Says, trace_id=expected)


def test_the_trace_of_a_span_comes_first_and_a_half_imported_library_has_none(handler, monkeypatch):
    library = types.ModuleType("opentelemetry.trace")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", library)
    assert logs.context() == NOTHING
    span = types.SimpleNamespace(trace_id=int(TRACE, 16), is_valid=True)
    library.get_current_span = lambda: types.SimpleNamespace(get_span_context=lambda: span)
    LOG.info("in a span")
    assert handler.said("in a span") == [{**NOTHING, "trace_id": TRACE}]


def through_structlog(record):
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    return json.loads(formatter.format(record))


def through_json_logger(record):
    return json.loads(pythonjsonlogger.json.JsonFormatter("%(message)s").format(record))


def through_format(record):
    shown = "|".join(f"%({name})s" for name in logs.FIELDS)
    values = logging.Formatter(shown).format(record).split("|")
    found = dict(zip(logs.FIELDS, values, strict=True))
    return {
        name: None if value == "None" else int(value) if name == "attempt" else value for name, value in found.items()
    }


@pytest.mark.parametrize("formatter", [through_structlog, through_json_logger, through_format])
def test_formatters_show_the_fields(runtime, handler, formatter):
    flow = a_flow(Says)
    handle = run(runtime, flow)
    LOG.info("in no step")
    inside, outside = (
        formatter(record) for record in handler.records if record.getMessage() in ("in a step", "in no step")
    )
    assert {name: inside[name] for name in logs.FIELDS} == of(handle, flow, Says)
    assert {name: outside[name] for name in logs.FIELDS} == NOTHING


def test_a_logger_of_structlog_itself_shows_them(runtime, handler):
    log = structlog.wrap_logger(
        LOG,
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    class SaysBound(Step):
        events = ("ok",)

        def execute(self, instance, config, context):
            log.info("through structlog", shelf=7)
            return Ok("ok")

    flow = a_flow(SaysBound)
    handle = run(runtime, flow)
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ]
    )
    [record] = [record for record in handler.records if isinstance(record.msg, dict)]
    shown = json.loads(formatter.format(record))
    assert (shown["event"], shown["shelf"]) == ("through structlog", 7)
    assert {name: shown[name] for name in logs.FIELDS} == of(handle, flow, SaysBound)


def test_what_the_log_handler_says_of_a_run_keeps_its_own_fields(runtime, handler):
    flow = a_flow(Says)
    log_handler.attach()
    try:
        handle = run(runtime, flow)
        eventually(lambda: told(handler, "workflow.stop"), what="the end is told")
    finally:
        log_handler.detach()
    stops = told(handler, "step.stop")
    assert [(record.run_id, record.step) for record in stops] == [(handle.run_id, step.key) for step in (Says, Done)]


def told(handler, event):
    """The records that the log handler of the telemetry has written of an event."""
    return [each for each in handler.records if getattr(each, "telemetry_event", None) == f"hephaestus.{event}"]
