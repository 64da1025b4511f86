from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faults import FAULTS

SHORT = {
    "all together": 80,
    "pool process killed": 20,
    "messages dropped": 20,
    "messages doubled": 20,
    "server frozen": 20,
    "connections cut": 20,
    "scripts flushed": 20,
}
"""What strikes where no option says more, and how many runs it is given."""


def pytest_addoption(parser):
    """Known where tests/chaos is named on the command line; the environment variables are always read."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seeds", type=int, help="how many seeds (HEPHAESTUS_CHAOS_SEEDS; 1)")
    group.addoption("--chaos-runs", type=int, help="runs for each fault and seed (HEPHAESTUS_CHAOS_RUNS; 20 to 80)")
    group.addoption("--chaos-fault", choices=list(FAULTS), help="this fault only (HEPHAESTUS_CHAOS_FAULT; the cheap)")


def chosen(config, name, kind, default):
    given = config.getoption(f"--chaos-{name}", None) or os.environ.get(f"HEPHAESTUS_CHAOS_{name.upper()}")
    return default if given is None else kind(given)


def pytest_generate_tests(metafunc):
    if "strike" not in metafunc.fixturenames:
        return
    config = metafunc.config
    fault = chosen(config, "fault", str, None)
    seeds = chosen(config, "seeds", int, 1)
    runs = chosen(config, "runs", int, None)
    names = [fault] if fault else list(SHORT if runs is None else FAULTS)
    cases = [
        pytest.param((FAULTS[name], seed, runs or SHORT.get(name, 50)), id=f"{name}-{seed}")
        for name in names
        for seed in range(1, seeds + 1)
    ]
    metafunc.parametrize("strike", cases)
