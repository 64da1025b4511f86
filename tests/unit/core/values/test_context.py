"""The data of a run as a step is given it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from hephaestus_celery import Context


def test_a_context_begins_empty():
    assert (Context().initial, Context().steps) == ({}, {})


def deferred(read):
    """A context that notes in ``read`` what is asked of it."""

    def source(name, value):
        return lambda: read.append(name) or value

    makers = {"initial": source("initial", {"n": 3}), "steps": source("steps", {"a": {}}), "failures": dict}
    return Context.deferred(makers, far=frozenset({"steps"}), state={}, round=1)


def test_what_is_read_from_a_store_is_read_when_it_is_asked_for_and_once():
    read = []
    context = deferred(read)
    assert read == []
    assert (context.initial, context.initial, read) == ({"n": 3}, {"n": 3}, ["initial"])
    assert (context.steps, read) == ({"a": {}}, ["initial", "steps"])


def test_a_context_that_is_read_later_equals_and_shows_like_any_other():
    plain = Context(initial={"n": 3}, steps={"a": {}})
    assert deferred([]) == plain
    looked_at = deferred([])
    _ = looked_at.steps
    assert repr(looked_at) == repr(plain)
    assert replace(deferred([]), steps={}) == Context(initial={"n": 3})


def test_to_show_a_context_asks_no_store():
    read = []
    assert (repr(deferred(read)), read) == ("Context(initial={'n': 3}, steps=...)", ["initial"])


def test_a_context_that_is_read_later_is_frozen_and_has_nothing_else():
    with pytest.raises(FrozenInstanceError):
        deferred([]).initial = {}
    with pytest.raises(AttributeError, match="'results'"):
        _ = deferred([]).results


@pytest.mark.parametrize("odd", [5, None, ("a", "ok"), int])
@pytest.mark.parametrize("read", [Context.result, Context.failure])
def test_what_names_no_step_is_refused(read, odd):
    with pytest.raises(TypeError, match=r"a step is named by its class or its key, not by "):
        read(Context(), odd)
