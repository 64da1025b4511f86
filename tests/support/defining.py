"""Steps and workflows made in a line, and what is wrong with them."""

from __future__ import annotations

import pytest

from hephaestus_celery import DefinitionError, Done, Ok, Step, Unique, Workflow


def a_step(name, *events, **attributes):
    """A step class that answers with the first of its events."""

    def execute(self, instance, config, context):
        return Ok(events[0])

    return type(name, (Step,), {"events": events, "execute": execute, **attributes})


A = a_step("A", "ok")
B = a_step("B", "ok")
C = a_step("C", "ok")


def define(**attributes):
    return type("Flow", (Workflow,), {"unique": Unique("orderid"), **attributes})


def sound(**attributes):
    """The attributes of a workflow that has nothing wrong with it, but for the ones given."""
    return {"initial_step": A, "transitions": {(A, "ok"): Done}, **attributes}


def problems_of(**attributes):
    with pytest.raises(DefinitionError) as refused:
        define(**attributes)
    return refused.value.problems
