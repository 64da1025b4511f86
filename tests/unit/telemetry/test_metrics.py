from __future__ import annotations

import pytest

from hephaestus_celery import telemetry
from hephaestus_celery.telemetry.catalogue.entries import CATALOGUE
from hephaestus_celery.telemetry.metrics import metrics

TABLE = {
    "hephaestus.workflow.start.count": ("counter", ("workflow",)),
    "hephaestus.workflow.stop.count": ("counter", ("workflow",)),
    "hephaestus.workflow.exception.count": ("counter", ("workflow", "failed_step")),
    "hephaestus.workflow.stop.duration": ("distribution", ("workflow",)),
    "hephaestus.step.exception.count": ("counter", ("workflow", "step", "kind")),
    "hephaestus.step.async.count": ("counter", ("workflow", "step")),
    "hephaestus.step.stop.duration": ("distribution", ("workflow", "step")),
    "hephaestus.step.resume.wait_duration": ("distribution", ("workflow", "step", "source")),
    "hephaestus.engine.advance.active_steps_count": ("last_value", ("workflow",)),
}


def metric(name):
    return next(definition for definition in metrics() if definition.name == name)


def test_there_are_these_nine_metrics():
    assert {definition.name: (definition.kind, definition.tags) for definition in metrics()} == TABLE


@pytest.mark.parametrize(("scope", "count"), [("workflow", 4), ("step", 4), ("engine", 1)])
def test_a_scope_gives_its_own_metrics(scope, count):
    assert [definition.event[1] for definition in metrics(scope)] == [scope] * count


@pytest.mark.parametrize("scope", ["runner", "", "Workflow"])
def test_an_unknown_scope_is_refused_with_the_known_ones(scope):
    with pytest.raises(ValueError, match="known are workflow, step, engine"):
        metrics(scope)


def test_the_list_of_metrics_is_the_callers_own():
    metrics("engine").clear()
    assert len(metrics("engine")) == 1


@pytest.mark.parametrize("definition", metrics(), ids=lambda definition: definition.name)
def test_a_metric_listens_to_an_event_of_the_catalogue(definition):
    assert definition.event in telemetry.events()


@pytest.mark.parametrize("definition", metrics(), ids=lambda definition: definition.name)
def test_a_metric_reads_what_its_event_has(definition):
    entry = next(entry for entry in CATALOGUE if entry.name == definition.event)
    measured = {field.name for field in entry.measurements} | {"count"}
    known = {field.name for field in entry.metadata}
    assert definition.measurement in measured
    assert set(definition.tags) <= known


@pytest.mark.parametrize("definition", metrics(), ids=lambda definition: definition.name)
def test_times_are_in_nanoseconds_and_all_else_is_plain(definition):
    assert definition.unit == ("ns" if definition.kind == "distribution" else "1")


def test_a_counter_counts_every_event():
    assert metric("hephaestus.workflow.stop.count").observe({"duration": None}, {"workflow": "w"}) == (
        1,
        {"workflow": "w"},
    )


def test_a_distribution_gives_its_measurement(order_flow, charge):
    observed = metric("hephaestus.step.stop.duration").observe(
        {"duration": 5}, {"workflow": order_flow, "step": charge}
    )
    assert observed == (5, {"workflow": "shop.telemetry.OrderFlow", "step": "charge"})


@pytest.mark.parametrize("measurements", [{"duration": None}, {}])
def test_a_distribution_skips_what_is_unknown(order_flow, measurements):
    assert metric("hephaestus.workflow.stop.duration").observe(measurements, {"workflow": order_flow}) is None


def test_a_duration_of_nothing_is_a_duration(order_flow):
    observed = metric("hephaestus.workflow.stop.duration").observe({"duration": 0}, {"workflow": order_flow})
    assert observed == (0, {"workflow": "shop.telemetry.OrderFlow"})


def test_a_last_value_gives_its_measurement(order_flow):
    observed = metric("hephaestus.engine.advance.active_steps_count").observe(
        {"duration": 1, "active_steps_count": 4}, {"workflow": order_flow}
    )
    assert observed == (4, {"workflow": "shop.telemetry.OrderFlow"})


def test_a_tag_without_a_value_is_unknown(order_flow):
    _, tags = metric("hephaestus.workflow.exception.count").observe({}, {"workflow": order_flow, "failed_step": None})
    assert tags["failed_step"] == "unknown"


def test_a_step_is_tagged_with_its_key(order_flow, charge):
    _, tags = metric("hephaestus.workflow.exception.count").observe({}, {"workflow": order_flow, "failed_step": charge})
    assert tags["failed_step"] == "charge"


def test_a_class_that_is_neither_step_nor_workflow_is_tagged_with_its_full_name():
    _, tags = metric("hephaestus.workflow.start.count").observe({}, {"workflow": dict})
    assert tags["workflow"] == "builtins.dict"
