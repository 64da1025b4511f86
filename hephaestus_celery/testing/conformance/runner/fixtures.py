"""Fixtures of the runner suite: a runtime, and the events that were emitted for its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from hephaestus_celery import Hephaestus
from hephaestus_celery.runners.port import Runner
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.telemetry.labels import reason_label
from hephaestus_celery.testing.capture import EventCapture
from hephaestus_celery.testing.conformance.conditions import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """An event as the tests compare it: ``step.stop``, with keys and names in the place of steps and workflows."""

    name: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]


class Stage(Protocol):
    """A runtime over the runner, whose workers know the workflows of this suite, one step at a time."""

    @property
    def hephaestus(self) -> Hephaestus:
        """Starts runs, and asks for them."""
        ...

    def seen(self, run_id: str, *, last: str = "workflow.stop") -> Sequence[SeenEvent]:
        """The events of a run in the order in which they were emitted, once ``last`` is among them."""
        ...


class InProcess:
    """The stage of a runner that executes steps in this process."""

    def __init__(self, hephaestus: Hephaestus, capture: EventCapture) -> None:
        self.hephaestus = hephaestus
        self._capture = capture

    def seen(self, run_id: str, *, last: str = "workflow.stop") -> Sequence[SeenEvent]:
        """The captured events of a run."""

        def found() -> list[SeenEvent]:
            return [
                SeenEvent(
                    name=".".join(captured.event[1:]),
                    measurements=captured.measurements,
                    metadata={name: _plain(value) for name, value in captured.metadata.items()},
                )
                for captured in self._capture.events
                if captured.metadata.get("run_id") == run_id
            ]

        eventually(lambda: any(event.name == last for event in found()), what=f"the event {last}")
        return found()


def _plain(value: Any) -> Any:
    if issubclass(type(value), BaseException):  # isinstance() asks the exception, which may be any
        return reason_label(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, type):
        return getattr(value, "key", None) or getattr(value, "name", None)
    return value


@pytest.fixture
def make_runner() -> Callable[[], Runner]:
    """Replace it: a callable that makes the runner which is to be tested."""
    pytest.fail("give a fixture make_runner, which returns a callable that makes your runner")


@pytest.fixture
def stage(make_runner: Callable[[], Runner]) -> Iterator[Stage]:
    """The runner under a runtime of this process, with its state in memory."""
    with EventCapture() as capture, Hephaestus(runner=make_runner(), storage=MemoryStorage()) as hephaestus:
        yield InProcess(hephaestus, capture)
