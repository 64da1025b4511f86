"""Calls scripts and commands: each call brings what the caller knows of the time, and fails as ``StorageError``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from hephaestus_celery.clock import Clock
from hephaestus_celery.core.values.formatting import shown
from hephaestus_celery.exceptions import DataError, StorageError
from hephaestus_celery.storage.redis.connections import Command, Connections
from hephaestus_celery.storage.redis.errors import explain, is_transient
from hephaestus_celery.storage.redis.keys import Keys
from hephaestus_celery.storage.redis.parameters import with_time
from hephaestus_celery.storage.redis.scripts import Scripts, is_values
from hephaestus_celery.storage.redis.steady_clock import Reading, SteadyClock

# Calls that must not run after their caller has given up. Commits may: the step was executed, so its result counts whenever
# it arrives.
PUNCTUAL = {
    "create",
    "create_many",
    "rerun",
    "hold",
    "claim",
    "renew",
    "seize",
    "deliver",
    "cancel",
    "delete",
    "schedule",
    "unschedule",
    "resign",
    "resend",
    "pause",
    "pause_workflow",
}
TIMELESS = {"load", "data", "candidates", "list", "select", "history", "beginning", "stage", "tally"}


class Calls:
    """Calls the server for one storage; ``slack`` is how many microseconds late a punctual script may still run."""

    def __init__(self, connections: Connections, keys: Keys, *, slack: int, clock: Clock) -> None:
        self.connections, self.keys, self.slack = connections, keys, slack
        self._clock = clock
        self.scripts = Scripts()
        self._clocks: dict[str, SteadyClock] = {}

    def of_run(self, script: str, run_id: str, parameters: str, *data: str, lists: Sequence[str] = ()) -> Any:
        """Call a script about one run.

        The ``lists`` of a broker are keys of the script: a user who may not touch them is refused before anything is done.
        """
        keys = self.keys.of_run(run_id)
        return self._run(script, keys.prefix, [*keys.names, *lists], parameters, *data, run_id=run_id)

    def of_partition(self, script: str, prefix: str, parameters: str, *data: str, slack: int | None = None) -> Any:
        """Call a script about a partition, or about several of its runs."""
        # The keys only name the node of a cluster; such a script does not use the keys of a run.
        return self._run(script, prefix, [f"{prefix}due"] * 5, parameters, *data, slack=slack)

    def command(self, *command: str | int, fits: Callable[[Any], bool]) -> Any:
        """Send one command of Redis itself."""
        with self.reached():
            return self.connections.call(*command, fits=fits)

    def commands(self, commands: Sequence[Command], *, fits: Callable[[Any], bool]) -> list[Any]:
        """Send several commands in one round trip."""
        with self.reached():
            return self.connections.call_many(commands, fits=fits)

    def stamped(self, script: str, prefix: str, parameters: str) -> str:
        """The parameters of a script with what is known of the time, for a caller that sends several in one round trip."""
        if script in TIMELESS:
            return parameters
        with self.reached(), unsent():
            now, offset = self.clock(prefix).now()
        return with_time(parameters, now=now, offset=offset, slack=self.slack, punctual=script in PUNCTUAL)

    def clock(self, prefix: str) -> SteadyClock:
        """The steady clock of a partition."""
        if prefix not in self._clocks:
            self._clocks[prefix] = SteadyClock(lambda: self._read_clock(prefix), clock=self._clock)
        return self._clocks[prefix]

    @contextmanager
    def reached(self) -> Generator[None, None, None]:
        """Raise errors of the server, or of the way to it, as ``StorageError``."""
        try:
            yield
        except RedisError as error:
            raise StorageError(explain(error), transient=is_transient(error)) from error
        except UnicodeEncodeError as error:
            raise DataError(
                f"the store can't be asked for that: {shown(error.object)} holds a lone surrogate"
            ) from error

    def _run(
        self,
        script: str,
        prefix: str,
        keys: list[str],
        parameters: str,
        *data: str,
        slack: int | None = None,
        run_id: str | None = None,
    ) -> Any:
        with self.reached():
            if script in TIMELESS:
                return self.scripts.call(self.connections, script, keys, [prefix, parameters, *data], run_id=run_id)
            steady = self.clock(prefix)
            for _ in range(2):
                with unsent():
                    now, offset = steady.now()
                arguments = with_time(
                    parameters,
                    now=now,
                    offset=offset,
                    slack=slack or self.slack,
                    punctual=script in PUNCTUAL,
                )
                reply = self.scripts.call(self.connections, script, keys, [prefix, arguments, *data], run_id=run_id)
                if reply != b"late":
                    return reply
                steady.look()  # nothing was done; the server's clock may have been set
        raise came_too_late()

    def _read_clock(self, prefix: str) -> Reading:
        return read_clock(self.connections.call_many(clock_commands(prefix), fits=is_values))


def clock_commands(prefix: str) -> list[Command]:
    """The commands that read the clock of a partition, for :func:`read_clock`."""
    return [("HMGET", f"{prefix}seat", "offset", "beat"), ("TIME",)]


def read_clock(replies: Sequence[Any]) -> Reading:
    """The reading in the replies to :func:`clock_commands`."""
    (offset, beat), (seconds, micros) = replies
    return Reading(
        time=int(seconds) * 1_000_000 + int(micros),
        offset=int(offset or 0),
        beat=None if beat is None else int(beat),
    )


def came_too_late() -> StorageError:
    """The error of a call that reached the server too late, twice."""
    return StorageError("the call reached the state store too late, so nothing was done; try again")


@contextmanager
def unsent() -> Generator[None, None, None]:
    """An error here means that the call was not sent; see ``Connections.call``."""
    try:
        yield
    except RedisError as error:
        vars(error)["sent"] = 0
        raise
