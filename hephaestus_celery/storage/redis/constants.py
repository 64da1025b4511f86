"""The constants of the Lua scripts: numbers are put in their places, texts in front of a script as ``local NAME = value``.

A script has at most 200 local names at a time, and most constants are numbers.

Constants of the rules come from :mod:`hephaestus_celery.core.execution.limits`. The others belong to this store alone, and
are defined only here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hephaestus_celery.core.execution import limits
from hephaestus_celery.core.execution.due import RESCUE_REASONS, Due
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.storage.event_stream import UNUSED
from hephaestus_celery.storage.schema import ROUNDS

Constant = int | float | str | tuple[str, ...]

_RULES: Mapping[str, Constant] = {
    **{name: value for name, value in vars(limits).items() if name.isupper()},
    "FAILED": FAILED,
    "REASON_APPLIER_LOST": RESCUE_REASONS[Due.REAPPLY],
    "REASON_LEASE_EXPIRED": RESCUE_REASONS[Due.LEASE_EXPIRED],
    "REASON_NOT_CLAIMED": RESCUE_REASONS[Due.REDISPATCH],
    "REASON_TIMED_OUT": RESCUE_REASONS[Due.TIMED_OUT],
    "ROUNDS": ROUNDS,
    "STATUSES": tuple(str(status) for status in Status),
}
_LIFETIMES: Mapping[str, int] = {  # in milliseconds, as PEXPIRE takes them
    "GROUPS_LIFETIME": UNUSED // 1000,  # of a group of the event stream that nobody reads for
    "HOUR": 3_600_000,
    "ANSWERS_LIFETIME": 60_000,  # of answers after the end of a run: clients repeat calls for a shorter time
    "PRUNE_MARGIN": 60_000,  # of an ended run beyond its retention, within which the scheduler prunes it
    "REPORTS_LIFETIME": 3_600_000,  # of what workers report, when none reports any more
    "STAGED_LIFETIME": 600_000,  # of staged edges that no commit uses
    "UNSCHEDULED_LIFETIME": 3_600_000,  # of the answer to taking a timer back: a failed caller may repeat that much later
}
_TIMES: Mapping[str, int] = {  # in microseconds, as the due set goes by them
    "HELD": 604_800_000_000,  # that a run is kept while nothing is copied from it, although the copy is not whole
    "MILLISECOND": 1_000,
    "PUT_OFF": 60_000_000,  # until an entry whose run can't be read is looked at again
    "SECOND": 1_000_000,
    "SETTLE_PAUSE": 5_000_000,  # until a scheduler takes over the edges of a wide step
    "SOON": 3_000_000,  # an entry that is due sooner wakes the scheduler, which looks every two seconds by itself
    "WATCH": 86_400_000_000,  # between two looks at whether a run is gone
}
_AMOUNTS: Mapping[str, int] = {  # how much one call does or carries, so that none takes long
    "BEGINNING_CHUNK": 300,  # runs of each index that one look for the beginning of a run id goes through
    "COPIED_BYTES": 524_288,  # of data that one script copies for a rerun, and one value
    "COPIED_ROWS": 150,  # of a copy that one script does
    "EXPIRED_FIELDS": 2,  # of a run whose deadline has come, that count as one more entry
    "EXPIRY_COST": 2,  # a run whose deadline has come counts as so many entries more: it takes as long
    "DROPPED_AT_ONCE": 400,  # fields of a run that is gone through at once when it begins to undo
    "FEW": 400,  # fields of a run that is handled as a whole
    "HANDED_BYTES": 1_024,  # of what a tick hands over, that count as one more entry
    "HANDED_HEADER": 4_096,  # bytes of a header that a rescue carries; a longer one is read from the run
    "KEYS_AT_ONCE": 50,  # of events that one slice of a copy takes
    "LISTED_BYTES": 1_024,  # of the states of one run in a listing
    "LISTED_FIELDS": 100,  # of a run whose states a listing reads
    "LIST_CHUNK": 50,  # candidates that a listing takes from its indexes at once
    "LOOKS_PER_TICK": 2,  # lanes that one tick looks at
    "MOST_DATA": 1_048_576,  # bytes of results in one reply
    "RELEASED_RUNS": 20,  # runs of a workflow that go on in one slice after its pause
    "RELEASED_STEPS": 100,  # steps of a run that go on in one slice after a pause
    "RELEASE_COST": 50,  # such a slice counts as so many entries: it takes as long
    "RESOLVE_LOOKS": 500,  # runs of an id that one call looks at
    "SMALL": 65_536,  # bytes of data that one reply carries of a run
    "SWEEP_COST": 33,  # a slice of a sweep counts as so many entries: it takes as long
    "SWEEP_SLICE": 100,  # fields that one slice of a sweep goes through
    "UNCOUNTED": 1_024,  # bytes of an event's data below which counting is not worth a command
    "UNPACKED": 900,  # values that one command is given: unpack() has a limited stack
}

CONSTANTS: Mapping[str, Constant] = dict(sorted({**_RULES, **_LIFETIMES, **_TIMES, **_AMOUNTS}.items()))
"""All of them, by name."""


_NAME = re.compile(r"""(--[^\n]*|'[^'\n]*'|"[^"\n]*")|\b[A-Z][A-Z_]+\b""")


def with_constants(source: str) -> str:
    """The source with the constants that it uses; comments and strings stay as they are."""
    used: set[str] = set()

    def written(found: re.Match[str]) -> str:
        value = None if found[1] else CONSTANTS.get(found[0])
        if isinstance(value, (int, float)):
            return _literal(value)
        used.update([found[0]] if value is not None else [])
        return found[0]

    body = _NAME.sub(written, source)
    return "".join(f"local {name} = {_literal(value)}\n" for name, value in CONSTANTS.items() if name in used) + body


def _literal(value: Constant) -> str:
    match value:
        case int() | float():
            return str(value)
        case str():
            return "'" + value.replace(limits.RESERVED, "\\1") + "'"
        case _:
            return f"{{ {', '.join(map(_literal, value))} }}"
