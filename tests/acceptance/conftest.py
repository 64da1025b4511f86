from __future__ import annotations

import pytest
from stage import Stage

BROKERS = ("redis", "rabbitmq")


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
def stage(broker_url, redis_url, namespace, tmp_path):
    """Workers and a client in a namespace of their own; what fails shows the end of the workers' logs."""
    stage = Stage(broker=broker_url, state=redis_url, namespace=namespace, folder=tmp_path)
    yield stage
    stage.close()
    print(stage.logs()[-6000:])
