"""Packed replies: many values in one reply, with the run that they belong to and the length of each value.

See ``packed`` in ``lua/parts/run_reply.lua``.

The first line gives the length of each value. So no part of a value can be taken for its end, or for another value. If the
first line does not fit the rest, the reply is refused.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, cast

from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.exceptions import HephaestusError, StorageError

_HEAD = re.compile(rb"([0-9a-f]{8}-[0-9a-f-]{27}) ((?:[0-9]{1,10}(?:,[0-9]{1,10})*)?)\n")


def unpacked(packed: bytes, run_id: str) -> list[str]:
    """The values of a packed reply about this run; ``ValueError`` for any other reply."""
    head = _HEAD.match(packed)
    if head is None:
        raise ValueError(f"no packed reply: {packed!r:.100}")
    if head[1] != run_id.encode():
        raise ValueError(f"a reply about run {head[1].decode()}")
    lengths = [int(length) for length in head[2].split(b",")] if head[2] else []
    bounds = list(accumulate(lengths, initial=head.end()))
    if bounds[-1] != len(packed):
        raise ValueError(f"a packed reply of {len(packed)} bytes that is to have {bounds[-1]}")
    return [packed[start:end].decode() for start, end in pairwise(bounds)]


def named(reply: Sequence[bytes]) -> dict[str, bytes]:
    """The values of a reply that has a name before each value."""
    return dict(zip((name.decode() for name in reply[::2]), reply[1::2], strict=True))


def is_of(run_id: str, reply: Any) -> bool:
    """Whether a packed run, alone or as the last part of a reply, is the run with this id."""
    packed = cast("Any", reply[-1] if type(reply) is list and reply else reply)
    head = _HEAD.match(packed) if isinstance(packed, bytes) else None
    return head is None or head[1] == run_id.encode()


@contextmanager
def reading(run_id: str) -> Generator[None]:
    """Read a stored run; a run that can't be read raises a ``StorageError`` that is not transient."""
    try:
        yield
    except HephaestusError:
        raise
    except (KeyError, ValueError) as error:
        reason = shortened(f"{type(error).__name__}: {error}", limit=200)
        raise StorageError(
            f"what the state store holds of run {run_id} can't be read ({reason}); something else than hephaestus-celery has "
            "written there, or a part of it was evicted",
            transient=False,
        ) from error
