"""The scheduler: a loop that handles what is due, such as retries, timers, lost messages and lost workers.

One scheduler per partition is active at a time: the one that holds the scheduler lock. The others check whether it still
moves. It sleeps until the next entry is due, and is woken when a nearer one is set. All state is in the store, so when
a scheduler dies, the next one goes on from there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.fleet import Fleet, UnknownFleet
from hephaestus_celery.runners.lost_messages import LostMessageWatch
from hephaestus_celery.runners.messages import Message, messages
from hephaestus_celery.storage.due import DueEntry, Outstanding, Tick
from hephaestus_celery.storage.instances import read_headers
from hephaestus_celery.storage.port import Storage

if TYPE_CHECKING:
    from hephaestus_celery.runners.attempt import Worker
    from hephaestus_celery.runners.driver import Driver

logger = logging.getLogger("hephaestus_celery")

IDLE_SECONDS = 2.0
"""How long the holder of a scheduler lock sleeps at most, and how often it renews the lock. With a short lease it sleeps
less: it must notice when the store is silent, since no worker can renew its leases then."""
LOOK_SECONDS = 1.0
"""How often the other schedulers check whether the lock is free."""
SLICE_SECONDS = 0.25
_NO_MESSAGE = {Due.LEASE_EXPIRED, Due.TIMED_OUT, Due.DEADLINE, Due.SETTLE, Due.COPY, Due.UNDO}
_UNNUMBERED = {Due.SETTLE, Due.COPY, Due.UNDO}
"""The kinds of entries that need recovery although no event tells of them."""


class Scheduler:
    """A thread that handles due entries; ``dispatch`` sends messages, ``worker`` emits the events.

    ``fleet`` knows the messages that workers hold; with None, every late message is sent again.
    ``undisturbed`` keeps the process from being forked while the scheduler is at work. While ``may_seize`` says no, no attempt
    counts as lost.

    It has its own connections, so it shares no lock with code that forks the process.
    """

    def __init__(
        self,
        driver: Callable[[], Driver],
        *,
        dispatch: Callable[[Sequence[Message]], None],
        worker: Worker,
        fleet: Fleet | None = None,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
        may_seize: Callable[[], bool] = lambda: True,
    ) -> None:
        self._undisturbed = undisturbed
        self._may_seize = may_seize
        self._own: Storage | None = None
        self._fleet = fleet or UnknownFleet()
        self._watches: dict[int, LostMessageWatch] = {}
        self._driver = driver
        self._dispatch = dispatch
        self._worker = worker
        self._owner: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._seize_from = 0
        self._locks: dict[int, bool] = {}

    def start(self) -> None:
        """Start the thread; a repetition changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="hephaestus-scheduler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and give the lock up."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)

    def look(self) -> float:
        """Handle what is due now, on the thread of the caller, and give the seconds until the next look.

        This is for a runner without threads, in the place of :meth:`start`; errors are raised. :meth:`leave` ends it.
        """
        self._own = self._own or self._driver().storage.separate()
        return self._round(self._own)[0]

    def leave(self) -> None:
        """Give the lock up that looks have held."""
        if self._own is not None:
            self._leave(self._own)

    def run(self) -> None:
        """Handle due entries until :meth:`stop` is called."""
        storage: Storage | None = None
        away = False
        while not self._stopping.is_set():
            try:
                with self._undisturbed():
                    storage = storage or self._driver().storage.separate()
                    pause, held = self._round(storage)
                if away:
                    logger.info("the scheduler reaches the state store again")
                away = False
                self._pause(storage, pause, listen=held)
            except StorageError as error:
                if not error.transient:
                    logger.error("the state store refuses a call of the scheduler: %s", error)  # noqa: TRY400 - its text says it
                    self._stopping.wait(LOOK_SECONDS)
                    continue
                if not away:
                    logger.warning("the scheduler waits for the state store: %s", error)
                away = True
                # Workers could not renew their leases either, so they get a full lease before an attempt counts as lost.
                lease = self._driver().settings.lease.total_seconds()
                self._seize_from = self._now() + int(lease * 1e9)
                self._stopping.wait(LOOK_SECONDS)
            except Exception:
                # A router or a retry policy of the application has raised, or a run can't be read. Other entries go on.
                logger.exception("the scheduler goes on after an error; its entries are due again later")
                self._stopping.wait(LOOK_SECONDS)
        if storage is not None:
            self._leave(storage)

    def _live(self) -> None:
        # All timers depend on this thread, so not even a SystemExit that a router raises ends it.
        while not self._stopping.is_set():
            try:
                self.run()
            except BaseException:
                logger.exception("the scheduler starts again after an error")
                self._stopping.wait(LOOK_SECONDS)

    def _round(self, storage: Storage) -> tuple[float, bool]:
        # A tick of each partition; gives the seconds until the next, and whether this is the scheduler of any.
        ticks = [self._partition(storage, number) for number in range(storage.partitions)]
        lease = self._driver().settings.lease.total_seconds()
        pauses = [
            *(_seconds_until_next(tick, lease) for tick in ticks),
            *(watch.next_in() for watch in self._watches.values()),
        ]
        return min(pause for pause in pauses if pause is not None), any(tick.held for tick in ticks)

    def _partition(self, storage: Storage, number: int) -> Tick:
        seize = self._now() >= self._seize_from and self._may_seize()
        while True:
            tick = storage.tick(
                number,
                owner=self._name(),
                worker=self._worker.hostname or "",
                seize=seize,
                durations=self._driver().durations,
            )
            self._note_lock(number, tick)
            for problem in tick.problems:
                logger.error("an entry of the due set can't be read: %s", problem)
            self._handle(tick.entries)
            self._look_after(storage, number, tick)
            if not tick.more or self._stopping.is_set():
                return tick

    def _look_after(self, storage: Storage, number: int, tick: Tick) -> None:
        # Sends lost messages again, among those that wait in lanes.
        if not tick.held:
            self._watches.pop(number, None)
            return
        driver = self._driver()
        watch = self._watches.get(number)
        if watch is None:
            timeout = driver.settings.dispatch_timeout
            watch = LostMessageWatch(self._fleet, dispatch_timeout=timeout, clock=driver.clock)
            self._watches[number] = watch
        if self._now() < self._seize_from:
            return  # workers could not report what they hold; these messages are looked at again
        for report in (*tick.lanes, *watch.unconfirmed()):
            lost = watch.lost(report, storage)
            if lost:
                entries = storage.resend(
                    number,
                    {message: driver.dispatcher.lane(_replacement(message)) for message in lost},
                    lane=report.lane,
                    operation=driver.chance.token(),
                    worker=self._worker.hostname or "",
                    durations=driver.durations,
                )
                self._handle(entries)

    def _note_lock(self, number: int, tick: Tick) -> None:
        if self._locks.get(number) is tick.held:
            return
        self._locks[number] = tick.held
        # In a process that is no worker, no other scheduler competes for the lock.
        level = logging.DEBUG if self._worker.hostname is None else logging.INFO
        if tick.held:
            logger.log(level, "the scheduler holds the lock of partition %d", number)
        else:
            logger.log(level, "another scheduler holds the lock of partition %d; this one waits for it", number)

    def _handle(self, entries: Sequence[DueEntry]) -> None:
        driver = self._driver()
        self._dispatch([_due_message(entry) for entry in entries if entry.kind not in _NO_MESSAGE and not entry.held])
        for entry in entries:
            if entry.sequence == 0 and entry.kind not in _UNNUMBERED:
                continue
            try:
                outcome = driver.recovery.rescue(entry, worker=self._worker)
            except StorageError as error:
                if error.transient:
                    raise
                logger.exception("step %s of run %s could not be rescued", entry.dispatch.activation.step, entry.run_id)
                continue  # the stored run can't be read; other entries go on
            except Exception:
                # The attempt is seized. When its new lease expires, the entry comes here again.
                logger.exception("step %s of run %s could not be rescued", entry.dispatch.activation.step, entry.run_id)
                continue
            outcome.emit(driver.emitter)
            self._dispatch(outcome.messages)

    def _pause(self, storage: Storage, seconds: float, *, listen: bool) -> None:
        if not listen:  # only the holder of the lock listens: otherwise a thousand processes would wake at once
            self._stopping.wait(seconds)
            return
        deadline = self._now() + int(seconds * 1e9)
        while not self._stopping.is_set():
            left = (deadline - self._now()) / 1e9
            if left <= 0 or storage.await_due(timeout=min(left, SLICE_SECONDS)):
                return

    def _now(self) -> int:
        return self._driver().clock.monotonic_ns()

    def _name(self) -> str:
        # The owner in the scheduler locks; the same for the life of this scheduler.
        self._owner = self._owner or self._driver().chance.token()
        return self._owner

    def _leave(self, storage: Storage) -> None:
        try:
            storage.resign(owner=self._name())
        except Exception:  # noqa: BLE001 - it ends anyhow
            logger.info("the scheduler lock can't be given up now; it expires by itself")
        if storage is not self._driver().storage:
            storage.close()


def _seconds_until_next(tick: Tick, lease: float) -> float:
    if not tick.held:
        return LOOK_SECONDS
    if tick.next_in is None:
        return IDLE_SECONDS
    due = max(0.0, tick.next_in / 1e6)
    # While attempts are being executed, a silent store must be noticed well before their leases expire.
    return min(IDLE_SECONDS, due, lease / 6) if due <= lease else min(IDLE_SECONDS, due)


def _due_message(entry: DueEntry) -> Message:
    """The message of a step that is due."""
    headers = read_headers(entry.message_headers)
    return messages(entry.name, entry.version, entry.run_id, [entry.dispatch], headers=headers)[0]


def _replacement(message: Outstanding) -> Message:
    """The message that replaces a lost one."""
    return messages(message.name, message.version, message.run_id, [message.dispatch])[0]
