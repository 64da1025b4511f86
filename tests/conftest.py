"""What all tests share: a hostile environment, a real server, a namespace for each test, storages driven by hand."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from probes import OurProbe
from rabbitmq import RabbitMQServer
from redis import Redis
from settable import SettableServer

from hephaestus_celery.embedded import EmbeddedServer, find_server
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.redis import run_fields
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.testing.conformance.driven import DrivenStorage

os.environ["TZ"] = "Pacific/Chatham"  # UTC+12:45: whatever forgets its time zone shows
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background: our children would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A failure prints what reproduces it, and a slow machine fails nothing. Where CI is set, a commit has the same examples in
# each run; elsewhere they are new ones each time.
settings.register_profile("ours", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the chaos suite; each may be given by environment too."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seeds", type=int, help="how many seeds (HEPHAESTUS_CHAOS_SEEDS; 1)")
    group.addoption("--chaos-runs", type=int, help="runs for each fault and seed (HEPHAESTUS_CHAOS_RUNS; 20 to 80)")
    group.addoption("--chaos-fault", help="this fault only (HEPHAESTUS_CHAOS_FAULT; the cheap ones)")
    nodes = parser.getgroup("nodes of tests/docker")
    nodes.addoption("--nodes", help="auto, containers, processes or both (HEPHAESTUS_TEST_NODES; auto)")


def without_server(error: Exception) -> None:
    """Skip a test that needs a server; where CI is set it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"no server for the tests, and this is CI: {error}")
    pytest.skip(f"no server: {error}")


@pytest.fixture(scope="session")
def server_program() -> str:
    """The program of a server that tests may start."""
    try:
        return str(find_server())
    except ConfigurationError as error:
        without_server(error)
        raise


@pytest.fixture
def settable(tmp_path: Path) -> Iterator[SettableServer]:
    """A server of the test's own, whose clock can be set."""
    try:
        server = SettableServer(tmp_path / "settable")
    except ConfigurationError as error:
        without_server(error)
        raise
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Valkey or Redis: the one that HEPHAESTUS_TEST_REDIS names, else an embedded one."""
    external = os.environ.get("HEPHAESTUS_TEST_REDIS")
    if external:
        yield external
        return
    server = EmbeddedServer()
    try:
        server.start()
    except ConfigurationError as error:
        without_server(error)
    try:
        yield server.url
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A RabbitMQ of the tests' own, which may be stopped by a test that starts it again."""
    try:
        server = RabbitMQServer()
    except ConfigurationError as error:
        without_server(error)
    with server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """A real RabbitMQ: the one that HEPHAESTUS_TEST_RABBITMQ names, else the tests' own."""
    return os.environ.get("HEPHAESTUS_TEST_RABBITMQ") or request.getfixturevalue("rabbitmq").url


@pytest.fixture(scope="module")
def private_server() -> Iterator[EmbeddedServer]:
    """A server that no other test talks to at the same time."""
    server = EmbeddedServer()
    try:
        server.start()
    except ConfigurationError as error:
        without_server(error)
    with server:
        yield server


@pytest.fixture
def namespace() -> str:
    """Begins the keys of this test and of no other."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def redis_storage(redis_url: str, namespace: str) -> Iterator[RedisStorage]:
    """An empty ``RedisStorage``; its keys are deleted after the test."""
    storage = RedisStorage(redis_url, namespace=namespace)
    yield storage
    without_legend = unknown_fields(storage._client, namespace)
    for key in storage._client.scan_iter(f"{namespace}:*", count=1000):
        storage._client.delete(key)
    storage.close()
    assert without_legend == set()


def unknown_fields(client: Redis, namespace: str) -> set[str]:
    """The fields that runs have by now, or the states of their steps, and of which the legend says nothing."""
    unknown: set[str] = set()
    for key in client.scan_iter(f"{namespace}:*:run:*", count=1000, _type="hash"):
        fields = [field.decode(errors="replace") for field in client.hkeys(key)]
        unknown.update(field for field in fields if run_fields.kind_of(field) is None)
        states = [field for field in fields if field.startswith("s:")][:10]
        for text in client.hmget(key, states) if states else ():
            with contextlib.suppress(ValueError, TypeError):  # a test has written something else there
                unknown.update(
                    f"{name} of a step" for name in set(json.loads(text or "{}")) - set(run_fields.STEP_FIELDS)
                )
    return unknown


@pytest.fixture
def probe() -> OurProbe:
    """What sees more of our storages than the port shows."""
    return OurProbe()


@pytest.fixture
def drive(probe: OurProbe) -> Callable[..., DrivenStorage]:
    """``drive(storage)``: start runs by hand and lead them through every operation of the port."""
    return functools.partial(DrivenStorage, probe=probe)
