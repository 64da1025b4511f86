"""Commands about one run, or about all that match filters: they ask first, show progress, and say what they did."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.filters import as_typed, filter_options, read_filters
from hephaestus_celery.cli.render.progress import ProgressLine
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.values.bulk_result import BulkResult
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.text import printable, wrapped

_SHOWN = 10  # reasons of refusals
yes = click.option("--yes", is_flag=True, help="Do not ask, where the command is about many runs.")
quietly = click.option(
    "-q", "--quiet", is_flag=True, help="Print the run id alone; of many runs, how many it was done to."
)


class Act(Protocol):
    """A call of ``Hephaestus`` about many runs."""

    def __call__(self, *, progress: Callable[[int], object], **filters: Any) -> BulkResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What is done to many runs: ``verb`` names it (``cancel``), and ``past`` when it was done (``cancelled``)."""

    verb: str
    past: str
    act: Act
    also: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Filters that are added where they were not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a command acts on many: whether it asks, and what it prints."""

    yes: bool
    as_document: bool
    quiet: bool


def run_or_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RUN, which may be left out, and the filters that are for many."""
    return click.argument("run", metavar="[RUN]", required=False)(filter_options(command))


def check_target(run: str | None, given: Mapping[str, Any]) -> None:
    """Misuse unless there is either a RUN or a filter."""
    filters = as_typed(given)
    if run is None and not filters:
        raise click.UsageError("name a RUN, or give filters for many runs, such as --workflow and --status")
    if run is not None and filters:
        raise click.UsageError(f"name a RUN or give filters, not both: RUN is {printable(run)!r}")


def check_answerable(what: str, *, yes: bool) -> None:
    """Misuse where a question is needed, and nobody is there to answer it."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailedError(
            f"nothing was done: {what} needs --yes where no terminal can be asked", ExitCode.MISUSE
        )


def ask(context: click.Context, question: str) -> None:
    """Ask on a terminal whether to go on; anything but a yes ends the command, with nothing done."""
    if not click.confirm(printable(question), err=True):
        click.echo("nothing was done", err=True)
        context.exit(int(ExitCode.WRONG))


def act_on_many(
    context: click.Context, runtime: Hephaestus, bulk: Bulk, given: Mapping[str, Any], manner: Manner
) -> None:
    """Ask, act on all runs that match, and say what was done; exit code 4 where some were refused."""
    typed, filters = as_typed(given), {**bulk.also, **read_filters(given)}
    check_answerable(f"{bulk.verb} {typed}", yes=manner.yes)
    screen = find_screen(context.obj)
    progress = ProgressLine()
    if not manner.yes or progress.shows:
        progress.total = runtime.count(**filters)
    if not manner.yes and progress.total:
        ask(context, f"{bulk.verb.capitalize()} {_runs(progress.total)} that match {typed}?")
    try:
        result = bulk.act(progress=progress, **filters)
    except StorageError as error:
        progress.clear()
        _tell_what_was_done(screen, bulk, error, manner)
    except KeyboardInterrupt:
        progress.clear()
        raise CommandFailedError(
            f"interrupted after {_runs(progress.count)}; what was done stays: repeat the command to go on",
            ExitCode.WRONG,
        ) from None
    progress.clear()
    _show_result(screen, bulk, result, manner)
    if result.refused:
        context.exit(int(ExitCode.REFUSED))


def _tell_what_was_done(screen: Screen, bulk: Bulk, error: StorageError, manner: Manner) -> NoReturn:
    partial = error.partial if isinstance(error.partial, BulkResult) else BulkResult(0, {})
    if manner.as_document:
        _show_result(screen, bulk, partial, manner)
    done = "nothing was done before that"
    if partial.done or partial.refused:
        done = f"{_summary(bulk, partial)} before that; what was done stays: repeat the command to go on"
    raise CommandFailedError(
        f"{error}; {done}",
        ExitCode.OUT_OF_REACH,
    ) from error


def _show_result(screen: Screen, bulk: Bulk, result: BulkResult, manner: Manner) -> None:
    if manner.as_document:
        screen.show(as_json({"done": result.done, "refused": dict(result.refused)}))
    elif manner.quiet:
        screen.show(str(result.done))
    else:
        screen.show(_summary(bulk, result))
        _show_refusals(screen, result.refused)


def _summary(bulk: Bulk, result: BulkResult) -> str:
    if not result.done and not result.refused:
        return "no runs match: nothing was done"
    refused = f", {len(result.refused):,} refused" if result.refused else ""
    return f"{bulk.past} {_runs(result.done)}{refused}"


def _show_refusals(screen: Screen, refused: Mapping[str, str]) -> None:
    alike: dict[str, list[str]] = {}
    for run_id, reason in refused.items():
        alike.setdefault(reason.replace(run_id, "RUN"), []).append(run_id)
    most_first = sorted(alike.values(), key=len, reverse=True)
    for run_ids in most_first[:_SHOWN]:
        text = f"  {_named(run_ids)}: {printable(_without_id(refused[run_ids[0]], run_ids[0]))}"
        for line in [text] if screen.width is None else wrapped(text, screen.width, indent=4):
            screen.show(line)
    left = sum(map(len, most_first[_SHOWN:]))
    if left:
        screen.show(f"  and {_runs(left)} for other reasons; --json has them all")


def _without_id(reason: str, run_id: str) -> str:
    # The line begins with the run id already.
    return reason.replace(f"run {run_id}", "this run").replace(run_id, "this run")


def _named(run_ids: Sequence[str]) -> str:
    return run_ids[0] if len(run_ids) == 1 else f"{run_ids[0]} and {len(run_ids) - 1:,} more"


def _runs(count: int) -> str:
    return f"{count:,} run" if count == 1 else f"{count:,} runs"
