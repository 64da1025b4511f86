"""What a contest plays on: a server that is reached over TCP, as teams have it, one worker, a client in this process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from redis import Redis

from benchmarks.client import Client
from benchmarks.marks import VARIABLE as MARKS_VARIABLE
from benchmarks.marks import Marks
from benchmarks.measure import PATIENCE_SECONDS
from benchmarks.settings import NAMESPACE, QUEUE, READY_VARIABLE, TRANSPORT_VARIABLE, URL_VARIABLE
from benchmarks.shield import shielded
from benchmarks.worker import Worker
from hephaestus_celery.embedded import EmbeddedServer

_CALM_LOOKS, _GLANCE_SECONDS = 4, 0.005
_UNCONSUMED = "unconsumed-"
_OURS = (NAMESPACE.encode(), _UNCONSUMED.encode(), b"celery-")
"""What keys begin with that runs and tasks leave; the broker's bindings and what others need are kept."""


class Stage:
    """A server, one worker or several with two slots each, and a client while the ``with`` block runs; all of it is gone after it.

    ``transport`` is the worker's ``broker_transport_options``.
    """

    server: Redis
    worker: Worker
    client: Client
    marks: Marks

    def __init__(
        self, *, pool: str = "prefork", workers: int = 1, transport: Mapping[str, object] | None = None
    ) -> None:
        self._pool = pool
        self._workers = workers
        self._transport = json.dumps(dict(transport or {}))
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            with shielded():
                self._set_up()
            for worker in (self.worker, *self._others):
                worker.wait_ready()
        except BaseException:  # Ctrl-C included: nothing may be left behind
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with shielded():
            self._resources.close()

    @property
    def environment(self) -> dict[str, str]:
        """What processes on this stage need to know."""
        return {
            **{name: text for name, text in os.environ.items() if not name.startswith("CELERY")},
            URL_VARIABLE: self.url,
            MARKS_VARIABLE: str(self._folder / "marks"),
            TRANSPORT_VARIABLE: self._transport,
        }

    @property
    def url(self) -> str:
        """The server, as all contestants take it."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def server_pid(self) -> int:
        """The server's process."""
        return self._embedded.pid

    def settle(self) -> None:
        """Return when nothing is left to do: no message waits or is unacknowledged, no run is under way, for a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        calm = 0
        while calm < _CALM_LOOKS:
            calm = 0 if self._busy() else calm + 1
            if time.monotonic() > deadline:
                raise TimeoutError("there is still something to do long after a contestant has ended")
            time.sleep(_GLANCE_SECONDS)

    def clean(self) -> None:
        """Delete all runs, results and messages, those that a contest left behind that failed included."""
        with contextlib.suppress(TimeoutError):
            self.settle()
        for key in self.server.scan_iter(count=1000):
            if key.startswith(_OURS):
                self.server.delete(key)

    def _set_up(self) -> None:
        self._folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="hephaestus-bench-")))
        self._embedded = self._resources.enter_context(EmbeddedServer())
        self.server = Redis.from_url(f"unix://{self._embedded.socket_path}?db=0")
        self._resources.callback(self.server.close)
        self._port = _open_port(self.server)
        # A rewrite would strike one contestant and spare the other.
        self.server.config_set("auto-aof-rewrite-percentage", 0)
        self.marks = Marks(self._folder / "marks")
        self.worker, *self._others = (self._start_worker(number) for number in range(self._workers))
        self.client = Client(self.url)
        self._resources.callback(self.client.close)

    def _start_worker(self, number: int) -> Worker:
        folder = self._folder / f"worker{number}"
        folder.mkdir()
        ready = folder / "ready"
        worker = Worker(
            folder=folder, ready=ready, pool=self._pool, environment={**self.environment, READY_VARIABLE: str(ready)}
        )
        self._resources.callback(worker.stop)
        return worker

    def _busy(self) -> bool:
        with self.server.pipeline(transaction=False) as pipe:
            pipe.llen(QUEUE)
            pipe.hlen("unacked")
            for status in ("pending", "running"):
                pipe.zcard(f"{NAMESPACE}:{{0}}:index:status:{status}")
            answers: list[Any] = pipe.execute()
        return any(answers)


def _open_port(server: Redis) -> int:
    """Have a server listen on a free port of this machine too, out of reach for any other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    server.config_set("bind", "127.0.0.1")
    server.config_set("port", port)
    return port


def unique_queue() -> str:
    """The name of a queue that nobody consumes."""
    return f"{_UNCONSUMED}{secrets.token_hex(4)}"
