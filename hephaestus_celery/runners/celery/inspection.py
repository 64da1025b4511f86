"""Examines the broker and the workers of an application for the command line; each question is bounded in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError

from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.lanes import Lane
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.redaction import hidden
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.runners.celery.connections import connect, unreachable
from hephaestus_celery.runners.celery.fleet import CeleryFleet
from hephaestus_celery.runners.celery.runner import CeleryRunner
from hephaestus_celery.runners.celery.settings import broker_urls, misspelt_settings
from hephaestus_celery.runners.celery.shared_server import has_uniform_messages, is_broker
from hephaestus_celery.runners.celery.task import StepTask
from hephaestus_celery.runners.fleet import BrokerAwayError
from hephaestus_celery.runners.lost_messages import all_holdings
from hephaestus_celery.runners.messages import messages
from hephaestus_celery.storage.port import Storage

_ANSWERS_SECONDS = 1.0
"""How long workers are waited for."""
_REDIS_LIMITS = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}
"""How long each answer of a broker on Redis is waited for: by default, for ever."""
_ANY_RUN = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """A broker: where it is, whether it was reached (else what came), and whether the store is the same database."""

    url: str
    driver: str
    failure: str | None
    is_store: bool
    sends_by_store: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """Workers: the ``answering`` ones, by name, with their queues; queues and workflows that living workers ``report``.

    ``silent`` counts the reports of older workers, which do not say what workflows they know.
    """

    answering: Mapping[str, frozenset[str]]
    reports: int
    reported_queues: frozenset[str]
    workflows: Mapping[str, frozenset[int]]
    silent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceFacts:
    """Settings that decide how fast a worker takes messages, and tasks of other kinds that it may execute."""

    driver: str
    visibility_timeout: float | None
    prefetch_multiplier: int
    acks_emulated: bool
    prefetch_reduction: bool
    other_tasks: Sequence[str]


class Inspection:
    """Asks about one application."""

    def __init__(self, app: Celery, storage: Storage, *, transactional: bool) -> None:
        self._app, self._storage, self._transactional = app, storage, transactional

    def broker(self) -> BrokerFacts:
        """Connect to the broker, once, for a few seconds at most."""
        connection: Any = self._app.connection_for_write()
        driver = str(connection.transport.driver_type)
        if driver == "redis":
            connection.transport_options = {**_REDIS_LIMITS, **connection.transport_options}
        failure = None
        try:
            with connection:
                connect(connection)
        except (KombuError, CeleryError, *unreachable(self._app)) as error:
            failure = hidden(f"{type(error).__name__}: {error}")
        is_store = is_broker(self._app, self._storage.url)
        return BrokerFacts(
            url=hidden(", ".join(sorted(map(str, broker_urls(self._app)))) or connection.as_uri()),
            driver=driver,
            failure=failure,
            is_store=is_store,
            sends_by_store=is_store and self._transactional and has_uniform_messages(self._app),
        )

    def fleet(self, *, reached: bool) -> FleetFacts:
        """Ask the workers which queues they take from, if the broker was ``reached``, and read their reports."""
        answers: dict[str, Any] = {}
        if reached:
            inspect = cast("Any", self._app).control.inspect(timeout=_ANSWERS_SECONDS)
            try:
                answers = inspect.active_queues() or {}
            except (KombuError, CeleryError, *unreachable(self._app)):
                answers = {}
        try:
            holdings = all_holdings(self._storage)
        except StorageError:
            holdings = []
        known: dict[str, set[int]] = {}
        for each in holdings:
            for name, versions in (each.workflows or {}).items():
                known.setdefault(name, set()).update(versions)
        return FleetFacts(
            answering={
                name: frozenset(str(queue["name"]) for queue in cast("list[dict[str, Any]]", queues))
                for name, queues in answers.items()
                if isinstance(queues, list)  # a worker may answer with an error
            },
            reports=len(holdings),
            reported_queues=frozenset(queue for each in holdings for queue in each.queues),
            workflows={name: frozenset(versions) for name, versions in known.items()},
            silent=sum(each.workflows is None for each in holdings),
        )

    def step_queues(self, runner: CeleryRunner, workflows: Iterable[type[WorkflowDefinition]]) -> dict[str, list[str]]:
        """The queue of each step, by the routing of the application: ``<workflow>.<step>`` by queue."""
        found: dict[str, list[str]] = {}
        for workflow in workflows:
            steps = [step for step in workflow.graph.by_key.values() if step is not Done]
            asked = [DispatchStep(Activation(step.key), 1, 1) for step in steps]
            for message in messages(workflow.name, workflow.version, _ANY_RUN, asked, headers={}):
                lane = runner.lane(message)
                if lane is not None:
                    found.setdefault(Lane.parse(lane).queue, []).append(message.task_name)
        return found

    def lengths(self, lanes: Iterable[str]) -> dict[str, int | None]:
        """How many messages wait in each lane; None where that can't be known now."""
        fleet = CeleryFleet(self._app)
        found: dict[str, int | None] = {}
        for lane in lanes:
            try:
                found[lane] = fleet.length(Lane.parse(lane))
            except BrokerAwayError:
                found[lane] = None
        return found

    def pace(self) -> PaceFacts:
        """The settings that decide how fast a worker takes messages."""
        conf: Any = self._app.conf
        options: Mapping[str, Any] = conf.broker_transport_options or {}
        tasks: dict[str, Any] = cast("Any", self._app).tasks
        timeout = options.get("visibility_timeout")
        return PaceFacts(
            driver=str(self._app.connection_for_write().transport.driver_type),
            visibility_timeout=float(timeout) if isinstance(timeout, (int, float)) else None,
            prefetch_multiplier=int(conf.worker_prefetch_multiplier),
            acks_emulated=bool(options.get("ack_emulation", True)),
            prefetch_reduction=bool(conf.worker_enable_prefetch_count_reduction),
            other_tasks=sorted(
                name
                for name, task in tasks.items()
                if not isinstance(task, StepTask) and not name.startswith("celery.")
            ),
        )

    def settings(self) -> list[str]:
        """A sentence for each setting that is none of ours, and looks like one."""
        return misspelt_settings(self._app)
