"""A mapping that is made when it is first looked into."""

from __future__ import annotations

import pytest

from hephaestus_celery.core.lazy import LazyMapping


@pytest.fixture
def made():
    return []


@pytest.fixture
def lazy(made):
    def make():
        made.append(True)
        return {"b": 2, "a": 1}

    return LazyMapping(make)


def test_it_is_not_made_before_it_is_looked_into(lazy, made):
    assert made == []


def test_it_is_made_once(lazy, made):
    assert (lazy["a"], len(lazy), list(lazy), repr(lazy)) == (1, 2, ["b", "a"], "{'b': 2, 'a': 1}")
    assert len(made) == 1


def test_it_equals_what_it_is_made_of(lazy):
    plain = {"a": 1, "b": 2}
    assert lazy == plain
    assert plain == lazy
    assert lazy != {"a": 1}


def test_it_can_not_be_written_to(lazy):
    with pytest.raises(TypeError):
        lazy["a"] = 3


def test_what_is_missing_is_a_key_error(lazy):
    with pytest.raises(KeyError):
        lazy["c"]
