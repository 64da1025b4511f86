"""A stage for tests with real workers: a namespace of its own on a server, worker processes, and what they noted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import recorder
from celery import Celery

from hephaestus_celery import Hephaestus, Instance, InstanceHandle, WaitTimeoutError
from hephaestus_celery.testing.conformance.conditions import eventually

SUPPORT = Path(__file__).parent
READY_SECONDS = 60


class WorkerProcess:
    """One `celery worker`, with its log."""

    def __init__(self, stage: Stage, name: str, *, pool: str, concurrency: int, options: Sequence[str]) -> None:
        self.name = name
        self.log = stage.folder / f"{name}.log"
        self.again = lambda name: WorkerProcess(stage, name, pool=pool, concurrency=concurrency, options=options)
        command = [
            *(sys.executable, "-m", "celery", "-A", stage.application, "worker", "--loglevel", "INFO"),
            *("--hostname", f"{name}@test", "--pool", pool, "--concurrency", str(concurrency)),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            *options,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=stage.path[-1],  # Python looks for modules there first
                env=stage.environment("worker"),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Return when the worker consumes."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"worker {self.name} died:\n{self.log.read_text()[-4000:]}")
            return f"{self.name}@test ready" in self.log.read_text()

        eventually(ready, timeout=READY_SECONDS, what=f"worker {self.name} ready")

    def ask_to_stop(self) -> None:
        """Begin a warm shutdown."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Warm shutdown; what does not end in time is killed with all its children."""
        self.ask_to_stop()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the worker and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Stage:
    """A namespace, a client in this process, and worker processes."""

    def __init__(
        self,
        *,
        broker: str,
        state: str,
        namespace: str,
        folder: Path,
        celery: Mapping[str, Any] | None = None,
        application: str = "worker_app",
        make: type[Celery] = Celery,
        **settings: Any,
    ) -> None:
        """``settings`` are hephaestus settings without their prefix, for the client and the workers alike.

        So are those of ``celery``, as they are; JSON carries both. ``application`` is the module of the workers', and
        ``make`` makes the client's.
        """
        self.settings = {**(celery or {}), **{f"hephaestus_{name}": value for name, value in settings.items()}}
        self.broker, self.state, self.namespace, self.folder = broker, state, namespace, folder
        self.application = application
        self.switches: dict[str, str] = {}
        self.path: Sequence[Path] = [SUPPORT]
        """Where the next workers find the code of the tests; the package too, if it is another state of that."""
        # Killed workers leave temporary folders behind; these go with the stage.
        self._scratch = tempfile.TemporaryDirectory(prefix="hc-", ignore_cleanup_errors=True)
        self.workers: list[WorkerProcess] = []
        self.app = make("acceptance", broker=broker)
        self.app.conf.update(
            hephaestus_namespace=namespace,
            hephaestus_state_backend=state,
            task_default_queue=namespace,
        )
        self.app.conf.update(self.settings)
        self.hephaestus = Hephaestus(self.app, name=namespace)

    def environment(self, role: str) -> dict[str, str]:
        """What a process of this stage needs to know."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAESTUS_TEST")}
        return {
            **inherited,
            **self.switches,
            "PYTHONPATH": os.pathsep.join(map(str, self.path)),
            "TMPDIR": self._scratch.name,
            "PYTHONWARNINGS": "default",
            "C_FORCE_ROOT": "1",
            "HEPHAESTUS_TEST_BROKER": self.broker,
            "HEPHAESTUS_TEST_STATE": self.state,
            "HEPHAESTUS_TEST_NAMESPACE": self.namespace,
            "HEPHAESTUS_TEST_SETTINGS": json.dumps(self.settings),
            "HEPHAESTUS_TEST_ROLE": role,
            recorder.FOLDER: str(self.folder),
        }

    def start_workers(
        self, count: int = 1, *, pool: str = "prefork", concurrency: int = 2, options: Sequence[str] = ()
    ) -> list[WorkerProcess]:
        """Start workers and wait until they consume."""
        started = [
            WorkerProcess(self, f"w{len(self.workers) + number}", pool=pool, concurrency=concurrency, options=options)
            for number in range(count)
        ]
        self.workers.extend(started)
        for worker in started:
            worker.wait_ready()
        return started

    def revive(self) -> None:
        """Start another for each worker that has ended by itself, as any supervisor of services does.

        kombu 5.7 needs it: a connection that is cut while it cleans up after another ends the worker with an
        ``AttributeError`` ("'NoneType' object has no attribute 'hostname'", in ``kombu.transport.redis``).
        """
        for position, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                worker.kill()
                print(f"{worker.name} ended by itself with {worker.process.returncode} and is started again")
                self.workers[position] = worker.again(f"{worker.name}-again")

    def outcome(self, handle: InstanceHandle, *, timeout: float = 90) -> Instance:
        """The finished instance, with the workers supervised until it is there."""

        def finished() -> Instance | None:
            self.revive()
            with contextlib.suppress(WaitTimeoutError):
                return handle.wait(1)

        return eventually(finished, timeout=timeout, what=f"{handle.id} ended")

    def script(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """A client process that runs ``code``."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=self.environment("client"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def events(self, name: str | None = None, *, run_id: str | None = None) -> list[dict[str, Any]]:
        """The telemetry that workers have emitted so far; of one run in the order of its numbers."""
        found = [
            record
            for record in recorder.read(self.folder, "event")
            if name in (None, record["event"]) and run_id in (None, record["metadata"].get("run_id"))
        ]
        if run_id is not None:
            found.sort(key=lambda record: record["metadata"]["sequence"])
        return found

    def emitted(self, run_id: str, *, last: str = "workflow.stop", elsewhere: int = 0) -> list[dict[str, Any]]:
        """The events of a run, once its last one is there, and all before it but those that were emitted ``elsewhere``.

        Each process emits the events of its own commits, so a slow one comes after the last of another.
        """

        def are_there() -> bool:
            numbers = {event["metadata"]["sequence"]: event["event"] for event in self.events(run_id=run_id)}
            final = [number for number, name in numbers.items() if name == last]
            return bool(final) and len([number for number in numbers if number <= max(final)]) >= max(final) - elsewhere

        eventually(are_there, what=f"{last} of {run_id}, and what comes before it")
        return self.events(run_id=run_id)

    def drop_messages(self, queue: str | None = None, *, at_least: int = 0) -> None:
        """Lose every message that waits in a queue, by default in that of the steps that name none.

        It waits until there are ``at_least`` so many: RabbitMQ takes them without an answer, and what another
        connection asks of it can overtake them.
        """
        eventually(lambda: self.waiting_messages(queue) >= at_least, what=f"{at_least} messages to be lost")
        with self._declared(queue) as declared:
            declared.purge()

    def waiting_messages(self, queue: str | None = None) -> int:
        """How many messages wait in a queue."""
        with self._declared(queue) as declared:
            return declared.queue_declare().message_count

    def take_message(self) -> Any:
        """The next message that waits, or None."""
        with self._declared(None) as declared:
            return declared.get(no_ack=True)

    @contextlib.contextmanager
    def _declared(self, queue: str | None) -> Iterator[Any]:
        with self.app.connection_for_write() as connection:
            declared = self.app.amqp.queues[queue or self.namespace](connection.default_channel)
            declared.declare()  # a broker that has lost everything knows of no queue
            yield declared

    def state_commands(self, client: Any, *, seconds: float) -> int:
        """How many commands touch this namespace within a time, those inside scripts and on its channels included."""
        end = time.monotonic() + seconds
        count = 0
        with client.monitor() as monitor:
            monitor.connection._sock.settimeout(seconds)
            while time.monotonic() < end:
                try:
                    command = monitor.next_command()["command"]
                except (TimeoutError, OSError):
                    break
                count += f"{self.namespace}:{{" in command
        return count

    def executions(self) -> list[dict[str, Any]]:
        """Each time that a step's body ran."""
        return recorder.read(self.folder, "executed")

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """What steps noted of this kind."""
        return recorder.read(self.folder, kind)

    def deliveries(self) -> list[dict[str, Any]]:
        """Each task's message that a worker took, where ``HEPHAESTUS_TEST_DELIVERIES`` is switched on."""
        return recorder.read(self.folder, "delivered")

    def logs(self) -> str:
        """All that the workers wrote."""
        return "\n".join(worker.log.read_text() for worker in self.workers)

    def close(self) -> None:
        """Stop everything."""
        for worker in self.workers:
            worker.ask_to_stop()
        for worker in self.workers:
            worker.stop()
        self.hephaestus.close()
        self.app.close()
        self._scratch.cleanup()
