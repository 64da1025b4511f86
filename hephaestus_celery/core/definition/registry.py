"""What this process has defined: its workflows, and its runtimes.

Step code is found here and nowhere else: a message names a run and a step, never a path to import. The two registries
are the only state of the core; they grow when classes are defined and runtimes made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from hephaestus_celery.core.definition.module_path import place_of
from hephaestus_celery.exceptions import ConfigurationError, DefinitionError

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import Workflow
    from hephaestus_celery.core.values.cancellation import CancelReport
    from hephaestus_celery.core.values.instance import Instance

    WorkflowClass = type[Workflow]
    Listener = Callable[[WorkflowClass], None]


class Runtime(Protocol):
    """What the facade of a workflow needs of a runtime; ``Hephaestus`` is one."""

    @property
    def name(self) -> str:
        """How errors name this runtime."""
        ...

    def start_instance(
        self,
        workflow: WorkflowClass,
        context: Mapping[str, Any] | None = None,
        *,
        id: str,
        version: int | None = None,
        telemetry_metadata: Mapping[str, Any] | None = None,
    ) -> Any: ...

    def resume(
        self,
        id: str,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        step: Any = None,
        workflow: WorkflowClass | None = None,
        keep_early: bool = False,
        key: str | None = None,
    ) -> None: ...

    def get(self, id: str, *, workflow: WorkflowClass | None = None) -> Instance: ...

    def cancel(
        self, id: str, reason: str | None = None, *, terminate: bool = False, workflow: WorkflowClass | None = None
    ) -> CancelReport: ...

    def list(self, **filters: Any) -> Any: ...


class WorkflowRegistry:
    """The workflows of a process by name and version; listeners hear of each one, also of those already there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workflows: dict[tuple[str, int], WorkflowClass] = {}
        self._listeners: list[Listener] = []

    def add(self, workflow: WorkflowClass) -> None:
        """Register a workflow; defining it anew in the same place (a reload, a notebook) replaces it.

        One whose class was defined in a function makes way as well: it may be gone already. Raises ``DefinitionError``
        when a class from another place has the same name and version, or tasks of the same names.
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
        # A step's task is named `<name of the workflow>.<key>`. Where a key has a dot, that of a step of another workflow
        # may be the same: the messages of one would go to the other.
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


class RuntimeRegistry:
    """The open runtimes of a process. They are kept alive: a module may make one and keep no name for it.

    Those that were entered with ``with`` come before all others for as long as the block lasts: the one of this
    thread's (or task's) innermost block, else, in a thread that has none, the one that was entered last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtimes: list[Runtime] = []
        self._entered: list[Runtime] = []
        self._here: ContextVar[tuple[Runtime, ...]] = ContextVar("hephaestus_entered", default=())

    def add(self, runtime: Runtime) -> None:
        """An opened runtime."""
        with self._lock:
            self._runtimes.append(runtime)

    def enter(self, runtime: Runtime) -> None:
        """A block of ``runtime`` has begun."""
        with self._lock:
            self._entered.append(runtime)
        self._here.set((*self._here.get(), runtime))

    def leave(self, runtime: Runtime) -> None:
        """The innermost block of ``runtime`` is over."""
        with self._lock:
            self._entered = _without_last(self._entered, runtime)
        self._here.set(tuple(_without_last(self._here.get(), runtime)))

    def discard(self, runtime: Runtime) -> None:
        """A closed one."""
        with self._lock:
            self._runtimes = [known for known in self._runtimes if known is not runtime]
            self._entered = [known for known in self._entered if known is not runtime]

    def all(self) -> tuple[Runtime, ...]:
        """The runtimes that are open."""
        return tuple(self._runtimes)

    def entered(self) -> Runtime | None:
        """The runtime whose block this is, if there is one."""
        entered = self._entered
        here = [runtime for runtime in self._here.get() if any(runtime is known for known in entered)]
        inner = here or entered
        return inner[-1] if inner else None

    def of(self, workflow: WorkflowClass) -> Runtime:
        """The runtime to use for a workflow: the entered one, else the workflow's own, else the one of the process.

        ``ConfigurationError`` where there is none, or several of the process.
        """
        entered = self.entered()
        if entered is not None:
            return entered
        return self.sole(workflow) if workflow.hephaestus is None else workflow.hephaestus

    def called(self, name: str, *, by: str) -> Runtime:
        """The runtime that a value from another process means: the entered one, else the one of this process.

        Of several it is the one with this name. ``ConfigurationError`` for none, or where the name does not tell; ``by``
        is who asks.
        """
        entered = self.entered()
        if entered is not None:
            return entered
        named = [runtime for runtime in self._runtimes if runtime.name == name]
        if len(self._runtimes) > 1 and len(named) != 1:
            names = ", ".join(runtime.name for runtime in self._runtimes)
            raise ConfigurationError(
                f"{by} was made by the Hephaestus {name!r} of another process, and finds several in this one ({names}), "
                "not one of that name; give them names, close the others, or enter one: with Hephaestus():"
            )
        return self._one(named or self._runtimes, by)

    def sole(self, workflow: WorkflowClass) -> Runtime:
        """The one runtime of the process; ``ConfigurationError`` for none or several."""
        return self._one(self._runtimes, workflow.__qualname__)

    def _one(self, known: Sequence[Runtime], asking: str) -> Runtime:
        match len(known):
            case 1:
                return known[0]
            case 0:
                raise ConfigurationError(
                    f"{asking} finds no Hephaestus in this process; create one, Hephaestus(app), "
                    "in a module that is imported here"
                )
            case _:
                names = ", ".join(runtime.name for runtime in known)
                raise ConfigurationError(
                    f"{asking} finds several Hephaestus in this process ({names}); say which one it "
                    f"belongs to with the class attribute `hephaestus`, close the others, or enter one: with Hephaestus():"
                )


def _keys(workflow: WorkflowClass) -> set[str]:
    return {source.key for source, _ in workflow.graph.table}


def _without_last(runtimes: Sequence[Runtime], runtime: Runtime) -> list[Runtime]:
    kept = list(runtimes)
    for position in range(len(kept) - 1, -1, -1):
        if kept[position] is runtime:
            del kept[position]
            break
    return kept


WORKFLOWS = WorkflowRegistry()
RUNTIMES = RuntimeRegistry()
