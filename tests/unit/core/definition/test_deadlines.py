"""`deadline` as it is declared, and what is wrong with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from defining import define, problems_of, sound

from hephaestus_celery import DefinitionError, Unique, Workflow
from hephaestus_celery.core.values.retry import FOREVER
from hephaestus_celery.storage.durations import deadline_of
from hephaestus_celery.storage.schema import schema_of


@pytest.mark.parametrize(
    ("given", "microseconds"),
    [
        (None, None),
        (10, 10_000_000),
        (0.5, 500_000),
        (timedelta(days=3), 259_200_000_000),
        (timedelta.max, FOREVER * 1_000_000),
        (1e14, FOREVER * 1_000_000),
    ],
)
def test_a_deadline_is_seconds_or_a_timedelta(given, microseconds):
    assert deadline_of(define(**sound(deadline=given))) == microseconds


@pytest.mark.parametrize("given", [0, -1, -0.5, 0.0, 1e-9, timedelta(0), timedelta(seconds=-1)])
def test_a_deadline_that_is_over_at_the_start_is_a_problem(given):
    assert problems_of(**sound(deadline=given)) == (f"deadline must be more than nothing, not {given!r}",)


@pytest.mark.parametrize("given", [True, False, "10", "PT5M", float("nan"), float("inf"), 10**400, [10], object])
def test_anything_else_is_a_problem(given):
    [problem] = problems_of(**sound(deadline=given))
    assert problem.startswith("deadline must be seconds or a timedelta, not ")


def test_a_deadline_is_found_wrong_beside_all_else():
    assert len(problems_of(**sound(deadline="soon", version=0, tags="x"))) == 3


def test_a_misspelt_deadline_is_a_problem_that_names_it():
    assert problems_of(**sound(dead_line=10)) == ("dead_line is no option of a workflow; did you mean deadline?",)


def test_each_version_has_a_deadline_of_its_own():
    first, second = define(**sound(version=1, deadline=10)), define(**sound(version=2))
    assert (deadline_of(first), deadline_of(second)) == (10_000_000, None)
    with pytest.raises(DefinitionError, match="deadline together with versions: each version has its own"):
        type(
            "Whole",
            (Workflow,),
            {"unique": Unique("orderid"), "versions": {1: define(**sound())}, "current": 1, "deadline": 5},
        )


def test_older_code_leaves_runs_with_a_deadline_alone():
    assert [schema_of(define(**sound(deadline=given))) for given in (None, 10)] == [1, 3]
