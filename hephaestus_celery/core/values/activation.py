"""The identity of one start of a step: it names its state, result, due entry, message and idempotency key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

_BRIEF = 80  # bytes of a step's key in the id of a task
_INDEX, _GENERATION = " #", " ~"  # no key of a step contains white space


@dataclass(frozen=True, slots=True)
class Activation:
    """One execution of a step within a run, whatever the number of its attempts.

    ``step`` is the step's key. ``index`` is the index of a map's item; None for a step that is not in a map. ``generation``
    counts the rounds of an ``Again`` from 1. ``str`` gives the text that names the activation in stores and
    messages; for a plain step it is the key.
    """

    step: str
    index: int | None = None
    generation: int = 1

    def __str__(self) -> str:
        if self.index is None and self.generation == 1:
            return self.step
        index = "" if self.index is None else f"{_INDEX}{self.index}"
        return self.step + index + ("" if self.generation == 1 else f"{_GENERATION}{self.generation}")

    @classmethod
    def parse(cls, text: str) -> Activation:
        """The activation that this text names; ``ValueError`` for any other text."""
        rest, again, generation = text.partition(_GENERATION)
        step, indexed, index = rest.partition(_INDEX)
        if not (again or indexed):
            return cls(text)
        return cls(step, _number(index, least=0) if indexed else None, _number(generation, least=2) if again else 1)

    def in_round(self, number: int) -> Activation:
        """The same activation in another round of an ``Again``. Its first round names its state, its timer and its result."""
        return self if number == self.generation else replace(self, generation=number)

    def task_id(self, run_id: str, *, attempt: int, token: int) -> str:
        """A unique name for one message of this attempt; at most 255 bytes, the limit of AMQP."""
        return f"{run_id}:{self._parts(_brief(self.step))}:{attempt}.{token}"

    def idempotency_key(self, run_id: str) -> str:
        """The same for every attempt: for outside systems that must not act twice."""
        return f"{run_id}:{self._parts(self.step)}"

    def _parts(self, step: str) -> str:
        # Parts that do not apply are left out. A generation without an index leaves the place of the index empty.
        index = "" if self.index is None else str(self.index)
        if self.generation == 1:
            return f"{step}:{index}" if index else step
        return f"{step}:{index}:{self.generation}"


def _brief(key: str) -> str:
    """A short key as it is; for a long key its first bytes and a hash, together longer than any short key."""
    data = key.encode()
    if len(data) <= _BRIEF:
        return key
    return f"{data[:_BRIEF].decode(errors='ignore')}~{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _number(text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdigit()) or str(int(text)) != text or int(text) < least:
        raise ValueError(f"{text!r} is no number of an activation")
    return int(text)
