from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hephaestus_celery import telemetry
from hephaestus_celery.telemetry.catalogue.entries import CATALOGUE
from hephaestus_celery.telemetry.catalogue.names import RESERVED_METADATA
from hephaestus_celery.telemetry.catalogue.page import render_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "events.md"


def test_the_eleven_events_come_in_their_fixed_order():
    assert [".".join(name) for name in telemetry.events()] == [
        "hephaestus.workflow.start",
        "hephaestus.workflow.stop",
        "hephaestus.workflow.exception",
        "hephaestus.workflow.transition",
        "hephaestus.step.start",
        "hephaestus.step.stop",
        "hephaestus.step.exception",
        "hephaestus.step.async",
        "hephaestus.step.resume",
        "hephaestus.engine.advance",
        "hephaestus.runner.init",
    ]


def test_what_is_emitted_beside_the_eleven_is_an_extension():
    assert [".".join(name) for name in telemetry.extension_events()] == [
        "hephaestus.workflow.cancel",
        "hephaestus.workflow.fork",
        "hephaestus.step.rescue",
        "hephaestus.workflow.pause",
        "hephaestus.workflow.unpause",
        "hephaestus.step.discard",
        "hephaestus.workflow.compensate",
    ]


def test_no_extension_is_among_the_eleven():
    assert not set(telemetry.events()) & set(telemetry.extension_events())


def test_the_list_of_events_is_the_callers_own():
    telemetry.events().clear()
    assert len(telemetry.events()) == 11


@pytest.mark.parametrize("name", telemetry.events(), ids=".".join)
def test_every_event_has_an_accessor(name):
    accessor = getattr(telemetry, f"{name[1]}_{name[2]}_event")
    assert accessor() == name


def test_the_catalogue_has_every_event_in_order():
    assert [entry.name for entry in CATALOGUE] == telemetry.events() + telemetry.extension_events()


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: ".".join(entry.name))
def test_no_field_is_described_twice(entry):
    fields = [field.name for field in entry.metadata]
    assert len(fields) == len(set(fields))


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: ".".join(entry.name))
def test_every_field_has_a_description(entry):
    assert all(field.description for field in (*entry.measurements, *entry.metadata))


def test_every_field_of_the_contract_is_reserved():
    contract = """
        instance_id workflow initial_step context_keys runner status completed_steps kind reason stacktrace failed_step
        step_count advance_count from_step event targets fan_out step step_key concurrent active_steps_count attempt
        max_attempts has_context_updates has_metadata_updates transitions_to will_retry retry_in instance_status
        resume_event source status_before status_after iteration name storage pid hostname workflow_version run_id
        sequence task_id forked_from round resumes_in
    """
    # `by` is only in extension events, and `outcome` is ours: it tells an `Again` from an `Async`.
    assert {*contract.split(), "by", "outcome"} == RESERVED_METADATA


def test_every_field_of_the_catalogue_is_reserved_and_no_other():
    assert {field.name for entry in CATALOGUE for field in entry.metadata} == RESERVED_METADATA


def test_the_public_names_are_sorted():
    assert telemetry.__all__ == sorted(telemetry.__all__)


def test_every_public_name_is_there():
    assert all(hasattr(telemetry, name) for name in telemetry.__all__)


def test_the_reference_page_is_what_the_catalogue_prints():
    assert PAGE.read_text(encoding="utf-8") == render_page()


def test_the_page_is_printed_by_the_command_without_a_warning():
    command = [sys.executable, "-W", "error", "-m", "hephaestus_celery.telemetry.catalogue"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    assert (printed.stdout, printed.stderr) == (render_page(), "")
