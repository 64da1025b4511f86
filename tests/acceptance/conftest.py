from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from pathlib import Path

import pytest
from stage import Stage

BROKERS = ("redis", "rabbitmq")
OLDER = "785e7ce"
"""The last state of the code that knew of no pauses, retries and forks."""
PLAIN_EDGES = "3a30959"
"""The last state of the code that knew of no ``FAILED`` transitions and no counted joins."""


def pytest_configure(config):
    config.addinivalue_line("markers", "only_on(broker, why): which broker is enough for a test, and for what reason")


def pytest_generate_tests(metafunc):
    """A test that asks for a stage, or for its broker, runs with each broker unless it says that one is enough."""
    if "broker" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("only_on")
        metafunc.parametrize("broker", mark.args[:1] if mark else BROKERS)


@pytest.fixture
def broker_url(broker, request):
    """A broker of this kind; the state is in Redis anyway."""
    return request.getfixturevalue(f"{broker}_url")


@pytest.fixture
def open_stage(namespace, tmp_path):
    """``open_stage(broker=..., state=..., **options)``: workers and a client in a namespace of their own, see ``Stage``.

    What fails shows the end of the workers' logs.
    """
    with contextlib.ExitStack() as held:

        def open_one(**options):
            stage = Stage(namespace=namespace, folder=tmp_path, **options)
            held.callback(lambda: print(stage.logs()[-6000:]))
            held.callback(stage.close)
            return stage

        yield open_one


@pytest.fixture
def make_stage(open_stage, broker_url, redis_url):
    """``make_stage(**options)``: the same with the broker of the test, and the state in Redis."""
    return functools.partial(open_stage, broker=broker_url, state=redis_url)


@pytest.fixture
def stage(make_stage):
    """Such workers and such a client, as they are without further options."""
    return make_stage()


@pytest.fixture
def older_code(tmp_path):
    """The package and what its workers need, as they were before there were pauses, retries and forks."""
    return unpacked(OLDER, tmp_path / "older")


@pytest.fixture
def code_of_plain_edges(tmp_path):
    """The same, as it was before there were ``FAILED`` transitions and counted joins."""
    return unpacked(PLAIN_EDGES, tmp_path / "plain")


def unpacked(commit, folder):
    folder.mkdir()
    root = Path(__file__).parents[2]
    wanted = ["git", "-C", str(root), "archive", commit, "hephaestus_celery", "tests/support"]
    archive = subprocess.run(wanted, capture_output=True, check=False)
    if archive.returncode and not os.environ.get("CI"):
        pytest.skip("the history of the repository is not here")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return [folder / "tests" / "support", folder]
