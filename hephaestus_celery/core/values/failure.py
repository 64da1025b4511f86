"""A ``Failure``: why a run, or a step whose failure a transition takes, has failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run or a step failed: ``kind`` is ``error``, ``exit`` or ``throw``, the rest is text.

    ``type`` is the type of the exception, ``Error`` where the step gave an ``Error``. The traceback is in ``stacktrace``; of
    a step whose failure a ``FAILED`` transition takes it is None.
    """

    kind: str
    type: str
    message: str
    stacktrace: str | None = None
