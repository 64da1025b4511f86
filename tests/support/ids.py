"""Names of parameters that are the same in every process, for tests that are spread over several."""

from __future__ import annotations

import re


def shown(value):
    """The value as it is written, without the address of what has one."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
