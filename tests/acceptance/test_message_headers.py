"""Every message of a run carries what the application added to that of its start, whichever process sends it and why."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
import recorder
import tenants
from stage import eventually

TENANTS = ("acme", "globex", "initech")


@pytest.fixture
def stage(make_stage):
    """An application that adds the tenant to its messages in every way there is, in this process and in its workers."""
    stage = make_stage(application="tenants_app", make=tenants.Everything, dispatch_timeout=2)
    stage.app.conf.task_routes = [tenants.route]
    with tenants.everything():
        yield stage


def started(stage, flow, name):
    """A run that this tenant has started; what this thread sends otherwise is nobody's."""

    def start():
        tenants.tenant.set(name)
        return stage.hephaestus.start_instance(flow, id=name)

    return contextvars.copy_context().run(start)


def carried(notes):
    return [{header: note["headers"].get(header) for header in tenants.NAMES} for note in notes]


def test_every_attempt_is_its_starters(stage):
    """Beside one another and a retry; after a join, a timer and an event; after a lost message and a worker's death."""

    with ThreadPoolExecutor(3) as pool:
        handles = list(pool.map(lambda name: started(stage, tenants.Visits, name), TENANTS))
    stage.drop_messages(at_least=len(TENANTS))
    stage.start_workers(1)
    for handle in handles:
        eventually(lambda handle=handle: tenants.Asked in handle.get().waiting_steps, what="the step waits")
        handle.resume("done")  # by whom is not known here: the run is its starter's
    assert [stage.outcome(handle).status for handle in handles] == ["completed"] * len(TENANTS)
    for handle, name in zip(handles, TENANTS, strict=True):
        seen = [note for note in recorder.read(stage.folder, "seen") if note["run_id"] == handle.run_id]
        assert {(note["step"], note["attempt"]) for note in seen} == tenants.ATTEMPTS
        assert carried(seen) == [dict.fromkeys(tenants.NAMES, name)] * len(tenants.ATTEMPTS)
        # What only a worker adds stays, and no run is given it.
        assert {note["headers"].get("sent_by") for note in seen} == {"a worker"}
        assert "sent_by" not in handle.get().message_headers


def test_every_round_and_every_compensation_is_its_starters(stage):
    """At once and after a time, after a failed attempt and a killed process."""
    handle = started(stage, tenants.Returned, "acme")
    stage.start_workers(1)
    assert stage.outcome(handle).compensated == (tenants.Thrice, tenants.Who)
    seen = recorder.read(stage.folder, "seen")
    assert {(note["step"], note["round"], note["attempt"]) for note in seen} == tenants.RETURNED
    assert carried(seen) == [dict.fromkeys(tenants.NAMES, "acme")] * len(tenants.RETURNED)


@pytest.mark.parametrize("flow", [tenants.BillAfterStep, tenants.BillAfterTimer])
def test_the_result_of_a_run_is_computed_for_its_starter(stage, flow):
    handle = started(stage, flow, "acme")
    stage.start_workers(1)
    assert stage.outcome(handle).status == "completed"
    assert carried(recorder.read(stage.folder, "billed")) == [dict.fromkeys(tenants.NAMES, "acme")]
