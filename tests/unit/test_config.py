"""Behaviour 5.1: settings are read from Celery's, each one checked."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta

import pytest

from hephaestus_celery import ConfigurationError, RetryPolicy, Settings
from hephaestus_celery.config import UNSET, read_settings, unknown_settings
from hephaestus_celery.core.values.retry import DEFAULT_RETRY

DURATIONS = ["state_timeout", "lease", "dispatch_timeout", "retention"]


def read(**settings):
    return read_settings(lambda name: settings.get(name.removeprefix("hephaestus_"), UNSET))


def refusal_of(name, value):
    with pytest.raises(ConfigurationError) as refused:
        read(**{name: value})
    return str(refused.value)


def test_without_any_setting_the_defaults_hold():
    assert read() == Settings()


def test_every_setting_is_asked_for_by_its_celery_name():
    asked = []
    read_settings(lambda name: asked.append(name) or UNSET)
    assert asked == [f"hephaestus_{field.name}" for field in fields(Settings)]


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("state_backend", None),
        ("state_options", None),
        ("state_timeout", timedelta(seconds=2)),
        ("namespace", "hephaestus"),
        ("partitions", 1),
        ("default_queue", None),
        ("lease", timedelta(seconds=30)),
        ("dispatch_timeout", timedelta(seconds=30)),
        ("retention", timedelta(days=7)),
        ("max_payload", 1024 * 1024),
        ("default_retry", DEFAULT_RETRY),
    ],
)
def test_a_setting_has_its_default(name, default):
    assert getattr(Settings(), name) == default


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: setting.name)
def test_a_setting_documents_its_effect(setting):
    assert setting.metadata["effect"].endswith(".")


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Settings().namespace = "other"


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize(
    ("given", "length"),
    [(5, timedelta(seconds=5)), (0.5, timedelta(milliseconds=500)), (timedelta(hours=1), timedelta(hours=1))],
)
def test_a_duration_is_seconds_or_a_timedelta(name, given, length):
    assert getattr(read(**{name: given}), name) == length


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["30", True, [30], float("nan")])
def test_anything_else_is_no_duration(name, value):
    assert refusal_of(name, value) == f"hephaestus_{name} must be seconds or a timedelta, not {value!r}"


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0, -1, timedelta(0), timedelta(seconds=-1), 1e-9])
def test_a_duration_of_nothing_is_refused(name, value):
    assert refusal_of(name, value) == f"hephaestus_{name} must be more than nothing, not {value!r}"


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_longer_than_time_itself_is_refused(name):
    assert refusal_of(name, 1e14) == f"hephaestus_{name} must be at most 999999999 days, not {1e14!r}"


@pytest.mark.parametrize("name", ["state_timeout", "lease", "dispatch_timeout"])
def test_only_the_retention_may_be_none(name):
    assert refusal_of(name, None) == f"hephaestus_{name} must be seconds or a timedelta, not None"


def test_a_retention_of_none_keeps_for_ever():
    assert read(retention=None).retention is None


@pytest.mark.parametrize("name", ["partitions", "max_payload"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1", None])
def test_a_number_that_is_no_positive_int_is_refused(name, value):
    assert refusal_of(name, value) == f"hephaestus_{name} must be a positive int, not {value!r}"


@pytest.mark.parametrize("name", ["partitions", "max_payload"])
def test_a_number_is_a_positive_int(name):
    assert getattr(read(**{name: 3}), name) == 3


@pytest.mark.parametrize("name", ["state_backend", "default_queue"])
@pytest.mark.parametrize("value", ["", 5, b"x", ["x"]])
def test_a_text_that_is_none_is_refused(name, value):
    assert refusal_of(name, value) == f"hephaestus_{name} must be a non-empty string or None, not {value!r}"


@pytest.mark.parametrize("name", ["state_backend", "default_queue"])
@pytest.mark.parametrize("value", [None, "redis://elsewhere"])
def test_a_text_is_a_string_or_none(name, value):
    assert getattr(read(**{name: value}), name) == value


@pytest.mark.parametrize("value", ["", "a b", "a:b", "{a}", "a\n", "x" * 65, None, 5])
def test_a_bad_namespace_is_refused(value):
    assert refusal_of("namespace", value) == (
        f"hephaestus_namespace must be 1 to 64 letters, digits, dots, hyphens or underscores, not {value!r}"
    )


@pytest.mark.parametrize("value", ["a", "shop.orders-2_x", "x" * 64])
def test_a_namespace_is_letters_digits_dots_hyphens_and_underscores(value):
    assert read(namespace=value).namespace == value


@pytest.mark.parametrize("value", [5, "x", [("a", 1)]])
def test_state_options_that_are_no_mapping_are_refused(value):
    assert refusal_of("state_options", value) == f"hephaestus_state_options must be a mapping, not {value!r}"


def test_state_options_are_a_mapping():
    assert read(state_options={"master_name": "m"}).options == {"master_name": "m"}


@pytest.mark.parametrize("value", [None, {}])
def test_state_options_may_be_absent(value):
    assert read(state_options=value).options == {}


def test_a_default_retry_may_be_a_policy():
    policy = RetryPolicy(max_attempts=2)
    assert read(default_retry=policy).default_retry is policy


def test_a_default_retry_may_be_the_arguments_of_a_policy():
    assert read(default_retry={"max_attempts": 2}).default_retry == RetryPolicy(max_attempts=2)


def test_a_default_retry_with_a_bad_argument_is_refused():
    assert refusal_of("default_retry", {"max_attempts": 0}) == (
        "hephaestus_default_retry: max_attempts must be a positive int, not 0"
    )


def test_a_default_retry_with_an_unknown_argument_is_refused():
    assert "unexpected keyword argument 'attempts'" in refusal_of("default_retry", {"attempts": 2})


@pytest.mark.parametrize("value", [None, 5, "exponential"])
def test_a_default_retry_that_is_none_is_refused(value):
    assert refusal_of("default_retry", value) == (
        f"hephaestus_default_retry must be a RetryPolicy or a mapping of its arguments, not {value!r}"
    )


def test_a_setting_that_nobody_reads_is_reported_with_the_nearest_name():
    names = ["hephaestus_leese", "HEPHAESTUS_RETENTON", "hephestus_lease", "hephaestos_zzz", "hephaestus_zzz"]
    found = unknown_settings(
        [*names, "hephaestus_lease", "HEPHAESTUS_LEASE", "task_acks_late", "hermes_lease", "hephaestus"]
    )
    assert [problem.partition(";")[2][:46] for problem in found] == [
        " did you mean hephaestus_retention?",
        " settings are hephaestus_state_backend, hephae",
        " did you mean hephaestus_lease?",
        " settings are hephaestus_state_backend, hephae",
        " did you mean hephaestus_lease?",
    ]
    assert found[2].startswith("hephaestus_leese is no setting of hephaestus-celery;")
