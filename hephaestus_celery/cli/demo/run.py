"""The demo from start to end: a server, two workers and a client, on ``examples/verify_environment.py``."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from hephaestus_celery.cli.demo import chaos, example, journal
from hephaestus_celery.cli.demo.chaos import Chaos
from hephaestus_celery.cli.demo.client import Session, follow, start
from hephaestus_celery.cli.demo.final_report import DemoResult, conclude, examine, show_runs
from hephaestus_celery.cli.demo.progress_line import Progress
from hephaestus_celery.cli.demo.specimens import Stalled, make_specimens
from hephaestus_celery.cli.demo.worker_processes import Workers
from hephaestus_celery.cli.stop_signals import EXIT_CODE, Interrupted, Interruption
from hephaestus_celery.embedded import EmbeddedServer

WORKERS = 2
EVENTS_SECONDS = 5.0
"""How long to wait for events of ended runs that other people's workers have yet to emit."""
_GLANCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``limit`` distributions at most, each so many ``times``; ``keep`` the data in this folder.

    With ``chaos`` kill a worker in the middle. With ``attach`` server and workers are there already, and share that
    folder with the demo.
    """

    limit: int | None = None
    times: int = 1
    keep: Path | None = None
    chaos: bool = False
    attach: Path | None = None


def run_demo(interruption: Interruption, options: Options) -> int:
    """Run the demo and give its exit code: 0 when every run ended as expected and all events were emitted.

    Whatever ends it, an error or a signal (130), its processes are stopped, and unless ``keep`` names a folder for its
    data, that is removed.
    """
    progress = Progress()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(progress.close)
            if options.attach is None:
                result = _run(stack, progress, interruption, options)
                notes = journal.read(result.events)  # the workers have ended, and with them all that they have emitted
            else:
                result = _attach(stack, progress, interruption, options, options.attach)
                notes = journal.await_events(
                    result.events, {instance.run_id for instance in result.instances}, seconds=EVENTS_SECONDS
                )
        interruption.check()  # it may have come while the workers were being stopped
    except Interrupted:
        click.echo(f"Interrupted; {_afterwards(options)}.", err=True)
        return EXIT_CODE
    return conclude(result, journal.count_events(notes), seconds=progress.seconds)


def _run(stack: contextlib.ExitStack, progress: Progress, interruption: Interruption, options: Options) -> DemoResult:
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
        session = Session(example=loaded, workers=workers, chaos=agent, progress=progress, interruption=interruption)
        result = _play(session, distributions, options, events)
        progress.show("stopping the workers")
    omissions = [] if agent is None else agent.omissions()
    return dataclasses.replace(result, problems=[*omissions, *result.problems])


def _attach(
    stack: contextlib.ExitStack, progress: Progress, interruption: Interruption, options: Options, folder: Path
) -> DemoResult:
    loaded = example.load()
    stack.enter_context(loaded.hephaestus)
    # The workers read what is in it, so it stays until the runs have ended.
    distributions = stack.enter_context(tempfile.TemporaryDirectory(prefix="distributions-", dir=folder))
    session = Session(example=loaded, workers=None, chaos=None, progress=progress, interruption=interruption)
    return _play(session, Path(distributions), options, folder / "events")


def _play(session: Session, distributions: Path, options: Options, events: Path) -> DemoResult:
    handles = start(session, make_specimens(distributions), limit=options.limit, times=options.times)
    instances = follow(session, handles)
    session.progress.close()
    show_runs(session.commands, instances)
    return examine(handles, instances, events)


def _afterwards(options: Options) -> str:
    return "the workers and the server are stopped" if options.attach is None else "the runs that were started go on"


def _data_folder(stack: contextlib.ExitStack, keep: Path | None) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    return keep.absolute()
