"""What a worker logs of the messages that it leaves to others."""

from __future__ import annotations

import secrets

import pytest
from defining import A, define

from hephaestus_celery import Done
from hephaestus_celery.runners.refusal_log import left_to_others


@pytest.fixture
def name():
    """Names a workflow of this test and of no other."""
    return f"refusals.{secrets.token_hex(6)}"


def test_a_step_that_was_taken_out_is_not_called_an_unknown_workflow(name):
    define(name=name, initial_step=A, transitions={(A, "ok"): Done})
    lacking = left_to_others(f"{name} version 1", "charge")
    assert lacking.startswith(f"this worker's workflow {name} version 1 has no step 'charge'")
    unknown = left_to_others(f"{name} version 2", "charge")
    assert unknown.startswith(f"this worker does not know workflow {name} version 2; its steps are left")
