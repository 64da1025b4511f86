"""What calls about many runs come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class BulkResult(NamedTuple):
    """``done`` counts the runs that a call about many has changed; ``refused`` says of each other, by run id, why not."""

    done: int
    refused: Mapping[str, str]
