"""Deletion: which runs may be deleted. Mirrored by ``storage/redis/lua/delete.lua``."""

from __future__ import annotations

from hephaestus_celery.core.execution.state import RunState


def is_deletable(state: RunState) -> bool:
    """Whether a run may be deleted: one that has ended."""
    return state.status.final
