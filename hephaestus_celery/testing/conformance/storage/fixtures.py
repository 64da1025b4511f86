"""The fixtures of the tests of a storage, all of them made from ``make_storage`` and, where there is one, ``probe``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from hephaestus_celery.storage.port import Storage
from hephaestus_celery.testing.conformance.driven import DrivenStorage


@pytest.fixture
def drive(request: pytest.FixtureRequest) -> Callable[..., DrivenStorage]:
    """``drive(storage)``: start runs by hand and lead them through every operation of the port."""
    try:
        probe = request.getfixturevalue("probe")
    except pytest.FixtureLookupError:
        probe = None
    return functools.partial(DrivenStorage, probe=probe)


@pytest.fixture
def storage(make_storage: Callable[..., Storage]) -> Storage:
    """An empty storage."""
    return make_storage()


@pytest.fixture
def stand(storage: Storage, drive: Callable[..., DrivenStorage]) -> DrivenStorage:
    """The storage, driven by hand."""
    return drive(storage)


@pytest.fixture
def stand_with(
    make_storage: Callable[..., Storage], drive: Callable[..., DrivenStorage]
) -> Callable[..., DrivenStorage]:
    """``stand_with(lease=..., dispatch_timeout=...)``: an empty storage in which things come due soon, driven by hand."""

    def make(**settings: Any) -> DrivenStorage:
        return drive(make_storage(**settings))

    return make
