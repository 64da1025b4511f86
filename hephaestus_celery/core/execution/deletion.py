"""Deletion: which runs may be deleted. Mirrored by ``storage/redis/lua/delete.lua``."""

from __future__ import annotations

from hephaestus_celery.core.execution.state import RunState


def is_deletable(state: RunState, *, copied_by: str | None) -> bool:
    """Whether a run may be deleted: one that has ended, and from which no other is being copied (``copied_by``)."""
    return state.status.final and copied_by is None
