"""Explains the failure of a run that can't reach ``Done`` any more by the counted join that was skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hephaestus_celery.core.execution.joins import Shortfall


def explained(failure: Mapping[str, Any], shortfall: Shortfall | None) -> dict[str, Any]:
    """The stored failure of such a run. What had come to the join is known to the store alone, so the message has no word of it."""
    if shortfall is None:
        return dict(failure)
    message, _, _ = str(failure["message"]).partition(": ")
    return {**failure, "message": f"{message}: {shortfall}"}
