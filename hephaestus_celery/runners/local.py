"""The local runner: executes steps in this process, for tests, notebooks and eager applications."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.runners.after_commit import Outcome
from hephaestus_celery.runners.attempt import Executed, HeldAttempt, Worker
from hephaestus_celery.runners.callers import CallersThreads
from hephaestus_celery.runners.driver import Driver
from hephaestus_celery.runners.fleet import Fleet, Holdings, attempt_of
from hephaestus_celery.runners.message_dispatcher import FirstMessages
from hephaestus_celery.runners.messages import Message
from hephaestus_celery.runners.port import AsyncRunner
from hephaestus_celery.runners.refusal_log import RefusalLog
from hephaestus_celery.runners.scheduler import Scheduler
from hephaestus_celery.storage.claims import Refusal
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.starts import PreparedMessage

logger = logging.getLogger("hephaestus_celery")

THREADS = 64
_QUEUE = "local"
_LANE = str(Lane(_QUEUE))
_EMISSION_SECONDS = 0.002  # between two looks at whether handlers have got the events of a commit


class LocalRunner:
    """Executes steps on threads of its own, at most :data:`THREADS` at once; further steps wait their turn.

    Without ``threads`` it executes them on the thread that starts or resumes a run, before the call returns. Backoffs last no time
    then. Other timers are taken by the thread that calls next, or waits.

    ``close`` waits for the steps that are being executed. Steps that were not begun stay in the storage as they are.
    """

    name = "local"
    ends_attempts = False  # a thread can't be interrupted

    def __init__(self, *, threads: bool = True) -> None:
        self.has_threads = threads
        self._callers: CallersThreads | None = None
        self._driver: Callable[[], Driver] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._scheduler: Scheduler | None = None
        self._emitted = threading.Condition()
        self._emitting: Counter[tuple[str, int]] = Counter()
        self._refusals = RefusalLog()
        self._waiting: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="hephaestus") if threads else None

    def bind(self, driver: Callable[[], Driver]) -> None:
        self._driver = driver
        if not self.has_threads:
            self._callers = CallersThreads(
                drive=self._drive,
                note=self._note_waiting,
                forget=self._begun,
                scheduler=lambda dispatch, may_seize: Scheduler(
                    driver, dispatch=dispatch, worker=Worker(), fleet=self.fleet, may_seize=may_seize
                ),
            )

    def catch_up(self) -> float:
        """Without threads: execute what is due on this thread, and give the seconds until the next look."""
        return 0 if self._callers is None or self._closed else self._callers.catch_up()

    def dispatch(self, messages: Sequence[Message]) -> None:
        if self._callers is not None:
            if not self._closed:
                self._callers.run(messages)
            return
        with self._lock:
            if self._closed or self._pool is None:
                return
            if self._scheduler is None and self._driver is not None:
                self._scheduler = Scheduler(self._driver, dispatch=self.dispatch, worker=Worker(), fleet=self.fleet)
                self._scheduler.start()
            for message in messages:
                self._waiting[attempt_of(message.task_id)] += 1
                try:
                    self._pool.submit(self._handle, message)
                except RuntimeError as error:  # no more threads can start; the existing ones take the message later
                    logger.warning("[%s] step %s waits for a thread: %s", message.run_id, message.step, error)

    def start_messages(self, runs: Sequence[Sequence[Message]]) -> Sequence[FirstMessages | Exception]:
        """No application adds headers here."""
        return [FirstMessages(messages=messages) for messages in runs]

    def prepare(self, message: Message, *, parent: str | None) -> PreparedMessage | None:
        """There is no broker."""

    lanes_are_fixed = True

    def lane(self, message: Message) -> str | None:
        return _LANE

    def revoke(self, task_ids: Sequence[str]) -> None:
        """There is no queue to take messages from."""

    def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        """A thread can't be interrupted; its result will be discarded."""
        return ()

    @property
    def fleet(self) -> Fleet:
        return _Threads(self)

    def flush(self, run_id: str) -> None:
        """Return once the events of all commits so far are emitted, so that a ``wait`` returns after them."""
        if threading.current_thread() in self._threads():
            return  # a handler in an emitting thread must not wait for itself
        with self._emitted:
            self._emitted.wait_for(lambda: not self._is_emitting(run_id))

    def _is_emitting(self, run_id: str) -> bool:
        # Whether another thread emits events of a run. This one can't wait for itself.
        here = threading.get_ident()
        return any(run == run_id and thread != here for run, thread in list(self._emitting))

    def aio(self) -> AsyncRunner:
        return _ForLoops(self, is_emitting=self._is_emitting)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._scheduler is not None:
            self._scheduler.stop()
        if self._callers is not None:
            self._callers.close()
        if self._pool is None:
            return
        # Outside the lock: a step that ends now calls dispatch, which takes the lock and sends nothing any more.
        self._pool.shutdown(wait=threading.current_thread() not in self._threads(), cancel_futures=True)

    def _threads(self) -> frozenset[threading.Thread]:
        return frozenset(thread for thread in threading.enumerate() if thread.name.startswith("hephaestus_"))

    def _handle(self, message: Message) -> None:
        try:
            self.dispatch(self._drive(message))
        except BaseException:
            # Nobody waits for this thread, so the error is logged here. The storage sends the step again.
            logger.exception("[%s] step %s could not be driven", message.run_id, message.step)

    def _drive(self, message: Message) -> Sequence[Message]:
        if self._driver is None:
            raise ConfigurationError("a LocalRunner works for a Hephaestus: Hephaestus(runner=LocalRunner())")
        driver = self._driver()
        if self._closed:
            self._begun(message)
            return ()
        try:
            attempt = driver.claim(
                message.workflow,
                message.run_id,
                message.activation,
                message.attempt,
                worker=Worker(),
                lane=_LANE,
                token=message.token,
            )
        finally:
            self._begun(message)
        if isinstance(attempt, Refusal):
            self._refusals.note_left(attempt, step=message.step)
            return ()
        try:
            attempt.emit_start(driver.emitter)
            executed = driver.execute(attempt)
            outcome = self._commit(driver, attempt, executed)
        finally:
            driver.release(attempt)
        return outcome.messages

    def holdings(self) -> Holdings:
        """The messages that wait for a thread."""
        with self._lock:
            return Holdings(queues=frozenset([_QUEUE]), messages=frozenset(self._waiting))

    def _note_waiting(self, messages: Sequence[Message]) -> None:
        with self._lock:
            self._waiting.update(attempt_of(message.task_id) for message in messages)

    def _begun(self, message: Message) -> None:
        with self._lock:
            attempt = attempt_of(message.task_id)
            self._waiting[attempt] -= 1
            if self._waiting[attempt] <= 0:
                del self._waiting[attempt]

    def _commit(self, driver: Driver, attempt: HeldAttempt, executed: Executed) -> Outcome:
        # A wait for the end of a run also waits until its events are emitted: see flush().
        emission = attempt.source.instance.run_id, threading.get_ident()
        with self._emitted:
            self._emitting[emission] += 1
        try:
            outcome = driver.commit(attempt, executed)
            outcome.emit(driver.emitter)
            return outcome
        finally:
            with self._emitted:
                self._emitting[emission] -= 1
                self._emitting += Counter()  # drops what is zero
                self._emitted.notify_all()


class _ForLoops:
    """The runner for event loops: nothing of it takes long but the emission of events, which is waited for."""

    def __init__(self, runner: LocalRunner, *, is_emitting: Callable[[str], bool]) -> None:
        self._runner, self._is_emitting = runner, is_emitting

    async def dispatch(self, messages: Sequence[Message]) -> None:
        self._runner.dispatch(messages)

    async def revoke(self, task_ids: Sequence[str]) -> None:
        self._runner.revoke(task_ids)

    async def interrupt(self, holders: Mapping[str, str]) -> Collection[str]:
        return self._runner.interrupt(holders)

    async def flush(self, run_id: str) -> None:
        while self._is_emitting(run_id):  # noqa: ASYNC110 - other threads emit, for a moment
            await asyncio.sleep(_EMISSION_SECONDS)


class _Threads:
    """The fleet of a local runner: its own threads. A message that waits for one is not lost, however long it waits."""

    def __init__(self, runner: LocalRunner) -> None:
        self._runner = runner

    def holdings(self, storage: Storage) -> Sequence[Holdings]:
        """The messages that wait for a thread."""
        return [self._runner.holdings()]

    def length(self, lane: Lane) -> int | None:
        """There is no queue beside those messages."""
        return 0

    def counted(self, lane: Lane) -> Sequence[Lane]:
        """There is only one lane."""
        return [lane]
