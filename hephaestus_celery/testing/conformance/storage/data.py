"""Tests of reading data: results of the steps completed by then reach the reader, whatever their size."""

from __future__ import annotations

import json

import pytest

from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.instances import Given, decode_context, decode_instance, decode_summary
from hephaestus_celery.storage.queries import DataKind, Query

SHAPES = {  # branches, bytes of each one's result
    "small": (3, 10),
    "much data": (3, 60_000),
    "many steps": (150, 10),
    "many steps, much data": (150, 6000),
}


def instance_of(run, stored):
    return decode_instance(stored, reader=run.storage)


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


@pytest.fixture
def fan(stand, shape):
    """A run that fans out, and the result of a branch; all branches but the last two have ended, the last but one gave nothing."""
    width, size = shape
    branches = [f"b{number}" for number in range(width)]
    edges = {("a", "ok"): [(branch, {"to": branch}) for branch in branches]}
    run = stand.start({**edges, **{(branch, "ok"): ["join"] for branch in branches}, ("join", "ok"): ["done"]})
    run.step("a", metadata='{"from":"a"}')
    for branch in branches[:-2]:
        run.step(branch, result=json.dumps({"name": branch, "text": "x" * size}), metadata=json.dumps({branch: size}))
    run.step(branches[-2])
    run.branches = branches
    return run


def gave(fan, shape):
    size = shape[1]
    first = {"a": {}, **{branch: {"name": branch, "text": "x" * size} for branch in fan.branches[:-2]}}
    return {**first, fan.branches[-2]: {}}


def test_a_claim_leads_to_all_that_had_completed_by_then(fan, shape):
    last = fan.branches[-1]
    instance = instance_of(fan, fan.claim(last, predecessors=["a"]).run)
    fan.complete(last, result='{"late":1}', metadata='{"late":1}')
    assert instance.context.steps == gave(fan, shape)
    assert list(instance.context.steps) == ["a", *fan.branches[:-1]]
    assert instance.runtime_metadata == {"from": "a", **dict.fromkeys(fan.branches[:-2], shape[1])}
    assert instance.step_states[last].status == "active"
    assert instance.configs == {branch: {"to": branch} for branch in fan.branches}


def test_a_claim_leads_to_one_result_at_a_time(fan, shape):
    last = fan.branches[-1]
    context = instance_of(fan, fan.claim(last, predecessors=["a"]).run).context
    fan.complete(last, result='{"late":1}')
    assert [context.result(step) for step in ("a", *fan.branches[:-1])] == list(gave(fan, shape).values())
    for step in (last, "join", "unheard"):
        with pytest.raises(KeyError, match=f"step '{step}' had not completed"):
            context.result(step)


def test_a_claim_of_a_join_leads_to_all_that_it_joins(fan, shape):
    last = fan.branches[-1]
    fan.step(last, result='{"last":1}')
    claim = fan.claim("join", predecessors=fan.branches)
    context = instance_of(fan, claim.run).context
    assert context.result(last) == {"last": 1}
    assert context.steps == {**gave(fan, shape), last: {"last": 1}}


def test_a_run_that_is_read_is_that_of_its_moment(fan, shape):
    last = fan.branches[-1]
    instance = instance_of(fan, fan.load())
    fan.step(last, result='{"late":1}')
    assert instance.context.steps == gave(fan, shape)
    assert instance.step_states[last].status == "active"
    assert instance_of(fan, fan.load()).context.steps == {**gave(fan, shape), last: {"late": 1}}


def test_a_listed_run_is_read_when_it_is_looked_at_and_kept(fan, shape, storage):
    [(run_id, summary)], _ = storage.list_runs(Query())
    listed = decode_summary(summary, run_id=run_id, reader=storage)
    steps = listed.context.steps
    assert (steps, listed.runtime_metadata["from"]) == (gave(fan, shape), "a")
    assert listed.context.steps is steps
    assert listed.step_states == instance_of(fan, fan.load()).step_states


def test_a_decision_that_came_too_late_is_made_again_on_all_that_is_known_by_then(fan, shape):
    last = fan.branches[-1]
    claim = fan.claim(last)
    conflict = fan.complete(last, expected=claim.run.applied - 1)
    given = Given(step=last, event="ok", result='{"mine":1}')
    context = decode_context(conflict.run, run_id=fan.id, reader=fan.storage, definition=None, given=given)
    assert context.steps == {**gave(fan, shape), last: {"mine": 1}}
    assert (context.result(last), context.result("a")) == ({"mine": 1}, {})


def test_a_cancelled_run_names_who_executes_it(fan):
    last = fan.branches[-1]
    fan.claim(last)
    cancelled = fan.cancel()
    assert list(cancelled.held) == [last]
    assert cancelled.run.status == "cancelled"


@pytest.mark.parametrize("size", [10, 200_000])
def test_an_initial_context_reaches_every_step_whatever_its_size(stand, size):
    initial = {"text": "x" * size}
    run = stand.start(initial=json.dumps(initial))
    first = instance_of(run, run.claim("a").run)
    run.complete("a")
    second = instance_of(run, run.claim("b").run)
    assert first.context.initial == second.context.initial == instance_of(run, run.load()).context.initial == initial


def test_of_a_run_that_is_gone_nothing_is_read(stand, storage):
    run_id = stand.prepare().id
    asked = [
        lambda: storage.read_initial(run_id),
        lambda: storage.read_states(run_id),
        lambda: storage.read_states(run_id, ["a"]),
        lambda: storage.read_data(run_id, DataKind.RESULT, ["a"]),
    ]
    for ask in asked:
        with pytest.raises(InstanceNotFoundError, match=f"no run {run_id}"):
            ask()


def test_data_that_steps_have_not_is_not_there(stand, storage):
    run = stand.start()
    run.step("a", result='{"n":1}')
    assert storage.read_data(run.id, DataKind.RESULT, ["a", "b", "unheard"]) == {"a": '{"n":1}'}
    assert storage.read_data(run.id, DataKind.METADATA, ["a"]) == {}
    assert list(storage.read_states(run.id, ["b", "unheard"])) == ["b"]


def test_an_event_finds_the_one_step_that_waits_for_it(fan):
    last = fan.branches[-1]
    assert fan.deliver("go").outcome == "not_waiting"
    fan.claim(last)
    assert (fan.deliver("go").outcome, list(fan.deliver("go").executing)) == ("not_waiting", [last])
    fan.suspend(last)
    assert fan.deliver("other").outcome == "not_waiting"
    assert fan.deliver("go", step="join").outcome == "not_waiting"
    report = fan.deliver("go", '{"late":1}')
    assert (report.outcome, list(report.steps)) == ("accepted", [last])
    assert fan.claim(last).data == '{"late":1}'


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_the_end_of_a_run_names_what_had_completed_and_leaves_nothing_due(fan, stand, end):
    last = fan.branches[-1]
    fan.claim(last)
    if end == "complete":
        fan.complete(last)
        ended = fan.step("join")
        assert list(ended.completed) == ["a", *fan.branches, "join", "done"]
    elif end == "fail":
        assert list(fan.fail(last).completed) == ["a", *fan.branches[:-1]]
    else:
        assert fan.cancel().run.status == "cancelled"
    while stand.tick().more:
        pass
    assert fan.due() == {}
    assert fan.load().active == 0
