from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from hephaestus_celery import telemetry
from hephaestus_celery.clock import SystemClock
from hephaestus_celery.exceptions import HephaestusError
from hephaestus_celery.telemetry.event_dispatcher import HANDLER_FAILURE
from hephaestus_celery.telemetry.exception_fields import kind_of

EVENT = ("shop", "order", "placed")
OTHER = ("shop", "order", "paid")
BAD_NAMES = [(), "shop.order", ["shop", "order"], ("shop", ""), ("shop", 1), ("shop", ["order"]), None]


class Recorder:
    def __init__(self):
        self.calls = []

    def __call__(self, event, measurements, metadata, config):
        self.calls.append((event, measurements, metadata, config))


def failing(exception):
    def handler(event, measurements, metadata, config):
        raise exception

    return handler


class StoppedClock(SystemClock):
    """A clock that stands still."""

    def time_ns(self):
        return 1_700

    def monotonic_ns(self):
        return 7


class Odd(BaseException):
    pass


@pytest.fixture
def recorder(attach):
    recorder = Recorder()
    attach("recorder", recorder, EVENT, config={"a": 1})
    return recorder


@pytest.fixture
def failures(attach):
    recorder = Recorder()
    attach("failures", recorder, HANDLER_FAILURE)
    return recorder


# --- attach, detach, list


def test_a_handler_gets_event_measurements_metadata_and_config(recorder):
    telemetry.execute(EVENT, {"count": 2}, {"user": "u1"})
    assert recorder.calls == [(EVENT, {"count": 2}, {"user": "u1"}, {"a": 1})]


def test_config_is_none_unless_it_is_given():
    recorder = Recorder()
    telemetry.attach("plain", EVENT, recorder)
    telemetry.execute(EVENT, {})
    telemetry.detach("plain")
    assert recorder.calls[0][3] is None


def test_metadata_is_empty_unless_it_is_given(recorder):
    telemetry.execute(EVENT, {"count": 1})
    assert recorder.calls[0][2] == {}


def test_an_event_without_handlers_is_nothing():
    telemetry.execute(EVENT, {"count": 1})


@pytest.mark.parametrize("name", [EVENT[:2], (*EVENT, "twice"), OTHER])
def test_only_exactly_the_same_name_matches(recorder, name):
    telemetry.execute(name, {})
    assert recorder.calls == []


def test_an_id_is_unique_over_all_events(recorder):
    with pytest.raises(telemetry.AlreadyAttachedError, match="'recorder'"):
        telemetry.attach("recorder", OTHER, Recorder())


def test_a_refused_attach_many_attaches_nothing(recorder):
    with pytest.raises(telemetry.AlreadyAttachedError):
        telemetry.attach_many("recorder", [OTHER], Recorder())
    assert telemetry.list_handlers(OTHER) == []


def test_an_attach_many_with_one_bad_name_attaches_nothing():
    with pytest.raises(ValueError, match="non-empty tuple"):
        telemetry.attach_many("half", [EVENT, ()], Recorder())
    assert telemetry.list_handlers() == []


def test_attach_many_listens_to_every_event(attach):
    recorder = Recorder()
    attach("both", recorder, EVENT, OTHER)
    telemetry.execute(OTHER, {})
    telemetry.execute(EVENT, {})
    assert [call[0] for call in recorder.calls] == [OTHER, EVENT]


def test_an_event_named_twice_is_handled_once(attach):
    recorder = Recorder()
    attach("twice", recorder, EVENT, EVENT)
    telemetry.execute(EVENT, {})
    assert len(recorder.calls) == 1


def test_attach_many_needs_an_event():
    with pytest.raises(ValueError, match="at least one event"):
        telemetry.attach_many("none", [], Recorder())


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_tuple_of_strings_is_refused_by_attach(name):
    with pytest.raises(ValueError, match="non-empty tuple of non-empty strings"):
        telemetry.attach("bad", name, Recorder())


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_tuple_of_strings_is_refused_by_execute(name):
    with pytest.raises(ValueError, match="non-empty tuple of non-empty strings"):
        telemetry.execute(name, {})


def test_a_handler_must_be_callable():
    with pytest.raises(TypeError, match="must be callable, got 'print'"):
        telemetry.attach("text", EVENT, "print")


def test_a_detached_handler_is_not_called(recorder):
    telemetry.detach("recorder")
    telemetry.execute(EVENT, {})
    assert recorder.calls == []


def test_detach_detaches_from_every_event(attach):
    attach("both", Recorder(), EVENT, OTHER)
    telemetry.detach("both")
    assert telemetry.list_handlers() == []


def test_detach_leaves_other_handlers_of_the_event(recorder, attach):
    attach("neighbour", Recorder(), EVENT)
    telemetry.detach("neighbour")
    telemetry.execute(EVENT, {})
    assert len(recorder.calls) == 1


def test_detach_of_an_unknown_id_raises():
    with pytest.raises(telemetry.NotAttachedError, match="'nobody'"):
        telemetry.detach("nobody")


def test_a_detached_id_may_be_attached_again(recorder):
    telemetry.detach("recorder")
    telemetry.attach("recorder", EVENT, recorder)
    telemetry.execute(EVENT, {})
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("error", [telemetry.AlreadyAttachedError, telemetry.NotAttachedError])
def test_the_errors_are_errors_of_the_package(error):
    assert issubclass(error, HephaestusError)


@pytest.mark.parametrize("error", [telemetry.AlreadyAttachedError, telemetry.NotAttachedError])
def test_the_errors_survive_pickling(error):
    assert str(pickle.loads(pickle.dumps(error("mine")))) == str(error("mine"))


def test_list_handlers_has_one_entry_per_handler_and_event(attach):
    recorder = Recorder()
    attach("both", recorder, EVENT, OTHER, config=7)
    assert telemetry.list_handlers() == [
        telemetry.Handler(id="both", event_name=EVENT, function=recorder, config=7),
        telemetry.Handler(id="both", event_name=OTHER, function=recorder, config=7),
    ]


def test_list_handlers_can_be_limited_to_a_prefix(attach):
    attach("shop", Recorder(), EVENT)
    attach("elsewhere", Recorder(), ("bank", "order", "placed"))
    assert [handler.id for handler in telemetry.list_handlers(("shop", "order"))] == ["shop"]


def test_the_list_of_handlers_is_the_callers_own(recorder):
    telemetry.list_handlers().clear()
    assert len(telemetry.list_handlers()) == 1


# --- execute


def test_handlers_run_in_the_order_in_which_they_were_attached(attach):
    order = []
    for name in ("first", "second", "third"):
        attach(name, lambda *_, name=name: order.append(name), EVENT)
    telemetry.execute(EVENT, {})
    assert order == ["first", "second", "third"]


def test_handlers_run_in_the_thread_of_the_caller(attach):
    threads = []
    attach("thread", lambda *_: threads.append(threading.current_thread()), EVENT)
    caller = threading.Thread(target=telemetry.execute, args=(EVENT, {}))
    caller.start()
    caller.join()
    assert threads == [caller]


def test_what_a_handler_changes_is_not_seen_by_the_next(attach):
    attach("vandal", lambda _event, measurements, metadata, _config: (measurements.clear(), metadata.clear()), EVENT)
    recorder = Recorder()
    attach("after", recorder, EVENT)
    telemetry.execute(EVENT, {"count": 1}, {"user": "u1"})
    assert recorder.calls == [(EVENT, {"count": 1}, {"user": "u1"}, None)]


def test_what_a_handler_changes_is_not_seen_by_the_emitter(attach):
    attach("vandal", lambda _event, measurements, _metadata, _config: measurements.clear(), EVENT)
    measurements = {"count": 1}
    telemetry.execute(EVENT, measurements)
    assert measurements == {"count": 1}


def test_a_handler_attached_during_an_emission_does_not_get_it(attach):
    late = Recorder()
    attach("early", lambda *_: attach("late", late, EVENT), EVENT)
    telemetry.execute(EVENT, {})
    assert late.calls == []


def test_a_handler_detached_during_an_emission_still_gets_it(attach):
    attach("remover", lambda *_: telemetry.detach("target"), EVENT)
    target = Recorder()
    attach("target", target, EVENT)
    telemetry.execute(EVENT, {})
    assert len(target.calls) == 1


def test_a_handler_may_detach_itself(attach):
    attach("once", lambda *_: telemetry.detach("once"), EVENT)
    telemetry.execute(EVENT, {})
    assert telemetry.list_handlers() == []


# --- failures

WAYS_TO_FAIL = [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Odd()]


@pytest.mark.parametrize("exception", WAYS_TO_FAIL, ids=lambda exception: type(exception).__name__)
def test_the_emitter_never_notices_a_failing_handler(attach, exception):
    attach("bad", failing(exception), EVENT)
    telemetry.execute(EVENT, {})


@pytest.mark.parametrize("exception", WAYS_TO_FAIL, ids=lambda exception: type(exception).__name__)
def test_a_failing_handler_is_detached_from_all_its_events(attach, exception):
    attach("bad", failing(exception), EVENT, OTHER)
    telemetry.execute(EVENT, {})
    assert telemetry.list_handlers() == []


def test_a_handler_that_fails_in_another_thread_is_detached(attach):
    attach("bad", failing(SystemExit()), EVENT)
    caller = threading.Thread(target=telemetry.execute, args=(EVENT, {}))
    caller.start()
    caller.join()
    assert telemetry.list_handlers() == []


def test_a_handler_with_the_wrong_signature_is_detached(attach):
    attach("narrow", lambda event: None, EVENT)
    telemetry.execute(EVENT, {})
    assert telemetry.list_handlers() == []


def test_the_handlers_after_a_failing_one_still_run(attach):
    attach("bad", failing(ValueError()), EVENT)
    recorder = Recorder()
    attach("good", recorder, EVENT)
    telemetry.execute(EVENT, {})
    assert len(recorder.calls) == 1


def test_a_failure_is_reported_with_its_handler_and_event(attach, failures):
    attach("bad", failing(ValueError("x")), EVENT, config={"url": "u"})
    telemetry.execute(EVENT, {})
    metadata = failures.calls[0][2]
    assert (metadata["handler_id"], metadata["event_name"], metadata["handler_config"]) == ("bad", EVENT, {"url": "u"})


def test_a_failure_is_reported_with_the_exception_itself(attach, failures):
    exception = ValueError("x")
    attach("bad", failing(exception), EVENT)
    telemetry.execute(EVENT, {})
    assert failures.calls[0][2]["reason"] is exception


def test_a_failure_is_reported_with_the_frames_that_it_came_through(attach, failures):
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert [frame.name for frame in failures.calls[0][2]["stacktrace"]][-1] == "handler"


def test_a_failure_is_measured_on_both_clocks(attach, failures):
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    measurements = failures.calls[0][1]
    assert {name: type(value) for name, value in measurements.items()} == {"monotonic_time": int, "system_time": int}


def test_a_failure_is_measured_on_the_clock_that_is_given(attach, failures):
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {}, clock=StoppedClock())
    assert failures.calls[0][1] == {"monotonic_time": 7, "system_time": 1_700}


def test_a_failure_has_exactly_these_fields(attach, failures):
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert set(failures.calls[0][2]) == {"event_name", "handler_id", "handler_config", "kind", "reason", "stacktrace"}


@pytest.mark.parametrize(
    ("exception", "kind"), [(ValueError(), "error"), (SystemExit(), "exit"), (KeyboardInterrupt(), "throw")]
)
def test_the_kind_of_an_exception_follows_its_class(exception, kind):
    assert kind_of(exception) == kind


def test_a_failure_is_logged_as_an_error(attach, caplog):
    attach("bad", failing(ValueError("out of ink")), EVENT)
    telemetry.execute(EVENT, {})
    assert [(record.levelname, "'bad'" in record.message) for record in caplog.records] == [("ERROR", True)]


def test_a_logged_failure_has_its_traceback(attach, caplog):
    attach("bad", failing(ValueError("out of ink")), EVENT)
    telemetry.execute(EVENT, {})
    assert "ValueError: out of ink" in caplog.text


def test_a_log_that_fails_is_not_noticed_either(attach):
    class FullDisk(logging.Handler):
        def emit(self, record):
            raise OSError("no space left")

    handler = FullDisk()
    logger = logging.getLogger("hephaestus_celery.telemetry")
    logger.addHandler(handler)
    try:
        attach("bad", failing(ValueError()), EVENT)
        telemetry.execute(EVENT, {})
    finally:
        logger.removeHandler(handler)
    assert telemetry.list_handlers() == []


def test_a_failing_failure_handler_makes_no_loop(attach):
    calls = []

    def comes_back(event, measurements, metadata, config):
        calls.append(event)
        telemetry.detach("stubborn")
        telemetry.attach("stubborn", HANDLER_FAILURE, comes_back)
        raise ValueError

    attach("stubborn", comes_back, HANDLER_FAILURE)
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert calls == [HANDLER_FAILURE]


def test_a_failing_failure_handler_is_detached(attach):
    attach("bad reporter", failing(ValueError()), HANDLER_FAILURE)
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert telemetry.list_handlers() == []


def test_a_failing_failure_handler_is_logged(attach, caplog):
    attach("bad reporter", failing(ValueError()), HANDLER_FAILURE)
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert ["'bad reporter'" in record.message for record in caplog.records] == [False, True]


def test_other_failure_handlers_hear_of_the_failure_after_one_failed(attach, request):
    attach("bad reporter", failing(ValueError()), HANDLER_FAILURE)
    failures = request.getfixturevalue("failures")
    attach("bad", failing(ValueError()), EVENT)
    telemetry.execute(EVENT, {})
    assert [call[2]["handler_id"] for call in failures.calls] == ["bad"]


def test_a_failure_does_not_detach_a_new_handler_under_the_same_id(attach):
    successor = Recorder()

    def replaced(event, measurements, metadata, config):
        telemetry.detach("same")
        telemetry.attach("same", EVENT, successor)
        raise ValueError

    attach("same", replaced, EVENT)
    telemetry.execute(EVENT, {})
    assert [handler.function for handler in telemetry.list_handlers()] == [successor]


# --- signals


@pytest.fixture
def on_signal():
    """Install a signal handler for this test."""
    before = {}

    def install(number, function):
        before[number] = signal.signal(number, function)

    yield install
    for number, function in before.items():
        signal.signal(number, function)


def sigterm_exits(signum, frame):
    raise SystemExit(143)


def test_an_exit_by_signal_during_a_handler_goes_on_to_the_process(attach, on_signal):
    on_signal(signal.SIGTERM, sigterm_exits)
    attach("innocent", lambda *_: signal.raise_signal(signal.SIGTERM), EVENT)
    with pytest.raises(SystemExit):
        telemetry.execute(EVENT, {})


def test_ctrl_c_during_a_handler_goes_on_to_the_process(attach, on_signal):
    on_signal(signal.SIGINT, signal.default_int_handler)
    attach("innocent", lambda *_: signal.raise_signal(signal.SIGINT), EVENT)
    with pytest.raises(KeyboardInterrupt):
        telemetry.execute(EVENT, {})


def raises_in_one_line(*_):
    if True: raise KeyboardInterrupt  # fmt: skip  # noqa: E701


def raises_over_lines(*_):
    raise (
        KeyboardInterrupt(
            "by itself",
        )
    )


def passes_on_what_it_caught(*_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:  # noqa: TRY203 - that is what this handler does
        raise


@pytest.mark.parametrize("function", [raises_in_one_line, raises_over_lines])
def test_a_handler_that_raises_what_ctrl_c_does_has_failed(attach, on_signal, function):
    on_signal(signal.SIGINT, signal.default_int_handler)
    attach("bad", function, EVENT)
    telemetry.execute(EVENT, {})
    assert telemetry.list_handlers() == []


def test_ctrl_c_that_a_handler_has_caught_and_passes_on_goes_on_to_the_process(attach, on_signal):
    on_signal(signal.SIGINT, signal.default_int_handler)
    attach("innocent", passes_on_what_it_caught, EVENT)
    with pytest.raises(KeyboardInterrupt):
        telemetry.execute(EVENT, {})
    assert [handler.id for handler in telemetry.list_handlers()] == ["innocent"]


def test_a_handler_without_source_that_is_struck_by_ctrl_c_stays_attached(attach, on_signal):
    on_signal(signal.SIGINT, signal.default_int_handler)
    names = {"signal": signal}
    exec("def struck(*_):\n    signal.raise_signal(signal.SIGINT)", names)
    attach("innocent", names["struck"], EVENT)
    with pytest.raises(KeyboardInterrupt):
        telemetry.execute(EVENT, {})
    assert [handler.id for handler in telemetry.list_handlers()] == ["innocent"]


def test_a_handler_that_a_signal_interrupts_stays_attached(attach, on_signal):
    on_signal(signal.SIGTERM, sigterm_exits)
    attach("innocent", lambda *_: signal.raise_signal(signal.SIGTERM), EVENT)
    with pytest.raises(SystemExit):
        telemetry.execute(EVENT, {})
    assert [handler.id for handler in telemetry.list_handlers()] == ["innocent"]


def test_the_handlers_after_a_signal_still_run(attach, on_signal):
    on_signal(signal.SIGTERM, sigterm_exits)
    attach("innocent", lambda *_: signal.raise_signal(signal.SIGTERM), EVENT)
    recorder = Recorder()
    attach("after", recorder, EVENT)
    with pytest.raises(SystemExit):
        telemetry.execute(EVENT, {})
    assert len(recorder.calls) == 1


def test_a_signal_handler_may_attach_while_its_thread_attaches(attach, on_signal):
    class SlowId(str):
        __slots__ = ()

        def __hash__(self):
            if not telemetry.list_handlers():
                signal.raise_signal(signal.SIGUSR1)
            return super().__hash__()

    on_signal(signal.SIGUSR1, lambda *_: attach("by signal", Recorder(), OTHER))
    attach(SlowId("slow"), Recorder(), EVENT)
    assert {handler.id for handler in telemetry.list_handlers()} == {"by signal", "slow"}


# --- threads and forks


def test_no_attach_is_lost_among_threads():
    def attach_some(number):
        for index in range(50):
            telemetry.attach((number, index), EVENT, Recorder())

    threads = [threading.Thread(target=attach_some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attached = {handler.id for handler in telemetry.list_handlers()}
    for handler_id in attached:
        telemetry.detach(handler_id)
    assert len(attached) == 400


def test_of_threads_that_attach_one_id_exactly_one_succeeds(attach):
    barrier = threading.Barrier(8)
    outcomes = []

    def attach_it():
        barrier.wait()
        try:
            attach("contested", Recorder(), EVENT)
            outcomes.append("attached")
        except telemetry.AlreadyAttachedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attach_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["attached"] + ["refused"] * 7


FORK_WHILE_LOCKED = """
import os, signal, sys, threading
from hephaestus_celery import telemetry
from hephaestus_celery.telemetry import event_dispatcher

held, done = threading.Event(), threading.Event()

def hold():
    with event_dispatcher._lock:
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends a child that waits for the lock
    calls = []
    telemetry.attach("in the child", ("a",), lambda *_: calls.append(1))
    telemetry.execute(("a",), {})
    os._exit(0 if calls == [1] else 1)
done.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_while_another_thread_attaches_leaves_the_child_able_to_attach():
    script = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_WHILE_LOCKED]
    assert subprocess.run(script, check=False).returncode == 0


# --- span

START, STOP, EXCEPTION = (("shop", "import", part) for part in ("start", "stop", "exception"))


@pytest.fixture
def spans(attach):
    recorder = Recorder()
    attach("spans", recorder, START, STOP, EXCEPTION)
    return recorder


def test_a_span_emits_its_start_and_its_stop(spans):
    with telemetry.span(START[:2], {}):
        pass
    assert [call[0] for call in spans.calls] == [START, STOP]


def test_the_start_of_a_span_comes_before_its_body(spans):
    with telemetry.span(START[:2]):
        assert [call[0] for call in spans.calls] == [START]


def test_the_start_of_a_span_has_both_clocks(spans):
    with telemetry.span(START[:2]):
        pass
    assert set(spans.calls[0][1]) == {"monotonic_time", "system_time"}


def test_the_duration_of_a_span_is_the_difference_of_its_ends(spans):
    with telemetry.span(START[:2]):
        pass
    (_, start, _, _), (_, stop, _, _) = spans.calls
    assert stop["duration"] == stop["monotonic_time"] - start["monotonic_time"]


def test_both_events_of_a_span_carry_its_metadata(spans):
    with telemetry.span(START[:2], {"file": "f"}):
        pass
    assert [call[2]["file"] for call in spans.calls] == ["f", "f"]


def test_both_events_of_a_span_share_a_context(spans):
    with telemetry.span(START[:2]):
        pass
    start, stop = (call[2]["telemetry_span_context"] for call in spans.calls)
    assert start is stop


def test_two_spans_have_different_contexts(spans):
    for _ in range(2):
        with telemetry.span(START[:2]):
            pass
    assert len({call[2]["telemetry_span_context"] for call in spans.calls}) == 2


def test_a_context_given_by_the_caller_is_kept(spans):
    with telemetry.span(START[:2], {"telemetry_span_context": "mine"}):
        pass
    assert [call[2]["telemetry_span_context"] for call in spans.calls] == ["mine", "mine"]


def test_the_body_of_a_span_adds_to_the_metadata_of_its_stop(spans):
    with telemetry.span(START[:2], {"file": "f"}) as metadata:
        metadata["rows"] = 3
    assert ["rows" in call[2] for call in spans.calls] == [False, True]


def test_the_exception_of_a_span_goes_on():
    with pytest.raises(ValueError, match="torn"), telemetry.span(START[:2]):
        raise ValueError("torn")


def test_a_span_that_raises_emits_an_exception_and_no_stop(spans):
    with pytest.raises(ValueError, match="torn"), telemetry.span(START[:2]):
        raise ValueError("torn")
    assert [call[0] for call in spans.calls] == [START, EXCEPTION]


def test_the_exception_of_a_span_is_emitted_in_full(spans):
    exception = Odd()
    with pytest.raises(Odd), telemetry.span(START[:2], {"file": "f"}):
        raise exception
    metadata = spans.calls[1][2]
    assert (metadata["kind"], metadata["reason"], metadata["file"]) == ("throw", exception, "f")


def test_the_exception_of_a_span_has_its_stacktrace(spans):
    with pytest.raises(Odd), telemetry.span(START[:2]):
        raise Odd
    assert spans.calls[1][2]["stacktrace"][-1].line == "raise Odd"


def test_a_span_checks_its_name_before_its_body_runs():
    with pytest.raises(ValueError, match="non-empty tuple"), telemetry.span(()):
        pytest.fail("the body ran")
