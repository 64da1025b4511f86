"""The client of the demo: starts the runs, shows their progress, and sends the approvals that they wait for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hephaestus_celery.cli.demo.chaos import Chaos
from hephaestus_celery.cli.demo.commands import Commands
from hephaestus_celery.cli.demo.example import Example
from hephaestus_celery.cli.demo.final_report import tally
from hephaestus_celery.cli.demo.progress_line import Progress
from hephaestus_celery.cli.demo.specimens import STALLED
from hephaestus_celery.cli.demo.worker_processes import Workers
from hephaestus_celery.cli.stop_signals import Interruption
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.exceptions import HephaestusError

STANDSTILL_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_PAGE = 500


class StandstillError(HephaestusError):
    """Nothing has happened for so long that nothing will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the client needs while the runs go on; ``workers`` are those of the demo itself, if it has any."""

    example: Example
    workers: Workers | None
    chaos: Chaos | None
    progress: Progress
    interruption: Interruption

    @property
    def commands(self) -> Commands:
        """What an operator of the example would type."""
        return Commands(self.example)


def start(session: Session, specimens: Mapping[str, str], *, limit: int | None, times: int) -> list[InstanceHandle]:
    """Start a run for each distribution, at most ``limit`` of the installed ones, each so many ``times``."""
    stalled = {} if session.chaos is None else {STALLED: str(session.chaos.stalled.metadata)}
    # The stalled one first: others shall still be there when its worker is killed.
    installed = dict(list(session.example.installed().items())[:limit])
    again = {f"{name}time{n}": folder for n in range(2, times + 1) for name, folder in installed.items()}
    chosen = {**stalled, **installed, **specimens, **again}
    handles: list[InstanceHandle] = []
    for value, metadata in chosen.items():
        session.interruption.check()
        context = {"folder": metadata}
        handles.append(session.example.hephaestus.start_instance(session.example.workflow, context, id=value))
    own = len(stalled) + len(specimens)
    often = f", {times} times" if times > 1 else ""
    session.progress.say(
        f"started: a workflow for each of {len(installed) + own} distributions{often}, {own} of them the demo's own"
    )
    return handles


def follow(session: Session, handles: Sequence[InstanceHandle]) -> list[Instance]:
    """Show how the runs go, approve where one waits for it, and give them all when the last has ended."""
    approved: set[str] = set()
    before: object = None
    changed_at = SYSTEM_CLOCK.monotonic_ns()
    while True:
        if session.workers is not None:
            session.workers.check()
        instances = _look(session.example, handles)
        if session.chaos is not None:
            session.chaos.act(instances)
        for instance in instances:
            if session.example.approval in instance.waiting_steps and instance.run_id not in approved:
                _approve(session, instance)
                approved.add(instance.run_id)
        if all(instance.status.final for instance in instances):
            return [handle.get() for handle in handles]  # whole: some are looked at when the server is gone
        session.progress.show(f"{len(instances)} runs: {tally(instances)}")
        now = [instance.step_states for instance in instances]
        if now != before:
            before, changed_at = now, SYSTEM_CLOCK.monotonic_ns()
        elif SYSTEM_CLOCK.monotonic_ns() - changed_at > STANDSTILL_SECONDS * 1e9:
            raise StandstillError(f"nothing has happened for {STANDSTILL_SECONDS:g} s: {tally(instances)}")
        session.interruption.wait(_LOOK_SECONDS)


def _look(loaded: Example, handles: Sequence[InstanceHandle]) -> list[Instance]:
    found: dict[str, Instance] = {}
    cursor: str | None = None
    while True:
        page = loaded.hephaestus.list(workflow=loaded.workflow, limit=_PAGE, cursor=cursor)
        found.update({instance.run_id: instance for instance in page})
        cursor = page.next_cursor
        if cursor is None:
            return [found[handle.run_id] for handle in handles]


def _approve(session: Session, instance: Instance) -> None:
    names = ", ".join(instance.context.steps["verify_files"]["names"])
    session.progress.say(f"{instance.id} waits for approval, changed: {names}")
    session.commands.type("resume", instance.id, "approval", json.dumps({"by": "the demo"}))
