"""Fixtures of the storage suite, made from ``make_storage`` and, where there is one, ``probe``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hephaestus_celery.storage.port import Storage
from hephaestus_celery.testing.conformance.driven import DrivenStorage

SOON = timedelta(microseconds=1)
FORK = {("a", "ok"): ["b", "c"], ("b", "ok"): ["done"], ("c", "ok"): ["done"]}


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


@pytest.fixture
def hasty(stand_with):
    """A storage in which leases run out at once."""
    return stand_with(lease=SOON)


@pytest.fixture
def lossy(stand_with):
    """A storage in which a message counts as lost at once."""
    return stand_with(dispatch_timeout=SOON)


@pytest.fixture
def receiver(stand):
    """A run whose only active step waits for ``go``."""
    receiver = stand.start()
    receiver.wait_at("a")
    return receiver


@pytest.fixture
def forked_run(stand):
    """A run with two active steps, b and c."""
    receiver = stand.start(FORK)
    receiver.step("a")
    return receiver
