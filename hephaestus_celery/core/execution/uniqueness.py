"""One active run per id: whether an active run forbids another start with its instance id.

Mirrored by ``storage/redis/lua/create.lua``.

Law held here: the wider scope of the two counts. So a run of scope ``global`` forbids every start with its id, except a start
of scope ``none``, which needs no id of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hephaestus_celery.core.values.identity import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A run that holds an instance id, or is to be started with it."""

    run_id: str
    scope: Scope
    family: str
    version: int


def find_holder(starting: Claimant, active: Iterable[Claimant]) -> Claimant | None:
    """The first active run of the same id that forbids the start; None if the start is allowed."""
    return next((other for other in active if _excludes(starting, other)), None)


def _excludes(starting: Claimant, other: Claimant) -> bool:
    if starting.scope == "none":
        return False
    if "global" in (starting.scope, other.scope):
        return True
    return starting.family == other.family and (starting.scope == "workflow" or starting.version == other.version)
