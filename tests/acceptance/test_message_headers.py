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


def test_every_attempt_is_its_starters(stage):
    """Beside one another and a retry; after a join, a timer and an event; after a lost message and a worker's death."""

    def start(name):
        tenants.tenant.set(name)
        return stage.hephaestus.start_instance(tenants.Visits, id=name)

    with ThreadPoolExecutor(3) as pool:
        handles = list(pool.map(lambda name: contextvars.copy_context().run(start, name), TENANTS))
    stage.drop_messages(at_least=len(TENANTS))
    stage.start_workers(1)
    for handle in handles:
        eventually(lambda handle=handle: tenants.Asked in handle.get().waiting_steps, what="the step waits")
        handle.resume("done")  # by whom is not known here: the run is its starter's
    assert [stage.outcome(handle).status for handle in handles] == ["completed"] * len(TENANTS)
    for handle, name in zip(handles, TENANTS, strict=True):
        seen = [note for note in recorder.read(stage.folder, "seen") if note["run_id"] == handle.run_id]
        assert {(note["step"], note["attempt"]) for note in seen} == tenants.ATTEMPTS
        carried = [{header: note["headers"].get(header) for header in tenants.NAMES} for note in seen]
        assert carried == [dict.fromkeys(tenants.NAMES, name)] * len(tenants.ATTEMPTS)
        # What only a worker adds stays, and no run is given it.
        assert {note["headers"].get("sent_by") for note in seen} == {"a worker"}
        assert "sent_by" not in handle.get().message_headers
