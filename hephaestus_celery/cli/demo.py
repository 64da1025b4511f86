"""``hephaestus-celery demo``: a server, two workers and a client, on ``examples/verify_environment.py``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import hephaestus_celery
from hephaestus_celery import clock
from hephaestus_celery.app import Hephaestus, InstanceHandle
from hephaestus_celery.cli import report
from hephaestus_celery.cli.interruption import EXIT_CODE, Interrupted, Interruption
from hephaestus_celery.cli.progress import Progress
from hephaestus_celery.cli.specimens import CHANGED, UNREADABLE, make_specimens
from hephaestus_celery.cli.workers import Workers
from hephaestus_celery.core.instance import Instance
from hephaestus_celery.core.lifecycle import Status
from hephaestus_celery.core.step import Step
from hephaestus_celery.core.workflow import Workflow
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import ConfigurationError, HephaestusError

EXAMPLE = "verify_environment"
WORKERS = 2
STANDSTILL_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_PAGE = 500


class StandstillError(HephaestusError):
    """Nothing has happened for so long that nothing will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    hephaestus: Hephaestus
    workflow: type[Workflow]
    approval: type[Step]
    installed: Callable[[], Mapping[str, str]]


def run_demo(interruption: Interruption, *, limit: int | None, keep: Path | None) -> int:
    """Run the demo and give its exit code: 0 when every run ended as expected and all eleven events were told.

    Whatever ends it, an error or a signal (130), its processes are stopped, and unless ``keep`` names a folder for its
    data, that is removed.
    """
    progress = Progress()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(progress.close)
            instances, events = _run(stack, progress, interruption, limit=limit, keep=keep)
            counts = report.count_events(events)
        interruption.check()  # it may have come while the workers were being stopped
    except Interrupted:
        click.echo("Interrupted; the workers and the server are stopped.", err=True)
        return EXIT_CODE
    return _conclude(instances, counts, seconds=progress.seconds)


def _run(
    stack: contextlib.ExitStack, progress: Progress, interruption: Interruption, *, limit: int | None, keep: Path | None
) -> tuple[Sequence[Instance], Path]:
    folder = _data_folder(stack, keep)
    server = stack.enter_context(EmbeddedServer(folder / "server"))
    progress.say(f"server: {server.binary.name}, process {server.pid}, {server.socket_path}")
    specimens = make_specimens(folder / "distributions")
    (folder / "logs").mkdir()
    (folder / "events").mkdir()
    stack.enter_context(_environment(server.url, folder / "events"))
    example = _load_example()
    stack.enter_context(example.hephaestus)
    with Workers(EXAMPLE, count=WORKERS, folder=folder / "logs") as workers:
        progress.say(f"workers: {WORKERS} x celery worker --pool prefork --concurrency 2, logs in {folder / 'logs'}")
        chosen = {**dict(list(example.installed().items())[:limit]), **specimens}
        handles: list[InstanceHandle] = []
        for value, metadata in chosen.items():
            interruption.check()
            handles.append(example.hephaestus.start_instance(example.workflow, {"folder": metadata}, id=value))
        progress.say(f"started: a workflow for each of {len(handles)} distributions, two of them the demo's own")
        instances = _follow(example, handles, workers, progress, interruption)
        progress.show("all runs have ended; stopping the workers")
    # The workers have ended by now, and with them all that they had to tell.
    return instances, folder / "events"


def _data_folder(stack: contextlib.ExitStack, keep: Path | None) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-demo-")))
    keep.mkdir(parents=True, exist_ok=True)
    return keep.absolute()


@contextlib.contextmanager
def _environment(broker: str, events: Path) -> Generator[None]:
    """What the example and the workers, which inherit it, read. Nothing meant for another application gets in."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("CELERY_"):  # CELERY_BROKER_URL would lead to the user's own broker
            del os.environ[name]
    search = [str(_examples()), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(HEPHAESTUS_BROKER=broker, VERIFY_EVENTS=str(events), PYTHONPATH=os.pathsep.join(search))
    if os.getuid() == 0:
        os.environ["C_FORCE_ROOT"] = "1"  # in a container one often is root, and Celery would say a word about it
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _examples() -> Path:
    """Where the examples are: in the package where it is installed, beside it in a working copy."""
    package = Path(hephaestus_celery.__file__).parent
    for folder in (package / "_examples", package.parent / "examples"):
        if (folder / f"{EXAMPLE}.py").is_file():
            return folder
    raise ConfigurationError(f"{EXAMPLE}.py is missing from {package}; install hephaestus-celery again")


def _load_example() -> _Example:
    if importlib.util.find_spec("packaging") is None:
        raise ConfigurationError("the demo needs the distribution packaging: pip install 'hephaestus-celery[embedded]'")
    spec = importlib.util.spec_from_file_location(EXAMPLE, _examples() / f"{EXAMPLE}.py")
    assert spec is not None  # noqa: S101 - there is a loader for .py
    assert spec.loader is not None  # noqa: S101 - see above
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[EXAMPLE] = module
    spec.loader.exec_module(module)
    return _Example(
        hephaestus=module.hephaestus,
        workflow=module.VerifyDistribution,
        approval=module.Approval,
        installed=module.installed,
    )


def _follow(
    example: _Example,
    handles: Sequence[InstanceHandle],
    workers: Workers,
    progress: Progress,
    interruption: Interruption,
) -> list[Instance]:
    """Show how the runs go, approve where one waits for it, and give them all when the last has ended."""
    approved: set[str] = set()
    before: object = None
    changed_at = clock.monotonic_ns()
    while True:
        workers.check()
        instances = _look(example, handles)
        for instance in instances:
            if example.approval in instance.waiting_steps and instance.run_id not in approved:
                _approve(example, instance, progress)
                approved.add(instance.run_id)
        if all(instance.status.final for instance in instances):
            return instances
        progress.show(f"{len(instances)} runs: {report.tally(instances)}")
        now = [instance.step_states for instance in instances]
        if now != before:
            before, changed_at = now, clock.monotonic_ns()
        elif clock.monotonic_ns() - changed_at > STANDSTILL_SECONDS * 1e9:
            raise StandstillError(f"nothing has happened for {STANDSTILL_SECONDS:g} s: {report.tally(instances)}")
        interruption.rest(_LOOK_SECONDS)


def _look(example: _Example, handles: Sequence[InstanceHandle]) -> list[Instance]:
    found: dict[str, Instance] = {}
    cursor: str | None = None
    while True:
        page = example.hephaestus.list(workflow=example.workflow, limit=_PAGE, cursor=cursor)
        found.update({instance.run_id: instance for instance in page})
        cursor = page.next_cursor
        if cursor is None:
            return [found[handle.run_id] for handle in handles]


def _approve(example: _Example, instance: Instance, progress: Progress) -> None:
    names = ", ".join(instance.context.steps["verify_files"]["names"])
    progress.say(f"{instance.id} waits for approval, changed: {names}")
    example.hephaestus.resume(instance.run_id, "approval", {"by": "the demo"})
    progress.say(f"{instance.id} is approved")


def _conclude(instances: Sequence[Instance], counts: Mapping[str, int], *, seconds: float) -> int:
    click.echo(f"\n{report.table(instances)}\n")
    click.echo(f"Telemetry, as the workers' handlers saw it:\n\n{report.event_table(counts)}\n")
    click.echo(f"{len(instances)} runs in {seconds:.1f} s: {report.tally(instances)}.")
    problems = [
        *_surprises(instances),
        *(f"{name} was never told" for name in report.event_names() if not counts[name]),
    ]
    for problem in problems:
        click.echo(f"Unexpected: {problem}", err=True)
    return 1 if problems else 0


def _surprises(instances: Sequence[Instance]) -> list[str]:
    surprises: list[str] = []
    for instance in instances:
        value = instance.id.partition("::")[2]
        wanted = Status.FAILED if value == UNREADABLE else Status.COMPLETED
        if instance.status is not wanted:
            surprises.append(f"{instance.id} is {instance.status}, not {wanted}: {report.verdict(instance)}")
        if value == CHANGED and "accept" not in instance.context.steps:
            surprises.append(f"{instance.id} ended without the approval")
    return surprises
