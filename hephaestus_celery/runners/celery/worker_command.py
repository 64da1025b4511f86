"""Celery's own worker with the settings that suit workflows, and whether other tasks would lose messages by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import click
from celery import Celery
from celery.backends.base import Backend, DisabledBackend
from celery.bin.worker import worker as celery_worker

from hephaestus_celery.runners.celery.task import StepTask

PREFETCH_MULTIPLIER = 1
_EMULATION = "ack_emulation"
_CHORD_UNLOCK = "celery.chord_unlock"


class PreparedWorker:
    """A worker whose command line was read, and that has not started.

    ``arguments`` are those of ``celery worker``; what is wrong with them raises a usage error of click.
    """

    def __init__(self, app: Celery, context: click.Context, arguments: Sequence[str]) -> None:
        self._app: Any = app
        if not _is_configured(app, arguments):
            arguments = [*arguments, f"--prefetch-multiplier={PREFETCH_MULTIPLIER}"]
        command = cast("click.Command", celery_worker)
        self._command = command
        self._context = command.make_context("worker", list(arguments), parent=context.find_root())
        for module in self._given("include"):
            app.loader.import_task_module(module)

    @property
    def keeps_list(self) -> bool:
        """Whether a list of unacknowledged messages is kept, or could be: a broker other than Redis needs none of kombu's."""
        return self._on_redis() and bool(self._transport_options().get(_EMULATION, True))

    def queues(self) -> Sequence[str]:
        """The queues that it will take from."""
        names = self._given("queues") or list(self._app.amqp.queues)
        return [name for name in names if name not in self._given("exclude_queues")]

    def endangered(self) -> Mapping[str, Sequence[str]]:
        """Of these queues those to which other tasks are routed, and their names: without the list, their messages may be lost.

        A router that fails without the arguments of a task may choose any queue.
        """
        found: dict[str, list[str]] = {}
        if not self._on_redis():
            return found
        taken = self.queues()
        for name in self._other_tasks():
            queue = self._queue_of(name)
            if queue is None or queue in taken:
                found.setdefault(queue or taken[0], []).append(name)
        return found

    def drop_list(self) -> None:
        """Keep no list of unacknowledged messages."""
        if self._on_redis():
            self._app.conf.broker_transport_options = {**self._transport_options(), _EMULATION: False}

    def run(self) -> None:
        """Start it, and return when it has stopped; it ends the command with its own exit code."""
        with self._context:
            self._command.invoke(self._context)

    def _other_tasks(self) -> list[str]:
        tasks: Mapping[str, Any] = self._app.tasks
        others = sorted(
            name for name, task in tasks.items() if not isinstance(task, StepTask) and not name.startswith("celery.")
        )
        if others and _unlocks_chords(self._app.backend):
            others.append(_CHORD_UNLOCK)
        return others

    def _queue_of(self, name: str) -> str | None:
        task: Any = self._app.tasks[name]
        places: list[Mapping[str, Any]] = [*map(vars, reversed(type(task).__mro__)), vars(task)]
        own = [held["queue"] for held in places if isinstance(held.get("queue"), str)]
        try:
            queue = self._app.amqp.router.route({"queue": own[-1]} if own else {}, name, (), {}).get("queue")
        except Exception:  # noqa: BLE001 - routers are the user's code, and this one may need the arguments of a task
            return None
        return None if queue is None else str(getattr(queue, "name", queue))

    def _on_redis(self) -> bool:
        return str(self._app.connection_for_read().transport.driver_type) == "redis"

    def _transport_options(self) -> Mapping[str, Any]:
        return self._app.conf.broker_transport_options or {}

    def _given(self, name: str) -> Sequence[str]:
        return self._context.params.get(name) or ()


def _unlocks_chords(backend: Any) -> bool:
    # Such backends send a task that looks whether all of a chord is done; others count.
    return (
        not isinstance(backend, DisabledBackend)
        and getattr(backend.apply_chord, "__func__", None) is cast("Any", Backend).apply_chord
    )


def _is_configured(app: Celery, arguments: Sequence[str]) -> bool:
    # By an option, or by a setting of the application that is not just Celery's default.
    if any(each.startswith("--prefetch-multiplier") or "prefetch_multiplier=" in each for each in arguments):
        return True
    held = _loaded(app).without_defaults()
    return any(
        str(name).lower().endswith(("worker_prefetch_multiplier", "celeryd_prefetch_multiplier")) for name in held
    )


def _loaded(app: Celery) -> Any:
    unsettled: Any = app
    unsettled.conf.get("broker_url")  # reading any setting loads them all, and puts them in place
    return unsettled.conf
