"""Architecture 1 and 3: what names one thing that is executed, in stores, in messages and towards outside systems."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_celery.core.values.activation import Activation

RUN = "0" * 40
KEYS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="|"), min_size=1, max_size=60)
ACTIVATIONS = st.builds(
    Activation, KEYS, st.none() | st.integers(min_value=0), st.integers(min_value=1, max_value=10_000)
)


def test_a_plain_step_is_named_by_its_key():
    assert str(Activation("charge")) == "charge"


@pytest.mark.parametrize(
    ("activation", "text"),
    [
        (Activation("charge", 3), "charge #3"),
        (Activation("charge", None, 2), "charge ~2"),
        (Activation("charge", 0, 2), "charge #0 ~2"),
    ],
)
def test_an_item_and_a_generation_are_distinguished(activation, text):
    assert (str(activation), Activation.parse(text)) == (text, activation)


@given(ACTIVATIONS)
def test_what_its_text_names_is_itself(activation):
    assert Activation.parse(str(activation)) == activation


@given(ACTIVATIONS, ACTIVATIONS)
def test_no_two_have_one_text(one, other):
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize("text", ["a #", "a #x", "a #01", "a ~1", "a ~0", "a #1 ~", "a #-1", "a #1 ~2 ~3"])
def test_a_text_that_names_none_is_refused(text):
    with pytest.raises(ValueError, match="no number of an activation"):
        Activation.parse(text)


@pytest.mark.parametrize(
    ("activation", "names"),
    [
        (Activation("charge"), "charge"),
        (Activation("charge", 3), "charge:3"),
        (Activation("charge", 3, 2), "charge:3:2"),
        (Activation("charge", None, 2), "charge::2"),
    ],
)
def test_task_and_idempotency_key_are_made_from_it(activation, names):
    assert activation.task_id(RUN, attempt=2, token=5) == f"{RUN}:{names}:2.5"
    assert activation.idempotency_key(RUN) == f"{RUN}:{names}"


def test_the_id_of_a_task_fits_whatever_it_is_of():
    longest = Activation("é" * 200, 2**31, 2**31)
    assert len(longest.task_id(RUN, attempt=sys.maxsize, token=sys.maxsize).encode()) <= 255
