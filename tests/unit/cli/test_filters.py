"""The filters of ``list`` on the command line are those of the call."""

from __future__ import annotations

import pytest

from hephaestus_celery import DefinitionError, Done, Ok, Step, Unique, Workflow
from hephaestus_celery.cli.application import application_as_given
from hephaestus_celery.cli.commands.list_runs import list_runs
from hephaestus_celery.cli.exit_codes import CommandFailedError
from hephaestus_celery.cli.filters import read_filters
from hephaestus_celery.cli.step_names import filtered_step
from hephaestus_celery.client.listing import FILTERS
from hephaestus_celery.reports.workflows import known_workflows


def test_every_filter_of_list_is_an_option_with_dashes():
    options = {name for parameter in list_runs.params for name in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in FILTERS} <= options


class RateIt(Step):
    events = ("done",)

    def execute(self, instance, config, context):
        return Ok("done")


class Rated(Workflow):
    unique = Unique("rated")
    initial_step = RateIt
    transitions = {(RateIt, "done"): Done}


def test_a_step_is_named_by_its_key_or_its_class(capsys):
    assert [filtered_step(name) for name in ("rate_it", "RateIt")] == ["rate_it", "rate_it"]
    assert capsys.readouterr().err == ""
    assert filtered_step("rate_itt") == "rate_itt"
    assert capsys.readouterr().err == ("no workflow of this application has a step 'rate_itt'; did you mean rate_it?\n")


class RatedTwice(Workflow):
    name = "first.rated"
    unique = Unique("rated")
    initial_step = RateIt
    transitions = {(RateIt, "done"): Done}


First = RatedTwice


class RatedTwice(Workflow):
    name = "second.rated"
    unique = Unique("rated")
    initial_step = RateIt
    transitions = {(RateIt, "done"): Done}


def test_a_workflow_is_named_as_it_is_stored_or_by_a_class_that_is_the_only_one(capsys):
    named = [read_filters({"workflow": name})["workflow"] for name in ("first.rated", "Rated")]
    assert named == [First, Rated]
    assert capsys.readouterr().err == ""
    assert read_filters({"workflow": "Ratedd"}) == {"workflow": "Ratedd"}
    assert capsys.readouterr().err == "this application has no workflow 'Ratedd'; did you mean Rated?\n"
    with pytest.raises(
        CommandFailedError, match=r"RatedTwice may be first\.rated, second\.rated: name it as it is stored"
    ):
        read_filters({"workflow": "RatedTwice"})


@pytest.mark.parametrize("versions", [5, {1: First}])
def test_a_class_that_a_failed_definition_has_left_behind_is_no_workflow(versions):
    with pytest.raises(DefinitionError) as left:  # which holds the class
        type("LeftBehind", (Workflow,), {"unique": Unique("left"), "versions": versions, "current": 7})
    assert read_filters({"workflow": "first.rated"}) == {"workflow": First}
    assert First in known_workflows()
    del left


@pytest.mark.parametrize(
    ("typed", "variable", "told"),
    [
        (["-A", "shop", "hephaestus", "list"], None, "shop"),
        (["--app=shop.app", "hephaestus", "show", "-A"], None, "shop.app"),
        (["hephaestus", "list"], "stock", "stock"),
        (["hephaestus", "list"], None, "APP"),
    ],
)
def test_advice_names_the_application_as_it_was_given(monkeypatch, typed, variable, told):
    monkeypatch.setattr("sys.argv", ["celery", *typed])
    monkeypatch.delenv("CELERY_APP", raising=False)
    monkeypatch.delenv("APP", raising=False)
    if variable:
        monkeypatch.setenv("APP", variable)
    assert application_as_given() == told
