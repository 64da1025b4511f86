"""The handle of one run, which ``start`` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from hephaestus_celery.client.cancel import AioHandleCancels, HandleCancels
from hephaestus_celery.client.pauses import AioHandlePauses, HandlePauses
from hephaestus_celery.client.reads import AioHandleReads, HandleReads
from hephaestus_celery.client.resume import AioHandleResumes, HandleResumes
from hephaestus_celery.client.runtimes import RUNTIMES, Runtime
from hephaestus_celery.client.waits import AioHandleWaits, HandleWaits
from hephaestus_celery.core.values.data_types import Data
from hephaestus_celery.core.values.instance import Instance


class Retries(Protocol):
    """A runtime that retries runs."""

    def retry(self, id: str, *, context: Data | None = None, by: str | None = None) -> InstanceHandle: ...


class AioRetries(Protocol):
    """The same, for event loops."""

    async def retry(self, id: str, *, context: Data | None = None, by: str | None = None) -> InstanceHandle: ...


class AioHandle(AioHandleResumes, AioHandleCancels, AioHandlePauses, AioHandleReads, AioHandleWaits):
    """The calls of a handle as coroutines, for event loops: ``await handle.aio.wait()``.

    ``status`` is an attribute that is awaited, and is not called: ``await handle.aio.status``.
    """

    @property
    def id(self) -> str:
        """The instance id of the handle."""
        return self._handle.id

    async def retry(self, *, context: Data | None = None, by: str | None = None) -> InstanceHandle:
        """Go on with the run, which failed or was cancelled, as a new run; as :meth:`Hephaestus.retry`."""
        return await self._runtime(AioRetries).retry(self.run_id, context=context, by=by)


@dataclass(frozen=True, kw_only=True)
class InstanceHandle(HandleResumes, HandleCancels, HandlePauses, HandleReads, HandleWaits):
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

    @property
    def aio(self) -> AioHandle:
        """The calls of this handle as coroutines, for event loops."""
        return AioHandle(self)

    def __getstate__(self) -> dict[str, str]:
        name = self.hephaestus.name if "hephaestus" in self.__dict__ else self.__dict__["_name"]
        return {"id": self.id, "run_id": self.run_id, "_name": name}

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def retry(self, *, context: Data | None = None, by: str | None = None) -> InstanceHandle:
        """Go on with the run, which failed or was cancelled, as a new run; see :meth:`Hephaestus.retry`."""
        return self._runtime(Retries).retry(self.run_id, context=context, by=by)
