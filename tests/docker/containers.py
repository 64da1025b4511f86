"""The nodes as containers: the project's own worker image, and Valkey with an append-only file."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path

import workers
from docker import DockerClient
from docker.errors import APIError, BuildError, ImageNotFound
from docker.models.images import Image
from pytest_celery import CeleryWorkerContainer, RedisContainer
from redis import Redis
from redis.exceptions import RedisError

PROJECT = Path(__file__).parents[2]
REPOSITORY = "hephaestus-celery-tests"
STAGES = ("wheel", "worker")
"""Of the Dockerfile, in order. All have a tag: what has none would be left dangling by an engine without BuildKit."""

VALKEY_IMAGE = os.environ.get("HEPHAESTUS_TEST_VALKEY_IMAGE", "valkey/valkey:8.1")
READY_SECONDS = 60
RESTARTED_WHEN_FAILED = {"Name": "on-failure", "MaximumRetryCount": workers.REVIVALS}
UNCHECKED = {"test": ["NONE"]}
"""The image asks the example application for its health; here another one runs."""


class WorkerContainer(CeleryWorkerContainer):
    """A worker of the tests' application, in the image that the project ships."""

    @classmethod
    def command(cls, *args: str, debugpy: bool = False, wait_for_client: bool = True, **kwargs: dict) -> list[str]:
        return ["celery", *workers.arguments(f"{cls.worker_name()}@%h"), *args]

    @classmethod
    def worker_name(cls) -> str:
        return workers.NAME


class ValkeyContainer(RedisContainer):
    """Broker and state store, at the same address of 127.0.0.1 whenever it is restarted."""

    @classmethod
    def command(cls, *args: str, debugpy: bool = False, wait_for_client: bool = True, **kwargs: dict) -> list[str]:
        options = {
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "protected-mode": "no",
        }
        program = "valkey-server" if "valkey" in VALKEY_IMAGE else "redis-server"
        return [program, *(part for name, value in options.items() for part in (f"--{name}", value)), *args]

    @classmethod
    def image(cls) -> str:
        return VALKEY_IMAGE

    @property
    def port(self) -> int:
        return int(self.attrs["HostConfig"]["PortBindings"]["6379/tcp"][0]["HostPort"])

    @property
    def host_url(self) -> str:
        return f"{self.prefix()}127.0.0.1:{self.port}/{self.vhost}"

    def ready(self) -> bool:
        """Whether it answers the tests; the logs still hold what an earlier start has said."""
        self.reload()
        if self.status != "running":
            return False
        with Redis.from_url(self.host_url) as client:
            try:
                return client.ping()
            except RedisError:
                return False


def build_worker_image(client: DockerClient) -> Image:
    """The image of the Dockerfile as it is now; what it replaces is removed."""
    return [_build(client, stage) for stage in STAGES][-1]


def _build(client: DockerClient, stage: str) -> Image:
    tag = f"{REPOSITORY}:{stage}"
    before = _find_image(client, tag)
    try:
        image, _ = client.images.build(path=str(PROJECT), target=stage, tag=tag, rm=True, forcerm=True)
    except BuildError as error:
        print("".join(line.get("stream", "") for line in error.build_log))
        raise
    if before is not None and before.id != image.id:
        _remove(client, before)
    return image


def _find_image(client: DockerClient, tag: str) -> Image | None:
    try:
        return client.images.get(tag)
    except ImageNotFound:
        return None


def _remove(client: DockerClient, image: Image) -> None:
    try:
        client.images.remove(image.id)
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:  # containers of another session still run it
            raise
