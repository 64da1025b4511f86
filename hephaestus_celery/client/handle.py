"""The handle of one run, which ``start`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from hephaestus_celery.client.runtimes import RUNTIMES, Runtime
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.values.cancel_report import CancelReport
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status


@dataclass(frozen=True, kw_only=True)
class InstanceHandle:
    """One run that was started; stays with this run when its id is started again. Handles of one run are equal.

    A handle can be pickled. In another process it looks for its runtime when it is first used: the one that was entered
    with ``with``, else the only one, else the one of the same name. ``ConfigurationError`` says what it did not find.
    """

    id: str
    run_id: str
    hephaestus: Runtime = field(repr=False, compare=False)

    def __getattr__(self, name: str) -> Any:
        # Python calls this for attributes that are not set: here the runtime of a handle that was pickled.
        if name != "hephaestus" or "_name" not in self.__dict__:
            text = f"a handle has no {name!r}"
            if name in Instance.__dataclass_fields__ or isinstance(getattr(Instance, name, None), property):
                text += f"; its run has, as it stands: handle.get().{name}"
            raise AttributeError(text, name=name, obj=self)
        found = RUNTIMES.called(self.__dict__["_name"], by=f"the handle of {self.id}")
        return self.__dict__.setdefault("hephaestus", found)

    def __getstate__(self) -> dict[str, str]:
        name = self.hephaestus.name if "hephaestus" in self.__dict__ else self.__dict__["_name"]
        return {"id": self.id, "run_id": self.run_id, "_name": name}

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def get(self) -> Instance:
        """The run as it stands."""
        return self.hephaestus.get(self.run_id)

    @property
    def status(self) -> Status:
        """The status of the run, read now."""
        return self.get().status

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

    def cancel(self, reason: str | None = None, *, terminate: bool = False) -> CancelReport:
        """End the run; see :meth:`Hephaestus.cancel`."""
        return self.hephaestus.cancel(self.run_id, reason, terminate=terminate)

    def history(self) -> list[HistoryEntry]:
        """What happened so far; see :meth:`Hephaestus.history`."""
        return self.hephaestus.history(self.run_id)
