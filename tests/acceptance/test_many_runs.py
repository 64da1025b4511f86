"""Many runs at once on real workers: started in batches, resumed, cancelled beside running ones, and deleted."""

from __future__ import annotations

import flows
from stage import eventually


def test_many_runs_are_started_executed_cancelled_and_deleted(stage):
    hephaestus = stage.hephaestus
    linear = hephaestus.start_many(flows.Linear, ((f"l{number}", {"value": number}) for number in range(120)))
    waiting = hephaestus.start_many(flows.Payment, ((f"a{number}", {}) for number in range(60)))
    queued = hephaestus.start_many(flows.Linear, ((f"q{number}", {"value": number}) for number in range(120)))
    # What no worker has taken is turned away when its message comes.
    assert (
        hephaestus.cancel_many(workflow=flows.Linear, started_after=waiting[-1].get().started_at, by="ada").done == 120
    )
    stage.start_workers(1, concurrency=2)
    eventually(
        lambda: hephaestus.count(status="completed") == 120, timeout=120, what="all that were not cancelled complete"
    )
    eventually(lambda: hephaestus.count(waiting_for="paid") == 60, what="the others wait")
    assert [handle.get().status for handle in linear] == ["completed"] * 120

    waiting[0].resume("paid", by="ada")
    assert waiting[0].wait(30).status == "completed"
    assert [entry.by for entry in waiting[0].history() if entry.kind == "resume"] == ["ada"]
    result = hephaestus.cancel_many(waiting_for="paid", reason="enough", by="bob")
    assert (result.done, result.refused) == (59, {})
    assert {handle.get().status for handle in waiting[1:]} == {"cancelled"}
    ids = {handle.run_id for handle in queued}
    assert [record for record in stage.executions() if record["run_id"] in ids] == []
    assert hephaestus.delete_many(status_in=["completed", "cancelled"]).done == 300
    assert hephaestus.count() == 0
