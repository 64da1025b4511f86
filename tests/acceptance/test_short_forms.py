"""Short forms on real workers: answers in short, steps that are functions, steps that are tasks of the application."""

from __future__ import annotations

import re

import pytest
import recorder
import short_forms


@pytest.fixture
def stage(make_stage):
    return make_stage(application="short_forms_app")


@pytest.fixture(params=["prefork", "threads"])
def worked(request, stage):
    stage.start_workers(1, pool=request.param)
    return stage


def test_the_example_of_the_contract_ships_an_order(worked):
    handle = worked.hephaestus.start_instance(short_forms.OrderFlow, {"items": 3}, id="A-1001")
    instance = handle.wait(30)
    assert (instance.status, instance.context.steps) == (
        "completed",
        {"validate": {"weight": 9}, "charge": {}, "reserve": {"shelf": 7}, "ship": {"from": 7}, "done": {}},
    )


def test_functions_wait_and_are_tried_again(worked):
    handle = worked.hephaestus.start_instance(short_forms.Functions, {}, id="1")
    handle.resume("told", {"by": "Bob"}, keep_early=True)
    instance = handle.wait(30)
    assert instance.context.steps == {"ask": {"by": "Bob"}, "flaky": {"told": "Bob"}, "done": {}}
    assert [note["config"] for note in recorder.read(worked.folder, "asked")] == [{"who": "Ann"}]
    assert [entry.reason for entry in handle.history() if entry.outcome == "retrying"] == ["KeyError: 'total'"]


def test_tasks_are_called_in_the_process_of_their_step_and_send_nothing(worked):
    handle = worked.hephaestus.start_instance(short_forms.Tasks, {"url": "/home"}, id="1")
    instance = handle.wait(30)
    assert instance.context.steps == {"fetch": {"page": "/home", "by": True}, "index": {"value": 5}, "done": {}}
    calls = recorder.read(worked.folder, "fetch")
    assert [call["retries"] for call in calls] == [0, 1, 2]
    assert {(call["id"], call["app"], call["task"], call["session"]) for call in calls} == {
        (f"{handle.run_id}:fetch", "acceptance", "short_forms.fetch", "open")
    }
    assert recorder.read(worked.folder, "hook") == []
    assert [(entry.step, entry.attempt, entry.outcome) for entry in handle.history()] == [
        ("fetch", 1, "retrying"),
        ("fetch", 2, "retrying"),
        ("fetch", 3, "completed"),
        ("index", 1, "retrying"),
        ("index", 2, "completed"),
        ("done", 1, "completed"),
    ]
    assert [entry.reason for entry in handle.history() if entry.outcome == "retrying"] == [
        "the task short_forms.fetch asked for a retry after RefusedError: busy",
        "short_forms.RefusedError: still busy",
        "short_forms.RefusedError: busy",
    ]
    received = re.findall(r"Task (\S+)\[\S+\] received", worked.logs())
    assert set(received) == {
        "short_forms.Tasks.fetch",
        "short_forms.Tasks.index",
    }  # the tasks themselves were not published


def test_what_asks_celery_to_drop_the_message_fails_the_run(worked):
    handle = worked.hephaestus.start_instance(short_forms.Dropping, {}, id="1")
    failure = handle.wait(30).failure
    assert (failure.type, failure.message) == (
        "hephaestus_celery.exceptions.NonRetryableError",
        "the task short_forms.drop raised Ignore (seen before), which fails its step",
    )
    assert [entry.attempt for entry in handle.history()] == [1]
