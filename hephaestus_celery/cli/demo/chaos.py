"""What ``demo --chaos`` adds: a worker is killed while it executes steps, and the runs finish all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hephaestus_celery.cli.demo import journal
from hephaestus_celery.cli.demo.journal import Note
from hephaestus_celery.cli.demo.progress_line import Progress
from hephaestus_celery.cli.demo.specimens import STALLED, Stalled
from hephaestus_celery.cli.demo.worker_processes import Workers
from hephaestus_celery.cli.stop_signals import Interruption
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.values.instance import Instance

SETTINGS = {"hephaestus_lease": 3, "hephaestus_dispatch_timeout": 2}
"""Seconds. With the defaults, 30 each, it would be seen just as surely, but later."""

STEPS_BEFORE = 2
"""How many steps of a run, on average, are done when the worker is killed; most runs have six."""
REPLACE_SECONDS = 1.0
READY_SECONDS = 60.0
_GLANCE_SECONDS = 0.05
_INIT = "hephaestus.runner.init"


class Chaos:
    """Kills one worker with its pool, starts another one a moment later, and reports when the loss is noticed.

    It strikes when a third of the work is done, and it strikes the worker that verifies the :class:`Stalled` distribution:
    so there is always a step that dies in the middle, however fast the others are.
    """

    def __init__(self, stalled: Stalled, *, workers: Workers, events: Path, progress: Progress) -> None:
        self.stalled = stalled
        self._workers = workers
        self._events = events
        self._progress = progress
        self._struck_at: int | None = None
        self._replaced = False
        self._noticed = False

    def await_workers(self, count: int, interruption: Interruption) -> None:
        """Return when so many are up: a message that waits for the first of them would count as lost soon."""
        deadline = SYSTEM_CLOCK.monotonic_ns() + int(READY_SECONDS * 1e9)
        while sum(note.event == _INIT for note in journal.read(self._events)) < count:
            if SYSTEM_CLOCK.monotonic_ns() > deadline:
                return  # it's a nicety: lost messages are sent again
            self._workers.check()
            interruption.wait(_GLANCE_SECONDS)

    def act(self, instances: Sequence[Instance]) -> None:
        """Do what is next, if it is time; to be called again and again with all runs."""
        notes = journal.read(self._events)
        if self._struck_at is None:
            if _in_the_middle(instances):
                self._strike(journal.executing(notes))
            return
        if not self._replaced and SYSTEM_CLOCK.monotonic_ns() - self._struck_at > REPLACE_SECONDS * 1e9:
            worker = self._workers.add()
            self._progress.say(f"{worker.name} is started in its place, process {worker.process.pid}")
            self._replaced = True
        if not self._noticed:
            self._notice(notes)

    def omissions(self) -> list[str]:
        """What should have happened by the end of the runs, and has not."""
        wanted = {
            "no worker was killed": self._struck_at is not None,
            "no worker was started in place of the killed one": self._replaced,
            "no rescue was emitted": self._noticed,
        }
        return [omission for omission, happened in wanted.items() if not happened]

    def _strike(self, executing: Sequence[Note]) -> None:
        target = next((note for note in executing if _is_stalled(note)), None)
        worker = None if target is None else self._workers.find(target.pid)
        if worker is None:
            return
        doing = ", ".join(f"{note.step} of {note.instance}" for note in executing if worker.has(note.pid))
        self._workers.kill(worker)
        self._struck_at = SYSTEM_CLOCK.monotonic_ns()
        self.stalled.release()
        self._progress.say(
            f"SIGKILL: {worker.name} (process {worker.process.pid}) and its pool, while executing {doing}"
        )

    def _notice(self, notes: Sequence[Note]) -> None:
        first = next((note for note in notes if note.event == journal.STEP_RESCUE), None)
        if first is not None:
            self._progress.say(f"first rescue: {first.step} of {first.instance}, {first.reason}")
            self._noticed = True


def _in_the_middle(instances: Sequence[Instance]) -> bool:
    steps = sum(len(instance.completed_steps) for instance in instances)
    going_on = [instance for instance in instances if not instance.status.final]
    return steps >= STEPS_BEFORE * len(instances) or len(going_on) <= 1  # the stalled one itself


def _is_stalled(note: Note) -> bool:
    return note.step == "verify_files" and (note.instance or "").endswith(f"::{STALLED}")
