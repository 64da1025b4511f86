"""Defines a workflow: checks its class, gives it its name and graph, and registers it in this process."""

from __future__ import annotations

from collections.abc import Sequence

from hephaestus_celery.core.definition import validation, versioning
from hephaestus_celery.core.definition.module_path import place_of
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.definition.route import routes_of
from hephaestus_celery.core.definition.run_result import gives_result
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.exceptions import DefinitionError


def define(workflow: type[WorkflowDefinition]) -> None:
    """Check a class that was just made, complete and register it; ``DefinitionError`` lists every problem found."""
    if "name" not in workflow.__dict__:
        versioning.UNNAMED.add(workflow)
        workflow.name = place_of(workflow)
    workflow.family = workflow.name
    if "versions" in workflow.__dict__:
        problems = versioning.check_umbrella(workflow)
        if problems:
            raise _failed(workflow, problems)
        versioning.adopt(workflow)
        return
    checked = validation.check(workflow, routes_of(workflow))
    if checked.graph is None:
        raise _failed(workflow, checked.problems)
    workflow.graph = checked.graph
    workflow.gives_result = gives_result(workflow)
    WORKFLOWS.add(workflow)


def _failed(workflow: type[WorkflowDefinition], problems: Sequence[str]) -> DefinitionError:
    del workflow.family  # the class stays while somebody holds it, as the traceback does, and is no workflow
    return DefinitionError(workflow.__qualname__, problems)
