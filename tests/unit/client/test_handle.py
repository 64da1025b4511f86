"""Handles and instances on their way to another process."""

from __future__ import annotations

import copy
import json
import pickle
import secrets

import pytest

from hephaestus_celery import ConfigurationError, Done, Hephaestus, Ok, Status, Step, Unique, Workflow
from hephaestus_celery.client.runtimes import RUNTIMES


class Spoil(Step):
    """Does to its context, config and instance whatever can be done."""

    events = ("ok",)

    def execute(self, instance, config, context):
        context.initial["items"].append("spoilt")
        context.steps.clear()
        instance.telemetry_metadata["tenant"] = "spoilt"
        config["times"] = 99
        return Ok("ok", {"seen": instance.context.initial})


class Look(Step):
    events = ("ok",)

    def execute(self, instance, config, context):
        return Ok(
            "ok", {"initial": context.initial, "steps": sorted(context.steps), "of": context.result(Spoil)["seen"]}
        )


class Spoiling(Workflow):
    unique = Unique("spoiling")
    initial_step = (Spoil, {"times": 1})
    transitions = {(Spoil, "ok"): Look, (Look, "ok"): Done}


@pytest.fixture
def hephaestus():
    with Hephaestus(name=f"mine-{secrets.token_hex(4)}") as hephaestus:
        yield hephaestus


@pytest.fixture
def finished(hephaestus):
    handle = Spoiling.start("a1", {"items": [1]}, telemetry_metadata={"tenant": "acme"})
    handle.wait(10)
    return handle


def test_what_a_step_does_to_what_it_is_given_changes_no_run(finished):
    instance = finished.get()
    assert instance.context.steps["look"] == {
        "initial": {"items": [1]},
        "steps": ["spoil"],
        "of": {"items": [1, "spoilt"]},
    }
    assert (instance.context.initial, instance.telemetry_metadata) == ({"items": [1]}, {"tenant": "acme"})
    assert instance.step_configs == {Spoil: {"times": 1}}


def test_an_instance_and_all_that_it_knows_are_plain(finished):
    instance = finished.get()
    again = pickle.loads(pickle.dumps(instance))
    assert (again, again.workflow) == (instance, Spoiling)
    assert copy.deepcopy(instance) == instance
    assert json.loads(json.dumps([instance.context.initial, instance.context.steps, instance.telemetry_metadata]))


def test_a_listed_instance_is_as_plain(finished, hephaestus):
    [listed] = hephaestus.list()
    assert pickle.loads(pickle.dumps(listed)) == finished.get()


def test_a_pickled_handle_belongs_to_the_one_runtime_of_its_process(finished, hephaestus):
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(finished))))
    assert (again, again.hephaestus) == (finished, hephaestus)
    assert again.get() == finished.get()
    assert copy.deepcopy(finished).hephaestus is hephaestus


def test_of_several_runtimes_a_pickled_handle_belongs_to_the_one_of_its_name(finished, monkeypatch):
    monkeypatch.setattr("hephaestus_celery.client.runtimes.RUNTIMES.entered", lambda: None)
    other = Hephaestus(name="other")
    try:
        assert pickle.loads(pickle.dumps(finished)).get() == finished.get()
    finally:
        other.close()


def test_a_pickled_handle_says_what_it_does_not_find(finished, hephaestus):
    text = pickle.dumps(finished)
    for left_open in RUNTIMES.all():  # by whatever other tests
        RUNTIMES.discard(left_open)
    hephaestus.close()
    handle = pickle.loads(text)
    with pytest.raises(ConfigurationError, match="the handle of spoiling::a1 finds no Hephaestus in this process"):
        handle.get()
    one, two = Hephaestus(name="one"), Hephaestus(name="two")
    try:
        with pytest.raises(ConfigurationError, match=r"of another process; this one has several \(one, two\)"):
            handle.get()
    finally:
        one.close()
        two.close()


def test_a_handle_reads_the_status_of_its_run(finished):
    assert finished.status is Status.COMPLETED


def test_what_a_handle_does_not_have_is_reported_with_where_it_is(finished):
    with pytest.raises(
        AttributeError, match=r"^a handle has no 'failure'; its run has, as it stands: handle.get\(\).failure$"
    ):
        finished.failure  # noqa: B018 - asking is what fails
    with pytest.raises(AttributeError, match=r"^a handle has no 'state'$"):
        finished.state  # noqa: B018
    with pytest.raises(AttributeError, match=r"^an Instance has no 'state'$"):
        finished.get().state  # noqa: B018
