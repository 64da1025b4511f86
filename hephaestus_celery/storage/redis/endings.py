"""Waiting for the ends of runs: one connection and one thread for all waits of a process.

The thread is there while somebody waits, and a few seconds longer. It hears of ends as they are published, and looks for
itself now and then, as a message may be lost: all runs that are waited for in one round trip. A wait gives up with what that
look raises.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from hephaestus_celery import clock
from hephaestus_celery.storage.redis.connections import pack

_LOOK = 1.0  # seconds between two looks, where few are waited for
_LOOK_EACH = 0.005  # seconds more for each run: a thousand of them are looked at every five seconds
_LINGER = 5.0  # seconds for which the connection is kept when nobody waits any more
# What a connection raises that breaks; ValueError and AttributeError where redis-py has closed it for another thread, which
# could not send on it, while this one reads.
_BROKEN = (RedisError, OSError, ValueError, AttributeError)
_SLICE = 500  # runs that one round trip looks at


class _Waiter:
    """One wait. ``event`` is set at its end: the run has ended, or ``error`` says why that can't be known."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        # Made with the wait: gevent and eventlet may have put another kind in its place since this module was imported.
        self.event = threading.Event()
        self.error: RedisError | None = None


class Endings:
    """Tells when runs end. ``ended`` says for each of some runs whether it has; ``channel`` is where its end is published."""

    def __init__(
        self, client: Redis, *, ended: Callable[[Sequence[str]], list[bool]], channel: Callable[[str], str]
    ) -> None:
        self._pool: Any = client.connection_pool
        self._ended, self._channel = ended, channel
        self._guard = (os.getpid(), threading.RLock())
        self._listener: _Listener | None = None

    def wait(self, run_id: str, *, timeout: float | None) -> bool:
        """Return True once the run has ended, False when ``timeout`` seconds were not enough; raises ``RedisError``."""
        deadline = None if timeout is None else clock.monotonic_ns() + int(timeout * 1e9)
        if self._ended([run_id])[0]:
            return True
        waiter = _Waiter(run_id)
        listener = self._listen_for(waiter)
        try:
            left = None if deadline is None else max(0.0, (deadline - clock.monotonic_ns()) / 1e9)
            if not waiter.event.wait(left):
                return False
        finally:
            listener.forget(waiter)
        if waiter.error is not None:
            raise waiter.error
        return True

    def close(self) -> None:
        """Let go of the connection, once nobody waits any more."""
        listener = self._listener
        if listener is not None and listener.pid == os.getpid():
            listener.dismiss()

    def _listen_for(self, waiter: _Waiter) -> _Listener:
        # A forked process has its parent's listener without its thread, and a lock that may be held for ever.
        if self._guard[0] != os.getpid():
            self._guard, self._listener = (os.getpid(), threading.RLock()), None
        with self._guard[1]:
            if self._listener is None or not self._listener.add(waiter):
                self._listener = _Listener(self._pool, self._ended, self._channel)
                self._listener.add(waiter)
            return self._listener


class _Listener:
    """A thread that reads one connection; any thread may send on it."""

    def __init__(self, pool: Any, ended: Callable[[Sequence[str]], list[bool]], channel: Callable[[str], str]) -> None:
        self.pid = os.getpid()
        self._pool, self._ended, self._channel = pool, ended, channel
        self._lock = threading.RLock()
        self._waiters: dict[str, list[_Waiter]] = {}  # by channel
        self._connection: Any = None
        self._heard = True  # since the last look
        self._until: int | None = None  # when it ends, while nobody waits
        self._over = False
        self._thread: threading.Thread | None = None

    def add(self, waiter: _Waiter) -> bool:
        """Wait for the end of a run; False when this listener has ended."""
        channel = self._channel(waiter.run_id)
        with self._lock:
            if self._over:
                return False
            self._until = None
            known = channel in self._waiters
            self._waiters.setdefault(channel, []).append(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hephaestus-waits", daemon=True)
                self._thread.start()
            elif not known:
                self._send("SUBSCRIBE", channel)
        return True

    def forget(self, waiter: _Waiter) -> None:
        """A wait is over."""
        channel = self._channel(waiter.run_id)
        with self._lock:
            others = [other for other in self._waiters.get(channel, ()) if other is not waiter]
            if others:
                self._waiters[channel] = others
                return
            if self._waiters.pop(channel, None) is not None:
                self._send("UNSUBSCRIBE", channel)
            if not self._waiters and self._until is None:
                self._until = clock.monotonic_ns() + int(_LINGER * 1e9)

    def dismiss(self) -> None:
        """End soon, if nobody waits."""
        with self._lock:
            if not self._waiters:
                self._until = 0
                self._send("PING")  # its answer wakes the thread

    def _send(self, *command: str) -> None:
        # Under the lock. A connection that is broken is the reader's to notice: it opens another, which hears everything.
        if self._connection is not None:
            try:
                self._connection.send_packed_command([pack(command)], check_health=False)
            except RedisError:
                self._heard = False

    def _run(self) -> None:
        look_at = clock.monotonic_ns()
        while not self._has_ended():
            now = clock.monotonic_ns()
            try:
                if self._connection is None:
                    self._open()
                fresh = self._heard_within(max(0.0, (look_at - now) / 1e9))
                if clock.monotonic_ns() >= look_at:
                    look_at = self._look()
                elif fresh:
                    self._tell(fresh)
            except RedisError:
                self._hang_up()
                self._survive()
        self._hang_up()

    def _has_ended(self) -> bool:
        with self._lock:
            self._over = self._until is not None and not self._waiters and clock.monotonic_ns() >= self._until
            return self._over

    def _open(self) -> None:
        # The protocol in which what is published comes like any other answer.
        connection = self._pool.connection_class(**{**self._pool.connection_kwargs, "protocol": 2})
        connection.connect()
        with self._lock:
            self._connection, self._heard = connection, True
            if self._waiters:
                self._send("SUBSCRIBE", *self._waiters)

    def _heard_within(self, patience: float) -> list[str]:
        try:
            return self._read(patience)
        except _BROKEN as error:
            raise LostConnectionError(str(error)) from error

    def _read(self, patience: float) -> list[str]:
        """What has come within so many seconds; gives the channels on which everything is heard from now on."""
        fresh: list[str] = []
        while self._connection.can_read(timeout=patience):
            patience = 0
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
        """Ask for the runs that are waited for, and for a sign of life on this connection; gives when to look again."""
        with self._lock:
            silent = not self._heard
            channels = list(self._waiters)
            self._heard = False
            self._send("PING")
        if silent:
            raise LostConnectionError("nothing was heard on the connection that ends of runs are told on")
        self._tell(channels)
        return clock.monotonic_ns() + int((_LOOK + _LOOK_EACH * len(channels)) * 1e9)

    def _tell(self, channels: Sequence[str]) -> None:
        """Wake those whose runs have ended by now."""
        with self._lock:
            runs = {channel: self._waiters[channel][0].run_id for channel in channels if channel in self._waiters}
        names = list(runs)
        for start in range(0, len(names), _SLICE):
            part = names[start : start + _SLICE]
            for channel, ended in zip(part, self._ended([runs[name] for name in part]), strict=True):
                if ended:
                    self._wake(channel)

    def _wake(self, channel: str, error: RedisError | None = None) -> None:
        with self._lock:
            for waiter in self._waiters.get(channel, ()):
                waiter.error = error
                waiter.event.set()

    def _survive(self) -> None:
        """The connection broke: those who wait go on if the server answers otherwise, and are told why not if it does not."""
        with self._lock:
            channels = list(self._waiters)
        try:
            self._tell(channels)
        except RedisError as reason:
            for channel in channels:
                self._wake(channel, reason)
        clock.sleep(0.05)

    def _hang_up(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
