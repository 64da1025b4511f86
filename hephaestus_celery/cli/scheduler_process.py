"""The scheduler in a process of its own, which ``celery -A shop hephaestus scheduler`` runs."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import FrameType
from typing import Any

from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.runners.scheduler import Scheduler

logger = logging.getLogger("hephaestus_celery")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_scheduler(app: Any, found: Sequence[Hephaestus]) -> None:
    """Do what is due for the runs of these runtimes of a Celery application until SIGINT or SIGTERM comes.

    For the main thread. A state store or broker that goes away is waited for. ``ConfigurationError`` for a runtime whose
    steps are not for workers.
    """
    app.log.setup(logging.INFO, redirect_stdouts=False)
    with contextlib.ExitStack() as stack:
        runtimes = [stack.enter_context(runtime) for runtime in found]
        hostname = f"scheduler@{socket.gethostname()}"
        schedulers = [_scheduler(runtime, hostname=hostname) for runtime in runtimes]
        names = ", ".join(runtime.name for runtime in runtimes)
        logger.info("the scheduler of %s runs; stop it with Ctrl-C or SIGTERM", names)
        _run(schedulers)
        logger.info("the scheduler of %s has stopped", names)


def _scheduler(runtime: Hephaestus, *, hostname: str) -> Scheduler:
    from hephaestus_celery.runners.celery import CeleryRunner  # imports Celery

    runner = runtime.runner
    if not isinstance(runner, CeleryRunner):
        raise ConfigurationError(
            f"{runtime.name} does not run its steps on workers, but in the process that starts them (see "
            "task_always_eager); a process of its own has nothing to schedule"
        )
    return runner.scheduler(hostname=hostname)


def _run(schedulers: Sequence[Scheduler]) -> None:
    with _stopped_by_signals(schedulers), ThreadPoolExecutor(len(schedulers)) as threads:
        running = [threads.submit(scheduler.run) for scheduler in schedulers]
        wait(running, return_when=FIRST_COMPLETED)
        _stop(schedulers)  # one that has failed takes the others with it, so that somebody notices
        for future in running:
            future.result()


@contextlib.contextmanager
def _stopped_by_signals(schedulers: Sequence[Scheduler]) -> Generator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        _stop(schedulers)

    previous = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(schedulers: Sequence[Scheduler]) -> None:
    for scheduler in schedulers:
        scheduler.stop()
