"""Steps as the command line names them: by their key, or by the name of their class."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.core.definition.registry import WORKFLOWS, find_definition
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.spelling import nearest
from hephaestus_celery.reports.text import printable

Workflows = Sequence[type[WorkflowDefinition]]


def filtered_step(name: str) -> str:
    """The key of a step by which runs are filtered; where no workflow of this process has it, standard error says so."""
    workflows = WORKFLOWS.all()
    key = _key_of(name, workflows)
    if key is None:
        click.echo(f"no workflow of this application has a step {printable(name)!r}{_meant(name, workflows)}", err=True)
    return key or name


def step_of(instance: Instance, name: str) -> str:
    """The key of a step of a run; ends the command where its workflow has none of this name."""
    definition = find_definition(instance)
    if definition is None or name in instance.step_states:
        return name
    key = _key_of(name, [definition])
    if key is None:
        raise CommandFailedError(
            f"{instance.workflow_name} has no step {name!r}{_meant(name, [definition])}", ExitCode.MISUSE
        )
    return key


def _key_of(name: str, workflows: Workflows) -> str | None:
    steps = {key: step for each in workflows for key, step in each.graph.by_key.items()}
    if name in steps:
        return name
    found = sorted({step.key for each in workflows for step in each.graph.by_key.values() if step.__name__ == name})
    if len(found) > 1:
        raise CommandFailedError(f"{name} may be {', '.join(found)}: name the step by its key", ExitCode.REFUSED)
    return found[0] if found else None


def _meant(name: str, workflows: Workflows) -> str:
    meant = nearest(name, sorted({key for each in workflows for key in each.graph.by_key}))
    return f"; did you mean {meant}?" if meant else ""
