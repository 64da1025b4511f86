"""A join of more than a client could be sent in one reply, and contexts that go elsewhere, on real workers."""

from __future__ import annotations

import pickle

import flows
import pytest
import recorder
from stage import eventually

from hephaestus_celery import InstanceNotFoundError


@pytest.mark.only_on("redis", "what is read is in the store, whatever the broker")
def test_a_join_of_many_megabytes_reads_what_it_looks_at(stage):
    stage.start_workers(2)
    handle = stage.hephaestus.start_instance(flows.Heavy, {"size": 200_000}, id="h1")
    instance = stage.outcome(handle)
    assert instance.status == "completed", instance.failure
    assert instance.context.result("gather") == {"one": 200_000, "all": 30 * 200_000}
    [counted] = eventually(lambda: recorder.read(stage.folder, "counted"), what="the task was given the context")
    assert counted["initial"] == instance.context.initial == {"size": 200_000}
    # A client of another process goes on with both.
    code = (
        "import pathlib, pickle, sys, worker_app\n"
        "instance, handle = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(instance == handle.get(), len(instance.context.steps), handle.get().workflow.__name__)"
    )
    pickled = stage.folder / "pickled"
    pickled.write_bytes(pickle.dumps((instance, handle)))
    printed, errors = stage.script(code, str(pickled)).communicate(timeout=60)
    assert printed.split() == ["True", "33", "Heavy"], errors
    [listed] = stage.hephaestus.list(id=handle.id)
    assert listed.context.result("load_7") == instance.context.steps["load_7"]
    assert listed.runtime_metadata == {}


@pytest.mark.only_on("redis", "what is read is in the store, whatever the broker")
def test_a_listed_run_that_is_gone_says_so_when_it_is_looked_at(stage):
    handle = stage.hephaestus.start_instance(flows.Chain, {"value": 1}, id="gone")
    [listed] = stage.hephaestus.list(id=handle.id)
    storage = stage.hephaestus.storage
    storage._client.delete(storage.keys.of_run(handle.run_id).run)
    assert (listed.status, listed.tags) == ("pending", ())
    with pytest.raises(InstanceNotFoundError, match=f"no run {handle.run_id} of {handle.id} any more"):
        _ = listed.context
