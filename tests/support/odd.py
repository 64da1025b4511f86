"""What a step may raise, and where else a run's own code may fail: each with the failure that is to be seen."""

from __future__ import annotations

import threading

import recorder
from billiard.exceptions import Terminated
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, WorkerLostError, WorkerShutdown

from hephaestus_celery import Async, Done, Ok, RetryPolicy, Step, Unique, Workflow, route

AT_ONCE = RetryPolicy(max_attempts=2, base=0, jitter=False)


class LoopingAttributesError(Exception):
    def __getattr__(self, name):
        return getattr(self, name + "_")


class RaisingAttributesError(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(name)


class ObligingError(Exception):
    """Has every attribute that anybody asks for."""

    def __getattr__(self, name):
        return ObligingError()

    def __call__(self, *_, **__):
        return self


class LyingError(Exception):
    __class__ = property(lambda self: 1 / 0)


class FalseError(Exception):
    def __bool__(self):
        raise SystemExit("not even that")

    __len__ = __bool__


class MuteError(Exception):
    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__


class NoTextError(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - that is the point

    __repr__ = __str__


class UnequalError(Exception):
    def __eq__(self, other):
        raise RuntimeError("equal to nothing")

    __hash__ = None


class CausedAnewError(Exception):
    """Each has a cause, which has one."""

    @property
    def __cause__(self):
        return CausedAnewError()


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__(threading.Lock())


class NeverReadError(Exception):
    """Can be pickled, and can't be read back."""

    def __init__(self, one, two):
        super().__init__("read me")


class ExitingPickleError(Exception):
    def __reduce__(self):
        raise SystemExit("pickled")


class UnnamedMeta(type):
    def __getattribute__(cls, name):
        if name in {"__qualname__", "__module__", "__name__"}:
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class UnnamedError(Exception, metaclass=UnnamedMeta): ...


class ThrownError(BaseException): ...


def _syntax():
    error = SyntaxError("odd")
    error.filename, error.lineno, error.offset, error.text = object(), "x", -9, 7
    return error


def _cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def _recursion():
    try:
        return _recursion()
    except RecursionError as error:
        return error


def _noted():
    error = ValueError("noted")
    error.__notes__ = object()
    return error


def _chained():
    error = ValueError("the last of many")
    newest = error
    for number in range(2000):
        newest.__context__ = newest = ValueError(str(number))
    return error


# Each makes what is raised; with the kind and the type of the failure that is to be stored.
ODD = {
    "looping-attributes": (LoopingAttributesError, "error", "LoopingAttributesError"),
    "raising-attributes": (RaisingAttributesError, "error", "RaisingAttributesError"),
    "obliging": (ObligingError, "error", "ObligingError"),
    "lying": (LyingError, "error", "LyingError"),
    "false": (FalseError, "error", "FalseError"),
    "mute": (MuteError, "error", "MuteError"),
    "no-text": (NoTextError, "error", "NoTextError"),
    "unequal": (UnequalError, "error", "UnequalError"),
    "caused-anew": (CausedAnewError, "error", "CausedAnewError"),
    "unpicklable": (UnpicklableError, "error", "UnpicklableError"),
    "never-read": (lambda: NeverReadError(1, 2), "error", "NeverReadError"),
    "exiting-pickle": (ExitingPickleError, "error", "ExitingPickleError"),
    "unnamed": (UnnamedError, "error", "UnnamedError"),
    "syntax": (_syntax, "error", "SyntaxError"),
    "cycle": (_cycle, "error", "ValueError"),
    "chained": (_chained, "error", "ValueError"),
    "noted": (_noted, "error", "ValueError"),
    "recursion": (_recursion, "error", "RecursionError"),
    "memory": (lambda: MemoryError("all of it"), "error", "MemoryError"),
    "huge": (lambda: ValueError("x" * 3_000_000), "error", "ValueError"),
    "surrogate": (lambda: ValueError("\ud800 \x00 \x1f | 5"), "error", "ValueError"),
    "group": (lambda: ExceptionGroup("two", [ValueError("a"), MuteError()]), "error", "ExceptionGroup"),
    "base-group": (lambda: BaseExceptionGroup("two", [KeyboardInterrupt()]), "throw", "BaseExceptionGroup"),
    "ignore": (lambda: Ignore("me"), "error", "celery.exceptions.Ignore"),
    "reject": (lambda: Reject("me", requeue=True), "error", "celery.exceptions.Reject"),
    "retry": (lambda: Retry("me", when=0), "error", "celery.exceptions.Retry"),
    "worker-lost": (lambda: WorkerLostError("me"), "error", "WorkerLostError"),
    "terminated": (lambda: Terminated(9), "error", "Terminated"),
    "shutdown": (lambda: WorkerShutdown(0), "exit", "celery.exceptions.WorkerShutdown"),
    "system-exit": (lambda: SystemExit(3), "exit", "SystemExit"),
    "interrupt": (lambda: KeyboardInterrupt("stop"), "throw", "KeyboardInterrupt"),
    "generator-exit": (GeneratorExit, "throw", "GeneratorExit"),
    "thrown": (lambda: ThrownError("far"), "throw", "ThrownError"),
    "stop": (StopIteration, "error", "StopIteration"),
}
POOL_SIGN = {"soft-limit": (SoftTimeLimitExceeded, "exit", "SoftTimeLimitExceeded")}
"""What a pool stops a step with; a step may raise it too."""


class RaiseIt(Step):
    """Raises what its run names."""

    events = ("ok",)
    retry = AT_ONCE

    def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=None)
        raise ODD[context.initial["odd"]][0]()  # noqa: RSE102 - it makes one


class Odd(Workflow):
    name = "odd"
    unique = Unique("odd")
    initial_step = RaiseIt
    transitions = {(RaiseIt, "ok"): Done}


class Begin(Step):
    """Is done, or waits for an event."""

    events = ("now", "later")
    retry = AT_ONCE

    def execute(self, instance, config, context):
        recorder.note("executed", run_id=instance.run_id, step=self.key, value=None)
        if context.initial["place"] == "metadata":
            return Ok("now", metadata={"x": "x" * 2_000_000})
        return Async() if context.initial["waits"] else Ok("now")


class NoPolicy(RetryPolicy):
    def delay(self, attempt, *, chance):
        raise ZeroDivisionError("no rest")


class Unwise(Begin):
    retry = NoPolicy(max_attempts=2)


class Locked(Begin):
    """Has a config that can't be restored, and accepts no events."""

    @classmethod
    def restored_config(cls, config):
        raise LookupError("no such config")


class Closed(Begin):
    @classmethod
    def resume_events(cls, config):
        raise LookupError("no such events")


class Next(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Ok("ok")


def _breaking(name, step, config=None):
    """A workflow whose step is routed on by a method that fails in the way that its run names."""

    def onward(context):
        match context.initial["place"]:
            case "route":
                raise MuteError
            case "exit":
                raise SystemExit("from a route")
            case "config":
                return (Next, {"x": "x" * 2_000_000})
            case "target":
                return Begin
            case _:
                return Next

    attributes = {
        "name": name,
        "unique": Unique("breaking"),
        "initial_step": step if config is None else (step, config),
        "transitions": {(Next, "ok"): Done},
        "now": route(step, "now", targets=[Next])(lambda context: onward(context)),  # noqa: PLW0108 - one of its own
        "later": route(step, "later", targets=[Next])(lambda context: onward(context)),  # noqa: PLW0108 - one of its own
    }
    return type("Breaking", (Workflow,), attributes)


PLAIN = _breaking("breaking_plain", Begin)
UNWISE = _breaking("breaking_unwise", Unwise)
LOCKED = _breaking("breaking_locked", Locked, {"a": 1})
CLOSED = _breaking("breaking_closed", Closed)

# What no further attempt can mend is not retried.
FOR_GOOD = {"config", "config-after-a-resume", "target", "target-after-a-resume", "metadata"}
# Where it fails: the workflow, the place, whether the step waits first, and the kind and type of the failure.
BREAKING = {
    "route": (PLAIN, "route", False, "error", "MuteError"),
    "exit": (PLAIN, "exit", False, "exit", "SystemExit"),
    "config": (PLAIN, "config", False, "error", "DataError"),
    "target": (PLAIN, "target", False, "error", "RouteError"),
    "metadata": (PLAIN, "metadata", False, "error", "DataError"),
    "route-after-a-resume": (PLAIN, "route", True, "error", "MuteError"),
    "exit-after-a-resume": (PLAIN, "exit", True, "exit", "SystemExit"),
    "config-after-a-resume": (PLAIN, "config", True, "error", "DataError"),
    "target-after-a-resume": (PLAIN, "target", True, "error", "RouteError"),
    "policy": (UNWISE, "route", False, "error", "MuteError"),
    "locked": (LOCKED, "-", False, "error", "LookupError"),
    "closed": (CLOSED, "-", True, "error", "LookupError"),
}
