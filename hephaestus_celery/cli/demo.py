"""``hephaestus-celery demo``: a server, two workers and a client, on ``examples/verify_environment.py``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from hephaestus_celery import clock
from hephaestus_celery.app import InstanceHandle
from hephaestus_celery.cli import chaos, example, journal, report
from hephaestus_celery.cli.chaos import Chaos
from hephaestus_celery.cli.ending import Aftermath, Ending, conclude
from hephaestus_celery.cli.example import Example
from hephaestus_celery.cli.interruption import EXIT_CODE, Interrupted, Interruption
from hephaestus_celery.cli.progress import Progress
from hephaestus_celery.cli.specimens import STALLED, Stalled, make_specimens
from hephaestus_celery.cli.workers import Workers
from hephaestus_celery.core.instance import Instance
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import HephaestusError

WORKERS = 2
STANDSTILL_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_PAGE = 500


class StandstillError(HephaestusError):
    """Nothing has happened for so long that nothing will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``limit`` distributions at most; ``keep`` the data in this folder; with ``chaos`` kill a worker in the middle."""

    limit: int | None = None
    keep: Path | None = None
    chaos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Show:
    """What is on stage while the runs go on."""

    example: Example
    workers: Workers
    chaos: Chaos | None
    progress: Progress
    interruption: Interruption


def run_demo(interruption: Interruption, options: Options) -> int:
    """Run the demo and give its exit code: 0 when every run ended as expected and all that should be told was.

    Whatever ends it, an error or a signal (130), its processes are stopped, and unless ``keep`` names a folder for its
    data, that is removed.
    """
    progress = Progress()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(progress.close)
            ending = _run(stack, progress, interruption, options)
            counts = journal.count_events(ending.events)  # the workers have ended, and with them all that they told
        interruption.check()  # it may have come while the workers were being stopped
    except Interrupted:
        click.echo("Interrupted; the workers and the server are stopped.", err=True)
        return EXIT_CODE
    return conclude(ending, counts, seconds=progress.seconds)


def _run(stack: contextlib.ExitStack, progress: Progress, interruption: Interruption, options: Options) -> Ending:
    folder = _data_folder(stack, options.keep)
    logs, events, distributions = folder / "logs", folder / "events", folder / "distributions"
    for part in (logs, events, distributions):
        part.mkdir()
    server = stack.enter_context(EmbeddedServer(folder / "server"))
    progress.say(f"server: {server.binary.name}, process {server.pid}, {server.socket_path}")
    settings = chaos.SETTINGS if options.chaos else {}
    stack.enter_context(example.environment(broker=server.url, events=events, settings=settings))
    loaded = example.load()
    stack.enter_context(loaded.hephaestus)
    with Workers(example.NAME, count=WORKERS, folder=logs) as workers, contextlib.ExitStack() as inner:
        progress.say(f"workers: {WORKERS} x celery worker --pool prefork --concurrency 2, logs in {logs}")
        agent = None
        if options.chaos:
            stalled = inner.enter_context(Stalled(distributions))  # it keeps workers from being stopped
            agent = Chaos(stalled, workers=workers, events=events, progress=progress)
            agent.await_workers(WORKERS, interruption)
        show = _Show(example=loaded, workers=workers, chaos=agent, progress=progress, interruption=interruption)
        handles = _start(show, make_specimens(distributions), limit=options.limit)
        ending = _end(show, handles, _follow(show, handles), events)
        progress.show("all runs have ended; stopping the workers")
    return ending


def _data_folder(stack: contextlib.ExitStack, keep: Path | None) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    return keep.absolute()


def _start(show: _Show, specimens: Mapping[str, str], *, limit: int | None) -> list[InstanceHandle]:
    stalled = {} if show.chaos is None else {STALLED: str(show.chaos.stalled.metadata)}
    # The stalled one first: others shall still be there when its worker is killed.
    chosen = {**stalled, **dict(list(show.example.installed().items())[:limit]), **specimens}
    handles: list[InstanceHandle] = []
    for value, metadata in chosen.items():
        show.interruption.check()
        context = {"folder": metadata}
        handles.append(show.example.hephaestus.start_instance(show.example.workflow, context, id=value))
    own = len(stalled) + len(specimens)
    show.progress.say(f"started: a workflow for each of {len(handles)} distributions, {own} of them the demo's own")
    return handles


def _follow(show: _Show, handles: Sequence[InstanceHandle]) -> list[Instance]:
    """Show how the runs go, approve where one waits for it, and give them all when the last has ended."""
    approved: set[str] = set()
    before: object = None
    changed_at = clock.monotonic_ns()
    while True:
        show.workers.check()
        instances = _look(show.example, handles)
        if show.chaos is not None:
            show.chaos.act(instances)
        for instance in instances:
            if show.example.approval in instance.waiting_steps and instance.run_id not in approved:
                _approve(show, instance)
                approved.add(instance.run_id)
        if all(instance.status.final for instance in instances):
            return instances
        show.progress.show(f"{len(instances)} runs: {report.tally(instances)}")
        now = [instance.step_states for instance in instances]
        if now != before:
            before, changed_at = now, clock.monotonic_ns()
        elif clock.monotonic_ns() - changed_at > STANDSTILL_SECONDS * 1e9:
            raise StandstillError(f"nothing has happened for {STANDSTILL_SECONDS:g} s: {report.tally(instances)}")
        show.interruption.rest(_LOOK_SECONDS)


def _look(loaded: Example, handles: Sequence[InstanceHandle]) -> list[Instance]:
    found: dict[str, Instance] = {}
    cursor: str | None = None
    while True:
        page = loaded.hephaestus.list(workflow=loaded.workflow, limit=_PAGE, cursor=cursor)
        found.update({instance.run_id: instance for instance in page})
        cursor = page.next_cursor
        if cursor is None:
            return [found[handle.run_id] for handle in handles]


def _approve(show: _Show, instance: Instance) -> None:
    names = ", ".join(instance.context.steps["verify_files"]["names"])
    show.progress.say(f"{instance.id} waits for approval, changed: {names}")
    show.example.hephaestus.resume(instance.run_id, "approval", {"by": "the demo"})
    show.progress.say(f"{instance.id} is approved")


def _end(show: _Show, handles: Sequence[InstanceHandle], instances: Sequence[Instance], events: Path) -> Ending:
    if show.chaos is None:
        return Ending(instances=instances, events=events)
    histories = {handle.run_id: handle.history() for handle in handles}
    aftermath = Aftermath(histories=histories, omissions=show.chaos.omissions())
    return Ending(instances=instances, events=events, aftermath=aftermath)
