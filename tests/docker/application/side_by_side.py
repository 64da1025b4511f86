"""A workflow of which two steps can only be executed on two workers that execute one step at a time."""

from __future__ import annotations

from flows import A, D, Gate

from hephaestus_celery import Done, Unique, Workflow

LEFT, RIGHT = Gate.named("left"), Gate.named("right")


class SideBySide(Workflow):
    """Both branches are held until the test opens their gate."""

    name = "side_by_side"
    unique = Unique("sidebyside")
    initial_step = A
    transitions = {
        (A, "done"): [LEFT, RIGHT],
        (LEFT, "done"): D,
        (RIGHT, "done"): D,
        (D, "done"): Done,
    }
