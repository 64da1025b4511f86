"""Who a run is: instance ids, their scopes (``Unique``) and run ids. What it executes: ``activation.py``."""

from __future__ import annotations

import re
import uuid
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

from hephaestus_celery.core.values.formatting import named, shown

Scope = Literal["workflow", "version", "global", "none"]

LONGEST_VALUE = 200
"""Characters of the value of an instance id, and of its key."""
VALUE_RULE = f"1 to {LONGEST_VALUE} printable characters without white space, | or ::"

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SUFFIX = re.compile(r"[0-9a-f]{8}")
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Unique:
    """The key and the scope of a workflow's instance ids, within which at most one run is active.

    The id of an instance is ``key::value``. At most one active run exists per id within ``scope``: per workflow (all
    its versions), per ``version``, over all workflows (``global``), or without limit (``none``, where every start gets
    an id of its own). Raises ``ValueError`` for a key that is not ``[a-z0-9][a-z0-9_-]*`` in full, or has more than 200
    characters, or an unknown scope.
    """

    key: str
    scope: Scope = "workflow"

    def __post_init__(self) -> None:
        key: object = self.key
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"the key of Unique must match [a-z0-9][a-z0-9_-]* in full, not {shown(key)}")
        if len(key) > LONGEST_VALUE:
            raise ValueError(f"the key of Unique has at most {LONGEST_VALUE} characters, not {len(key)}: {shown(key)}")
        if self.scope not in get_args(Scope):
            raise ValueError(
                f"the scope of Unique must be one of {', '.join(get_args(Scope))}, not {shown(self.scope)}"
            )

    def instance_id(self, value: object, *, suffix: str) -> str:
        """``key::value``, with ``::suffix`` (8 hex digits) where the scope is ``none``.

        The value may be an id that people use, such as ``ORD-1001`` or ``ann@example.org``: 1 to 200 printable characters without
        white space, ``|`` or ``::``. ``ValueError`` names anything else.
        """
        if not isinstance(value, str):
            raise ValueError(f"the value of an instance id must be a string, not {named(value)}")
        if not is_value(value):
            raise ValueError(f"the value of an instance id must be {VALUE_RULE}, not {shown(value)}")
        base = f"{self.key}::{value}"
        return f"{base}::{suffix}" if self.scope == "none" else base


def is_value(text: object) -> bool:
    """Whether ``text`` may be the value of an instance id. White space but the blank, and surrogates, aren't printable."""
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_VALUE:
        return False
    return text.isprintable() and not any(part in text for part in (" ", "|", "::"))


def is_instance_id(text: object) -> bool:
    """Whether ``text`` has the form of an instance id, ``key::value`` or ``key::value::suffix``."""
    key, _, rest = text.partition("::") if isinstance(text, str) else ("", "", "")
    value, separator, suffix = rest.rpartition("::")
    if separator and _SUFFIX.fullmatch(suffix) and is_value(value):
        return _KEY.fullmatch(key) is not None
    return _KEY.fullmatch(key) is not None and is_value(rest)


def new_run_id(*, milliseconds: int, instance_id: str, random_bits: int) -> str:
    """A UUIDv7 (RFC 9562) for a run that begins at ``milliseconds`` since the epoch.

    Its last 16 bits are a hash of the instance id instead of chance: the partition of a run follows from its id alone,
    so that a message needs to carry nothing else. ``random_bits`` supplies the other 58.
    """
    tail = shard(instance_id)
    high = (milliseconds & (1 << 48) - 1) << 16 | 0x7000 | (random_bits & 0xFFF)
    low = 0x8000 << 48 | (random_bits >> 12 & (1 << 46) - 1) << 16 | tail
    return str(uuid.UUID(int=high << 64 | low))


def is_run_id(text: object) -> bool:
    """Whether ``text`` has the form of a run id (instance ids contain ``::`` and never do)."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def shard(instance_id: str) -> int:
    """The 16-bit hash of an instance id that its runs carry; modulo the number of partitions it names the partition."""
    return zlib.crc32(instance_id.encode()) & 0xFFFF


def shard_of_run(run_id: str) -> int:
    """The hash that :func:`new_run_id` has put into ``run_id``."""
    return int(run_id[-4:], 16)
