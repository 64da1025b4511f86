"""Architecture 6, law 8, for stores of transactions: what a run is stored as gives the same run again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.core.values.step_state import PendingResume, StepState
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.storage.queries import StoredEntry
from hephaestus_celery.storage.resume_and_cancel import DeliveryReport
from hephaestus_celery.storage.transactional.documents import decode, encode
from hephaestus_celery.storage.transactional.record import Record

STORED = [Record, Commitment, DeliveryReport, StoredEntry, StepState, LaneWatch]


def alike(value):
    """The same, with tuples in the place of all sequences: which of them a value has makes no difference."""
    if dataclasses.is_dataclass(value):
        return type(value).__name__, {
            field.name: alike(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: alike(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(alike, value))
    return value


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_what_is_stored_is_read_as_it_was(kind):
    @given(st.from_type(kind))
    def holds(value):
        assert alike(decode(kind, encode(kind, value))) == alike(value)

    holds()


def test_all_that_is_not_said_has_its_default():
    assert encode(LaneWatch, LaneWatch()) == "{}"
    assert decode(LaneWatch, "{}") == LaneWatch()


def test_a_document_from_before_a_field_was_added_is_read():
    resume = PendingResume(event="go", source="external", at=1, losses=2)
    document = json.loads(encode(PendingResume, resume))
    del document["losses"]
    assert decode(PendingResume, json.dumps(document)) == dataclasses.replace(resume, losses=0)


def test_what_a_document_can_not_hold_is_refused_at_once():
    @dataclasses.dataclass
    class Odd:
        value: float

    with pytest.raises(TypeError, match="no document holds a"):
        encode(Odd, Odd(1.5))
