"""The application of a command: finds its runtime, and the workflows that are named on the command line."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, cast

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.client.runtimes import RUNTIMES
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.workflow import TypedWorkflow, WorkflowDefinition
from hephaestus_celery.core.values.spelling import nearest
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.reports.workflows import known_workflows


def find_app(context: click.Context) -> Any:
    """The Celery application that ``-A`` names, with its modules imported as in a worker."""
    root = context.find_root().params
    if "app" in root and root["app"] is None:  # Celery would go on with a default application of its own
        raise CommandFailedError(
            "no application is given: name its module, as in celery -A shop hephaestus list", ExitCode.MISUSE
        )
    app = context.obj.app
    app.loader.import_default_modules()
    return app


def application_as_given() -> str:
    """The application as ``-A`` or its variable names it, for a line that can be typed; ``APP`` where nothing does."""
    given = iter(sys.argv[1:])
    for word in given:
        if word in ("-A", "--app"):
            return shlex.quote(next(given, "APP"))
        if word.startswith("--app="):
            return shlex.quote(word.removeprefix("--app="))
        if word.startswith("-A"):
            return shlex.quote(word.removeprefix("-A"))
        if word == "hephaestus":
            break
    return shlex.quote(os.environ.get("APP") or os.environ.get("CELERY_APP") or "APP")


def find_runtime(context: click.Context) -> Hephaestus:
    """The Hephaestus of the application, or the one of its several that ``--runtime`` names."""
    app = find_app(context)
    name = _named_runtime(context)
    found = [runtime for runtime in runtimes_of(app) if name in (None, runtime.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(runtime.name for runtime in runtimes_of(app))
    raise CommandFailedError(
        f"the application {app.main!r} has the runtimes {names}: say which one, as in hephaestus --runtime NAME list",
        ExitCode.MISUSE,
    )


def runtimes_of(app: Any) -> Sequence[Hephaestus]:
    """The runtimes of an application; ``ConfigurationError`` where it has none."""
    found = [runtime for runtime in RUNTIMES.all() if isinstance(runtime, Hephaestus) and runtime.app is app]
    if not found:
        raise ConfigurationError(
            f"the application {app.main!r} has no Hephaestus; create one, Hephaestus(app), in a module that it imports"
        )
    return found


def find_workflow(name: str) -> type[TypedWorkflow[Any]]:
    """The workflow of this stored name or class name, an umbrella where it has versions."""
    found = workflows_named(name)
    if len(found) == 1:
        return cast("type[TypedWorkflow[Any]]", found[0])  # every workflow that is defined is one
    if found:
        names = ", ".join(workflow.name for workflow in found)
        raise CommandFailedError(f"{name} may be {names}: name it as it is stored", ExitCode.REFUSED)
    raise unknown_workflow(name)


def unknown_workflow(name: str) -> CommandFailedError:
    """The failure of a command by a workflow that is not there; it names the nearest that is."""
    known = sorted({part for each in known_workflows() for part in (each.name, each.__name__)})
    meant = nearest(name, known)
    hint = f"; did you mean {meant}?" if meant else "; `workflows` lists them"
    return CommandFailedError(f"this application has no workflow {name!r}{hint}", ExitCode.NOT_FOUND)


def find_family(name: str) -> str | None:
    """The stored name that all versions of a workflow share; by that name, or by the class of it or of a version."""
    known = [*known_workflows(), *WORKFLOWS.all()]
    families = {each.family for each in known if name in (each.family, each.name)} or {
        each.family for each in known if name in (each.__name__, each.__qualname__)
    }
    if len(families) > 1:
        raise CommandFailedError(
            f"{name} may be {', '.join(sorted(families))}: name it as it is stored", ExitCode.REFUSED
        )
    return next(iter(families), None)


def workflows_named(name: str) -> list[type[WorkflowDefinition]]:
    """The workflows that a name may mean: by stored name, else by the name of the class."""
    known = known_workflows()
    return [each for each in known if each.name == name] or [
        each for each in known if name in (each.__name__, each.__qualname__, f"{each.__module__}.{each.__qualname__}")
    ]


def _named_runtime(context: click.Context) -> str | None:
    here: click.Context | None = context
    while here is not None:
        if "runtime" in here.params:
            return here.params["runtime"]
        here = here.parent
    return None
