"""Waits for the ends of runs: one connection and one thread for all ``wait`` calls of a process.

The thread lives while somebody waits, and a few seconds longer. It listens for the ends that are published. A published
message may be lost, so the thread regularly also asks for all awaited runs, in one round trip. If that call raises, the waits
end with its error.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance
from hephaestus_celery.locks import Turns, kind_of_threads
from hephaestus_celery.storage.redis.connections import pack

LOOK = 1.0  # seconds between two looks at few runs
LOOK_EACH = 0.005  # seconds more for each run: a thousand of them are looked at every five seconds
_LINGER = 5.0  # seconds for which the connection is kept when nobody waits any more
SLICE = 500  # runs that one round trip looks at


class _Waiter:
    """One wait. ``event`` is set at its end: the run has ended, or ``error`` says why that can't be known."""

    def __init__(self, run_id: str, channel: str) -> None:
        self.run_id, self.channel = run_id, channel
        # Made with the wait: gevent or eventlet may have replaced the class since the import.
        self.event = threading.Event()
        self.error: RedisError | None = None
        self.looked = False  # whether the thread has looked at the run since this wait began


class Waits:
    """Waits for the ends of runs.

    ``ended`` says of each given run whether it has ended; ``channel`` gives the channel on which its end is published.
    ``wake`` publishes on ``own_channel``, which only this process uses, to make the thread look for new waits.
    """

    def __init__(
        self,
        client: Redis,
        *,
        ended: Callable[[Sequence[str]], list[bool]],
        channel: Callable[[str], str],
        wake: Callable[[str], None],
        own_channel: str,
        chance: Chance = SYSTEM_CHANCE,
    ) -> None:
        self._make = lambda: _Listener(client.connection_pool, ended, wake, f"{own_channel}{chance.token()}")
        self._ended, self._channel = ended, channel
        self._guard = (os.getpid(), threading.RLock())
        self._turns = Turns()
        self._listener: _Listener | None = None

    def wait(self, run_id: str, *, timeout: float | None) -> bool:
        """Return True once the run has ended, False when ``timeout`` seconds were not enough; raises ``RedisError``."""
        deadline = None if timeout is None else SYSTEM_CLOCK.monotonic_ns() + int(timeout * 1e9)
        waiter = _Waiter(run_id, self._channel(run_id))
        with self._turns.if_free() as free:
            if free:
                waiter.looked = True
                if self._ended([run_id])[0]:
                    return True
        listener = self._listen_for(waiter)
        try:
            listener.wake(self._turns)
            left = None if deadline is None else max(0.0, (deadline - SYSTEM_CLOCK.monotonic_ns()) / 1e9)
            if not waiter.event.wait(left):
                return not waiter.looked and self._ended([run_id])[0]
        finally:
            listener.forget(waiter)
        if waiter.error is not None:
            raise waiter.error
        return True

    def close(self) -> None:
        """Close the connection, once nobody waits any more."""
        listener = self._listener
        if listener is not None and listener.pid == os.getpid():
            with contextlib.suppress(RedisError):  # then the thread ends by itself
                listener.dismiss(self._turns)

    def _listen_for(self, waiter: _Waiter) -> _Listener:
        # A forked process inherits its parent's listener without the thread, and a lock that may be held for ever.
        if self._guard[0] != os.getpid():
            self._guard, self._listener = (os.getpid(), threading.RLock()), None
        with self._guard[1]:
            # A listener of real threads can't wake greenlets; gevent or eventlet may have been loaded since it was made.
            listener = self._listener
            if listener is None or listener.kind is not kind_of_threads() or not listener.add(waiter):
                listener = self._listener = self._make()
                listener.add(waiter)
            return listener


class _Listener:
    """A thread with its own connection; other threads add their waits to it, and wake it."""

    def __init__(
        self, pool: Any, ended: Callable[[Sequence[str]], list[bool]], wake: Callable[[str], None], own_channel: str
    ) -> None:
        self.pid, self.kind = os.getpid(), kind_of_threads()
        self._pool, self._ended, self._publish, self._own_channel = pool, ended, wake, own_channel
        self._lock = threading.RLock()
        self._waiters: dict[str, list[_Waiter]] = {}  # by channel
        self._woken = False  # the thread was woken, and has not noticed yet
        self._until: int | None = None  # when it ends, while nobody waits
        self._over = False
        self._thread: threading.Thread | None = None
        # Used by the thread alone:
        self._connection: Any = None
        self._subscribed: set[str] = set()
        self._heard = True  # whether anything was heard since the last look

    def add(self, waiter: _Waiter) -> bool:
        """Wait for the end of a run; False when this listener has ended."""
        with self._lock:
            if self._over:
                return False
            self._until = None
            self._waiters.setdefault(waiter.channel, []).append(waiter)
            started = self._thread is not None
        if not started:
            # Starting may fail, or be interrupted: then the next wait starts the thread.
            try:
                threading.Thread(target=self._run, name="hephaestus-waits", daemon=True).start()
            except BaseException:
                self.forget(waiter)
                raise
        return True

    def wake(self, turns: Turns) -> None:
        """Make the thread look for new waits; a thread that does not listen yet looks when it begins to.

        A woken thread is not woken again before it has noticed.
        """
        with self._lock:
            if self._woken:
                return
            self._woken = True
        try:
            with turns.turn():
                self._publish(self._own_channel)
        except BaseException:
            self._woken = False
            raise

    def forget(self, waiter: _Waiter) -> None:
        """A wait is over."""
        with self._lock:
            others = [other for other in self._waiters.get(waiter.channel, ()) if other is not waiter]
            if others:
                self._waiters[waiter.channel] = others
                return
            self._waiters.pop(waiter.channel, None)
            if not self._waiters and self._until is None:
                self._until = SYSTEM_CLOCK.monotonic_ns() + int(_LINGER * 1e9)

    def dismiss(self, turns: Turns) -> None:
        """End soon, if nobody waits."""
        with self._lock:
            if self._waiters:
                return
            self._until = 0
        self.wake(turns)

    def _run(self) -> None:
        with self._lock:
            if self._over or self._thread is not None:
                return  # several began to wait at once
            self._thread = threading.current_thread()
        try:
            self._listen()
        finally:
            # Nobody must wait for an ended thread, whatever ended it: the next wait starts another.
            self._disconnect()
            with self._lock:
                self._over, channels = True, list(self._waiters)
            for channel in channels:
                self._wake(channel, LostConnectionError("the thread that listens for ends of runs has ended"))

    def _listen(self) -> None:
        look_at = SYSTEM_CLOCK.monotonic_ns()
        while not self._has_ended():
            try:
                self._subscribe()
                fresh = self._read(max(0.0, (look_at - SYSTEM_CLOCK.monotonic_ns()) / 1e9))
                if SYSTEM_CLOCK.monotonic_ns() >= look_at:
                    look_at = self._look()
                elif fresh:
                    self._check(fresh)
            except RedisError:
                self._disconnect()
                self._recover()

    def _has_ended(self) -> bool:
        with self._lock:
            self._over = self._until is not None and not self._waiters and SYSTEM_CLOCK.monotonic_ns() >= self._until
            return self._over

    def _subscribe(self) -> None:
        """Subscribe to the ends of the awaited runs, and to no others."""
        with self._lock:
            self._woken = False
            wanted = {self._own_channel, *self._waiters}
        if self._connection is None:
            # In this protocol, published messages come like any other reply.
            connection = self._pool.connection_class(**{**self._pool.connection_kwargs, "protocol": 2})
            connection.connect()
            self._connection, self._subscribed, self._heard = connection, set(), True
        for command, channels in (
            ("SUBSCRIBE", wanted - self._subscribed),
            ("UNSUBSCRIBE", self._subscribed - wanted),
        ):
            if channels:
                self._send(command, *channels)
        self._subscribed = wanted

    def _send(self, *command: str) -> None:
        self._connection.send_packed_command([pack(command)], check_health=False)

    def _read(self, timeout: float) -> list[str]:
        """Read the messages that come within ``timeout`` seconds; returns the channels that are now subscribed."""
        fresh: list[str] = []
        while self._connection.can_read(timeout=timeout):
            timeout = 0
            self._heard = True
            match self._connection.read_response():
                case [b"message", bytes() as channel, _]:
                    self._wake(channel.decode())
                case [b"subscribe", bytes() as channel, _]:
                    fresh.append(channel.decode())
                case _:
                    pass
        return fresh

    def _look(self) -> int:
        """Ask whether the awaited runs have ended, and ping the connection; returns when to ask again."""
        if not self._heard:
            raise LostConnectionError("the connection on which ends of runs are published was silent")
        self._heard = False
        self._send("PING")
        with self._lock:
            channels = list(self._waiters)
        self._check(channels)
        return SYSTEM_CLOCK.monotonic_ns() + int((LOOK + LOOK_EACH * len(channels)) * 1e9)

    def _check(self, channels: Sequence[str]) -> None:
        """Wake the waits whose runs have ended."""
        with self._lock:
            runs = {channel: self._waiters[channel][0].run_id for channel in channels if channel in self._waiters}
        names = list(runs)
        for start in range(0, len(names), SLICE):
            part = names[start : start + SLICE]
            for channel, ended in zip(part, self._ended([runs[name] for name in part]), strict=True):
                self._note(channel, ended=ended)

    def _note(self, channel: str, *, ended: bool) -> None:
        with self._lock:
            for waiter in self._waiters.get(channel, ()):
                waiter.looked = True
        if ended:
            self._wake(channel)

    def _wake(self, channel: str, error: RedisError | None = None) -> None:
        with self._lock:
            for waiter in self._waiters.get(channel, ()):
                waiter.error = error
                waiter.event.set()

    def _recover(self) -> None:
        """The connection broke: waits go on if the server replies on another connection; else they end with the error."""
        with self._lock:
            channels = list(self._waiters)
        try:
            self._check(channels)
        except RedisError as reason:
            for channel in channels:
                self._wake(channel, reason)
        SYSTEM_CLOCK.sleep(0.05)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
