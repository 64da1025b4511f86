"""The server's clock as this process knows it, for deadlines that a script checks."""

from __future__ import annotations

import os
from collections.abc import Callable

from hephaestus_celery import clock

_KEPT_MICROSECONDS = 60_000_000


class ServerClock:
    """Follows the server's clock by this process's monotonic one; asks ``read`` (microseconds) once a minute.

    What :meth:`now` gives is never ahead of the server, and behind it by one round trip at most; a server whose clock
    is set in between is another matter: :meth:`forget` has it asked again.
    """

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._known: tuple[int, int, int] | None = None  # process, monotonic, and server's time at that moment

    def now(self) -> int:
        """Microseconds since the epoch on the server's clock; raises what ``read`` raises."""
        before = clock.monotonic_ns() // 1000
        known = self._known
        if known is None or known[0] != os.getpid() or before - known[1] > _KEPT_MICROSECONDS:
            server = self._read()
            known = self._known = (os.getpid(), clock.monotonic_ns() // 1000, server)
        return known[2] + max(0, before - known[1])

    def forget(self) -> None:
        """Ask the server again next time."""
        self._known = None
