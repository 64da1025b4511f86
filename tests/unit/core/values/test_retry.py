"""Behaviour 5.4: retry policies."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hephaestus_celery import RetryPolicy
from hephaestus_celery.core.values.retry import DEFAULT_RETRY, FOREVER, seconds


def pauses(**arguments):
    policy = RetryPolicy(jitter=False, **arguments)
    return [policy.delay(attempt, chance=0.5) for attempt in range(1, 6)]


def test_the_default_is_the_one_of_the_contract():
    assert RetryPolicy(max_attempts=5, backoff="exponential", base=1.0, max_backoff=60.0, jitter=True) == DEFAULT_RETRY


def test_an_exponential_backoff_doubles():
    assert pauses(backoff="exponential", base=0.5, max_backoff=100) == [0.5, 1, 2, 4, 8]


def test_a_linear_backoff_grows_by_its_base():
    assert pauses(backoff="linear", base=3, max_backoff=100) == [3, 6, 9, 12, 15]


def test_a_constant_backoff_stays():
    assert pauses(backoff="constant", base=3, max_backoff=100) == [3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("exponential", [2, 4, 5, 5, 5]), ("linear", [2, 4, 5, 5, 5]), ("constant", [2, 2, 2, 2, 2])],
)
def test_no_rest_is_longer_than_max_backoff(backoff, expected):
    assert pauses(backoff=backoff, base=2, max_backoff=5) == expected


def test_a_base_above_max_backoff_is_capped_too():
    assert pauses(backoff="constant", base=600) == [60] * 5
    assert pauses(backoff="constant", base=600, max_backoff=600) == [600] * 5


def test_base_and_max_backoff_may_be_timedeltas():
    assert pauses(base=timedelta(seconds=2), max_backoff=timedelta(seconds=5)) == [2, 4, 5, 5, 5]


def test_a_base_of_nothing_rests_not_at_all():
    assert pauses(base=0) == [0, 0, 0, 0, 0]


def test_the_thousandth_attempt_rests_at_most_max_backoff():
    assert RetryPolicy(max_attempts=2000, jitter=False).delay(1000, chance=0) == 60


@pytest.mark.parametrize(("chance", "rest"), [(0.0, 4.0), (0.5, 6.0), (1.0, 8.0)])
def test_jitter_draws_from_the_upper_half(chance, rest):
    assert RetryPolicy(base=8).delay(1, chance=chance) == rest


def test_jitter_never_exceeds_max_backoff():
    assert RetryPolicy(base=100, max_backoff=10).delay(3, chance=0.999) <= 10


def test_without_jitter_chance_changes_nothing():
    policy = RetryPolicy(jitter=False)
    assert policy.delay(2, chance=0.0) == policy.delay(2, chance=0.9)


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3", None])
def test_max_attempts_that_is_no_positive_int_is_refused(attempts):
    with pytest.raises(ValueError, match="max_attempts") as refused:
        RetryPolicy(max_attempts=attempts)
    assert str(refused.value) == f"max_attempts must be a positive int, not {attempts!r}"


@pytest.mark.parametrize("backoff", ["fibonacci", "", None, 2, ["linear"]])
def test_an_unknown_backoff_is_refused(backoff):
    with pytest.raises(ValueError, match="backoff") as refused:
        RetryPolicy(backoff=backoff)
    assert str(refused.value) == f"backoff must be one of exponential, linear, constant, not {backoff!r}"


@pytest.mark.parametrize("name", ["base", "max_backoff"])
@pytest.mark.parametrize("value", [-1, -0.1, timedelta(seconds=-1)])
def test_a_negative_duration_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must not be negative") as refused:
        RetryPolicy(**{name: value})
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize("name", ["base", "max_backoff"])
@pytest.mark.parametrize("value", ["1", None, True, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=name) as refused:
        RetryPolicy(**{name: value})
    assert str(refused.value) == f"{name} must be seconds or a timedelta, not {value!r}"


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_a_duration_is_read_as_seconds(value, expected):
    assert seconds(value, name="x") == expected


@pytest.mark.parametrize("value", [timedelta.max, 7e9, 9.9e14])
def test_what_is_longer_than_stores_count_is_taken_for_190_years(value):
    assert seconds(value, name="x") == FOREVER
