"""Fixtures of the storage suite, made from ``make_storage`` and, where there is one, ``probe``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from hephaestus_celery.storage.durations import Durations, microseconds
from hephaestus_celery.storage.pauses import PauseOutcome
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.testing.conformance.driven import DrivenStorage
from hephaestus_celery.testing.conformance.driven_values import DURATIONS

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


def lasting(**durations: timedelta) -> Durations:
    """The default durations of tests, with these changes."""
    return replace(DURATIONS, **{name: microseconds(duration) for name, duration in durations.items()})


@pytest.fixture
def stand_with(
    make_storage: Callable[..., Storage], drive: Callable[..., DrivenStorage]
) -> Callable[..., DrivenStorage]:
    """``stand_with(lease=..., dispatch_timeout=...)``: an empty storage, driven by hand with these durations (timedeltas)."""

    def make(**durations: timedelta) -> DrivenStorage:
        return drive(make_storage(), durations=lasting(**durations))

    return make


@pytest.fixture
def hasty(stand_with):
    """A storage, driven with leases that run out at once."""
    return stand_with(lease=SOON)


@pytest.fixture
def lossy(stand_with):
    """A storage, driven so that a message counts as lost at once."""
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


@pytest.fixture(params=["run", "workflow"])
def pausing(request, stand):
    """``pausing(run)`` pauses a run by itself, or with its workflow; gives what lets it go on."""

    def pause(run):
        if request.param == "run":
            assert run.pause().outcome is PauseOutcome.CHANGED
            return run.unpause
        assert stand.pause_workflow()
        return stand.unpause_workflow

    return pause
