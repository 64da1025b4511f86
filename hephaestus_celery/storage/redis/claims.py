"""Claims, lease renewals and seizures of attempts in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from hephaestus_celery.storage.claims import Claim, ClaimRequest, Lease, Refusal, Refused
from hephaestus_celery.storage.due import DueEntry
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.durations import HeldDurations
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.reads import MOST_CARRIED
from hephaestus_celery.storage.redis.replies import read_entries
from hephaestus_celery.storage.redis.stored_runs import read_claim

_MOST_LEASES = 100  # that one call renews


class Claims:
    """Claims, renews and seizes attempts for one storage."""

    def __init__(self, calls: Calls, durations: HeldDurations) -> None:
        self._calls, self._durations = calls, durations

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        """Take an attempt, or an event delivered to a waiting step."""
        reply = self._calls.of_run(
            "claim",
            request.run_id,
            as_parameters(
                run_id=request.run_id,
                workflow=request.workflow,
                step=str(request.activation),
                attempt=request.attempt,
                fence=request.fence,
                schema=request.schema,
                versions=[str(version) for version in request.versions],
                limit=request.limit,
                holder=request.holder,
                worker=request.worker,
                lane=request.lane,
                token=request.token,
                lease=self._durations.lease,
                dispatch_timeout=self._durations.dispatch_timeout,
            ),
            *request.predecessors[:MOST_CARRIED],
        )
        with reading(request.run_id):
            if isinstance(reply, list):
                reason, detail = cast("list[bytes]", reply)
                return Refusal(reason=Refused(reason.decode()), detail=detail.decode())
            return read_claim(reply, run_id=request.run_id, step=str(request.activation))

    def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Renew leases, a hundred in each call; False for each that is not held with this fence any more."""
        by_prefix: dict[str, list[int]] = {}
        for position, lease in enumerate(leases):
            by_prefix.setdefault(self._calls.keys.of_run(lease.run_id).prefix, []).append(position)
        held = [False] * len(leases)
        slices = (
            (prefix, positions[start : start + _MOST_LEASES])
            for prefix, positions in by_prefix.items()
            for start in range(0, len(positions), _MOST_LEASES)
        )
        for prefix, positions in slices:
            rows = [[leases[i].run_id, str(leases[i].activation), leases[i].fence] for i in positions]
            parameters = as_parameters(leases=rows, lease=self._durations.lease)
            reply = self._calls.of_partition("renew", prefix, parameters)
            for position, renewed in zip(positions, reply, strict=True):
                held[position] = renewed == 1
        return held

    def seize(
        self, run_id: str, step: str, *, attempt: int, holder: str, fence: str, entry: str, timed_out: bool
    ) -> DueEntry | None:
        """Take an attempt from the task that held it and is gone."""
        parameters = as_parameters(
            run_id=run_id,
            step=step,
            attempt=attempt,
            holder=holder,
            fence=fence,
            lease=self._durations.lease,
            timed_out=timed_out or None,
        )
        reply = named(self._calls.of_run("seize", run_id, parameters, entry))
        return next(iter(read_entries(reply["entries"])), None)
