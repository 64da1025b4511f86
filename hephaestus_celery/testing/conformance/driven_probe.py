"""What tests of storages see and change beside the port: a probe, which each storage has one of its own of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Probe(Protocol):
    """What some tests read or change in a storage beside the port. Times are microseconds on its clock."""

    def due(self, storage: Any, run_id: str) -> dict[str, int]:
        """When each entry of a run is due, by the key of its step: all that is neither ``Due.NOTHING`` nor in a lane."""
        ...

    def set_due(self, storage: Any, run_id: str, member: str, at: int) -> None:
        """Let an entry of ``due`` be due at another time."""
        ...

    def lose_due(self, storage: Any, run_id: str, member: str) -> None:
        """Let an entry of ``due`` be lost."""
        ...

    def set_origin(self, storage: Any, run_id: str, step: str, origin: str) -> None:
        """Let a step repeat the idempotency key that it had in another run."""
        ...

    def lanes(self, storage: Any, run_id: str) -> dict[str, str]:
        """The lane of each step of a run that waits in one, by the key of the step."""
        ...

    def set_started_at(self, storage: Any, run_id: str, at: int) -> None:
        """Let a run have begun at another time, in listings too."""
        ...

    def schema(self, storage: Any, run_id: str) -> int:
        """The schema number that a run has in the store."""
        ...

    def add_event_keys(self, storage: Any, run_id: str, keys: Sequence[str]) -> None:
        """Let a run have taken events with these keys already."""
        ...
