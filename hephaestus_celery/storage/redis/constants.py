"""The constants that scripts share with the rules: put in front of each script that uses them, as ``local NAME = value``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hephaestus_celery.core.execution.due import RESCUE_REASONS, Due
from hephaestus_celery.core.execution.limits import APPLY_MARGIN, LOSSES, MOST_KEPT, MOST_KEYS, TURNED_AWAY
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.redis.steady_clock import STEP

CONSTANTS: Mapping[str, int | str | tuple[str, ...]] = {
    "APPLY_MARGIN": APPLY_MARGIN,
    "LOSSES": LOSSES,
    "MOST_KEPT": MOST_KEPT,
    "MOST_KEYS": MOST_KEYS,
    "REASON_APPLIER_LOST": RESCUE_REASONS[Due.REAPPLY],
    "REASON_LEASE_EXPIRED": RESCUE_REASONS[Due.LEASE_EXPIRED],
    "REASON_NOT_CLAIMED": RESCUE_REASONS[Due.REDISPATCH],
    "REASON_TIMED_OUT": RESCUE_REASONS[Due.TIMED_OUT],
    "STATUSES": tuple(str(status) for status in Status),
    "STEP": STEP,
    "TURNED_AWAY": TURNED_AWAY,
}


def header_for(source: str) -> str:
    """The lines that define the constants which this source uses."""
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", re.sub(r"--.*", "", source)))
    return "".join(f"local {name} = {_literal(value)}\n" for name, value in CONSTANTS.items() if name in used)


def _literal(value: int | str | tuple[str, ...]) -> str:
    match value:
        case int():
            return str(value)
        case str():
            return f"'{value}'"
        case _:
            return f"{{ {', '.join(map(_literal, value))} }}"
