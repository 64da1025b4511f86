"""Where a chaos run takes place: a server of its own, workers that come and go, and a steady load."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from stage import SUPPORT, Stage, WorkerProcess, eventually

from hephaestus_celery.embedded import EmbeddedServer

CHAOS = Path(__file__).parent
LEASE = 2.0
DISPATCH_TIMEOUT = 1.0
WORKERS = 2
CONCURRENCY = 2


class ChaosWorker(WorkerProcess):
    """One `celery worker` of the arena's application."""

    def __init__(self, arena: Arena, name: str) -> None:
        self.name = name
        self.log = arena.folder / f"{name}.log"
        command = [
            *(sys.executable, "-m", "celery", "-A", arena.module, "worker", "--loglevel", "INFO"),
            *("--hostname", f"{name}@test", "--pool", "prefork", "--concurrency", str(CONCURRENCY)),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=arena.environment("worker"), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def children(self) -> list[int]:
        """The processes of its pool."""
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
        return [pid for pid, parent in pairs if parent == self.process.pid]

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the worker and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Arena(Stage):
    """A stage on a private server that may be stopped, with workers that may be killed; ``live`` are those in service.

    ``module`` names the application that the workers run.
    """

    def __init__(self, server: EmbeddedServer, *, module: str, folder: Path, **settings: Any) -> None:
        super().__init__(
            broker=server.url,
            state=server.url,
            namespace="chaos",
            folder=folder,
            **{"lease": LEASE, "dispatch_timeout": DISPATCH_TIMEOUT, "retention": 900, **settings},
        )
        self.server = server
        self.module = module
        self.live: list[ChaosWorker] = []
        self.crashes = 0
        self.client = Redis(unix_socket_path=str(server.socket_path))

    def environment(self, role: str) -> dict[str, str]:
        return {**super().environment(role), "PYTHONPATH": os.pathsep.join([str(CHAOS), str(SUPPORT)])}

    def open(self) -> None:
        """Start the workers and wait until they consume."""
        self.live = [self.add_worker() for _ in range(WORKERS)]
        for worker in self.live:
            worker.wait_ready()

    def add_worker(self) -> ChaosWorker:
        """One more worker process, not yet ready."""
        worker = ChaosWorker(self, f"w{len(self.workers)}")
        self.workers.append(worker)
        return worker

    def replace(self, worker: ChaosWorker) -> None:
        """Put a new worker in the place of one that has ended, and wait until it consumes."""
        position = self.live.index(worker)
        self.live[position] = self.add_worker()
        self.live[position].wait_ready()

    def revive(self) -> None:
        """Start another for each worker in service that has ended by itself, as any supervisor of services does.

        kombu 5.7 needs it: a connection that is cut while it cleans up after another ends the worker with an
        ``AttributeError`` ("'NoneType' object has no attribute 'hostname'", in ``kombu.transport.redis``).
        """
        for position, worker in enumerate(self.live):
            if worker.process.poll() is not None:
                worker.kill()
                self.crashes += 1
                self.live[position] = self.add_worker()

    def when_reachable(self, command: str, *arguments: str) -> Any:
        """A command to the server, as soon as it answers (it may just be starting)."""

        def answered() -> tuple[Any] | None:
            try:
                return (self.client.execute_command(command, *arguments),)
            except RedisError:
                return None

        return eventually(answered, what=f"the server answers {command}")[0]

    def keep_every_write(self) -> None:
        """Have the server sync each write before it answers, so that a kill loses nothing that was acknowledged."""
        self.when_reachable("CONFIG SET", "appendfsync", "always")

    def stop_workers(self) -> None:
        """Warm shutdown of all, so that the events that they emit are written out."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.stop()

    def close(self) -> None:
        self.stop_workers()
        super().close()
        self.client.close()
