"""Claims, lease renewals and seizures of attempts in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.claims import Attempt, Claim, ClaimRequest, Refusal, Refused
from hephaestus_celery.storage.due import DueEntry
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.redis.calls import Calls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.parameters import as_parameters, stream_of
from hephaestus_celery.storage.redis.reads import MOST_CARRIED
from hephaestus_celery.storage.redis.replies import read_entries
from hephaestus_celery.storage.redis.stored_runs import read_claim

_MOST_LEASES = 100  # the most leases that one call renews


class Claims:
    """Claims, renews and seizes attempts for one storage."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

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
                round=request.round if request.round > 1 else None,
                lease=request.durations.lease,
                dispatch_timeout=request.durations.dispatch_timeout,
                stream=stream_of(request.durations),
            ),
            *request.predecessors[:MOST_CARRIED],
        )
        with reading(request.run_id):
            if isinstance(reply, list):
                reason, detail = cast("list[bytes]", reply)
                return Refusal(reason=Refused(reason.decode()), detail=detail.decode())
            return read_claim(reply, request)

    def renew(self, attempts: Sequence[Attempt], *, wanted: bool = False) -> Sequence[bool]:
        """Renew leases, a hundred in each call; False for an attempt that is no longer held with its fence."""
        alike: dict[tuple[str, int], list[int]] = {}
        for position, attempt in enumerate(attempts):
            place = self._calls.keys.of_run(attempt.run_id).prefix, attempt.lease
            alike.setdefault(place, []).append(position)
        held = [False] * len(attempts)
        slices = (
            (place, positions[start : start + _MOST_LEASES])
            for place, positions in alike.items()
            for start in range(0, len(positions), _MOST_LEASES)
        )
        for (prefix, lease), positions in slices:
            rows = [[attempts[i].run_id, str(attempts[i].activation), attempts[i].fence] for i in positions]
            parameters = as_parameters(leases=rows, lease=lease, wanted=wanted or None)
            reply = self._calls.of_partition("renew", prefix, parameters)
            for position, renewed in zip(positions, reply, strict=True):
                held[position] = renewed == 1
        return held

    def seize(
        self,
        run_id: str,
        activation: Activation,
        *,
        attempt: int,
        holder: str,
        fence: str,
        reason: str,
        worker: str | None,
        durations: Durations,
        timed_out: bool,
    ) -> DueEntry | None:
        """Take an attempt from the lost task that held it."""
        parameters = as_parameters(
            run_id=run_id,
            step=str(activation),
            attempt=attempt,
            holder=holder,
            fence=fence,
            lease=durations.lease,
            reason=reason,
            worker=worker,
            timed_out=timed_out or None,
            stream=stream_of(durations),
        )
        reply = named(self._calls.of_run("seize", run_id, parameters))
        return next(iter(read_entries(reply["entries"], lease=durations.lease, holder=holder)), None)
