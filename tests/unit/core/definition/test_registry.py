"""The workflows and runtimes that a process knows."""

from __future__ import annotations

import pytest
from defining import A, B, a_step, define, sound

from hephaestus_celery import DefinitionError, Done
from hephaestus_celery.core.definition.registry import WORKFLOWS, WorkflowRegistry


@pytest.fixture
def registry():
    return WorkflowRegistry()


@pytest.fixture
def flow():
    return define(**sound(name="shop.orders", version=2))


def test_a_workflow_is_registered_when_it_is_defined(flow):
    assert WORKFLOWS.find("shop.orders", 2) is flow


def test_a_workflow_that_is_refused_is_not_registered():
    with pytest.raises(DefinitionError):
        define(**sound(name="shop.refused", tags=5))
    assert WORKFLOWS.find("shop.refused", 1) is None


def test_a_workflow_is_found_by_name_and_version(registry, flow):
    registry.add(flow)
    assert registry.find("shop.orders", 2) is flow


def test_another_version_is_not_found(registry, flow):
    registry.add(flow)
    assert registry.find("shop.orders", 1) is None


def test_the_versions_of_a_name_are_sorted(registry, flow):
    registry.add(flow)
    registry.add(define(**sound(name="shop.orders", version=1)))
    registry.add(define(**sound(name="shop.bills", version=7)))
    assert registry.versions("shop.orders") == (1, 2)


def test_all_lists_every_workflow(registry, flow):
    registry.add(flow)
    assert registry.all() == (flow,)


def test_defining_a_workflow_anew_replaces_it(registry, flow):
    registry.add(flow)
    again = define(**sound(name="shop.orders", version=2))
    registry.add(again)
    assert registry.find("shop.orders", 2) is again


def test_a_name_held_by_a_class_from_elsewhere_is_refused(registry, flow):
    registry.add(flow)
    flow.__qualname__ = "Elsewhere"
    with pytest.raises(DefinitionError, match=r"Elsewhere has the name 'shop.orders' in version 2 already"):
        registry.add(define(**sound(name="shop.orders", version=2)))
    flow.__qualname__ = "Flow"


@pytest.mark.parametrize("longer_first", [True, False])
def test_two_steps_whose_tasks_would_have_one_name_are_refused(registry, longer_first):
    dotted, plain = a_step("Dotted", "ok", key="eu.pay"), a_step("Plain", "ok", key="pay")
    shorter = define(**sound(name="one.shop", initial_step=dotted, transitions={(dotted, "ok"): Done}))
    # Not beside the other: it would be refused by the registry of the process.
    longer = define(**sound(name="two.shop.eu", initial_step=plain, transitions={(plain, "ok"): Done}))
    shorter.name, longer.name = "shop", "shop.eu"
    first, second = (longer, shorter) if longer_first else (shorter, longer)
    registry.add(first)
    with pytest.raises(DefinitionError, match=r"would be named shop\.eu\.pay, as that of a step of defining\.Flow is"):
        registry.add(second)
    assert registry.all() == (first,)


def test_names_that_begin_alike_are_no_matter(registry):
    for name in ("shop", "shop.eu", "shop.euro", "shops"):
        registry.add(define(**sound(name=name)))
    assert len(registry.all()) == 4


def test_a_class_of_a_function_makes_way_for_one_from_elsewhere(registry, flow):
    flow.__qualname__ = "test_rename.<locals>.OldName"
    registry.add(flow)
    renamed = define(**sound(name="shop.orders", version=2))
    registry.add(renamed)
    assert registry.find("shop.orders", 2) is renamed


def test_a_discarded_workflow_is_forgotten(registry, flow):
    registry.add(flow)
    registry.discard(flow)
    assert registry.find("shop.orders", 2) is None


def test_discarding_a_workflow_that_was_replaced_keeps_its_successor(registry, flow):
    registry.add(flow)
    again = define(**sound(name="shop.orders", version=2))
    registry.add(again)
    registry.discard(flow)
    assert registry.find("shop.orders", 2) is again


def test_a_listener_hears_of_workflows_already_there(registry, flow):
    heard = []
    registry.add(flow)
    registry.subscribe(heard.append)
    assert heard == [flow]


def test_a_listener_hears_of_later_workflows(registry, flow):
    heard = []
    registry.subscribe(heard.append)
    registry.add(flow)
    assert heard == [flow]


def test_a_listener_that_left_hears_no_more(registry, flow):
    heard = []
    registry.subscribe(heard.append)()
    registry.add(flow)
    assert heard == []


def test_leaving_twice_is_leaving_once(registry, flow):
    heard = []
    leave = registry.subscribe(heard.append)
    registry.subscribe(heard.append)
    leave()
    leave()
    leave()
    registry.add(flow)
    assert heard == []


def test_steps_of_two_workflows_may_have_one_key():
    one = define(**sound(name="shop.one"))
    twin = B.named("a")
    other = define(initial_step=twin, transitions={(twin, "ok"): Done}, name="shop.two")
    assert (one.graph.by_key["a"], other.graph.by_key["a"]) == (A, twin)
