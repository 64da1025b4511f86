"""A storage driven by hand: every operation of the port, with defaults for what a test leaves out."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.definition.graph import Graph
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.core.values.undo import Undo
from hephaestus_celery.storage.claims import Attempt, ClaimRequest
from hephaestus_celery.storage.commits import Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.due import Outstanding, Sent
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.pauses import PauseRequest
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.reruns import Rerun
from hephaestus_celery.storage.resume_and_cancel import CancelRequest, Delivery, RunAddress
from hephaestus_celery.storage.starts import FirstStep, NewRun
from hephaestus_celery.testing.conformance.driven_probe import Probe
from hephaestus_celery.testing.conformance.driven_reruns import Rerunnable
from hephaestus_celery.testing.conformance.driven_rounds import InRounds
from hephaestus_celery.testing.conformance.driven_values import DURATIONS, graph_of, header, held

_NUMBERS = itertools.count(1)


class DrivenStorage:
    """A storage, and the runs that a test starts in it; every call passes these durations."""

    def __init__(self, storage: Storage, *, probe: Probe | None = None, durations: Durations = DURATIONS) -> None:
        self.storage = storage
        self.durations = durations
        self._probe = probe

    def start(self, edges: Mapping[tuple[str, str], Any] | None = None, **fields: Any) -> DrivenRun:
        """Create a run of a graph, by default a -> b -> done; ``fields`` replace those of the ``NewRun``."""
        run = self.prepare(edges, **fields)
        run.dispatched = list(self.storage.create(run.new))
        return run

    def tick(self, *, owner: str = "owner", seize: bool = True) -> Any:
        """One look at what has come due."""
        return self.storage.tick(0, owner=owner, worker="w1", seize=seize, durations=self.durations)

    def entries(self, count: int = 1, *, seize: bool = True) -> list[Any]:
        """What comes due next, in the order in which it does."""
        found: list[Any] = []
        deadline = SYSTEM_CLOCK.monotonic_ns() + 20_000_000_000
        while len(found) < count:
            found.extend(self.tick(seize=seize).entries)
            assert SYSTEM_CLOCK.monotonic_ns() < deadline, f"{count} entries were to come due, and these did: {found}"
        return found

    def calm(self) -> None:
        """Tick past what is due within a millisecond, and check that the store handles all of it alone."""
        soon = self.storage.now() + 1000
        while self.storage.now() <= soon:
            pass
        assert list(self.tick().entries) == []

    def pause_workflow(
        self, family: str = "shop.Order", *, by: str | None = None, operation: str | None = None
    ) -> bool:
        operation = operation or f"pause{next(_NUMBERS)}"
        return self.storage.pause_workflow(family, operation=operation, by=by, durations=self.durations)

    def unpause_workflow(self, family: str = "shop.Order", *, operation: str | None = None) -> bool:
        operation = operation or f"unpause{next(_NUMBERS)}"
        return self.storage.unpause_workflow(family, operation=operation, durations=self.durations)

    def prepare(self, edges: Mapping[tuple[str, str], Any] | None = None, **fields: Any) -> DrivenRun:
        """A run that is not created yet."""
        edges = edges or {("a", "ok"): ["b"], ("b", "ok"): ["done"]}
        compensations = fields.pop("compensations", None)
        graph = graph_of(edges, joins=fields.pop("joins", None), compensations=compensations)
        instance_id = fields.get("instance_id", "order::a")
        run_id = new_run_id(
            milliseconds=SYSTEM_CLOCK.time_ns() // 1_000_000, instance_id=instance_id, random_bits=secrets.randbits(58)
        )
        values = {
            "operation": run_id,
            "run_id": run_id,
            "instance_id": instance_id,
            "name": "shop.Order",
            "family": fields.get("name", "shop.Order"),
            "version": 1,
            "scope": "workflow",
            "tags": (),
            "header": header(run_id, instance_id),
            "initial": '{"items":3}',
            "durations": self.durations,
            **({} if compensations is None else {"compensates": True}),
        }
        first = {"config": None, "max_attempts": 5, "prepared_message": None, "lane": None}
        first = {name: fields.pop(name, value) for name, value in first.items()}
        firsts = [FirstStep(step=initial.step.key, **first) for initial in graph.initials]
        new = NewRun(**{**values, "firsts": firsts, **fields})
        return DrivenRun(self.storage, graph, new, probe=self._probe)


FAILURE = '{"kind":"error","type":"ValueError","message":"no"}'


class DrivenRun(Rerunnable, InRounds):
    """One run; fences and operations are made up where a test gives none."""

    def __init__(self, storage: Storage, graph: Graph, new: NewRun, *, probe: Probe | None = None) -> None:
        self.storage, self.graph, self.new, self.id = storage, graph, new, new.run_id
        self.durations = new.durations
        self._probe = probe
        self.lane = new.firsts[0].lane if new.firsts else None
        self.fences: dict[str, str] = {}
        self.dispatched: list[Any] = []

    def claim(
        self,
        step: str,
        attempt: int = 1,
        *,
        fence: str | None = None,
        versions: Sequence[int] = (1,),
        predecessors: Sequence[str] = (),
        limit: int | None = None,
        holder: str | None = None,
        lane: str | None = None,
        token: int | None = None,
        workflow: str | None = None,
        round: int = 1,
    ) -> Any:
        fence = fence or f"fence{next(_NUMBERS)}"
        claim = self.storage.claim(
            ClaimRequest(
                run_id=self.id,
                workflow=workflow or self.new.name,
                activation=Activation.parse(step),
                attempt=attempt,
                fence=fence,
                versions=versions,
                durations=self.durations,
                predecessors=predecessors,
                limit=limit,
                holder=holder,
                lane=lane,
                token=token,
                round=round,
            )
        )
        if not hasattr(claim, "reason"):
            self.fences[step] = fence
        return claim

    def completion(self, step: str, event: str = "ok", *, rank: int = 0, **fields: Any) -> Complete:
        targets = self.graph.table.get((self.graph.by_key[step], event), ()) if step != "done" else ()
        settlement = plan(self.graph, self.graph.by_key[step], targets)
        configs = {target.step.key: json.dumps(target.config) for target in targets if target.config is not None}
        values = {
            **self._common(step, "c"),
            "event": event,
            "result": None,
            "metadata": None,
            "settlement": settlement,
            "attempts": dict.fromkeys(settlement.rows, 5),
            "configs": configs,
            "rank": rank,
            "done_entry": '{"kind":"attempt","step":"done"}',
            "lanes": dict.fromkeys(settlement.rows, self.lane) if self.lane else {},
            "stuck": '{"kind":"error","type":"Error","message":"stuck"}',
            **self._undo(step),
        }
        return Complete(**{**values, **fields})

    def _undo(self, step: str) -> dict[str, Undo]:
        compensation = self.graph.compensations.get(self.graph.by_key[step])
        if compensation is None:
            return {}
        return {"undo": Undo(step=step, compensation=compensation.key, max_attempts=5, lane=self.lane)}

    def complete(self, step: str, event: str = "ok", **fields: Any) -> Any:
        return self.storage.commit(self.completion(step, event, **fields))

    def suspend(
        self, step: str, *, accepts: Mapping[str, str] | None = None, timeout: int | None = None, **fields: Any
    ) -> Any:
        accepts = {"go": "ok"} if accepts is None else accepts
        return self.storage.commit(Suspend(**self._common(step, "c"), accepts=accepts, timeout=timeout, **fields))

    def discard(self, step: str, *, accepts: Mapping[str, str] | None = None) -> Any:
        """Drop the event that was claimed."""
        return self.suspend(step, accepts=accepts, discards=True)

    def fail(self, step: str, **fields: Any) -> Any:
        return self.storage.commit(Fail(**{**self._common(step, "f"), "failure": FAILURE, **fields}))

    def retry(self, step: str, *, delay: int = 0, **fields: Any) -> Any:
        return self.storage.commit(Retry(**{**self._common(step, "f"), "delay": delay, **fields}))

    def held(self, step: str, *, fence: str | None = None, lease: int | None = None) -> Attempt:
        """The attempt that was claimed or seized last, with the fields that a renewal needs."""
        fence = fence or self.fences.get(step, "no fence")
        return held(self.id, step, fence=fence, lease=lease or self.durations.lease)

    def renew(self, step: str, *, fence: str | None = None, lease: int | None = None) -> bool:
        [held] = self.storage.renew([self.held(step, fence=fence, lease=lease)])
        return held

    def seize(
        self, step: str, attempt: int = 1, *, holder: str, fence: str | None = None, timed_out: bool = False
    ) -> Any:
        fence = fence or f"fence{next(_NUMBERS)}"
        lost = self.storage.seize(
            self.id,
            Activation.parse(step),
            attempt=attempt,
            holder=holder,
            fence=fence,
            reason="lost",
            worker="w1",
            durations=self.durations,
            timed_out=timed_out,
        )
        if lost is not None:
            self.fences[step] = fence
        return lost

    def resend(
        self, step: str, attempt: int = 1, token: int = 1, *, lane: str | None = None, operation: str | None = None
    ) -> Any:
        """Say that a message is lost."""
        dispatch = DispatchStep(Activation.parse(step), attempt, token)
        lost = Outstanding(run_id=self.id, name=self.new.name, version=self.new.version, dispatch=dispatch, passed=True)
        operation = operation or f"resend{next(_NUMBERS)}"
        return self.storage.resend(
            0, {lost: lane}, lane=self.lane or "", operation=operation, worker="w1", durations=self.durations
        )

    def redirect(self, step: str, attempt: int = 1, token: int = 1, *, lane: str) -> None:
        """Say that a message went to this lane."""
        sent = Sent(run_id=self.id, dispatch=DispatchStep(Activation.parse(step), attempt, token), lane=lane)
        self.storage.redirect([sent], durations=self.durations)

    def schedule(self, step: str, *, reference: str = "ref", delay: int = 0) -> bool:
        return self.storage.schedule(self.id, Activation.parse(step), reference=reference, delay=delay)

    def unschedule(self, step: str, *, reference: str = "ref", operation: str | None = None) -> bool:
        operation = operation or f"{self.id}-untimer{next(_NUMBERS)}"
        return self.storage.unschedule(self.id, Activation.parse(step), reference=reference, operation=operation)

    def deliver(
        self,
        name: str = "go",
        data: str = '{"x":1}',
        *,
        step: str | None = None,
        keep: bool = False,
        key: str | None = None,
        by: str | None = None,
    ) -> Any:
        operation = f"{self.id}-delivery{next(_NUMBERS)}"
        return self.storage.deliver(
            Delivery(
                operation=operation,
                run=RunReference(id=self.id),
                name=name,
                data=data,
                step=step,
                keep=keep,
                durations=self.durations,
                key=key,
                by=by,
            )
        )

    def cancel(self, reason: str | None = None, *, compensate: bool = False, operation: str | None = None) -> Any:
        request = CancelRequest(
            run_id=self.id,
            operation=operation or f"cancel{next(_NUMBERS)}",
            reason=reason,
            entry='{"kind":"cancel"}',
            durations=self.durations,
            compensate=compensate,
        )
        return self.storage.cancel(request)

    def made(self, rerun: Rerun) -> DrivenRun:
        """The new run that comes of it."""
        run = self.of(rerun)
        run.dispatched = list(self.storage.rerun(rerun))
        return run

    def of(self, rerun: Rerun) -> DrivenRun:
        """The run that comes of it, or has come of it."""
        return DrivenRun(self.storage, self.graph, rerun.run, probe=self._probe)

    def retried(self, **fields: Any) -> DrivenRun:
        """The run that a retry of this one makes."""
        return self.made(self.rerun(**fields))

    def forked(self, *again: str, **fields: Any) -> DrivenRun:
        """The run that a fork of this one makes, in which these steps run again."""
        return self.made(self.rerun(again=again, retry=False, **fields))

    def pause(self, *, by: str | None = None, operation: str | None = None) -> Any:
        return self.storage.pause(self._pausing("pause", operation, by))

    def unpause(self, *, by: str | None = None, operation: str | None = None) -> Any:
        return self.storage.unpause(self._pausing("unpause", operation, by))

    def delete(self, *, operation: str | None = None) -> Any:
        [found] = self.storage.delete_many([self.id], operation=operation or f"delete{next(_NUMBERS)}")
        return found

    def step(self, step: str, event: str = "ok", **fields: Any) -> Any:
        """Claim a step and complete it."""
        self.claim(step)
        return self.complete(step, event, **fields)

    def wait_at(self, step: str, **fields: Any) -> Any:
        """Claim a step and suspend it."""
        self.claim(step)
        return self.suspend(step, **fields)

    def load(self) -> Any:
        return self.storage.load(self.id)

    def history(self, *, after: int = 0, limit: int | None = None) -> Any:
        return self.storage.history(self.id, after=after, limit=limit)

    def twin(self, storage: Storage) -> DrivenRun:
        """The same run, which is to be created in another storage."""
        return DrivenRun(storage, self.graph, self.new, probe=self._probe)

    def due(self) -> dict[str, int]:
        """What the due set holds for the steps of this run."""
        return self.probe.due(self.storage, self.id)

    def lanes(self) -> dict[str, str]:
        """The lane of each step of this run that waits in one."""
        return self.probe.lanes(self.storage, self.id)

    def schema(self) -> int:
        """The schema number of this run."""
        return self.probe.schema(self.storage, self.id)

    @property
    def probe(self) -> Probe:
        """The probe, which sees more than the port shows; without one, the test is skipped."""
        if self._probe is None:
            pytest.skip("this test looks past the port: give a fixture probe, see Probe")
        return self._probe

    def _pausing(self, kind: str, operation: str | None, by: str | None) -> PauseRequest:
        return PauseRequest(
            run_id=self.id,
            operation=operation or f"{kind}{next(_NUMBERS)}",
            entry=json.dumps({"kind": kind}),
            durations=self.durations,
            by=by,
        )

    def _common(self, step: str, suffix: str) -> dict[str, Any]:
        fence = self.fences.get(step, "no fence")
        entry = json.dumps({"kind": "attempt", "step": step})
        return {
            "operation": fence + suffix,
            "run_id": self.id,
            "activation": Activation.parse(step),
            "fence": fence,
            "entry": entry,
            "durations": self.durations,
        }


def address(receiver):
    """What messages about a run need."""
    return RunAddress(run_id=receiver.id, name=receiver.new.name, version=receiver.new.version)
