"""A private RabbitMQ for tests: its own processes, ports and data folder; nobody else's server is touched.

Erlang's port mapper (``epmd``), which a node would leave behind as a daemon for all nodes of the machine, is a process
of the server here, on a port of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from kombu import Connection
from stage import eventually

from hephaestus_celery.exceptions import ConfigurationError

START_SECONDS = 120
STOP_SECONDS = 30
HOST = "127.0.0.1"
# What a distribution puts on the PATH may insist on a user of its own (Debian's does); what it wraps does not.
SCRIPTS = ("/usr/lib/rabbitmq/bin", *os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin")


class RabbitMQServer:
    """A node of one's own while the ``with`` block runs; ``settings`` are lines for its ``rabbitmq.conf``.

    ``start``, ``stop``, ``kill`` and ``restart`` may be called in the block: ports, URL and data stay the same, until
    ``wipe``. ``ConfigurationError`` where the program is not installed.
    """

    def __init__(self, *settings: str) -> None:
        self._script, self._epmd_program = _program("rabbitmq-server"), _program("epmd")
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="hc-rabbitmq-"))
        self._port, self._distribution_port, self._epmd_port = _free_ports(3)
        self._node = f"hc-{secrets.token_hex(4)}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # nothing may be left behind
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server as Celery takes it."""
        return f"amqp://guest:guest@{HOST}:{self._port}//"

    def start(self) -> None:
        """Start the server and return once it answers."""
        self._write_configuration()
        self._epmd = self._epmd or self._spawn(self._epmd_program, "-port", str(self._epmd_port))
        self._server = self._server or self._spawn(self._script)
        eventually(self._answers, timeout=START_SECONDS, what="RabbitMQ answers")

    def stop(self) -> None:
        """Ask the server to end, and wait until it has; killed where it does not in time."""
        if self._server is not None:
            self._server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._server = _ended(self._server)

    def restart(self) -> None:
        """Stop the server and start it again on the same data and ports."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Lose all data of a server that was stopped."""
        shutil.rmtree(self._folder / "data")

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` prints."""
        command = [_program("rabbitmqctl"), "--quiet", *arguments]
        return subprocess.run(
            command, env=self._environment(), cwd=self._folder, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def close(self) -> None:
        """Stop all and remove the data."""
        try:
            self.stop()
        finally:
            self._epmd = _ended(self._epmd)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write_configuration(self) -> None:
        lines = (f"listeners.tcp.1 = {HOST}:{self._port}", *self._settings)
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "rabbitmq-env.conf").touch()  # in place of the machine's

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return {
            **inherited,
            "HOME": folder,  # keeps the Erlang cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                [program, *arguments],
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        if self._server is not None and self._server.poll() is not None:
            raise AssertionError(f"RabbitMQ ended at once:\n{(self._folder / 'output.log').read_text()[-4000:]}")
        return answers(self.url)


def answers(url: str) -> bool:
    """Whether a broker takes connections."""
    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.connect()
    except OSError:
        return False
    return True


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join(SCRIPTS))
    if found is None:
        raise ConfigurationError(f"there is no {name}: install RabbitMQ with the system's package manager")
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        taken = [sockets.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in taken]


def _ended(process: subprocess.Popen[bytes] | None) -> None:
    """Kill what is left of a process and its group; what Erlang has started besides ends by itself when it is gone."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
