"""Which active run holds an id against a start."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.execution.uniqueness import Claimant, find_holder


def run(scope, *, run_id="other", family="f", version=1):
    return Claimant(run_id=run_id, scope=scope, family=family, version=version)


@pytest.mark.parametrize(
    ("starting", "other", "held"),
    [
        (run("workflow"), run("workflow"), True),
        (run("workflow"), run("workflow", version=2), True),
        (run("workflow"), run("workflow", family="g"), False),
        (run("version"), run("version"), True),
        (run("version"), run("version", version=2), False),
        (run("version"), run("version", family="g"), False),
        (run("version"), run("workflow", version=2), False),
        (run("workflow"), run("version", version=2), True),
        (run("global"), run("version", family="g", version=2), True),
        (run("version"), run("global", family="g", version=2), True),
        (run("global"), run("none", family="g"), True),
        (run("none"), run("global"), False),
        (run("none"), run("none"), False),
    ],
)
def test_a_start_is_held_by_the_scopes_of_both_runs(starting, other, held):
    assert (find_holder(starting, [other]) is other) is held


def test_the_first_run_that_holds_the_id_is_named():
    free, first, second = run("workflow", family="g"), run("workflow", run_id="1"), run("workflow", run_id="2")
    assert find_holder(run("workflow"), [free, first, second]) is first


def test_an_id_without_active_runs_is_free():
    assert find_holder(run("global"), []) is None
