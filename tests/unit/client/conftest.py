"""Every test of the calls of clients is one of their twins of ``aio`` too."""

from __future__ import annotations

import pytest
from looped import LoopedHephaestus

READ_LATER = {"test_a_listed_instance_is_as_plain"}
"""Tests of data that is read when it is first accessed: on an event loop that is an error, see test_aio.py."""


def pytest_generate_tests(metafunc):
    runtimes = hasattr(metafunc.module, "Hephaestus") and metafunc.definition.name not in READ_LATER
    metafunc.parametrize("kind_of_calls", ["calls", "aio"] if runtimes else ["calls"], indirect=True)


@pytest.fixture(autouse=True)
def kind_of_calls(request, monkeypatch):
    if request.param == "aio":
        monkeypatch.setattr(request.module, "Hephaestus", LoopedHephaestus)
