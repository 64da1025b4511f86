"""The reference page of the doctor's checks, printed from the checks themselves."""

from __future__ import annotations

from hephaestus_celery.reports.doctor.checks import CHECKS

_PAGE = """\
# Checks of the doctor

`celery -A shop hephaestus doctor` reads what it can know of the store, the broker, the workers and the settings, and judges it
check by check. Each finding is `ok`, `warning` or `error`, with what to do. If one is an error, the exit code is 1.
`--json` prints a list of objects with `check`, `level`, `message` and `advice`.

It only reads. Each part takes some seconds at most, in commands that hold the server for well below a millisecond, however much
is stored. The user of the store needs `+info` and `+scan` beside its [rights](../deploying.md#rights); without
them, the checks that need these say so.

| Check | It is ok if |
|---|---|
"""


def render() -> str:
    """The page."""
    return _PAGE + "".join(f"| `{check.name}` | {check.about} |\n" for check in CHECKS)
