"""The handle of one run: what ``start`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hephaestus_celery.core.history import HistoryEntry
from hephaestus_celery.core.instance import Instance
from hephaestus_celery.core.step import Step

if TYPE_CHECKING:
    from hephaestus_celery.app import Hephaestus


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHandle:
    """One run that was started; stays with this run when its id is started again."""

    id: str
    run_id: str
    hephaestus: Hephaestus

    def get(self) -> Instance:
        """The run as it stands."""
        return self.hephaestus.get(self.run_id)

    def wait(self, timeout: float | timedelta | None = None) -> Instance:
        """The run after its end; see :meth:`Hephaestus.wait`."""
        return self.hephaestus.wait(self.run_id, timeout)

    def resume(
        self,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        step: type[Step] | str | None = None,
        keep_early: bool = False,
        key: str | None = None,
    ) -> None:
        """Deliver an event; see :meth:`Hephaestus.resume`."""
        self.hephaestus.resume(self.run_id, event, data, step=step, keep_early=keep_early, key=key)

    def cancel(self, reason: str | None = None) -> None:
        """End the run; see :meth:`Hephaestus.cancel`."""
        self.hephaestus.cancel(self.run_id, reason)

    def history(self) -> list[HistoryEntry]:
        """What happened so far; see :meth:`Hephaestus.history`."""
        return self.hephaestus.history(self.run_id)
