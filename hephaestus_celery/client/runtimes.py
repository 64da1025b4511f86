"""The open runtimes of a process, and which of them a workflow or a handle means."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.exceptions import ConfigurationError


class Runtime(Protocol):
    """What is looked for here, by name or as the only one: a ``Hephaestus``, whose calls are in modules of their own."""

    @property
    def name(self) -> str:
        """How errors name this runtime."""
        ...

    @property
    def aio(self) -> object:
        """The same calls, for event loops."""
        ...


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
        """Add a runtime that was opened."""
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
        """Remove a runtime that was closed."""
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

    def of(self, workflow: type[WorkflowDefinition]) -> Runtime:
        """The runtime to use for a workflow: the entered one, else the workflow's own, else the one of the process.

        ``ConfigurationError`` where there is none, or several of the process.
        """
        entered = self.entered()
        if entered is not None:
            return entered
        return self.sole(workflow) if workflow.hephaestus is None else workflow.hephaestus

    def called(self, name: str, *, by: str) -> Runtime:
        """The runtime that a value from another process means: the entered one, else the one of this process.

        Of several it is the one with this name. ``ConfigurationError`` for none, or where the name does not decide; ``by``
        is who asks.
        """
        entered = self.entered()
        if entered is not None:
            return entered
        named = [runtime for runtime in self._runtimes if runtime.name == name]
        if len(self._runtimes) > 1 and len(named) != 1:
            names = ", ".join(runtime.name for runtime in self._runtimes)
            raise ConfigurationError(
                f"{by} was made by the Hephaestus {name!r} of another process; this one has several ({names}), and not "
                "exactly one of that name: give them names, close the others, or enter one: with Hephaestus():"
            )
        return self._one(named or self._runtimes, by)

    def sole(self, workflow: type[WorkflowDefinition]) -> Runtime:
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


def _without_last(runtimes: Sequence[Runtime], runtime: Runtime) -> list[Runtime]:
    kept = list(runtimes)
    for position in range(len(kept) - 1, -1, -1):
        if kept[position] is runtime:
            del kept[position]
            break
    return kept


RUNTIMES = RuntimeRegistry()
