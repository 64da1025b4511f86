from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faults import FAULTS

from hephaestus_celery.embedded import find_server
from hephaestus_celery.exceptions import ConfigurationError

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


@pytest.fixture
def server_program():
    """A test that starts servers of its own is skipped at home where there is none, and fails in CI."""
    try:
        return find_server()
    except ConfigurationError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no server: {error}")


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
