"""Findings of the doctor, and the facts that its checks judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hephaestus_celery.runners.celery.inspection import BrokerFacts, FleetFacts, PaceFacts
from hephaestus_celery.storage.examination import ActiveRuns, KeyCensus, SchedulerFacts, ServerFacts


class Level(StrEnum):
    """How bad a finding is; one that is an error makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check has found, and what to do about it; ``advice`` is empty where nothing is to be done."""

    check: str
    level: Level
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """All that the store says; ``keys`` and ``runs`` are None where its user may not ask for them.

    ``waited`` are the queues with messages of steps that nobody has claimed.
    """

    server: ServerFacts
    schedulers: Sequence[SchedulerFacts]
    runs: ActiveRuns
    keys: KeyCensus | None
    waited: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the checks judge. ``store`` is the reason as text where the store can't be asked."""

    place: str
    store: StoreFacts | str
    broker: BrokerFacts
    fleet: FleetFacts
    step_queues: Mapping[str, Sequence[str]]
    misspelt: Sequence[str]
    pace: PaceFacts
    application: str = "APP"
    """It as ``-A`` names it."""
