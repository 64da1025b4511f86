"""`celery_setup` of pytest-celery, with this project's nodes in place of the plugin's own.

Each test runs once on each kind of nodes that `--nodes` chooses; both kinds come through the same fixtures. The names
that begin with `celery_` and `default_` are the plugin's.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from pathlib import Path

import docker
import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisTestBackend,
    RedisTestBroker,
)
from pytest_docker_tools import container, fxtr, volume

from hephaestus_celery import Hephaestus

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "application"))

import choice
import containers
import workers
from processes import ValkeyProcess, WorkerProcess

NODES = pytest.StashKey[tuple[choice.Kind, ...]]()
ENGINE = pytest.StashKey[str | None]()

BROKER = {"containers": "default_redis_broker", "processes": "valkey_process"}
WORKERS = {
    "containers": ("default_worker_container", "second_worker_container"),
    "processes": ("first_worker_process", "second_worker_process"),
}


def pytest_generate_tests(metafunc):
    if "node_kind" in metafunc.fixturenames:
        metafunc.parametrize("node_kind", chosen(metafunc.config), indirect=True)


def pytest_report_collectionfinish(config):
    if NODES not in config.stash:
        return None
    reason = missing_engine(config) or "a Docker engine answers"
    return f"celery_setup runs on {' and '.join(config.stash[NODES])} ({choice.OPTION}={asked(config)}; {reason})"


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    ran = Counter(
        value
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "nodes"
    )
    if ran:
        counts = ", ".join(f"{count} tests on {kind}" for kind, count in sorted(ran.items()))
        terminalreporter.write_line(f"celery_setup ran {counts}")


def asked(config):
    return config.getoption(choice.OPTION, None) or os.environ.get(choice.VARIABLE) or "auto"


def missing_engine(config):
    """Why there is no engine, or None; it is asked once, and only where tests want nodes."""
    if ENGINE not in config.stash:
        config.stash[ENGINE] = choice.why_no_engine()
    return config.stash[ENGINE]


def chosen(config):
    """The kinds of nodes that the tests run on."""
    if NODES not in config.stash:
        engine = missing_engine(config) is None
        config.stash[NODES] = choice.choose(asked(config), ci=bool(os.environ.get("CI")), engine=engine)
    return config.stash[NODES]


@pytest.fixture
def node_kind(request, record_property):
    record_property("nodes", request.param)
    return request.param


# Both kinds of nodes


@pytest.fixture
def folder(tmp_path):
    """Where workers note what happens in them and gates are opened; at this path in containers too."""
    folder = tmp_path / "notes"
    folder.mkdir()
    folder.chmod(0o777)  # the user of the containers is another one
    return folder


@pytest.fixture
def notes(folder):
    return workers.Notes(folder)


@pytest.fixture
def settings():
    """Of the client and the workers: leases and dispatches run out soon."""
    return {"hephaestus_lease": 3.0, "hephaestus_dispatch_timeout": 1.0}


@pytest.fixture
def celery_broker_cluster(request, node_kind):
    return CeleryBrokerCluster(RedisTestBroker(request.getfixturevalue(BROKER[node_kind])))


@pytest.fixture
def celery_backend_cluster(celery_broker_cluster):
    """The server that is the broker keeps the state as well."""
    return CeleryBackendCluster(RedisTestBackend(celery_broker_cluster[0].container))


@pytest.fixture
def default_worker_env(celery_broker_cluster, celery_backend_cluster, namespace, settings, folder):
    [broker], [state] = (cluster.config()["urls"] for cluster in (celery_broker_cluster, celery_backend_cluster))
    return workers.environment(broker=broker, state=state, namespace=namespace, settings=settings, folder=folder)


@pytest.fixture
def celery_worker_cluster(request, node_kind, celery_setup_app):
    started = [request.getfixturevalue(name) for name in WORKERS[node_kind]]
    return CeleryWorkerCluster(*(CeleryTestWorker(worker, app=celery_setup_app) for worker in started))


@pytest.fixture
def celery_setup_config(celery_setup_config, namespace, settings):
    return {**celery_setup_config, **settings, "hephaestus_namespace": namespace, "task_default_queue": namespace}


@pytest.fixture
def celery_setup_app(celery_setup_app):
    yield celery_setup_app
    celery_setup_app.close()


@pytest.fixture
def celery_setup(celery_setup):
    """Two workers, and a Valkey that is broker and state store; a test that fails shows what they have said."""
    yield celery_setup
    for node in (*celery_setup.worker_cluster, *celery_setup.broker_cluster):
        print(f"---- {type(node).__name__} {node.hostname()} ({node.container.status})\n{node.logs()[-4000:]}")


@pytest.fixture
def hephaestus(celery_setup, namespace):
    """The client of the tests; its app is the one of `celery_setup`."""
    with Hephaestus(celery_setup.app, name=namespace) as hephaestus:
        yield hephaestus


# Containers


@pytest.fixture(scope="session")
def docker_client(pytestconfig):
    missing = missing_engine(pytestconfig)
    if missing is not None:
        pytest.fail(f"{choice.OPTION}={asked(pytestconfig)} wants containers, and {missing}", pytrace=False)
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def worker_image(docker_client):
    """The project's image as its Dockerfile builds it now, or one that was built before."""
    built = os.environ.get("HEPHAESTUS_TEST_WORKER_IMAGE")
    return docker_client.images.get(built) if built else containers.build_worker_image(docker_client)


@pytest.fixture
def default_redis_broker_cls():
    return containers.ValkeyContainer


@pytest.fixture
def default_redis_broker_ports():
    """A port that stays: one that Docker chooses is another one after a restart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"6379/tcp": free.getsockname()}


valkey_data = volume()
"""Named, since it would stay behind without a name."""

default_redis_broker = container(
    image="{default_redis_broker_image}",
    ports=fxtr("default_redis_broker_ports"),
    network="{default_pytest_celery_network.name}",
    volumes={"{valkey_data.name}": {"bind": "/data"}},
    wrapper_class=containers.ValkeyContainer,
    timeout=containers.READY_SECONDS,
    command=fxtr("default_redis_broker_command"),
    restart_policy=containers.RESTARTED_WHEN_FAILED,
)


@pytest.fixture
def default_worker_container_cls():
    return containers.WorkerContainer


@pytest.fixture
def worker_mounts(folder):
    read_only = {str(source): {"bind": str(source), "mode": "ro"} for source in workers.SOURCES}
    return {**read_only, str(folder): {"bind": str(folder), "mode": "rw"}}


def worker_container():
    return container(
        image="{worker_image.id}",
        environment=fxtr("default_worker_env"),
        network="{default_pytest_celery_network.name}",
        volumes=fxtr("worker_mounts"),
        wrapper_class=containers.WorkerContainer,
        timeout=containers.READY_SECONDS,
        command=fxtr("default_worker_command"),
        init=True,
        restart_policy=containers.RESTARTED_WHEN_FAILED,
        healthcheck=containers.UNCHECKED,
    )


default_worker_container = worker_container()
second_worker_container = worker_container()


# Processes


@pytest.fixture
def valkey_process(private_server):
    return ValkeyProcess(private_server)


@pytest.fixture
def worker_processes(default_worker_env, tmp_path):
    """Both at once: each takes its time until it is ready."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAESTUS_TEST")}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**inherited, **default_worker_env, "TMPDIR": str(scratch), "C_FORCE_ROOT": "1"}
    started = [WorkerProcess(name, environment=environment, folder=tmp_path) for name in WORKERS["processes"]]
    try:
        for worker in started:
            worker.ready()
        yield started
    finally:
        for worker in started:
            worker.teardown()


@pytest.fixture
def first_worker_process(worker_processes):
    return worker_processes[0]


@pytest.fixture
def second_worker_process(worker_processes):
    return worker_processes[1]
