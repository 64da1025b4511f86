"""The client of a contest: it starts our runs and sends Celery's tasks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.canvas import Canvas
from benchmarks.measure import PATIENCE_SECONDS
from benchmarks.settings import make_app
from hephaestus_celery import Hephaestus, InstanceHandle, Workflow


class Client:
    """An application with its runtime, in this process; it belongs to one server, of which there may be several."""

    def __init__(self, app_url: str, **places: str) -> None:
        self.app = make_app(app_url, **places)
        self.canvas = Canvas(self.app)
        self.hephaestus = Hephaestus(self.app)
        self.app.finalize()

    def start(
        self, workflow: type[Workflow], context: Mapping[str, Any] | None = None, *, mark: int | None = None
    ) -> InstanceHandle:
        """Start one of our runs under an id of its own."""
        context = {**(context or {}), **({} if mark is None else {"mark": mark})}
        return self.hephaestus.start_instance(workflow, context, id=secrets.token_hex(8))

    def start_many(self, workflow: type[Workflow], marked: Sequence[int]) -> None:
        """Start a run for each mark."""
        for mark in marked:
            self.start(workflow, mark=mark)

    def complete(self, workflow: type[Workflow], context: Mapping[str, Any] | None = None) -> None:
        """Start a run and wait for its end; ``RuntimeError`` when that is not a good one."""
        instance = self.start(workflow, context).wait(PATIENCE_SECONDS)
        if instance.status != "completed":
            raise RuntimeError(f"{instance.id} is {instance.status}: {instance.failure}")

    def close(self) -> None:
        """Let go of all connections."""
        self.hephaestus.close()
        self.app.close()
