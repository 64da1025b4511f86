"""Values of calls about many runs: what became of each."""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.values.lifecycle import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """A run that a call has left as it is, since its ``status`` forbids the call; None if there is no such run.

    ``schema`` is the run's schema number if newer code wrote the run. ``copied_by`` is the run that a retry or a fork makes
    of it, if that is not whole yet.
    """

    status: Status | None = None
    schema: int | None = None
    copied_by: str | None = None
