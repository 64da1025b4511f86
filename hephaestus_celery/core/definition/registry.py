"""The registry of the workflows that this process has defined.

Step code is found here and nowhere else: a message names a run and a step, never a path to import. The registry is the
only state of the core; it grows when classes are defined.
"""

from __future__ import annotations

import copyreg
import threading
from collections.abc import Callable
from typing import Any, cast

from hephaestus_celery.core.definition.module_path import place_of
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.exceptions import DefinitionError

WorkflowClass = type[WorkflowDefinition]
Listener = Callable[[WorkflowClass], None]


class WorkflowRegistry:
    """The workflows of a process by name and version; listeners are called for each, also for those already there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workflows: dict[tuple[str, int], WorkflowClass] = {}
        self._listeners: list[Listener] = []

    def add(self, workflow: WorkflowClass) -> None:
        """Register a workflow; defining it anew in the same place (a reload, a notebook) replaces it.

        A workflow class from inside a function is replaced as well, since it may be gone already. Raises ``DefinitionError``
        if a class from another place has the same name and version, or tasks of the same names.
        """
        key = (workflow.name, workflow.version)
        with self._lock:
            holder = self._workflows.get(key)
            if holder is not None and place_of(holder) != place_of(workflow) and "<locals>" not in place_of(holder):
                raise DefinitionError(
                    place_of(workflow),
                    [f"{place_of(holder)} has the name {workflow.name!r} in version {workflow.version} already"],
                )
            doubled = self._doubled(workflow)
            if doubled:
                raise DefinitionError(place_of(workflow), doubled)
            self._workflows[key] = workflow
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(workflow)

    def _doubled(self, workflow: WorkflowClass) -> list[str]:
        # A step's task is named `<name of the workflow>.<key>`. With dots in keys, steps of two workflows may have the same
        # task name: the messages of one would go to the other.
        problems: list[str] = []
        for other in self._workflows.values():
            longer, shorter = (workflow, other) if len(workflow.name) > len(other.name) else (other, workflow)
            if longer.name.startswith(f"{shorter.name}.") and "<locals>" not in place_of(other):
                rest = longer.name.removeprefix(f"{shorter.name}.")
                both = _keys(shorter) & {f"{rest}.{key}" for key in _keys(longer)}
                problems.extend(
                    f"the task of one of its steps would be named {shorter.name}.{key}, as that of a step of "
                    f"{place_of(other)} is; give the step another key, or the workflow another name"
                    for key in sorted(both)
                )
        return problems

    def discard(self, workflow: WorkflowClass) -> None:
        """Forget a workflow; used when an umbrella gives it another version number."""
        with self._lock:
            if self._workflows.get((workflow.name, workflow.version)) is workflow:
                del self._workflows[workflow.name, workflow.version]

    def find(self, name: str, version: int) -> WorkflowClass | None:
        """The workflow of this name and version, if this process has defined it."""
        return self._workflows.get((name, version))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of this name that the process knows."""
        with self._lock:
            return tuple(sorted(version for known, version in self._workflows if known == name))

    def all(self) -> tuple[WorkflowClass, ...]:
        """Every registered workflow."""
        with self._lock:
            return tuple(self._workflows.values())

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for every workflow, now and later; gives the function that ends it."""
        with self._lock:
            self._listeners.append(listener)
            known = tuple(self._workflows.values())

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        try:
            for workflow in known:
                listener(workflow)
        except BaseException:
            unsubscribe()
            raise
        return unsubscribe


def _keys(workflow: WorkflowClass) -> set[str]:
    return {source.key for source, _ in workflow.graph.table} | {step.key for step in workflow.graph.compensating}


def definition_of(instance: Instance) -> type[WorkflowDefinition]:
    """The workflow of an instance; ``DefinitionError`` where this process does not define it."""
    return cast("type[WorkflowDefinition]", instance.workflow)  # nothing else enters the registry


def find_definition(instance: Instance) -> type[WorkflowDefinition] | None:
    """The workflow of an instance, or None where this process does not define it."""
    return None if instance.definition is None else definition_of(instance)


def _reduced(instance: Instance) -> tuple[Callable[[dict[str, Any]], Instance], tuple[dict[str, Any]]]:
    return _restored, (instance.__getstate__(),)


def _restored(state: dict[str, Any]) -> Instance:
    instance = Instance.__new__(Instance)
    definition = WORKFLOWS.find(state["workflow_name"], state["workflow_version"])
    instance.__dict__.update(state, definition=definition)
    return instance


def _reduced_context(context: Context[Any]) -> tuple[Callable[..., Context[Any]], tuple[object, ...]]:
    workflow = context.definition
    named = None if workflow is None else (workflow.name, workflow.version)
    return _restored_context, (context.__getstate__(), named)


def _restored_context(state: dict[str, Any], named: tuple[str, int] | None) -> Context[Any]:
    context: Context[Any] = Context.__new__(Context)
    context.__dict__.update(state, definition=None if named is None else WORKFLOWS.find(*named))
    return context


WORKFLOWS = WorkflowRegistry()
# A pickle or copy of an instance, or of a context, finds its workflow here, by name.
copyreg.pickle(Instance, _reduced)
copyreg.pickle(Context, _reduced_context)
