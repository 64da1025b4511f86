"""What a driven run does in rounds: a step answers ``Again``, and its next round begins."""

from __future__ import annotations

from typing import Any

from hephaestus_celery.storage.commits import NextRound
from hephaestus_celery.storage.port import Storage


class InRounds:
    """A run whose steps may answer ``Again``."""

    storage: Storage

    def claim(self, step: str, attempt: int = 1, *, round: int = 1) -> Any:
        """Claim a step."""
        raise NotImplementedError

    def _common(self, step: str, suffix: str) -> dict[str, Any]:
        """The fields of a commit of a step that was claimed."""
        raise NotImplementedError

    def again(self, step: str, *, delay: int = 0, state: str | None = None, **fields: Any) -> Any:
        """Commit that a step is executed again."""
        return self.storage.commit(NextRound(**{**self._common(step, "c"), "delay": delay, "state": state, **fields}))

    def rounds(self, step: str, count: int, *, first: int = 1, **fields: Any) -> None:
        """Let a step answer ``Again`` so many times, from this round on; its message is sent at once each time."""
        for number in range(first, first + count):
            self.claim(step, round=number)
            assert self.again(step, **fields).verdict == "applied"
