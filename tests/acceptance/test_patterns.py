"""What the pages of patterns advise, on real workers, whose processes die on the way."""

from __future__ import annotations

from collections import Counter

import pattern_flows
import pytest
from stage import eventually

pytestmark = pytest.mark.only_on("redis", why="the pages speak of no broker")


@pytest.fixture
def stage(make_stage):
    """A stage that runs the workflows of the pages."""
    return make_stage(application="pattern_app")


def executed(stage):
    return Counter(record["step"] for record in stage.executions())


@pytest.mark.parametrize("deaths", [0, 2], ids=["quietly", "dying"])
def test_a_race_in_a_run_of_its_own_lets_the_other_run_go_on_once_and_withdraws_the_losers(stage, deaths):
    stage.start_workers(1, concurrency=3)
    handle = stage.hephaestus.start_instance(pattern_flows.Trip, {"trip": "t1", "deaths": deaths}, id="t1")
    instance = stage.outcome(handle)
    assert (instance.status, instance.context.result(pattern_flows.book)) == ("completed", {"booked": 7})
    [race] = stage.hephaestus.list(workflow=pattern_flows.SearchRace).instances
    assert stage.hephaestus.wait(race.run_id, 30).status == "completed"
    eventually(lambda: stage.notes("withdrawn"), what="the loser has learned it")
    ran = executed(stage)
    assert (ran["book"], ran["tell"], ran["quick_search"]) == (1, deaths + 1, 1)


@pytest.mark.parametrize("way", ["raise", "die"])
def test_a_cleanup_runs_once_after_all_steps_whatever_became_of_them_and_the_run_fails_then(stage, way):
    stage.start_workers(1)
    handle = stage.hephaestus.start_instance(pattern_flows.Training, {"way": way}, id="t1")
    instance = stage.outcome(handle)
    assert (instance.status, instance.failed_step) == ("failed", pattern_flows.verdict)
    expected = {"raise": "ValueError: no such data", "die": "hephaestus_celery.exceptions.AttemptLostError: "}[way]
    assert instance.failure.message.startswith(expected)
    assert executed(stage) == {"train": 2, "measure": 1, "release": 1}
    order = [entry.step for entry in handle.history() if entry.kind == "attempt" and entry.outcome != "retrying"]
    assert order[-2:] == ["release", "verdict"]
